"""The hub of a simulation: the product's intake, reception, feed, snapshots and books on a real file, without HTTP.

`Door` does what `sync.hub.web.routes` does with a request, and says no more than a hub may say.
"""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sync.contract.allowance import AllowancesRequest, AllowancesWord
from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.digest import BucketAnswer, DigestAnswer
from sync.contract.protocol import (
    FeedPage,
    HelloAnswer,
    HelloRequest,
    IdentifiersAnswer,
    PresentedIdentifier,
    ProblemCode,
    SnapshotManifest,
    UploadAnswer,
)
from sync.contract.signing import SigningKey
from sync.hub.escrow.recovery import begin as begin_recovery
from sync.hub.escrow.recovery import end as end_recovery
from sync.hub.escrow.reserving import Reserving
from sync.hub.feed import feed_log, pages
from sync.hub.feed.digests import Digests, bucket_text
from sync.hub.feed.head import Head
from sync.hub.feed.snapshot_files import Snapshot
from sync.hub.feed.snapshots import SnapshotDelayed, Snapshots, SnapshotUnknown
from sync.hub.founding import Founding, database_file, found, renew_epoch
from sync.hub.people.customer_rows import CustomerRow
from sync.hub.people.customers import put_customers
from sync.hub.people.merging import MergeRefused, merge, unmerge
from sync.hub.people.presented import keep
from sync.hub.programs import newest_program
from sync.hub.terminals.reception import Reception
from sync.hub.terminals.roster import Terminal
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.fences import StaleFence, is_quarantined
from sync.hub.uploads.intake import Intake
from sync.hub.uploads.placing import Gap
from sync.hub.uploads.quarantine import release_step
from sync.hub.uploads.upload import SignatureInvalid
from sync.hub_errors import HubBusy, HubRefused, HubUnreachable
from sync.pump.ports import Batch
from sync.runtime.database import Reader, Writer, open_reader, open_writer
from sync.runtime.sqlite_file import Connection, DatabaseError
from tests.chaos.simulation.shelf import copy_folder
from tests.chaos.simulation.virtual import Machine, SimClock, as_any

IDENTIFIER_KEY = b"k" * 32
STORE = "store-1"
# Longer than any jump of a clock: the wait for a till that does not come is another story than the ones told here.
RECOVERY_H = 24 * 31


@functools.cache
def terminal_key(terminal_id: str) -> SigningKey:
    """Return the key that a terminal was enrolled with."""
    return SigningKey(hashlib.sha256(terminal_id.encode()).digest())


class NoMetrics:
    """Counts nothing."""

    def counter(self, *_: object) -> "NoMetrics":
        return self

    def labels(self, *_: object) -> "NoMetrics":
        return self

    def inc(self, *_: object) -> None:
        return None


