"""A way of bytes between a terminal and a hub that goes bad in one direction at a time, below HTTP.

`tests.support.proxy` knows requests and answers; this one does not. It slows, slices, holds, cuts and resets what
passes, towards the hub or towards the terminal, at any byte, as lines and boxes on the way do. The names are those of
toxiproxy where it has them.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from yarl import URL

_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_READ_BYTES = 64 * 1024
LATENCY_S = 0.15
DRIP_S = 0.02
SLICE_BYTES = 7


class Toxic(Enum):
    """What happens to the bytes of one direction."""

    NONE = auto()
    LATENCY = auto()  # each part arrives later
    SLICER = auto()  # a few bytes at a time, each in a packet of its own
    SLOW_DRIP = auto()  # a byte every so often: an answer would take minutes
    BLACK_HOLE = auto()  # taken and never given on
    LIMIT_DATA = auto()  # the connection ends in order after so many bytes
    RESET_PEER = auto()  # it ends with a reset after so many bytes


@dataclass(frozen=True, slots=True)
class Ill:
    """What ails one connection: the way up to the hub, the way down to the terminal, and after how many bytes."""

    up: Toxic = Toxic.NONE
    down: Toxic = Toxic.NONE
    limit_bytes: int = 0


@dataclass
class ByteWay:
    """Connects whoever calls `url` with the hub; `plan` says what ails each new connection."""

    hub: URL
    plan: Callable[[], Ill] = Ill
    url: str = ""
    met: list[Ill] = field(default_factory=list)
    """What ailed each connection that carried anything."""
    _frozen: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)

    def freeze(self) -> None:
        """Let every connection that stands now carry nothing more, and not end: a machine that slept sees that."""
        self._frozen.set()
        self._frozen = asyncio.Event()

    def cut(self) -> None:
        """End every connection that stands now."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the bytes of one connection until it ends."""
        with contextlib.suppress(ConnectionError):
            up_reader, up_writer = await asyncio.open_connection(self.hub.host, self.hub.port)
            try:
                if await self._both((reader, up_writer), (up_reader, writer)):
                    _reset(writer)
                    _reset(up_writer)
            finally:
                up_writer.close()
        writer.close()

    async def _both(self, up: _Pipe, down: _Pipe) -> bool:
        """Carry both directions until one ends; return whether it ends with a reset."""
        ill, frozen = self.plan(), self._frozen
        ends = [
            asyncio.ensure_future(self._direction(up, ill.up, ill, frozen)),
            asyncio.ensure_future(self._direction(down, ill.down, ill, frozen)),
            asyncio.ensure_future(self._cut.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            ended = await asyncio.gather(*ends, return_exceptions=True)
        return True in ended[:2]

    async def _direction(self, pipe: _Pipe, toxic: Toxic, ill: Ill, frozen: asyncio.Event) -> bool:
        reader, writer = pipe
        carried = 0
        while data := await reader.read(_READ_BYTES):
            if not carried:
                self.met.append(ill)
            if frozen.is_set() or toxic is Toxic.BLACK_HOLE:
                await asyncio.Event().wait()
            if toxic in (Toxic.LIMIT_DATA, Toxic.RESET_PEER):
                data = data[: ill.limit_bytes - carried]
            await _write(writer, data, toxic)
            carried += len(data)
            if toxic in (Toxic.LIMIT_DATA, Toxic.RESET_PEER) and carried >= ill.limit_bytes:
                return toxic is Toxic.RESET_PEER
        return False


async def _write(writer: asyncio.StreamWriter, data: bytes, toxic: Toxic) -> None:
    size = {Toxic.SLICER: SLICE_BYTES, Toxic.SLOW_DRIP: 1}.get(toxic, len(data) or 1)
    if toxic is Toxic.LATENCY:
        await _pause(LATENCY_S)
    for at in range(0, len(data), size):
        writer.write(data[at : at + size])
        await writer.drain()
        if toxic is Toxic.SLOW_DRIP:
            await _pause(DRIP_S)
        else:
            await asyncio.sleep(0)


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the connection end with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.asynccontextmanager
async def byte_way(hub_url: str) -> AsyncIterator[ByteWay]:
    """Open a way of bytes to the hub."""
    way = ByteWay(URL(hub_url))
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0, limit=_READ_BYTES)
    way.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield way
    finally:
        server.close()
        way.cut()
        await server.wait_closed()
