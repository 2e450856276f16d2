"""The till's doors against the web, in a real Chromium with its real rules: the till's page and display are open in the
same browser, so their cookies are there, and a hostile page tries everything that a page can.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page

from agent.web.page import PAGE_CONTENT_SECURITY_POLICY
from sync.runtime.http_server import serve
from tests.support.customer_windows import MARIE, SHOP, load
from tests.support.pages import chromium, kept_by
from tests.support.tills import Pos, till_and_pos

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Names that lead to this machine, and a browser without the newest ones' own guard of it: the till's must do alone.
ARGUMENTS = ("--host-resolver-rules=MAP *.test 127.0.0.1", "--disable-features=LocalNetworkAccessChecks")
EVIL_NAMES = ("127.0.0.1", "localhost", "evil.test")
DOCUMENTS = {"page": "/", "display": "/customer"}
SOCKETS = ("/api/v1/live", "/api/v1/display/live")
READS = (
    "/",
    "/customer",
    "/static/app.js",
    "/static/customer.js",
    "/texts/en.json",
    "/api/v1/screen",
    "/api/v1/display",
    "/api/v1/outbox",
    "/api/v1/acts",
    "/healthz",
    "/openapi.json",
)
WRITES: dict[str, Any] = {
    "/api/v1/scans": {"text": MARIE},
    "/api/v1/sales": {
        "sale_id": "s-evil",
        "card": MARIE,
        "lines": [{"quantity": "1", "net_minor": 999}],
        "net_minor": 999,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
    },
    "/api/v1/sessions": {},
    "/api/v1/page-links": {},
    "/api/v1/screen/unlock": {},
    "/api/v1/pos-key": {},
    "/api/v1/cache/comparison": {},
}

# Each returns what the hostile page got hold of; "" where that was nothing.
READ = """async ([url, mode]) => {
  try {
    const answer = await fetch(url, { mode, credentials: "include" });
    return answer.type === "opaque" ? "" : `${answer.status} ${await answer.text()}`;
  } catch { return ""; }
}"""
WRITE = """async ([url, body, type, mode]) => {
  try {
    const answer = await fetch(url, {
      method: "POST", mode, credentials: "include", headers: { "Content-Type": type }, body: JSON.stringify(body),
    });
    return answer.type === "opaque" ? "" : await answer.text();
  } catch { return ""; }
}"""
SUBMIT = """([url, body]) => new Promise((done) => {
  const frame = Object.assign(document.createElement("iframe"), { name: "target" });
  const form = Object.assign(document.createElement("form"), {
    action: url, method: "post", enctype: "text/plain", target: "target",
  });
  form.append(Object.assign(document.createElement("input"), { name: JSON.stringify(body), value: "" }));
  document.body.append(frame, form);
  frame.onload = () => { if (frame.contentDocument === null) { frame.remove(); form.remove(); done(); } };
  form.submit();
})"""
SOCKET = """(url) => new Promise((done) => {
  const socket = new WebSocket(url);
  const heard = [];
  socket.onopen = () => { heard.push("open"); socket.send(JSON.stringify({ token: "" })); };
  socket.onmessage = (message) => heard.push(message.data);
  socket.onclose = () => done(heard.join(" "));
})"""
FRAME = """(url) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = () => {
    let seen = "";
    try { seen = frame.contentDocument?.body?.textContent ?? ""; } catch { /* another origin */ }
    done(seen);
  };
  frame.src = url;
  document.body.append(frame);
})"""
LOAD = """([tag, name, url]) => new Promise((done) => {
  const node = document.createElement(tag);
  if (tag === "link") node.rel = "stylesheet";
  node.onload = () => done(`${tag} loaded`);
  node.onerror = () => done("");
  node[name] = url;
  document.head.append(node);
})"""
LISTEN_FOR_VIOLATIONS = """() => {
  window.violations = [];
  const note = (one) => window.violations.push(`${one.violatedDirective} ${one.sample}`);
  addEventListener("securitypolicyviolation", note);
}"""

# What would turn a text into markup.
SINKS = (
    "document.body.innerHTML = '<b>';",
    "document.write('<b>');",
    "new DOMParser().parseFromString('', 'text/html');",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium(*ARGUMENTS) as started:
        yield started


@dataclass
class Open:
    """A till whose staff page and display stand open in one browser."""

    pos: Pos
    context: BrowserContext
    pages: dict[str, Page]

    @property
    def port(self) -> int:
        return int(self.pos.url.rpartition(":")[2])

    async def recorded(self) -> int:
        """Return how many events the till recorded."""
        return int((await self.pos.get("/api/v1/screen"))[1]["outbox"]["waiting"])

    async def refused(self, code: str) -> float:
        """Return how often the till refused a request for this reason."""
        async with self.pos.session.get(f"{self.pos.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(
            float(line.split()[1]) for line in lines if "requests_refused_total{" in line and f'"{code}"' in line
        )


@asynccontextmanager
async def open_till(browser: Browser, folder: Path) -> AsyncIterator[Open]:
    async with till_and_pos(folder, till={"state": folder / "state", "shop": SHOP}) as (till, pos):
        await load(till)
        context = await browser.new_context(reduced_motion="reduce")
        await context.add_init_script(f"({LISTEN_FOR_VIOLATIONS})()")
        try:
            at = Open(pos, context, {})
            for name, path in DOCUMENTS.items():
                _, link = await pos.post("/api/v1/page-links", {"for": name})
                at.pages[name] = await context.new_page()
                await at.pages[name].goto(link["url"])
                assert at.pages[name].url == pos.url + path
                await at.pages[name].locator('body[data-link="live"]').wait_for()
            yield at
            for page in at.pages.values():
                await page.locator('body[data-link="live"]').wait_for()
        finally:
            await context.close()


@asynccontextmanager
async def evil_page(at: Open, name: str) -> AsyncIterator[Page]:
    """A page of somebody else, on another port of this machine, in the same browser."""

    async def document(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": "default-src * 'unsafe-inline'"}
        return web.Response(text="<!doctype html><title>evil</title>", content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/", document)
    async with serve(app, "127.0.0.1", 0) as served:
        page = await at.context.new_page()
        await page.goto(f"http://{name}:{served.port}/")
        assert await page.title() == "evil"
        yield page
        await page.close()


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_page_of_another_origin_reads_nothing(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at, evil_page(at, name) as evil:
        for host in ("127.0.0.1", "localhost"):
            for path in READS:
                for mode in ("cors", "no-cors"):
                    assert await evil.evaluate(READ, [f"http://{host}:{at.port}{path}", mode]) == "", (path, mode)
        loads = [("script", "src", "/static/app.js"), ("img", "src", "/static/icon.svg")]
        loads += [("link", "href", "/static/style.css"), ("script", "src", "/texts/en.json")]
        for tag, attribute, path in loads:
            assert await evil.evaluate(LOAD, [tag, attribute, at.pos.url + path]) == "", path
        assert await at.refused("origin_refused") + await at.refused("cross_site_refused") > len(READS)


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_page_of_another_origin_changes_nothing(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at, evil_page(at, name) as evil:
        before = (await at.pos.get("/api/v1/screen"))[1]["view"]
        for path, body in WRITES.items():
            url = at.pos.url + path
            for type_, mode in (("application/json", "cors"), ("text/plain", "cors"), ("text/plain", "no-cors")):
                assert await evil.evaluate(WRITE, [url, body, type_, mode]) == "", (path, type_, mode)
            await evil.evaluate(SUBMIT, [url, body])
        assert await at.recorded() == 0
        assert (await at.pos.get("/api/v1/screen"))[1]["view"] == before == {"kind": "nothing"}


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_page_of_another_origin_opens_neither_socket(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at, evil_page(at, name) as evil:
        for path in SOCKETS:
            assert await evil.evaluate(SOCKET, f"ws://127.0.0.1:{at.port}{path}") == "", path
        assert await at.refused("origin_refused") == len(SOCKETS)


@pytest.mark.parametrize("name", EVIL_NAMES)
async def test_a_page_of_another_origin_frames_and_opens_neither_document(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    async with open_till(browser, tmp_path) as at, evil_page(at, name) as evil:
        for path in DOCUMENTS.values():
            assert await evil.evaluate(FRAME, at.pos.url + path) == ""
            for frame in evil.frames[1:]:
                assert await frame.locator("#view, #stage, #bar").count() == 0
            async with at.context.expect_page() as opening:
                await evil.evaluate("(url) => { window.open(url); }", at.pos.url + path)
            opened = await opening.value
            await opened.wait_for_load_state()
            assert await opened.locator("#view, #stage, #bar").count() == 0
            assert "cross_site_refused" in await opened.content()
            await opened.close()


async def test_the_own_page_is_let_in_where_a_foreign_one_is_not(browser: Browser, tmp_path: Path) -> None:
    """The attacks above do reach a till and would be told of: from the till's own page the same calls get through."""
    async with open_till(browser, tmp_path) as at:
        page = at.pages["page"]
        assert "200" in await page.evaluate(READ, [f"{at.pos.url}/healthz", "cors"])
        assert "body_invalid" in await page.evaluate(
            WRITE, [f"{at.pos.url}/api/v1/sessions", {"code": 1}, "application/json", "cors"]
        )
        for path in SOCKETS:
            assert await page.evaluate(SOCKET, f"ws://127.0.0.1:{at.port}{path}") == "open"


