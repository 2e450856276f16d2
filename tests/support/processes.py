"""The real programs as processes: started by their command lines, killed without warning, started again."""

import asyncio
import contextlib
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
# Starting takes a second; on a machine that builds something else at the same time, several.
START_S = 30.0
STOP_S = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def command(*arguments: str) -> str:
    """Run a command to its end and return what it printed; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return printed.decode().strip()


@dataclass
class Program:
    """One program, started as often as a test likes. `log` keeps what all its runs wrote."""

    arguments: Sequence[str]
    health_url: str
    log: Path
    starts: int = 0
    kills: int = 0
    process: Process | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Start it, and return once it answers."""
        await self.launch()
        await eventually(self._is_healthy, START_S)

    async def launch(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self.arguments, cwd=ROOT, stdout=log, stderr=log
            )
        self.starts += 1

    async def kill(self) -> None:
        """End it as a power cut would: no signal that it could catch."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        self.kills += 1

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()

    def _said(self) -> str:
        # What is no plain file may have no end.
        return self.log.read_text(encoding="utf-8")[-2000:] if self.log.is_file() else ""

    async def _is_healthy(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self._said()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession() as session, session.get(self.health_url) as response:
                return response.status == 200
        return False


@contextlib.asynccontextmanager
async def program(arguments: Sequence[str], health_url: str, log: Path) -> AsyncIterator[Program]:
    """Have a program at hand; whatever of it still runs at the end is killed."""
    held = Program(arguments, health_url, log)
    try:
        yield held
    finally:
        if held.process is not None and held.process.returncode is None:
            held.process.kill()
            await held.process.wait()
