"""The watchdog: proves that the upload moves, and does something about it where it does not.

A process can be healthy and forward nothing: a connection that is half open after a sleep, a proxy that swallows large
messages, a mistake of ours. Where events wait, the hub answers each hello, and no verdict comes for a minute, the
upload is begun anew over a new connection; where that does not help either, the log and the screen say so. A hub that
is away, or that asks to wait, is no such case.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn, Protocol

from sync.pump.line import Line
from sync.pump.ports import Waiting
from sync.runtime.clock import Clock

STILL_S_MAX = 60.0
LOOK_S = 5.0
# The fault of an upload that stands still though the hub answers, and the code of one that the hub holds back.
NOT_MOVING = "not_moving"
BUSY = "busy"

_log = logging.getLogger(__name__)


class Greeter(Protocol):
    """What tells whether the hub answers."""

    @property
    def answers_hello(self) -> bool | None:
        """Whether the last hello over this connection was answered; None before the first ended."""

    @property
    def spread_s(self) -> float:
        """How long that answer asked us to hold back at most."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload over a connection of its own: how it runs, and what tells of its hellos."""

    run: Callable[[], Awaitable[None]]
    greeter: Greeter


class Watchdog:
    """Runs uploads, each over a new connection. Supervise its `run` in place of the pusher's."""

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Upload]],
        waiting: Callable[[], Awaitable[Waiting]],
        line: Line,
        clock: Clock,
    ) -> None:
        """Take what opens a connection, and what tells how much waits."""
        self._connect = connect
        self._waiting = waiting
        self._line = line
        self._clock = clock
        self._still = 0
        self._moved_at_s = clock.monotonic()
        self._last_ack_at = line.state.last_ack_at

    @property
    def is_stuck(self) -> bool:
        """Whether events wait and do not move, over a new connection too."""
        return self._still > 1

    async def run(self) -> NoReturn:
        """Upload for ever; ends by cancellation, or by an error of the upload."""
        while True:
            async with self._connect() as upload:
                try:
                    async with asyncio.TaskGroup() as group:
                        running = group.create_task(_forever(upload.run))
                        await self._until_still(upload.greeter)
                        running.cancel()
                except BaseExceptionGroup as errors:  # the one error of the upload, as its supervisor knows it
                    raise errors.exceptions[0] from None

    async def _until_still(self, greeter: Greeter) -> None:
        """Return once nothing has moved for too long."""
        self._moved_at_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_S)
            count = (await self._waiting()).count
            if self._has_moved(count) or greeter.answers_hello is False or self._line.state.upload_fault == BUSY:
                self._moved(count)
            elif self._clock.monotonic() - self._moved_at_s >= STILL_S_MAX + greeter.spread_s:
                self._still += 1
                self._tell(count)
                return

    def _has_moved(self, count: int) -> bool:
        return count == 0 or self._line.state.last_ack_at != self._last_ack_at

    def _moved(self, count: int) -> None:
        if self._still > 0:
            _log.info("upload moves again, or has a reason not to: waiting=%d", count)
        self._still = 0
        self._moved_at_s = self._clock.monotonic()
        self._last_ack_at = self._line.state.last_ack_at

    def _tell(self, count: int) -> None:
        state = self._line.state
        if self._still == 1:
            _log.warning("upload stands still though the hub answers: a new connection is made, waiting=%d", count)
        elif self._still == 2:  # noqa: PLR2004 - the second time is when it is told aloud, and only then
            _log.error(
                "upload does not move over a new connection either: waiting=%d fault=%s last_contact=%s last_ack=%s",
                count,
                state.upload_fault,
                state.last_contact_at,
                state.last_ack_at,
            )


async def _forever(run: Callable[[], Awaitable[None]]) -> None:
    await run()