class Door:
    """The open door of one process of the hub. Every method raises the `HubError` that a terminal would see."""

    checks_epoch = True

    def __init__(self, writer: Writer, readers: tuple[Reader, Reader], founding: Founding, hub: "HubSide") -> None:
        clock = hub.clock
        self.epoch = founding.epoch
        self._writer = writer
        self._reader = readers[0]
        self._clock = clock
        self.head = Head(readers[0], clock)
        self._intake = Intake(writer, self.head, founding.epoch, clock, as_any(NoMetrics()))
        self._reception = Reception(writer, readers[0], founding, clock)
        self.reserving = Reserving(writer, readers[0], self.head, founding.epoch, clock)
        self.snapshots = Snapshots(hub.folder / "snapshots", readers[1], founding.epoch, clock)
        self._digests = Digests(readers[1], clock)
        self._most = hub.die

    async def open(self) -> None:
        """Do what a hub does before it says that it is ready."""
        self.head.reached(await self._reader.read(feed_log.last_pos))
        await self._intake.replay_parked()

    async def hello(self, terminal_id: str, request: HelloRequest) -> HelloAnswer:
        terminal = Terminal(terminal_id, STORE, is_revoked=False, uses_next=False, rotate=False)
        answer = await self._reception.hello(terminal, request)
        return answer.model_copy(update={"max_batch_events": self._most.choice((1, 2, 3, 500))})

    async def upload(self, terminal_id: str, batch: Batch, epoch: str, proof: str) -> UploadAnswer:
        self._check(epoch)
        body = f"[{','.join(batch.events)}]".encode()
        sender = Sender(terminal_id, STORE, batch.inc, terminal_key(terminal_id).public)
        try:
            return await self._intake.upload(sender, batch.first, body, proof)
        except StaleFence as error:
            raise HubRefused(ProblemCode.HELLO_REQUIRED) from error
        except SignatureInvalid as error:
            raise HubRefused(ProblemCode.SIGNATURE_INVALID) from error
        except Gap as gap:
            raise HubRefused(ProblemCode.GAP, {"applied_through": gap.applied_through}) from gap
        except DatabaseError as error:
            raise HubUnreachable("status_500") from error

    async def digest(self, cursor: str, epoch: str) -> DigestAnswer:
        self._check(epoch)
        place = read_cursor(cursor)
        if place is None or (self.checks_epoch and place.hub_epoch != self.epoch):
            raise HubRefused(ProblemCode.RESYNC)
        digest = await self._digests.not_before(place.position)
        cursor = write_cursor(FeedCursor(self.epoch, digest.pos))
        return DigestAnswer(hub_epoch=self.epoch, cursor=cursor, as_of=digest.as_of, buckets=digest.buckets)

    async def bucket(self, number: int, epoch: str) -> BucketAnswer:
        self._check(epoch)
        return BucketAnswer.model_validate_json(
            bucket_text(await self._digests.bucket(number), number, self.epoch), strict=True
        )

    async def feed_until(self, terminal_id: str, cursor: str, epoch: str, until: str) -> FeedPage:
        self._check(epoch)
        place, end = read_cursor(cursor), read_cursor(until)
        if place is None or end is None or (self.checks_epoch and place.hub_epoch != self.epoch):
            raise HubRefused(ProblemCode.RESYNC)
        try:
            page = await self._page(terminal_id, place.position, self._most.choice((1, 2, 3, 500)), end.position)
        except pages.Resync as error:
            raise HubRefused(ProblemCode.RESYNC) from error
        return FeedPage.model_validate_json(pages.page_text(page, self.epoch, self._clock.now()))

    async def feed(self, terminal_id: str, cursor: str, epoch: str, limit: int, wait_s: int) -> FeedPage:
        self._check(epoch)
        place = read_cursor(cursor)
        if place is None or (self.checks_epoch and place.hub_epoch != self.epoch):
            raise HubRefused(ProblemCode.RESYNC)
        limit = min(limit, self._most.choice((1, 2, 3, 500)))
        try:
            page = await self._page(terminal_id, place.position, limit)
            if page.pos == place.position and wait_s:
                await self.head.wait_beyond(place.position, wait_s, asyncio.Event())
                page = await self._page(terminal_id, place.position, limit)
        except pages.Resync as error:
            raise HubRefused(ProblemCode.RESYNC) from error
        return FeedPage.model_validate_json(pages.page_text(page, self.epoch, self._clock.now()))

    async def manifest(self, terminal_id: str, epoch: str, snapshot_id: str | None) -> SnapshotManifest:
        self._check(epoch)
        try:
            named = snapshot_id is not None
            snapshot = self.snapshots.named(snapshot_id or "") if named else await self.snapshots.current()
        except SnapshotUnknown as error:
            raise HubRefused("snapshot_unknown") from error
        except SnapshotDelayed as error:
            raise HubBusy(1.0) from error
        return await self._manifest(terminal_id, snapshot)

    async def chunk(self, epoch: str, snapshot_id: str, number: int) -> bytes:
        self._check(epoch)
        try:
            return await self.snapshots.chunk(snapshot_id, number)
        except SnapshotUnknown as error:
            raise HubRefused("snapshot_unknown") from error

    async def identifiers(
        self, terminal_id: str, epoch: str, presented: Sequence[PresentedIdentifier]
    ) -> IdentifiersAnswer:
        self._check(epoch)
        now = self._clock.now()
        return IdentifiersAnswer(
            known=await self._writer.write(lambda connection: keep(connection, presented, terminal_id, now))
        )

    async def allowances(self, terminal_id: str, epoch: str, request: AllowancesRequest) -> AllowancesWord:
        self._check(epoch)
        return await self.reserving.ask(terminal_id, STORE, request)

    async def put(self, *rows: CustomerRow) -> None:
        """Bring customers to what an import says."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        put = await self._writer.write(lambda connection: put_customers(connection, rows, now_ms))
        self.head.reached(put.pos)

    async def merge(self, loser: str, winner: str) -> bool:
        """Let a person say that two customers are one; False where that cannot be."""
        return await self._change(lambda connection, now_ms: merge(connection, loser, winner, now_ms).pos)

    async def part(self, loser: str) -> bool:
        """Let a person say that they were two after all; False where they are."""
        return await self._change(lambda connection, now_ms: unmerge(connection, loser, now_ms).pos)

    async def _change(self, work: Callable[[Connection, int], int]) -> bool:
        now_ms = int(self._clock.now().timestamp() * 1000)
        try:
            self.head.reached(await self._writer.write(lambda connection: work(connection, now_ms)))
        except MergeRefused:
            return False
        return True

    async def release(self, terminal_id: str) -> None:
        """Let a person say that a terminal which is in quarantine is one again."""

        def is_there(connection: Connection) -> bool:
            return is_quarantined(connection, terminal_id)

        if await self._reader.read(is_there):
            now = self._clock.now()
            while (await self._writer.write(lambda one: release_step(one, terminal_id, now))).total:
                pass
            self.head.reached(await self._reader.read(feed_log.last_pos))

    async def end_recovery(self) -> None:
        """Let a person end the hub's wait for its tills."""
        await self._writer.write(end_recovery)

    async def look_for_recovery(self) -> None:
        """Do once what `Reserving.run` does again and again."""
        await self.reserving.look()

    async def prune(self, rows_kept: int, seen_pos: int) -> None:
        """Forget the oldest rows of the feed, and none that the oracle has not seen."""

        def work(connection: Connection) -> None:
            feed_log.prune(connection, max(rows_kept, feed_log.last_pos(connection) - seen_pos))

        await self._writer.write(work)

    def _check(self, epoch: str) -> None:
        if self.checks_epoch and epoch != self.epoch:
            raise HubRefused(ProblemCode.HELLO_REQUIRED)

    async def _page(self, terminal_id: str, after: int, limit: int, until: int | None = None) -> pages.Page:
        return await self._reader.read(lambda connection: pages.read_page(connection, terminal_id, after, limit, until))

    async def _manifest(self, terminal_id: str, snapshot: Snapshot) -> SnapshotManifest:
        pos = snapshot.begun.pos
        coverage = await self._reader.read(lambda connection: pages.covered(connection, terminal_id, pos))
        program = await self._reader.read(newest_program)
        assert program is not None
        return SnapshotManifest(
            snapshot_id=snapshot.snapshot_id,
            hub_epoch=snapshot.epoch,
            cursor=write_cursor(FeedCursor(snapshot.epoch, pos)),
            covered=coverage,
            program=program,
            as_of=snapshot.begun.as_of,
            complete=snapshot.complete,
            chunks=tuple(snapshot.chunks),
        )