async def test_a_name_that_was_rebound_to_this_machine_gets_nothing(browser: Browser, tmp_path: Path) -> None:
    """The browser takes the till for the page's own origin: it sends no sign of a foreign one, only the name."""
    async with open_till(browser, tmp_path) as at:
        evil = await at.context.new_page()
        origin = f"http://rebind.test:{at.port}"

        async def own_document(route: Any) -> None:
            await route.fulfill(body="<!doctype html><title>evil</title>", content_type="text/html")

        await evil.route(f"{origin}/evil", own_document)
        await evil.goto(f"{origin}/evil")
        for path in READS:
            assert (await evil.evaluate(READ, [path, "same-origin"])).startswith("421 "), path
        for path, body in WRITES.items():
            said = await evil.evaluate(WRITE, [path, body, "application/json", "same-origin"])
            assert '"host_refused"' in said, path
        for path in SOCKETS:
            assert await evil.evaluate(SOCKET, f"ws://rebind.test:{at.port}{path}") == ""
        assert await at.refused("host_refused") >= len(READS) + len(WRITES) + len(SOCKETS)
        assert await at.recorded() == 0
        for path in DOCUMENTS.values():
            answer = await evil.goto(origin + path)
            assert answer is not None
            assert answer.status == 421
            assert await evil.locator("#view, #stage, #bar").count() == 0


