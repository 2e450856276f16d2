"""What the command line makes of a till that answers slowly, breaks off, or is not there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent import keys
from agent.__main__ import _parser
from agent.config import Settings
from agent.till_client import TillNotRunning, till_client
from tests.support.tills import settings

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 6\r\n\r\n"
_PIECES = (b"1\n", b"2\n", b"3\n")


@pytest.fixture
def of(tmp_path: Path) -> Settings:
    of = settings(tmp_path)
    keys.pos_key(of.pos_key_file, None)
    return of


@asynccontextmanager
async def _scripted(of: Settings, answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[None]:
    """A till that answers every request in one way, at the address of these settings."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", of.api.port):
        yield


async def _export(of: Settings, file: Path) -> int:
    config = of.till.state.parent / "config.toml"
    config.write_text(f'[hub]\nurl = "{of.hub.url}"\n[api]\nport = {of.api.port}\n', encoding="utf-8")
    asked = _parser().parse_args(["outbox", "export", "-o", str(file), "--config", str(config)])
    return int(await asked.run(asked))


async def test_an_export_may_take_its_time_as_long_as_something_comes(
    of: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real, passed_s, wanted = loop.time, 0.0, asyncio.Semaphore(1)
    monkeypatch.setattr(loop, "time", lambda: real() + passed_s)

    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD)
        for piece in _PIECES:
            await wanted.acquire()
            writer.write(piece)

    got = []
    async with _scripted(of, slowly), till_client(of) as till:
        async for piece in till.export():
            got.append(piece)
            passed_s += 8.0
            wanted.release()
    assert tuple(got) == _PIECES


async def test_an_export_that_breaks_off_leaves_the_file_as_it_was(of: Settings, tmp_path: Path) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD + _PIECES[0])

    file = tmp_path / "events.ndjson"
    file.write_bytes(b"from yesterday\n")
    async with _scripted(of, half):
        with pytest.raises(TillNotRunning, match="broke off"):
            await _export(of, file)
    assert file.read_bytes() == b"from yesterday\n"
    assert not file.with_name("events.ndjson.part").exists()


async def test_an_export_without_a_till_leaves_the_file_as_it_was(of: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"from yesterday\n")
    with pytest.raises(TillNotRunning, match="loyalty-agent run"):
        await _export(of, file)
    assert file.read_bytes() == b"from yesterday\n"


async def test_an_export_is_for_its_user_only(of: Settings, tmp_path: Path) -> None:
    async def whole(writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD + b"".join(_PIECES))

    file = tmp_path / "events.ndjson"
    file.with_name("events.ndjson.part").touch(mode=0o644)  # of one that was killed
    async with _scripted(of, whole):
        assert await _export(of, file) == 0
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"".join(_PIECES), 0o600)
