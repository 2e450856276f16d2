"""Reservations: brings the hub's word on what this till may spend, and gives back what it should not hold any more.

Three reasons to ask: somebody is at the counter who may want to redeem, the hub says it has another word, or likely
visitors are due to be asked for. All of them wait for a hub that is there; nothing at the counter waits for this loop.
Only a redemption that is too large for what the till holds asks by itself, once and shortly.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from sync.contract.allowance import AllowancesRequest, AllowancesWord
from sync.contract.protocol import ProblemCode
from sync.hub_errors import HubError, HubRefused, HubUnreachable
from sync.pump.line import Line, first_of
from sync.pump.pace import Ladder, Pace
from sync.pump.ports import Reserved
from sync.runtime.clock import Clock

# How often a look is taken for allowances whose time is over.
LOOK_S = 30.0
# Likely visitors change with each sale of the store; an allowance lives for a day.
PREFETCH_EVERY_S = 1800.0
# How often it is written down how late it is: what a clock that is set back over a restart can gain.
NOTE_TIME_EVERY_S = 600.0
# A hub that knows no allowances is asked again after this.
REFUSED_REST_S = 3600.0
# After a hub that did not answer a customer in time, the next customers do not wait for it.
QUIET_S = 10.0
# A word that crossed another one is not taken. Whoever is scanned is wished for, so a redemption right behind a scan
# crosses that wish: it asks again, and no more often than other customers at once can cross it.
CROSSINGS_MAX = 5

_log = logging.getLogger(__name__)


class Grantor(Protocol):
    """The hub, as far as it grants allowances."""

    async def allowances(self, hub_epoch: str, request: AllowancesRequest) -> AllowancesWord:
        """Ask for points to be reserved, and hear all that is."""


class Reservations:
    """Keeps what the till may spend up with the hub. Supervise its `run`."""

    def __init__(
        self,
        reserved: Reserved,
        grantor: Grantor,
        line: Line,
        give_back: Callable[[], Awaitable[None]],
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        """Take the till's allowances, the hub, and what records the return of allowances that are due back."""
        self._reserved = reserved
        self._grantor = grantor
        self._line = line
        self._give_back = give_back
        self._clock = clock
        self._ladder = Ladder(pace or Pace(), self._pause)
        self._due: AllowancesRequest | None = None
        self._prefetch_at_s = self._time_at_s = self._rests_until_s = self._quiet_until_s = float("-inf")

    async def run(self) -> NoReturn:
        """Ask and give back for ever; ends by cancellation, or by an error of the till's file."""
        while True:
            self._reserved.notice.clear()
            await self._ladder.climb(self._turn)
            await first_of(self._clock, LOOK_S, self._reserved.notice)

    async def ask(self, customer_id: str, points: int) -> bool:
        """Ask for a customer who waits at the counter; tell whether the hub gave its word. Called beside `run`."""
        epoch = self._line.epoch
        if epoch is None or self._clock.monotonic() < self._quiet_until_s:
            return False
        try:
            for _ in range(CROSSINGS_MAX):
                if self._line.epoch != epoch:
                    return False
                if await self._hear(epoch, AllowancesRequest(want=(self._reserved.want(customer_id, points),))):
                    return True
        except HubError as error:
            if not self._want_hello(epoch, error):
                self._be_quiet()
        except asyncio.CancelledError:  # the caller has stopped waiting
            self._be_quiet()
            raise
        return False

    def _be_quiet(self) -> None:
        self._quiet_until_s = self._clock.monotonic() + QUIET_S

    async def _turn(self) -> None:
        await self._give_back()
        await self._note_time()
        epoch, now_s = self._line.epoch, self._clock.monotonic()
        if epoch is None or now_s < self._rests_until_s:
            return
        while await self._ask_what_is_due(epoch, now_s):
            await self._give_back()

    async def _ask_what_is_due(self, epoch: str, now_s: float) -> bool:
        """Ask the next question, and tell whether there was one. One that gets no answer stays due."""
        self._due = self._due or self._wanted(now_s)
        if self._due is None:
            return False
        try:
            if not await self._hear(epoch, self._due):
                raise HubUnreachable("crossed_words")  # the next answer is newer than both
        except HubRefused as error:
            if not self._want_hello(epoch, error):
                _log.warning("no allowances from this hub: code=%s", error.code)
                self._rests_until_s = now_s + REFUSED_REST_S
                self._due = None
            return False
        if self._due.prefetch:
            self._prefetch_at_s = now_s + PREFETCH_EVERY_S
        self._due = None
        return True

    def _wanted(self, now_s: float) -> AllowancesRequest | None:
        wants, is_stale = self._reserved.take_wishes()
        prefetch = now_s >= self._prefetch_at_s
        return AllowancesRequest(want=wants, prefetch=prefetch) if wants or is_stale or prefetch else None

    async def _hear(self, epoch: str, request: AllowancesRequest) -> bool:
        """Ask, and let the word be kept; tell whether it was. One that crossed another word is not.

        Nor is one that comes while a hello is due, or after one that named another epoch: it may be from before a
        restore, and the hub would not know what it grants.
        """
        keep = self._reserved.asking()
        word = await self._grantor.allowances(epoch, request)
        if word.hub_epoch != epoch:
            raise HubUnreachable("foreign_epoch")
        self._quiet_until_s = float("-inf")
        return self._line.epoch == epoch and await keep(word)

    async def _pause(self, seconds: float, _: BaseException | None) -> None:
        """Wait out a backoff; a hello, or somebody new at the counter, ends it early."""
        self._reserved.notice.clear()
        await first_of(self._clock, seconds, self._reserved.notice)

    def _want_hello(self, epoch: str, error: HubError) -> bool:
        """Ask for a hello where that is what the hub wants; what was to be asked is asked behind it."""
        if not isinstance(error, HubRefused) or error.code != ProblemCode.HELLO_REQUIRED:
            return False
        self._line.want_hello(epoch)
        return True

    async def _note_time(self) -> None:
        now_s = self._clock.monotonic()
        if now_s >= self._time_at_s:
            await self._reserved.note_time()
            self._time_at_s = now_s + NOTE_TIME_EVERY_S
