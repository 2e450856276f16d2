"""Comparing: does the cache hold what the hub says it must? Asked quietly, and repaired bucket by bucket.

The hub sums up its rows as of a position. The till reads its feed until it stands exactly there, and no page further,
and sums up its own: so a sale between the two is no difference. Where a bucket differs, the hub's rows of it come as of
a later position, the till reads on until it stands there, and only what is otherwise then is a fault of the cache.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sync.contract.digest import BucketAnswer, DigestAnswer
from sync.contract.protocol import FEED_CHANGES_MAX, FeedPage, ProblemCode
from sync.hub_errors import HubError, HubRefused, HubUnreachable
from sync.pump.pace import Chance
from sync.runtime.clock import Clock

# A till that is switched off every night still compares once a day, and a chain that is switched on at once does not
# ask at once.
FIRST_AFTER_S = 900.0
FIRST_SPREAD_S = 2_700.0
EVERY_S = 24 * 3600.0
# A hub that could not answer is asked again after that.
AGAIN_AFTER_S = 3600.0
# More buckets than these, and a snapshot is the shorter way.
BUCKETS_PULLED_MAX = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a comparison: when, how many buckets differed, and how many accounts were otherwise."""

    at: datetime
    buckets: int
    accounts: int


class ComparedCache(Protocol):
    """A cache that can say what it holds."""

    async def cursor(self) -> str | None:
        """Return where the cache stands."""

    async def buckets(self) -> Sequence[str]:
        """Return the sums of what it holds. It has one user, so nothing changes meanwhile."""

    async def replace_bucket(self, answer: BucketAnswer) -> frozenset[str]:
        """Let it hold what a bucket says, and return the accounts that were otherwise.

        Changes nothing where it does not stand at the answer's cursor.
        """


class ComparingHub(Protocol):
    """A hub that can say what a cache must hold. Each method raises a `HubError`."""

    async def digest(self, cursor: str, hub_epoch: str) -> DigestAnswer:
        """Return the sums as of the cursor or a later position."""

    async def bucket(self, number: int, hub_epoch: str) -> BucketAnswer:
        """Return the rows of one bucket, as they are now."""

    async def feed_until(self, cursor: str, hub_epoch: str, *, limit: int, until: str) -> FeedPage:
        """Return what changed after the cursor and not behind another, at once."""


@dataclass(frozen=True, slots=True)
class ReadingOn:
    """What comparing needs of the one who reads the feed."""

    # Writes a page that follows a cursor.
    take: Callable[[str, FeedPage], Awaitable[None]]
    # Is told which accounts show something else now.
    touched: Callable[[frozenset[str]], None]


class Comparer:
    """Compares a cache with the hub. The puller asks it, between two pages."""

    def __init__(self, cache: ComparedCache, hub: ComparingHub, clock: Clock, chance: Chance | None = None) -> None:
        self._cache = cache
        self._hub = hub
        self._clock = clock
        spread_s = FIRST_SPREAD_S * (chance or random.SystemRandom().random)()
        self._due_at_s = clock.monotonic() + FIRST_AFTER_S + spread_s
        self.last: Compared | None = None
        """What came of the last one."""
        self.accounts = 0
        """How many accounts were found otherwise since this process began."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to compare."""
        return self._clock.monotonic() >= self._due_at_s

    def ask(self) -> None:
        """Let the next moment without news be the time."""
        self._due_at_s = self._clock.monotonic()

    async def compare(self, epoch: str, puller: ReadingOn) -> bool:
        """Compare, and pull again what differs; return False where so much does that a snapshot is wanted.

        A hub that cannot answer is asked again later, and nobody is told: the feed does not depend on it.

        Raises:
            HubRefused: the hub wants a hello first, or the cache is too old for its feed.
        """
        self._due_at_s = self._clock.monotonic() + EVERY_S
        try:
            differing = await self._differing(epoch, puller)
            is_too_much = len(differing) > BUCKETS_PULLED_MAX
            accounts = 0 if is_too_much else await self._pull(differing, epoch, puller)
        except HubError as error:
            self._due_at_s = self._clock.monotonic() + AGAIN_AFTER_S
            if isinstance(error, HubRefused) and error.code in (ProblemCode.HELLO_REQUIRED, ProblemCode.RESYNC):
                raise
            _log.info("cache not compared: fault=%s", error.code)
            return True
        self.last = Compared(self._clock.now(), len(differing), accounts)
        self.accounts += accounts
        if accounts or is_too_much:
            _log.warning("cache differed from the hub: buckets=%d accounts=%d", len(differing), accounts)
        else:
            _log.info("cache compared with the hub: no difference")
        return not is_too_much

    async def _differing(self, epoch: str, puller: ReadingOn) -> list[int]:
        """Return the buckets that differ as of one position."""
        told = await self._hub.digest(await self._cache.cursor() or "", epoch)
        if told.hub_epoch != epoch:
            raise HubUnreachable("foreign_epoch")
        await self._read_until(told.cursor, epoch, puller)
        mine = await self._cache.buckets()
        return [number for number, (hub, here) in enumerate(zip(told.buckets, mine, strict=True)) if hub != here]

    async def _pull(self, differing: list[int], epoch: str, puller: ReadingOn) -> int:
        """Pull these buckets and return how many accounts were otherwise."""
        accounts = 0
        for number in differing:
            answer = await self._hub.bucket(number, epoch)
            if (answer.hub_epoch, answer.bucket) != (epoch, number):
                raise HubUnreachable("foreign_epoch")
            await self._read_until(answer.cursor, epoch, puller)
            touched = await self._cache.replace_bucket(answer)
            accounts += len(touched)
            if touched:
                puller.touched(touched)
        return accounts

    async def _read_until(self, until: str, epoch: str, puller: ReadingOn) -> None:
        """Let the cache stand where an answer does.

        Raises:
            HubUnreachable: the feed does not stop there.
        """
        while (cursor := await self._cache.cursor()) != until:
            page = await self._hub.feed_until(cursor or "", epoch, limit=FEED_CHANGES_MAX, until=until)
            if page.cursor == cursor:
                raise HubUnreachable("not_at_one_position")
            await puller.take(cursor or "", page)
