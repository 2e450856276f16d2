"""Power cuts at every statement and at every byte of the log: F3, F7, F21, F29, F32 and F34, on real files.

The folder is copied before each statement that SQLite runs, as a power cut would leave it there, and each copy is
opened: what belongs together is in it together, or not at all.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from agent.store import Store, open_store
from agent.store.files import cache_file, till_file
from sync.contract.protocol import BalancePut
from sync.hub.uploads.batch import Sender
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection, DatabaseFile, open_for_reading, open_for_writing
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.hub_books import Books, open_books
from tests.support.hub_events import CARD, reversal, sale

# The size of a page and of what stands before each page and before all of them in a write-ahead log.
PAGE, FRAME_HEAD, LOG_HEAD = 4096, 24, 32
LOG_CUTS = 60


class Copies:
    """Copies of a folder, one for each statement that ran on a watched connection."""

    def __init__(self, folder: Path, into: Path) -> None:
        self.folder = folder
        self.into = into
        self.count = 0

    def watch(self, connection: Any) -> None:
        """Take a copy before each statement; only the driver's own connection can tell of them."""
        connection.set_trace_callback(lambda _: self.take())

    def take(self) -> None:
        self.count += 1
        shutil.copytree(self.folder, self.into / str(self.count), ignore=shutil.ignore_patterns("*-shm"))

    def all(self) -> list[Path]:
        return [self.into / str(number) for number in range(1, self.count + 1)]


async def _watched(writer: Writer, copies: Copies) -> None:
    await writer.outside_transaction(copies.watch)


@contextlib.contextmanager
def _opened(file: DatabaseFile) -> Iterator[Connection]:
    connection = open_for_writing(file)
    try:
        yield connection
    finally:
        connection.close()


def _till_rows(folder: Path) -> tuple[int, ...]:
    """How many events, sales and effects stand in a till's file, and how long its incarnations are together."""
    with _opened(till_file(folder, shop.DATABASE_KEY)) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM sales), (SELECT count(*) FROM pending),"
            " (SELECT coalesce(sum(length), 0) FROM streams), (SELECT count(*) FROM pragma_integrity_check)"
        ).fetchone()
        assert row is not None
        return tuple(row)


async def test_f3_a_crash_between_any_two_statements_of_a_sale_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    state = tmp_path / "till"
    state.mkdir()
    copies = Copies(state, tmp_path / "copies")
    async with shop.open_till(state) as store:
        await shop.credit(store, "s-1")
        await _watched(store.journal._writer, copies)
        await shop.credit(store, "s-2")
        copies.take()

        assert copies.count >= 5  # begin, the look at the id, the event, its effect and its answer at least
        rows = [_till_rows(copy) for copy in copies.all()]
        assert set(rows[:-1]) == {(1, 1, 1, 1, 1)}
        assert rows[-1] == (2, 2, 2, 2, 1)


def test_f7_a_hub_that_dies_within_a_batch_has_all_of_it_or_nothing_and_knows_which(tmp_path: Path) -> None:
    state = tmp_path / "hub"
    state.mkdir()
    copies = Copies(state, tmp_path / "copies")
    sender = Sender("till-1", "store-1", "0" * 16)
    events = [sale(sender, 1, "s-1"), sale(sender, 2, "s-2"), reversal(sender, 3, "r-1", "s-1")]
    with open_books(state) as books:
        copies.watch(books.connection)
        books.upload(sender, 1, *events)
        copies.take()

    assert copies.count >= 8
    for copy in copies.all():
        with open_books(copy) as books:
            held = _hub_rows(books)
            assert held in ((0, 0, 0, 0), (3, 3, 2, 10))
            assert books.upload(sender, 1, *events).applied_through == 3
            assert _hub_rows(books) == (3, 3, 2, 10)
            books.check_sums()


def _hub_rows(books: Books) -> tuple[int, int, int, int]:
    """How far the head is, and how many events, sales and points there are."""
    return (
        books.number("SELECT through FROM streams"),
        books.number("SELECT count(*) FROM events"),
        books.number("SELECT count(*) FROM sales"),
        books.number("SELECT points FROM tallies WHERE identifier = ?", CARD),
    )


async def test_f21_a_crash_within_a_page_leaves_neither_rows_without_their_cursor_nor_the_other_way_round(
    tmp_path: Path,
) -> None:
    state = tmp_path / "till"
    state.mkdir()
    copies = Copies(state, tmp_path / "copies")
    before, after = (shop.cursor(1), 100, 0), (shop.cursor(2), 115, 1)
    page = shop.page(BalancePut(customer_id="c-1", points=115), position=2, covered={shop.INC: 1})
    async with shop.open_till(state) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(store)
        await _watched(store.cache._live.writer, copies)
        await store.cache.apply(page)
        copies.take()

    seen = [_cache_rows(copy) for copy in copies.all()]
    whole = seen.index(after)
    assert whole >= 4  # a crash before each of its statements
    assert set(seen[:whole]) == {before}
    assert set(seen[whole:]) == {after}
    async with shop.open_till(copies.all()[whole - 1], inc="00000000000000b2") as store:
        for _ in range(2):
            await store.cache.apply(page)
        assert shop.balance(store).shown == 115


