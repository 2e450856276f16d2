"""Real processes: started as a shop starts them, waited for until they answer, their memory read from the system."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psutil

from sync.runtime.clock import SystemClock
from tests.bench.rounds import Stopwatch

ROOT = Path(__file__).resolve().parent.parent.parent
START_S_MAX = 60.0
STOP_S_MAX = 20.0
_LOOK_S = 0.005
_MB = 1_000_000

_clock = SystemClock()


class ProcessFailed(RuntimeError):
    """A process of the benchmark did not do what it must; the message ends with what it said."""


class Running:
    """A started process and what it costs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.ready_s = 0.0

    @property
    def rss_mb(self) -> float:
        """Memory that this process holds now, without that of its children, in units of 10**6 bytes."""
        return psutil.Process(self._process.pid).memory_info().rss / _MB

    @property
    def peak_rss_mb(self) -> float:
        """The most that it ever held."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / _MB
        raise ProcessFailed("the system does not tell the peak memory of a process")

    @property
    def cpu_s(self) -> float:
        """The seconds of a core that this process has used, without those of its children."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    async def killed(self) -> None:
        """Kill the process as a power cut would: it gets no word. Returns once it is gone."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def until(self, what: Callable[[], bool], seconds_max: float, *, look_s: float = _LOOK_S) -> float:
        """Wait until `what` is true; return the seconds it took since this call."""
        watch = Stopwatch()
        while not await asyncio.to_thread(what):
            if self._process.poll() is not None or watch.seconds > seconds_max:
                raise ProcessFailed(f"{self._process.args!r} after {watch.seconds:.0f} s: {self.said()}")
            await _clock.sleep(look_s)
        return watch.seconds

    def said(self) -> str:
        return _end_of(self._log)


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str | Path], log: Path, is_ready: Callable[[], bool] | None = None
) -> AsyncIterator[Running]:
    """Run `python -m ARGUMENTS`, wait until it is ready, and stop it cleanly in the end."""
    watch = Stopwatch()
    process = _start(arguments, log)
    started = Running(process, log)
    try:
        if is_ready is not None:
            await started.until(is_ready, START_S_MAX)
            started.ready_s = watch.seconds
        yield started
    finally:
        await _stop(process)


async def finished(arguments: Sequence[str | Path], log: Path) -> str:
    """Run `python -m ARGUMENTS` to its end and return what it printed."""
    return await asyncio.to_thread(_run, arguments, log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(arguments: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _run(arguments: Sequence[str | Path], log: Path) -> str:
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            check=False,
        )
    if done.returncode != 0:
        raise ProcessFailed(f"{arguments!r} ended with {done.returncode}: {_end_of(log)}{done.stdout.decode()[-500:]}")
    return done.stdout.decode()


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:]


async def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
