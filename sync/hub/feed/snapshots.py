"""Snapshots: all customers and balances as of one position, made once and given to every terminal that asks.

One is made in one read transaction of a connection of its own, on that connection's thread, chunk by chunk: the loop,
uploads and pages go on beside it, and only one chunk is in memory. A terminal may fetch the chunks that are ready while
the others are made, and may go on where it stopped, also after the hub was restarted.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sync.hub.feed.feed_log import floor
from sync.hub.feed.head import LOOK_S
from sync.hub.feed.snapshot_files import (
    Snapshot,
    begin,
    chunk_path,
    chunk_texts,
    read_complete,
    remove,
    write_chunk,
    write_complete,
)
from sync.hub.people.erasures import newest_pos
from sync.runtime.clock import Clock, new_id
from sync.runtime.database import Reader
from sync.runtime.sqlite_file import Connection

# What changed since is read from the feed; an hour of a busy hub is read in less time than a new snapshot takes.
FRESH = timedelta(hours=1)
# Complete ones that stay: the newest, and the one before for terminals that are in the middle of it.
KEPT = 2
# After a day no till is in the middle of one, and profiles do not lie about in files that nobody asks for.
KEPT_FOR = timedelta(hours=24)
# A small shop's snapshot is made at once; then the first answer is already the whole manifest.
SOON_S = 1.0

_log = logging.getLogger(__name__)


class SnapshotUnknown(Exception):
    """There is no such snapshot or chunk (any more): ask for the current one."""


class SnapshotDelayed(Exception):
    """None could be begun yet: ask again."""


class Snapshots:
    """The snapshots of this hub."""

    def __init__(self, folder: Path, reader: Reader, epoch: str, clock: Clock) -> None:
        self._folder = folder
        self._reader = reader
        self._epoch = epoch
        self._clock = clock
        self._made = {snapshot.snapshot_id: snapshot for snapshot in read_complete(folder, epoch)}
        self._under_way: Snapshot | None = None
        self._erased_pos = 0
        self._wanted = asyncio.Event()
        self._progress = asyncio.Event()

    async def current(self) -> Snapshot:
        """Return a fresh snapshot, perhaps still growing; one is begun where there is none.

        Raises:
            SnapshotDelayed: none could be begun within a second.
        """
        try:
            async with asyncio.timeout(SOON_S):
                while not ((snapshot := await self._fresh()) and snapshot.complete):
                    progress = self._progress
                    if snapshot is None:
                        self._wanted.set()
                    await progress.wait()
        except TimeoutError:
            snapshot = self._under_way
        if snapshot is None or not self._holds_nobody_erased(snapshot):
            raise SnapshotDelayed
        return snapshot

    def named(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot that was begun before.

        Raises:
            SnapshotUnknown: it is gone.
        """
        under_way = self._under_way
        if under_way is not None and under_way.snapshot_id == snapshot_id and self._holds_nobody_erased(under_way):
            return under_way
        if snapshot_id not in self._made:
            raise SnapshotUnknown
        return self._made[snapshot_id]

    async def chunk(self, snapshot_id: str, number: int) -> bytes:
        """Return the gzipped bytes of a chunk.

        Raises:
            SnapshotUnknown: it is gone, or not made yet.
        """
        snapshot = self.named(snapshot_id)
        if not 1 <= number <= len(snapshot.chunks):
            raise SnapshotUnknown
        try:
            return await asyncio.to_thread(chunk_path(self._folder, snapshot_id, number).read_bytes)
        except FileNotFoundError:
            raise SnapshotUnknown from None

    def drop_old(self) -> None:
        """Delete what no till will ask for any more."""
        for made in [made for made in self._made.values() if not self._holds_nobody_erased(made)]:
            del self._made[made.snapshot_id]
            remove(self._folder, made.snapshot_id)
        now = self._clock.now()
        # In the order they were made in, and not by a wall clock that may have been set back meanwhile.
        in_order = list(self._made.values())
        for number, old in enumerate(in_order, start=1):
            if len(in_order) - number >= KEPT or now - old.begun.as_of > KEPT_FOR:
                del self._made[old.snapshot_id]
                remove(self._folder, old.snapshot_id)

    async def learn_of_erasures(self, reader: Reader) -> None:
        """Drop every snapshot that holds somebody who is erased by now; before one is given out.

        `reader` is not the one that makes snapshots: that may be busy for minutes.
        """
        pos = await reader.read(newest_pos)
        if pos > self._erased_pos:
            self._erased_pos = pos
            self.drop_old()

    async def drop_erased(self, reader: Reader) -> None:
        """Do so soon after each commit, where nobody asks for one; never returns."""
        while True:
            await self.learn_of_erasures(reader)
            await self._clock.sleep(LOOK_S)

    async def run(self) -> None:
        """Make snapshots as they are asked for; never returns."""
        while True:
            await self._wanted.wait()
            await self._make()
            self._wanted.clear()

    async def _fresh(self) -> Snapshot | None:
        if self._under_way is not None and self._holds_nobody_erased(self._under_way):
            return self._under_way
        if self._under_way is not None or not self._made:
            return None
        newest = list(self._made.values())[-1]
        age = self._clock.now() - newest.begun.as_of
        still_joins_the_feed = newest.begun.pos >= await self._reader.read(floor)
        return newest if timedelta(0) <= age <= FRESH and still_joins_the_feed else None

    def _holds_nobody_erased(self, snapshot: Snapshot) -> bool:
        """Tell whether a snapshot is from after every erasure that this process knows of."""
        return snapshot.begun.pos >= self._erased_pos

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        snapshot_id = new_id(self._clock.now()).hex
        stopped = threading.Event()
        started = self._clock.monotonic()

        def say(change: Callable[[], None]) -> None:
            if not stopped.is_set():
                loop.call_soon_threadsafe(change)

        def work(connection: Connection) -> None:
            begun = begin(connection, self._clock.now())
            snapshot = Snapshot(snapshot_id, self._epoch, begun)
            say(lambda: self._moved(snapshot))
            for number, (rows, text) in enumerate(chunk_texts(connection), start=1):
                if stopped.is_set():
                    return
                snapshot.chunks.append(write_chunk(self._folder, snapshot_id, number, rows, text))
                say(lambda: self._moved(snapshot))
            write_complete(self._folder, snapshot)
            snapshot.complete = True

        try:
            await self._reader.read(work)
            self._finished(started)
        except OSError:
            remove(self._folder, snapshot_id)  # a full disk is not filled further by every try
            raise
        finally:
            stopped.set()
            if self._under_way is not None:
                self._under_way = None
                self._moved(None)

    def _moved(self, snapshot: Snapshot | None) -> None:
        self._under_way = snapshot
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    def _finished(self, started: float) -> None:
        snapshot = self._under_way
        if snapshot is None:
            return
        self._made[snapshot.snapshot_id] = snapshot
        self._moved(None)
        _log.info(
            "snapshot made: id=%s pos=%d rows=%d seconds=%.1f",
            snapshot.snapshot_id,
            snapshot.begun.pos,
            sum(chunk.rows for chunk in snapshot.chunks),
            self._clock.monotonic() - started,
        )
        self.drop_old()
