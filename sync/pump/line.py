"""The line to the hub: what both halves of the pump know of it, and what the screen may say about it.

The pusher says hello and so learns the hub's epoch; the puller waits for it here, and asks here for another hello when
the hub wants one. A loss is logged once per direction and kind, and the recovery once.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sync.hub_errors import HubError, HubUnreachable
from sync.runtime.clock import Clock

NO_HELLO_YET = "no_hello_yet"

_log = logging.getLogger(__name__)


class Direction(StrEnum):
    """The halves of the pump."""

    UPLOAD = "upload"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class HubTime:
    """The hub's clock as it stood at one moment of this machine's monotonic clock, good until the next boot."""

    at: datetime
    monotonic_s: float
    boot_id: str

    def now(self, clock: Clock) -> datetime | None:
        """Return the hub's time now, or None where the machine was started anew since."""
        if clock.boot_id != self.boot_id:
            return None
        return self.at + timedelta(seconds=clock.monotonic() - self.monotonic_s)


@dataclass(frozen=True, slots=True)
class HubState:
    """How things stand with the hub. `is_reachable` is true while both directions work.

    A fault is the stable code of the direction's last error, or None. The cache holds all that the hub held at
    `current_as_of`, by the hub's clock. The last three fields move without a new state being published.
    """

    is_reachable: bool
    since: datetime
    upload_fault: str | None = NO_HELLO_YET
    download_fault: str | None = None
    is_loading_snapshot: bool = False
    hub_time: HubTime | None = None
    current_as_of: datetime | None = None
    last_contact_at: datetime | None = None
    last_ack_at: datetime | None = None


class Line:
    """Shared by one pusher and one puller on one event loop."""

    def __init__(self, clock: Clock, publish: Callable[[HubState], None]) -> None:
        """Take a function that is given each new state; it must not block."""
        self._clock = clock
        self._publish = publish
        self._state = HubState(is_reachable=False, since=clock.now())
        self._epoch: str | None = None
        self._greeted = asyncio.Event()
        self._back = {direction: asyncio.Event() for direction in Direction}
        self.hello_wanted = asyncio.Event()

    @property
    def state(self) -> HubState:
        """How things stand now."""
        return self._state

    @property
    def epoch(self) -> str | None:
        """The hub's epoch by the last hello, or None where a hello is due."""
        return self._epoch

    async def epoch_by_hello(self) -> str:
        """Wait until a hello was answered, and return the hub's epoch."""
        while self._epoch is None:
            await self._greeted.wait()
        return self._epoch

    def greeted(self, epoch: str, hub_time: HubTime) -> None:
        """Note that a hello was answered."""
        self._epoch = epoch
        self._greeted.set()
        self._change(replace(self._state, hub_time=hub_time))

    def want_hello(self, epoch: str | None) -> None:
        """Ask the pusher for another hello, because this epoch is not believed any more; one newer than it stands."""
        if self._epoch != epoch:
            return
        self._epoch = None
        self._greeted.clear()
        self.hello_wanted.set()

    def ask_hello(self) -> None:
        """Ask the pusher for another hello, because there is something to hear; the epoch stands meanwhile."""
        self.hello_wanted.set()

    def heard(self, direction: Direction, *, acknowledged: bool = False) -> None:
        """Note that a direction works; `acknowledged` where the hub has given verdicts."""
        now = self._clock.now()
        last_ack_at = now if acknowledged else self._state.last_ack_at
        self._state = replace(self._state, last_contact_at=now, last_ack_at=last_ack_at)
        fault = self._fault(direction)
        if fault is None:
            return
        _log.info("hub back: direction=%s fault=%s", direction, fault)
        self._set_fault(direction, None)
        for other in Direction:
            if other is not direction:
                self._back[other].set()

    def failed(self, direction: Direction, error: HubError) -> None:
        """Note that a direction does not work."""
        if self._fault(direction) == error.code:
            return
        _log.warning("hub lost: direction=%s fault=%s", direction, error.code)
        self._set_fault(direction, error.code)

    def current(self, as_of: datetime) -> None:
        """Note that the cache holds all that the hub held at that moment."""
        self._state = replace(self._state, current_as_of=as_of)

    def loading_snapshot(self, *, is_loading: bool) -> None:
        """Note that a snapshot is being loaded, or no longer."""
        self._change(replace(self._state, is_loading_snapshot=is_loading))

    async def pause(self, direction: Direction, seconds: float, error: BaseException | None) -> None:
        """Wait out a backoff. One that waits for an unreachable hub ends early when the other direction finds it."""
        if not isinstance(error, HubUnreachable):
            await self._clock.sleep(seconds)
            return
        back = self._back[direction]
        back.clear()
        await first_of(self._clock, seconds, back)

    def _fault(self, direction: Direction) -> str | None:
        return self._state.upload_fault if direction is Direction.UPLOAD else self._state.download_fault

    def _set_fault(self, direction: Direction, fault: str | None) -> None:
        if direction is Direction.UPLOAD:
            self._change(replace(self._state, upload_fault=fault))
        else:
            self._change(replace(self._state, download_fault=fault))

    def _change(self, state: HubState) -> None:
        is_reachable = state.upload_fault is None and state.download_fault is None
        if is_reachable != state.is_reachable:
            state = replace(state, is_reachable=is_reachable, since=self._clock.now())
        if state != self._state:
            self._state = state
            self._publish(state)


async def first_of(clock: Clock, seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set or that much time has passed."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(clock.sleep(seconds)), *(group.create_task(event.wait()) for event in events)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
