"""A hub that answers what a test tells it to, over a real socket."""

import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from sync.contract.customers import Value
from sync.contract.protocol import Outcome, UploadAnswer, Verdict
from sync.hub_line import Timeouts
from sync.pump.ports import Batch
from sync.runtime.problems import Kind, Problem, problem_middleware

INC = "a" * 16
BATCH = Batch(INC, 1, ('{"seq":1}', '{"seq":2}'))
VERDICTS = UploadAnswer(
    hub_epoch="e",
    applied_through=2,
    results=(Verdict(seq=1, outcome=Outcome.APPLIED), Verdict(seq=2, outcome=Outcome.DUPLICATE)),
)
# Real time, so as short as a loopback allows.
FAST = Timeouts(connect_s=1.0, read_s=0.3, total_s=0.6)


@dataclass
class ScriptedHub:
    """A hub that answers what it is told to."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        assert self.answer
        return await self.answer(request)

    def answers(self, value: Value, *, packed: bool = False) -> None:
        async def answer(_: web.Request) -> web.Response:
            body = value.model_dump_json().encode()
            headers = {"Content-Type": "application/json"}
            if packed:
                return web.Response(body=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"})
            return web.Response(body=body, headers=headers)

        self.answer = answer

    def sends(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            return web.Response(status=status, body=body, headers={"Content-Type": content_type, **named})

        self.answer = answer

    def refuses(self, status: int, code: str, **members: object) -> None:
        async def answer(_: web.Request) -> web.Response:
            raise Problem(Kind(status, code, "No."), members=members)

        self.answer = answer


@contextlib.asynccontextmanager
async def served(door: ScriptedHub, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedHub]:
    app = web.Application(middlewares=[problem_middleware])
    app.router.add_route("*", "/{tail:.*}", door.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    door.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    try:
        yield door
    finally:
        await runner.cleanup()