async def use(at: Open) -> None:
    """Let both documents show a customer, a sale, and nobody again."""
    await at.pos.post("/api/v1/scans", {"text": MARIE})
    await at.pages["display"].locator('body[data-kind="welcome"]').wait_for()
    await at.pos.post("/api/v1/sales", WRITES["/api/v1/sales"])
    await at.pages["display"].locator('body[data-kind="earned"]').wait_for()
    await at.pages["page"].locator(".name").wait_for()
    await at.pos.post("/api/v1/screen/clear", {})
    await at.pages["display"].locator('body[data-kind="idle"]').wait_for()


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_neither_document_breaks_its_own_policy(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at:
        page = at.pages[name]
        await use(at)
        assert await page.evaluate("() => window.violations") == []
        answer = await page.reload()
        assert answer is not None
        assert answer.headers["content-security-policy"] == PAGE_CONTENT_SECURITY_POLICY
        await page.locator('body[data-link="live"]').wait_for()
        assert await page.evaluate("() => window.violations") == []


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_the_policy_stops_what_a_planted_text_could_do(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at, evil_page(at, "127.0.0.1") as evil:
        page = at.pages[name]
        for sink in SINKS:
            tried = f"() => {{ try {{ {sink} }} catch (error) {{ return error.name; }} }}"
            assert await page.evaluate(tried) == "TypeError", sink
        assert await page.evaluate(READ, [evil.url, "no-cors"]) == ""
        assert await page.evaluate(LOAD, ["img", "src", evil.url]) == ""
        directives = {one.split()[0] for one in await page.evaluate("() => window.violations")}
        assert {"require-trusted-types-for", "connect-src", "img-src"} <= directives


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_neither_document_keeps_anything_in_the_browser(browser: Browser, tmp_path: Path, name: str) -> None:
    async with open_till(browser, tmp_path) as at:
        page = at.pages[name]
        await use(at)
        assert await kept_by(page) == []
        await page.reload()
        await page.locator('body[data-link="live"]').wait_for()
        assert await kept_by(page) == []
        state = await at.context.storage_state(indexed_db=True)
        assert state["origins"] == []
        assert {cookie["name"] for cookie in state["cookies"]} == {
            f"__Host-till-{at.port}",
            f"__Host-till-display-{at.port}",
        }
        for cookie in state["cookies"]:
            assert cookie["httpOnly"]
            assert cookie["secure"]
            assert cookie["sameSite"] == "Strict"
            assert cookie["expires"] == -1  # it ends with the browser
        await page.evaluate("() => localStorage.setItem('planted', '1')")
        assert await kept_by(page) == [["planted", "1"]]


UPGRADE = "".join(
    f"{name}: {value}\r\n"
    for name, value in (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
)


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 101),
        ("127.0.0.1:{port}", None, 401),
        ("127.0.0.1:{port}", "null", 403),
        ("127.0.0.1:{port}", "http://127.0.0.1:9", 403),
        ("127.0.0.1:{port}", "http://localhost:{port}", 403),
        ("127.0.0.1:{port}", "https://127.0.0.1:{port}", 403),
        ("rebind.test:{port}", "http://rebind.test:{port}", 421),
        ("rebind.test:{port}", None, 421),
        ("127.0.0.1", "http://127.0.0.1", 421),
    ],
)
async def test_a_raw_handshake_passes_with_the_tills_own_host_and_origin_only(
    tmp_path: Path, path: str, host: str, origin: str | None, status: int
) -> None:
    async with till_and_pos(tmp_path) as (till, _):
        port = till.at.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        origin_line = f"Origin: {origin.format(port=port)}\r\n" if origin else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host.format(port=port)}\r\n{origin_line}{UPGRADE}\r\n".encode())
        assert (await reader.readline()).split()[1] == str(status).encode()
        writer.close()
        await writer.wait_closed()
