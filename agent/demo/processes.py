"""Real programs as processes: started by the command lines a shop uses, looked after, and ended with a deadline.

They write to log files of their own, so that the demo's terminal stays readable, and run in the demo's process group,
so that whatever ends the group leaves nobody behind.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process, create_subprocess_exec
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A stop drains open requests within seconds; what takes longer hangs.
STOP_S_MAX = 10.0
# The import of a sample shop takes one second. Many tills may be started on a slow disk at once.
COMMAND_S_MAX = 60.0
_TAIL_BYTES = 4_096


class ProcessFailed(Exception):
    """A program did not do what it must; the message is one line that ends with what the program itself said."""


@dataclass(slots=True)
class _Run:
    process: Process
    is_told_to_end: bool = False


class Program:
    """A program of ours that runs until it is told to end, and may be started again."""

    def __init__(self, name: str, arguments: Sequence[str | Path], log: Path) -> None:
        """Take what it is called, what stands behind `python -P -m`, and the file that keeps what it writes."""
        self.name = name
        self.log = log
        self._command = (sys.executable, "-P", "-m", *map(str, arguments))
        self._run: _Run | None = None
        self._started = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._run is not None and self._run.process.returncode is None

    async def start(self) -> None:
        """Start it, and do not wait until it is ready."""
        with self.log.open("ab") as log:
            self._run = _Run(await create_subprocess_exec(*self._command, stdin=DEVNULL, stdout=log, stderr=log))
        self._started.set()

    async def stop(self) -> int | None:
        """End it as a shop does, by SIGTERM; kill it where that does not help. Return its exit code, if it ever ran."""
        if self._run is None:
            return None
        self._run.is_told_to_end = True
        if self.is_running:
            self._run.process.terminate()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                return await self._run.process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int | None:
        """End it as a power cut does; it cannot notice. Return its exit code, if it ever ran."""
        if self._run is None:
            return None
        self._run.is_told_to_end = True
        if self.is_running:
            self._run.process.kill()
        return await self._run.process.wait()

    async def ended_unasked(self) -> str:
        """Wait until it has ended and nobody had told it to; return how, and the end of its log, in one line."""
        while True:
            await self._started.wait()
            self._started.clear()
            run = self._run
            if run is not None:
                await run.process.wait()
                if not run.is_told_to_end:
                    return self.last_words()

    def last_words(self) -> str:
        """Return how it ended and what it said last, in one line."""
        code = self._run.process.returncode if self._run is not None else None
        return f"{self.name} {_ending(code)}; the end of {self.log}: {_last_line(_tail(self.log))}"

    def check_running(self) -> None:
        """Make sure that it runs.

        Raises:
            ProcessFailed: it has ended.
        """
        if not self.is_running:
            raise ProcessFailed(self.last_words())


async def run_command(name: str, arguments: Sequence[str | Path]) -> str:
    """Run `python -P -m ARGUMENTS` to its end and return what it printed.

    Raises:
        ProcessFailed: it ended with another code than 0, or took too long.
    """
    process = await create_subprocess_exec(
        sys.executable, "-P", "-m", *map(str, arguments), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(COMMAND_S_MAX):
            printed, said = await process.communicate()
    except TimeoutError:
        raise ProcessFailed(f"{name} took longer than {COMMAND_S_MAX:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ProcessFailed(f"{name} {_ending(process.returncode)}: {_last_line(said.decode(errors='replace'))}")
    return printed.decode()


def _ending(code: int | None) -> str:
    if code is None:
        return "did not end"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
        return file.read().decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(it said nothing)"