def _cache_rows(folder: Path) -> tuple[str, int, int]:
    with _opened(cache_file(folder, shop.DATABASE_KEY, 1)) as connection:
        row = connection.execute(
            "SELECT cursor, (SELECT points FROM customers), (SELECT coalesce(max(through), 0) FROM coverage) FROM state"
        ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


async def test_f29_wherever_the_log_is_cut_whole_sales_stand_in_order_and_no_number_is_given_out_again(
    tmp_path: Path,
) -> None:
    state = tmp_path / "till"
    state.mkdir()
    ends = [0]
    async with shop.open_till(state) as store:
        await store.journal.checkpoint()
        for number in range(8):
            await shop.credit(store, f"s-{number}")
            ends.append((state / "till.db-wal").stat().st_size)
        log, whole = (state / "till.db-wal").read_bytes(), (state / "till.db").read_bytes()
        given = {event["id"]: event for events in await _batches(store) for event in events}
    assert len(set(ends)) == len(ends)
    for at in sorted({*ends, *(end - 1 for end in ends[1:]), *range(LOG_HEAD, len(log), len(log) // LOG_CUTS)}):
        cut = tmp_path / f"cut-{at}"
        cut.mkdir()
        (cut / "till.db").write_bytes(whole)
        (cut / "till.db-wal").write_bytes(log[:at])
        committed = sum(end <= at for end in ends[1:])
        assert _till_rows(cut) == (committed, committed, committed, committed, 1)
        async with _started(cut) as store:
            await shop.credit(store, "s-after")
            (*again, after) = [event for events in await _batches(store) for event in events]
        assert again == list(given.values())[:committed]
        assert (after["seq"], after["id"] in given) == (1, False)


def _started(folder: Path) -> AbstractAsyncContextManager[Store]:
    """The till's store as a start of the program opens it: nobody tells it the name of its incarnation."""
    clock = FakeClock(shop.MORNING)
    return open_store(folder, shop.DATABASE_KEY, terminal_id=shop.TERMINAL_ID, store_id=shop.STORE_ID, clock=clock)


@pytest.mark.parametrize("rubbish", [b"\0" * 5000, bytes(range(256)) * 40], ids=["zeros", "noise"])
async def test_f32_rubbish_behind_the_log_and_a_lost_index_of_it_cost_nothing(tmp_path: Path, rubbish: bytes) -> None:
    state, left = tmp_path / "till", tmp_path / "left"
    state.mkdir()
    async with shop.open_till(state) as store:
        for number in range(5):
            await shop.credit(store, f"s-{number}")
        shutil.copytree(state, left, ignore=shutil.ignore_patterns("*-shm"))
    with (left / "till.db-wal").open("ab") as log:
        log.write(rubbish)

    async with shop.open_till(left, inc="00000000000000b2") as store:
        assert store.salvaged is None
        await shop.credit(store, "s-5")
        assert store.outbox.figures().waiting == 6
        first, second = await _batches(store)
    assert [event["seq"] for event in first] == [1, 2, 3, 4, 5]
    assert [(event["seq"], event["inc"]) for event in second] == [(1, "00000000000000b2")]


async def _batches(store: Store) -> list[list[dict[str, Any]]]:
    batches = []
    while batch := await shop.settle_all(store):
        batches.append([json.loads(event) for event in batch.events])
    return batches


async def test_f34_somebody_who_reads_for_hours_keeps_no_sale_waiting_and_the_log_shrinks_when_he_ends(
    tmp_path: Path,
) -> None:
    log = tmp_path / "till.db-wal"
    async with shop.open_till(tmp_path) as store:
        reader = open_for_reading(till_file(tmp_path, shop.DATABASE_KEY), {})
        try:
            reader.execute("BEGIN")
            (before,) = reader.execute("SELECT count(*) FROM journal").fetchone() or (-1,)
            for number in range(60):
                await shop.credit(store, f"s-{number}")
            assert reader.execute("SELECT count(*) FROM journal").fetchone() == (before,)
            grown = log.stat().st_size
        finally:
            reader.close()
        assert grown < 60 * 24 * (PAGE + FRAME_HEAD)  # some pages a sale, and never a copy of the file
        await store.journal.checkpoint()
        assert log.stat().st_size == 0
        assert store.outbox.figures().waiting == 60
