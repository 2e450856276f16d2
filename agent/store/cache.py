"""The cache: the hub's customers on this till, encrypted, never needed to keep a sale. The pump's port `Cache`.

Rows, coverage and cursor are written in one transaction. A snapshot is loaded into a new file beside the live one and
takes its place at the end, so that the till answers from the old rows until the new ones are whole, and no sale waits
for it.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from agent.store.comparing import buckets, replace_bucket
from agent.store.files import delete
from agent.store.journal import EventJournal
from agent.store.live import LiveCache
from agent.store.loading import SnapshotBroken, begin, conclude, load_chunk, place_identifiers, steps_of_placing
from agent.store.rows import apply_page
from sync.contract.digest import BucketAnswer
from sync.contract.program import Program
from sync.contract.protocol import AllowancesPut, CustomerGone, FeedPage, OutcomePut, ProgramPut, SnapshotManifest
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Writer, open_writer
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import ConstraintBroken, DatabaseUnreadable


class CustomerCache:
    """The terminal's copy of the hub's customers and balances. It has one user, the puller."""

    def __init__(
        self,
        live: LiveCache,
        near: NearReader,
        reader: Reader,
        journal: EventJournal,
        clock: Clock,
        allowances_changed: Callable[[], None],
    ) -> None:
        """Take the live cache, the readers that have it attached, and whom to tell that the hub has another word."""
        self._live = live
        self._near = near
        self._reader = reader
        self._journal = journal
        self._traces = live.traces
        self._clock = clock
        self._allowances_changed = allowances_changed
        self._loading = AsyncExitStack()
        self._loaded_into: Writer | None = None
        self._loaded_id = ""
        self._program: Program | None = None

    async def __aenter__(self) -> Self:
        self._program = await self._journal.newest_program()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loading.aclose()

    @property
    def program(self) -> Program | None:
        """The rules in force, as far as this terminal has heard."""
        return self._program

    async def keep_program(self, program: Program) -> None:
        """Keep a version of the rules; the newest is in force."""
        await self._journal.keep_program(program)
        if self._program is None or program.version >= self._program.version:
            self._program = program

    async def cursor(self) -> str | None:
        """Return where the feed continues, or None where no snapshot was ever finished."""
        rows = self._near.glance("SELECT cursor FROM cache.state", ())
        return rows[0][0] if rows else None

    async def apply(self, page: FeedPage) -> frozenset[str]:
        """Write a page; return the customer ids and identifier ids it touched.

        Programs and verdicts go to the till's own file first. A page that is applied again after a crash between the
        two files changes nothing there. Somebody erased leaves every page of both files: rows, words, and the logs as
        soon as nobody reads them; a damaged file that was kept, which may name them, goes whole.
        """
        outcomes = [change for change in page.changes if isinstance(change, OutcomePut)]
        if outcomes:
            await self._journal.conclude(outcomes)
        for change in page.changes:
            if isinstance(change, ProgramPut):
                await self.keep_program(change.program)
            elif isinstance(change, AllowancesPut):
                self._allowances_changed()
        erased = [
            gone.customer_id for gone in page.changes if isinstance(gone, CustomerGone) and gone.reason == "erased"
        ]
        if erased:
            await self._forget_elsewhere(erased)
        touched = await self._live.writer.write(lambda connection: apply_page(connection, page))
        if erased:
            await self._traces.empty_logs()
        if page.covered:
            await self._live.read_coverage()
        return frozenset(touched)

    async def buckets(self) -> Sequence[str]:
        """Return the sums of what the cache holds, read in pieces."""
        return await buckets(self._reader, self._clock)

    async def replace_bucket(self, answer: BucketAnswer) -> frozenset[str]:
        """Let the cache hold what a bucket says, and return the accounts that were otherwise."""
        return frozenset(await self._live.writer.write(lambda connection: replace_bucket(connection, answer)))

    async def begin_snapshot(self, manifest: SnapshotManifest) -> int:
        """Open where this snapshot is loaded; return how many chunks it has already."""
        boot_id, snapshot_id = self._clock.boot_id, manifest.snapshot_id
        writer = await self._open_next()
        chunks = await writer.write(lambda connection: begin(connection, snapshot_id, boot_id))
        if chunks is None:
            await self._drop_next()
            writer = await self._open_next()
            chunks = await writer.write(lambda connection: begin(connection, snapshot_id, boot_id))
        # The file can be had again; it is made durable once, when it is whole.
        await _pragma(writer, "synchronous=OFF")
        self._loaded_into, self._loaded_id = writer, snapshot_id
        return chunks or 0

    async def load_chunk(self, number: int, data: bytes) -> None:
        """Load a chunk, whole or not at all. One that is loaded already changes nothing.

        Raises:
            SnapshotBroken: it is out of order or does not hold rows of a snapshot.
        """
        try:
            await self._next().write(lambda connection: load_chunk(connection, number, data))
        except ConstraintBroken as error:
            raise SnapshotBroken(f"chunk {number} names a customer twice; ask for it again") from error

    async def finish_snapshot(self, manifest: SnapshotManifest) -> None:
        """Let the loaded snapshot take the live cache's place.

        Raises:
            SnapshotBroken: the manifest is not complete, or some of its chunks are missing here.
        """
        writer = self._next()
        await writer.write(lambda connection: conclude(connection, self._loaded_id, manifest))
        await self.keep_program(manifest.program)
        for parts in steps_of_placing(sum(chunk.rows for chunk in manifest.chunks)):
            await writer.write(partial(place_identifiers, parts=parts))
        await _pragma(writer, "synchronous=NORMAL")
        await _pragma(writer, "wal_checkpoint(TRUNCATE)")
        await self._close_next()
        await self._live.promote(self._near, self._reader)

    async def _forget_elsewhere(self, customer_ids: Sequence[str]) -> None:
        """Take people out of what was presented here, of what is damaged, and of a load that was cut off.

        Before their rows go: those say which identifiers are theirs, and after a crash in between all is done anew.
        """
        await self._journal.forget_presented(await self._live.identifiers_of(customer_ids))
        await self._traces.delete_damaged()
        if self._loaded_into is None:
            delete(self._live.next_file.path)

    def _next(self) -> Writer:
        if self._loaded_into is None:
            raise SnapshotBroken("no snapshot is being loaded; begin one first")
        return self._loaded_into

    async def _open_next(self) -> Writer:
        await self._close_next()
        try:
            return await self._loading.enter_async_context(open_writer(self._live.next_file))
        except DatabaseUnreadable:
            delete(self._live.next_file.path)
            return await self._loading.enter_async_context(open_writer(self._live.next_file))

    async def _drop_next(self) -> None:
        await self._close_next()
        delete(self._live.next_file.path)

    async def _close_next(self) -> None:
        self._loaded_into = None
        await self._loading.aclose()
        self._loading = AsyncExitStack()


async def _pragma(writer: Writer, pragma: str) -> None:
    await writer.outside_transaction(lambda connection: connection.execute(f"PRAGMA {pragma}").fetchall())
