"""A guarded door with a handful of routes on a real socket, for the tests of the guard."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from agent.web.access import Access
from agent.web.guard import CALLER, Guard, PosKey, new_socket, session_cookie
from agent.web.sessions import PageDoor, Session
from sync.runtime.http_server import serve
from sync.runtime.metrics import Metrics
from sync.runtime.problems import problem_middleware
from tests.support.clock import FakeClock

KEY = "lapos_right"
Header = tuple[str, str]

ACCESS = {
    ("GET", "/"): Access.DOCUMENT,
    ("GET", "/healthz"): Access.OPEN,
    ("POST", "/api/v1/sessions"): Access.PAGE,
    ("POST", "/api/v1/scans"): Access.CREDENTIAL,
    ("GET", "/api/v1/outbox"): Access.CREDENTIAL,
    ("POST", "/api/v1/page-links"): Access.POS,
    ("GET", "/api/v1/live"): Access.SOCKET,
}


@dataclass
class Till:
    """A guarded door with a handful of routes, and what reached them."""

    clock: FakeClock = field(default_factory=FakeClock)
    door: PageDoor = field(default_factory=PageDoor)
    key: PosKey = field(default_factory=lambda: PosKey(KEY))
    metrics: Metrics = field(default_factory=lambda: Metrics(program="till", version="0"))
    reached: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.guard = Guard(ACCESS, pos_key=self.key, door=self.door, clock=self.clock, metrics=self.metrics)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[problem_middleware, self.guard.middleware])
        for method, path in ACCESS:
            if path != "/api/v1/live":
                app.router.add_route(method, path, self.answer)
        app.router.add_get("/api/v1/forgotten", self.answer)
        app.router.add_get("/api/v1/live", self.live)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        self.reached.append(request.path)
        caller = request.get(CALLER)
        return web.json_response({"caller": caller.kind if caller else None, "cookie": session_cookie(request)})

    async def live(self, request: web.Request) -> web.WebSocketResponse:
        ws = new_socket()
        await ws.prepare(request)
        caller = await self.guard.admit_socket(request, ws)
        if caller is not None:
            self.reached.append(request.path)
            await ws.send_str(caller.kind)
            async for message in ws:
                await ws.send_str(f"echo {message.data}")
        return ws

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def session(self) -> Session:
        now_s = self.clock.monotonic()
        return self.door.open(self.door.new_link(now_s), now_s)

    def page_headers(self, session: Session) -> list[Header]:
        return [
            ("Host", self.host),
            ("Origin", self.origin),
            ("Cookie", f"__Host-till-{self.port}={session.cookie}"),
            ("Page-Token", session.page_token),
        ]

    async def ask(self, method: str, path: str, headers: Sequence[Header]) -> tuple[int, dict[str, str], str]:
        """Send exactly these headers over a connection of its own."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in [*headers, ("Connection", "close")])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = (await asyncio.wait_for(reader.read(), timeout=10)).decode()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition("\r\n\r\n")
        status_line, *answered = head.split("\r\n")
        return int(status_line.split()[1]), dict(line.split(": ", 1) for line in answered), body

    async def code(self, method: str, path: str, headers: Sequence[Header]) -> str:
        status, _, body = await self.ask(method, path, headers)
        return "ok" if status == 200 else json.loads(body)["code"]


@asynccontextmanager
async def open_till() -> AsyncIterator[Till]:
    till = Till()
    async with serve(till.app(), "127.0.0.1", 0) as at:
        till.port = at.port
        yield till


BEARER = ("Authorization", f"Bearer {KEY}")
JSON = ("Content-Type", "application/json")
