"""The raw thing that a scan over HTTP is held against: an aiohttp handler that parses the body and answers as much.

Run as `python -m tests.bench.bare_server PORT ANSWER`; the file holds the JSON that our own server answered.
"""

import sys
from pathlib import Path

from aiohttp import web

PATH = "/api/v1/scans"


def application(answer: str) -> web.Application:
    async def handle(request: web.Request) -> web.Response:
        await request.json()
        return web.Response(text=answer, content_type="application/json")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post(PATH, handle)
    app.router.add_get("/readyz", ready)
    return app


if __name__ == "__main__":
    _, port, answer_file = sys.argv
    web.run_app(
        application(Path(answer_file).read_text(encoding="utf-8")),
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=None,
    )
