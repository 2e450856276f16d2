"""The HTTP server of every process of ours: one aiohttp application on one address, closed by default.

aiohttp decides what a request is; this room decides what leaves. Every answer passes one writer, so even the one to a
line that is no HTTP carries the security headers, is a problem of ours, and names no product and no version. Plain
http is spoken on loopback only. Stopping has a deadline, also for WebSockets and long polls.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

from aiohttp import WSCloseCode, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser, RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from sync.runtime.problems import INTERNAL, MALFORMED_REQUEST, Problem, from_http_exception

# Long polls of the feed hold a connection for 25 s; an idle one is let go soon after.
KEEPALIVE_S = 75.0
# A process is to be gone 2 s after SIGTERM; aiohttp waits this long twice, then cuts.
DRAIN_S = 0.7
# What a refused sender may still push before the connection is cut.
LINGER_S = 1.0

BASE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
API_CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_STOPPING = web.AppKey("stopping", asyncio.Event)
_SOCKETS: web.AppKey[set[web.WebSocketResponse]] = web.AppKey("sockets", set)

_log = logging.getLogger(__name__)


class ServeError(Exception):
    """The server cannot start; the message is one line for the person who starts it."""


class PortTaken(ServeError):
    """Another program listens there already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is taken by another program; stop that one, or set another port in the config"
        )
        self.host = host
        self.port = port


class ServedAt(NamedTuple):
    """Where the server listens; `port` is the real one where 0 was asked for."""

    host: str
    port: int


def parser_name() -> str:
    """Return "c" where aiohttp's compiled HTTP parser is in use, else "python".

    The Python parser has had request-smuggling faults that the compiled one had not.
    """
    return "c" if HttpRequestParser.__module__ == "aiohttp._http_parser" else "python"


@asynccontextmanager
async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[ServedAt]:
    """Serve an application for the length of the block.

    Args:
        app: the application, not served before.
        host: a name or address of one local interface.
        port: 1 to 65535, or 0 for any free one.
        ssl_context: for https; without it only loopback is served.
        headers: this door's own headers, such as its Content-Security-Policy; set where an answer has not set them.

    Raises:
        PortTaken: somebody listens there.
        ServeError: the address is not ours, not allowed, or not to be had without TLS.
    """
    listener = _listen(host, port, is_tls=ssl_context is not None)
    defaults = {"Content-Security-Policy": API_CONTENT_SECURITY_POLICY, **BASE_HEADERS, **(headers or {})}
    stopping = app[_STOPPING] = asyncio.Event()
    app[_SOCKETS] = set()
    app.on_shutdown.append(_close_sockets)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_S)
    try:
        await runner.setup()
        server = await _start(runner, listener, ssl_context, defaults)
    except BaseException:
        listener.close()
        await runner.cleanup()
        raise
    at = ServedAt(host, listener.getsockname()[1])
    _log.info("listening: host=%s port=%d parser=%s", at.host, at.port, parser_name())
    try:
        yield at
    finally:
        stopping.set()
        server.close()
        await runner.cleanup()


def stopping(app: web.Application) -> asyncio.Event:
    """Return the event that is set when the server stops; a long poll waits for it beside its news."""
    return app[_STOPPING]


@contextmanager
def closes_with_server(request: web.Request, ws: web.WebSocketResponse) -> Iterator[None]:
    """Have an open WebSocket closed with 1001 (going away) when the server stops within the block."""
    sockets = request.app[_SOCKETS]
    sockets.add(ws)
    try:
        yield
    finally:
        sockets.discard(ws)


class _Writer(StreamWriter):
    """Writes the head of every answer: our headers where none were set, and never `Server`."""

    def __init__(
        self, protocol: web.RequestHandler, loop: asyncio.AbstractEventLoop, defaults: Mapping[str, str]
    ) -> None:
        super().__init__(protocol, loop)
        self._defaults = defaults

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        headers.pop(hdrs.SERVER, None)
        for name, value in self._defaults.items():
            headers.setdefault(name, value)
        await super().write_headers(status_line, headers)


class _Connection(web.RequestHandler):
    """Answers what never reaches the application, and does not log what such a sender sent."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words quote the bytes that were sent
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun, so the connection is closed")
        cause = type(exc).__name__ if exc else "none"
        if status == MALFORMED_REQUEST.status:
            _log.info("malformed request: cause=%s", cause)
            problem = Problem(MALFORMED_REQUEST)
        else:
            _log.error("request failed outside the application: status=%d cause=%s", status, cause)
            problem = Problem(INTERNAL)
        response = problem.to_response()
        response.force_close()
        return response

    def log_exception(self, *args: object, **named: object) -> None:  # noqa: ARG002 - aiohttp's words and traceback
        """Say in one line that a connection ended by a fault.

        A body that cannot be unpacked ends here after its refusal was sent: a sender must not fill the log with
        tracebacks.
        """
        error = named.get("exc_info")
        _log.warning("connection closed by a fault: cause=%s", type(error).__name__ if error else "none")


def _listen(host: str, port: int, *, is_tls: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ServeError(f"{host} is no address of this machine; use 127.0.0.1") from error
    if not is_tls and not ipaddress.ip_address(address[0]).is_loopback:
        raise ServeError(f"plain http on {host} would be open to the network; use 127.0.0.1, or set TLS files")
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        # Another listener on the same port shows only here where both set SO_REUSEADDR.
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from error
        raise ServeError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


async def _start(
    runner: web.AppRunner,
    listener: socket.socket,
    ssl_context: ssl.SSLContext | None,
    defaults: Mapping[str, str],
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    make_request, handle = server.request_factory, server.request_handler

    def request_with_our_writer(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        _: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return make_request(message, payload, protocol, _Writer(protocol, loop, defaults), task)

    async def handle_with_problems(request: Any) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as refused:
            # Before any middleware runs aiohttp may refuse an Expect header.
            if refused.status < MALFORMED_REQUEST.status:
                raise
            return from_http_exception(refused).to_response()

    server.request_factory = request_with_our_writer
    server.request_handler = handle_with_problems

    options: dict[str, Any] = {
        "access_log": None,
        "keepalive_timeout": KEEPALIVE_S,
        "lingering_time": LINGER_S,
    }

    def connection() -> _Connection:
        return _Connection(server, loop=loop, **options)

    return await loop.create_server(connection, sock=listener, ssl=ssl_context)


async def _close_sockets(app: web.Application) -> None:
    sockets = app[_SOCKETS]
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S), asyncio.TaskGroup() as closing:
            for ws in tuple(sockets):
                closing.create_task(_close(ws))


async def _close(ws: web.WebSocketResponse) -> None:
    with suppress(ConnectionError):
        await ws.close(code=WSCloseCode.GOING_AWAY, message=b"the till stops")