class HubSide:
    """The hub's machine over all its processes, restores and epochs; `door` is None while it is down."""

    def __init__(self, folder: Path, machine: Machine, clock: SimClock) -> None:
        self.folder = folder
        self.machine = machine
        self.die = machine.die
        self.clock = clock
        self.door: Door | None = None
        self._starts = 0
        self._images: list[Path] = []
        self.peek: Connection | None = None
        self.began: tuple[int, dict[str, int]] = (0, {})
        """The feed's position and the balance of each account when the process started."""

    async def start(self, *, is_restored: bool = False) -> None:
        """Start a process of the hub and wait until its door is open."""
        self._starts += 1
        self.machine = Machine(f"hub#{self._starts}", self.die)
        ready = asyncio.Event()
        life = self.machine.start(self._live(ready, is_restored=is_restored))
        opened = asyncio.ensure_future(ready.wait())
        await asyncio.wait([life, opened], return_when=asyncio.FIRST_COMPLETED)
        if not ready.is_set():
            opened.cancel()
            life.result()

    async def kill(self) -> None:
        """Let the process die in the middle of what it does."""
        self.door = self.peek = None
        await self.machine.kill()

    def keep_image(self) -> None:
        """Make a backup."""
        image = self.folder.with_name(f"hub-image-{len(self._images)}")
        copy_folder(self.folder, image)
        self._images.append(image)

    async def restore(self, *, newest: bool = False) -> bool:
        """Bring back one of the backups, or the newest one, as a new epoch; False where none was made."""
        if not self._images:
            return False
        await self.kill()
        image = self._images[-1] if newest else self.die.choice(self._images)
        for old in self.folder.glob("hub.db*"):
            old.unlink()
        copy_folder(image, self.folder)
        await self.start(is_restored=True)
        return True

    async def _live(self, ready: asyncio.Event, *, is_restored: bool) -> None:
        file = database_file(self.folder)
        epoch = f"{self.die.getrandbits(64):016x}"

        def settle(connection: Connection) -> Founding:
            if is_restored:
                renew_epoch(connection, epoch)
                begin_recovery(connection, self.clock.now(), RECOVERY_H)
            return found(connection, Founding(epoch, IDENTIFIER_KEY))

        async with open_writer(file) as writer, open_reader(file) as reader, open_reader(file) as snapshot_reader:
            founding = await writer.write(settle)
            self.began = await writer.write(_balances)
            # Before the door: whoever comes in at once is seen too. Between two jobs of its thread nobody uses it.
            self.peek = as_any(reader)._connection._conn
            self.door = Door(writer, (reader, snapshot_reader), founding, self)
            await self.door.open()
            ready.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.door.snapshots.run())
                group.create_task(self.door.reserving.run())

    def quarantined(self) -> set[str]:
        """Return the terminals that the hub takes for two."""
        return {name for (name,) in self.rows("SELECT terminal_id FROM terminals WHERE quarantined_ms IS NOT NULL")}

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what the hub's file holds now."""
        assert self.peek is not None
        return self.peek.execute(sql, values).fetchall()


def _balances(connection: Connection) -> tuple[int, dict[str, int]]:
    rows = connection.execute(
        "SELECT customer_id, points FROM balances UNION ALL SELECT identifier, points FROM tallies"
    )
    return feed_log.last_pos(connection), dict(rows.fetchall())
