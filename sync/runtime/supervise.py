"""Supervision: an edge of the house may fall and is set up again; the house stands.

A scanner that is unplugged or a bug in the sync must not close the till. Its loop is started again after a growing,
random wait, and its state stands on a `Board` that the readiness route and the metrics read. Rooms that the till cannot
do without are not supervised: a bug there ends the process.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from sync.runtime.clock import Clock
from sync.runtime.error_places import places, type_name
from sync.runtime.metrics import Metrics

# Short enough that a plugged-in scanner feels immediate, long enough that a loop that dies at once costs nothing.
RESTART_S_MIN = 0.5
RESTART_S_MAX = 30.0
# A run this long counts as recovered: the wait starts from the bottom again, and the recovery is logged.
HEALTHY_S = 60.0

_log = logging.getLogger(__name__)
_random = random.SystemRandom()


class State(StrEnum):
    """What a supervised loop does now."""

    RUNNING = "running"
    RESTARTING = "restarting"
    ENDED = "ended"
    SALVAGED = "salvaged"  # no loop: a file that was damaged, and serves again with what could be read of it


@dataclass(frozen=True, slots=True)
class Loop:
    """One supervised loop: its state and since when, how often it was restarted, and the type of its last error."""

    state: State
    since: datetime
    restarts: int = 0
    last_error: str | None = None


class Board:
    """The states of all supervised loops of a process, by name."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._loops: dict[str, Loop] = {}
        self._running = metrics and metrics.gauge("loop_running", "1 while the loop runs, else 0.", ["loop"])
        self._restarts = metrics and metrics.counter("loop_restarts", "Restarts of the loop.", ["loop"])

    @property
    def loops(self) -> Mapping[str, Loop]:
        """Every loop that was ever started, by name."""
        return MappingProxyType(self._loops)

    def all_running(self) -> bool:
        """Tell whether no loop is down at this moment."""
        return all(loop.state is not State.RESTARTING for loop in self._loops.values())

    def put(self, name: str, loop: Loop) -> None:
        """Write down a loop's new state."""
        before = self._loops.get(name)
        self._loops[name] = loop
        if self._running and self._restarts:
            self._running.labels(name).set(loop.state is State.RUNNING)
            self._restarts.labels(name).inc(loop.restarts - (before.restarts if before else 0))


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    board: Board,
    draw: Callable[[float, float], float] = _random.uniform,
) -> None:
    """Run a loop, and start it again whenever it fails, until it returns or this task is cancelled.

    Args:
        name: the loop's name on the board, in the log and in the metrics.
        run: makes one run; a run that returns has finished and is not started again.
        clock: for the waits.
        board: where the state stands.
        draw: picks the wait between two bounds in seconds; random, so that many tills do not come back at once.
    """
    loop = Loop(State.RUNNING, clock.now())
    watch = _Watch(name)
    while True:
        loop = replace(loop, state=State.RUNNING, since=clock.now())
        board.put(name, loop)
        failure = await _one_run(run, clock, watch)
        if failure is None:
            board.put(name, replace(loop, state=State.ENDED, since=clock.now()))
            return
        watch.failed(failure)
        loop = Loop(State.RESTARTING, clock.now(), loop.restarts + 1, type_name(failure))
        board.put(name, loop)
        await clock.sleep(draw(RESTART_S_MIN, restart_s_most(watch.failures)))


def restart_s_most(failures: int) -> float:
    """Return the longest wait before the next run, in seconds, after so many failures in a row (1 or more)."""
    doublings = min(failures, 10)  # far beyond the cap already; keeps the power small for ever
    return min(RESTART_S_MAX, RESTART_S_MIN * 2.0**doublings)


class _Watch:
    """Counts failures in a row, and logs the first of them, each new kind, and the recovery: no more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged: str | None = None
        self.failures = 0

    def failed(self, error: Exception) -> None:
        self.failures += 1
        if type_name(error) != self._logged:
            self._logged = type_name(error)
            _log.error("loop lost, restarting: loop=%s\n%s", self._name, places(error))

    def healthy(self) -> None:
        if self.failures:
            _log.info("loop recovered: loop=%s failures=%d", self._name, self.failures)
        self.failures = 0
        self._logged = None


async def _one_run(run: Callable[[], Awaitable[None]], clock: Clock, watch: _Watch) -> Exception | None:
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        health = group.create_task(_declare_healthy(clock, watch))
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - whatever a loop raises, the till goes on
            failure = error
        finally:
            health.cancel()
    return failure


async def _declare_healthy(clock: Clock, watch: _Watch) -> None:
    await clock.sleep(HEALTHY_S)
    watch.healthy()
