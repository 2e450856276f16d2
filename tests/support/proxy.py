"""A proxy on loopback that stands between a terminal and a hub, and spoils what passes as a test tells it to.

It reads each request whole, asks the hub, and then writes the answer byte by byte itself, so that it can also stop in
the middle, drip, reset, or answer something else altogether, as shop routers and captive portals do.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum, auto

import aiohttp
from yarl import URL

# One drop every so often: slower than any read timeout a test would set for a whole answer.
DRIP_S = 0.02
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Fault(Enum):
    """What happens to one request."""

    PASS = auto()
    LOSE_ANSWER = auto()  # the hub does it and answers; the answer never arrives
    LOSE_REQUEST = auto()  # the connection closes before the hub hears anything
    DUPLICATE = auto()  # the hub gets it twice; the first answer arrives
    KEEP_COPY = auto()  # passes, and a copy is kept for `replay`
    HOLD = auto()  # waits before the hub until `release`
    HOLD_ANSWER = auto()  # the hub does it; the answer waits until `release`
    BLACK_HOLE = auto()  # accepted, never answered, the hub hears nothing
    BLACK_HOLE_AFTER = auto()  # the hub does it; silence
    RESET_MID_BODY = auto()
    CUT_BODY = auto()
    DRIP = auto()
    HTML = auto()
    REDIRECT = auto()
    SERVER_ERROR = auto()
    EMPTY = auto()
    TRUNCATED_JSON = auto()
    OTHER_JSON = auto()
    WRONG_TYPE = auto()
    TOO_LARGE = auto()
    MAINTENANCE = auto()
    NOT_HTTP = auto()
    FOREIGN_403 = auto()


# Answers that are not the hub's, whatever was asked; the hub hears nothing of the request.
_CANNED = {
    Fault.HTML: (200, {"Content-Type": "text/html"}, b"<html>Welcome to the mall's Wi-Fi</html>"),
    Fault.REDIRECT: (302, {"Location": "http://127.0.0.1:1/login", "Content-Type": "text/html"}, b""),
    Fault.SERVER_ERROR: (500, {"Content-Type": "text/html"}, b"<html>oops</html>"),
    Fault.EMPTY: (200, {"Content-Type": "application/json"}, b""),
    Fault.OTHER_JSON: (200, {"Content-Type": "application/json"}, b'{"status": "ok"}'),
    Fault.TOO_LARGE: (413, {"Content-Type": "text/html"}, b"<html>413</html>"),
    Fault.MAINTENANCE: (503, {"Content-Type": "text/html", "Retry-After": "7"}, b"<html>maintenance</html>"),
    Fault.FOREIGN_403: (403, {"Content-Type": "text/html"}, b"<html>blocked by policy</html>"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the hub."""

    status: int
    headers: dict[str, str]
    body: bytes

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""]).encode()


class FaultProxy:
    """Spoils requests by `plan`, or by the faults that `spoil` lined up for matching ones."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = URL(upstream)
        self._session = session
        self._lined_up: deque[tuple[str, Fault]] = deque()
        self._release = asyncio.Event()
        self._closing = asyncio.Event()
        self.plan: Callable[[Request], Fault] = lambda _: Fault.PASS
        self.seen: list[tuple[str, Fault]] = []
        self.kept: list[Request] = []
        self.url = ""

    def spoil(self, matching: str, *faults: Fault) -> None:
        """Let these happen to the next requests whose `METHOD /path` contains `matching`, one each."""
        self._lined_up += [(matching, fault) for fault in faults]

    @property
    def all_spoilt(self) -> bool:
        """Tell whether every fault that was lined up has happened."""
        return not self._lined_up

    def release(self) -> None:
        """Let go what is held."""
        self._release.set()

    async def replay(self) -> list[int]:
        """Send the kept copies again, the last first, and return the hub's statuses."""
        return [(await self._ask(request)).status for request in reversed(self.kept)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, aiohttp.ClientError):
            while not self._closing.is_set() and await self._serve_one(reader, writer):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def close(self) -> None:
        """End everything that waits."""
        self._closing.set()
        self._release.set()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        fault = self._fault_for(request)
        self.seen.append((f"{request.method} {request.path}", fault))
        if fault in _CANNED:
            status, headers, body = _CANNED[fault]
            await _write(writer, Answer(status, headers, body))
            return True
        if fault is Fault.NOT_HTTP:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            return False
        if fault is Fault.LOSE_REQUEST:
            return False
        if fault is Fault.BLACK_HOLE:
            await self._closing.wait()
            return False
        if fault is Fault.HOLD:
            await self._release.wait()
        answer = await self._ask(request)
        if fault is Fault.DUPLICATE:
            await self._ask(request)
        if fault is Fault.KEEP_COPY:
            self.kept.append(request)
        return await self._give(writer, answer, fault)

    async def _give(self, writer: asyncio.StreamWriter, answer: Answer, fault: Fault) -> bool:
        half = len(answer.body) // 2
        if fault is Fault.LOSE_ANSWER:
            return False
        if fault is Fault.BLACK_HOLE_AFTER:
            await self._closing.wait()
            return False
        if fault is Fault.HOLD_ANSWER:
            await self._release.wait()
        if fault is Fault.TRUNCATED_JSON:
            answer = Answer(answer.status, answer.headers, answer.body[:half])
        if fault is Fault.WRONG_TYPE:
            answer = Answer(answer.status, {**answer.headers, "Content-Type": "text/plain"}, answer.body)
        if fault in (Fault.CUT_BODY, Fault.RESET_MID_BODY):
            writer.write(answer.head() + answer.body[:half])
            await writer.drain()
            if fault is Fault.RESET_MID_BODY:
                _reset(writer)
            return False
        if fault is Fault.DRIP:
            await self._drip(writer, answer.head() + answer.body)
            return False
        await _write(writer, answer)
        return True

    async def _drip(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), DRIP_S)

    def _fault_for(self, request: Request) -> Fault:
        for number, (matching, fault) in enumerate(self._lined_up):
            if matching in f"{request.method} {request.path}":
                del self._lined_up[number]
                return fault
        return self.plan(request)

    async def _ask(self, request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_HEADERS}
        async with self._session.request(
            request.method,
            self._upstream.join(URL(request.path, encoded=True)),
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_HEADERS}
            return Answer(response.status, kept, body)


@contextlib.asynccontextmanager
async def fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Open a proxy before the hub at `upstream`."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        proxy = FaultProxy(upstream, session)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            proxy.close()
            server.close()
            await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert "transfer-encoding" not in headers
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(answer.head() + answer.body)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the connection end with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
