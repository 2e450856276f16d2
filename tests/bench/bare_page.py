"""The raw thing that the page is held against: a bare handler, a bare commit, and a page that paints the same picture.

Run as `python -m tests.bench.bare_page PORT FOLDER`. The folder holds what the till's own page and server gave once:
`style.css`, `view.json` (the answer to a scan) and `card.html` (the card as the page painted it). The bare page takes
keys until Enter, asks its server, and puts that card there: no session, no state, no words, no recogniser of scanners.
"""

import sqlite3
import sys
from pathlib import Path

from aiohttp import web

SCANS, SALES, READY = "/api/v1/scans", "/api/v1/sales", "/readyz"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bare</title><link rel="stylesheet" href="/style.css"></head>
<body data-link="live"><main><div id="card" class="sheet"><section id="view"></section></div></main>
<footer id="foot"><div id="undo"><p></p></div></footer><template id="painted">{card}</template>
<script>
const ask = async (path, body) => (await fetch(path, {{ method: "POST", body: JSON.stringify(body) }})).json();
let typed = "";
let shown = 0;
addEventListener("keydown", async ({{ key }}) => {{
  if (key !== "Enter") return void (key.length === 1 && (typed += key));
  const text = typed;
  typed = "";
  if (text === "") {{
    const {{ number }} = await ask("{sales}", {{ text }});
    document.querySelector("#undo p").textContent = `${{number}} points credited`;
    return;
  }}
  const view = await ask("{scans}", {{ text }});
  const card = document.querySelector("#painted").content.cloneNode(true);
  card.querySelector("h1").textContent = `${{view.name}} ${{shown += 1}}`;
  document.querySelector("#view").replaceChildren(card);
}});
</script></body></html>
"""


def application(folder: Path) -> web.Application:
    view, style = ((folder / name).read_text(encoding="utf-8") for name in ("view.json", "style.css"))
    page = _PAGE.format(card=(folder / "card.html").read_text(encoding="utf-8"), scans=SCANS, sales=SALES)
    sales = _sales(folder / "bare.db")

    async def scan(request: web.Request) -> web.Response:
        await request.json()
        return web.Response(text=view, content_type="application/json")

    async def sale(request: web.Request) -> web.Response:
        number = sales.execute("INSERT INTO sales (event) VALUES (?)", (await request.text(),)).lastrowid
        return web.json_response({"number": number})

    def text(body: str, content_type: str) -> web.Response:
        return web.Response(text=body, content_type=content_type)

    async def index(_: web.Request) -> web.Response:
        return text(page, "text/html")

    async def css(_: web.Request) -> web.Response:
        return text(style, "text/css")

    async def ready(_: web.Request) -> web.Response:
        return text("ok", "text/plain")

    app = web.Application()
    app.add_routes([web.get("/", index), web.get("/style.css", css), web.get(READY, ready)])
    app.add_routes([web.post(SCANS, scan), web.post(SALES, sale)])
    return app


def _sales(path: Path) -> sqlite3.Connection:
    """Open a file in which each row is on disk when its statement returns."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS sales (number INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT")
    return connection


if __name__ == "__main__":
    _, port, folder = sys.argv
    web.run_app(application(Path(folder)), host="127.0.0.1", port=int(port), access_log=None, print=None)
