"""The puller: brings the hub's changes into the cache, page by page, until the end of time.

Without a cursor, or when the hub says that ours leads nowhere (resync), a snapshot first; the old cache serves until
the new one is whole. Then the feed by long poll. A page that cannot be the hub's, or that holds what this terminal
does not understand, changes nothing and is asked for again, slower and slower.
"""

from collections.abc import Callable
from typing import NoReturn

from sync.contract.protocol import FEED_CHANGES_MAX, FEED_WAIT_S_MAX, FeedPage, ProblemCode
from sync.hub_errors import HubError, HubRefused, HubUnreachable
from sync.pump.comparing import Comparer, ReadingOn
from sync.pump.line import Direction, Line
from sync.pump.pace import Ladder, Pace
from sync.pump.ports import Cache, Hub
from sync.pump.snapshot import SnapshotLoader
from sync.pump.steps import believed_page
from sync.runtime.clock import Clock

# A hub that asks for a resync again and again must not have its whole customer base fetched in a loop.
SNAPSHOT_INTERVAL_S = 600.0
# The shortest time between two polls that brought nothing: a cache on the way may answer at once what should wait.
EMPTY_POLL_S_MIN = 1.0


class Puller:
    """Keeps the cache up with the hub. Supervise its `run`.

    `touched` is given the customers and identifiers that a page changed, or None where any may have changed.
    """

    def __init__(
        self,
        cache: Cache,
        hub: Hub,
        line: Line,
        touched: Callable[[frozenset[str] | None], None],
        clock: Clock,
        comparer: Comparer | None = None,
    ) -> None:
        self._cache = cache
        self._hub = hub
        self._line = line
        self._touched = touched
        self._clock = clock
        self._ladder = Ladder(Pace(), lambda seconds, error: line.pause(Direction.DOWNLOAD, seconds, error))
        self._loader = SnapshotLoader(cache, hub, clock)
        self._comparer = comparer
        self._needs_snapshot = False
        self._snapshot_at_s: float | None = None
        self._changes = FEED_CHANGES_MAX
        self._wait_s = 0

    async def run(self) -> NoReturn:
        """Pull for ever; ends by cancellation, or by an error of the cache."""
        while True:
            await self._ladder.climb(self._turn)

    async def _turn(self) -> None:
        """Bring one page, or go one step on with the snapshot."""
        epoch = await self._line.epoch_by_hello()
        try:
            cursor = None if self._needs_snapshot else await self._cache.cursor()
            if cursor is None:
                await self._load(epoch)
            elif self._comparer is not None and self._wait_s and self._comparer.is_due:  # nothing follows the last page
                await self._compare(self._comparer, epoch)
            else:
                await self._pull(cursor, epoch)
        except HubError as error:
            self._wait_s = 0
            self._changes = max(self._changes // 2, 1) if isinstance(error, HubUnreachable) else self._changes
            if isinstance(error, HubRefused) and error.code == ProblemCode.HELLO_REQUIRED:
                self._line.want_hello(epoch)
            self._line.failed(Direction.DOWNLOAD, error)
            raise
        self._line.heard(Direction.DOWNLOAD)

    async def _pull(self, cursor: str, epoch: str) -> None:
        asked_s = self._clock.monotonic()
        try:
            page = await self._hub.feed(cursor, epoch, limit=self._changes, wait_s=self._wait_s)
        except HubRefused as error:
            if error.code != ProblemCode.RESYNC:
                raise
            self._needs_snapshot = True
            return
        await self._take(cursor, page, epoch)
        self._changes = min(self._changes * 2, FEED_CHANGES_MAX)
        if page.cursor == cursor:
            await self._nothing_new(asked_s)
        self._wait_s = 0 if page.more else FEED_WAIT_S_MAX

    async def _take(self, cursor: str, page: FeedPage, epoch: str) -> None:
        page = believed_page(cursor, page, epoch)
        touched = await self._cache.apply(page) if page.cursor != cursor else frozenset()
        if not page.more:
            self._line.current(page.as_of)
        if touched:
            self._touched(touched)

    async def _compare(self, comparer: Comparer, epoch: str) -> None:
        reading_on = ReadingOn(lambda cursor, page: self._take(cursor, page, epoch), self._touched)
        try:
            self._needs_snapshot = not await comparer.compare(epoch, reading_on)
        except HubRefused as error:
            if error.code != ProblemCode.RESYNC:
                raise
            self._needs_snapshot = True

    async def _nothing_new(self, asked_s: float) -> None:
        took_s = self._clock.monotonic() - asked_s
        if self._wait_s > 0 and took_s < EMPTY_POLL_S_MIN:
            await self._clock.sleep(EMPTY_POLL_S_MIN - took_s)

    async def _load(self, epoch: str) -> None:
        if not self._line.state.is_loading_snapshot:
            await self._until_next_snapshot()
            self._line.loading_snapshot(is_loading=True)
        if await self._loader.step(epoch):
            self._needs_snapshot = False
            self._snapshot_at_s = self._clock.monotonic()
            self._line.ask_hello()  # the feed's verdicts that the snapshot jumped over are told at a hello
            self._line.loading_snapshot(is_loading=False)
            self._touched(None)

    async def _until_next_snapshot(self) -> None:
        if self._snapshot_at_s is not None:
            await self._clock.sleep(self._snapshot_at_s + SNAPSHOT_INTERVAL_S - self._clock.monotonic())
