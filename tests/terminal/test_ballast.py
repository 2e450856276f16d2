import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store import Store
from agent.store.ballast import BALLAST_BYTES, Ballast
from sync.contract.ledger import Balance
from sync.runtime.sqlite_file import Connection, DatabaseFull
from tests.support import shop

MIB = 1024 * 1024


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path) as opened:
        await opened.cache.apply(shop.page(shop.put(points=100)))
        yield opened


async def _let_grow(store: Store, pages: int) -> None:
    """Let the till's file have so many pages more than now: beyond that SQLite says that the disk is full."""

    def limit(connection: Connection) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone() or (0,)
        connection.execute(f"PRAGMA max_page_count={now + pages}")

    await store.journal._writer.outside_transaction(limit)


async def _sell_until_full(store: Store) -> int:
    for number in range(1000):
        try:
            await shop.credit(store, f"s-{number}", 100)
        except DatabaseFull:
            return number
    raise AssertionError("the disk never was full")


def test_the_ballast_is_made_where_there_is_room_for_it_twice(tmp_path: Path) -> None:
    room = [2 * BALLAST_BYTES - 1]
    ballast = Ballast(tmp_path, free=lambda _: room[0])

    assert not ballast.make()
    assert list(tmp_path.iterdir()) == []
    room[0] = 2 * BALLAST_BYTES
    assert ballast.make()
    file = tmp_path / "ballast"
    assert file.stat().st_size == BALLAST_BYTES
    assert file.stat().st_blocks * 512 >= BALLAST_BYTES  # it holds the room, and does not only say so
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_ballast_goes_before_the_start_only_where_nothing_would_open(tmp_path: Path) -> None:
    room = [100 * MIB]
    ballast = Ballast(tmp_path, free=lambda _: room[0])
    ballast.make()

    ballast.release_where_nothing_opens()
    assert (tmp_path / "ballast").exists()
    room[0] = MIB - 1
    ballast.release_where_nothing_opens()
    assert ballast.is_full
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_refuses_sales_aloud_and_still_answers_the_old_ones(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first = await shop.credit(store, "s-first", 100)
    await _let_grow(store, 2)
    with caplog.at_level(logging.ERROR):
        sold = await _sell_until_full(store)
    await _let_grow(store, 1000)  # as the ballast would make room: no sale may eat it

    assert store.ballast.is_full
    assert caplog.text.count("disk full") == 1
    with pytest.raises(DatabaseFull):
        await shop.credit(store, "s-new", 100)
    with pytest.raises(DatabaseFull):
        await shop.take_back(store, "r-1", "s-first")
    assert (await shop.credit(store, "s-first", 100)).result == first.result
    assert shop.balance(store) == Balance(100, sold + 1)
    assert store.outbox.figures().waiting == sold + 1


async def test_the_outbox_empties_into_the_room_of_the_ballast(store: Store, tmp_path: Path) -> None:
    await asyncio.to_thread(store.ballast.make)
    await _let_grow(store, 2)
    sold = await _sell_until_full(store)
    assert not (tmp_path / "ballast").exists()

    await _let_grow(store, 1000)
    await shop.settle_all(store)

    assert sold > 0
    assert store.outbox.figures().waiting == 0


async def test_an_answer_of_the_hub_that_finds_no_room_gives_the_ballast_up_and_is_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.credit(store)
    await asyncio.to_thread(store.ballast.make)
    write = store.journal._writer.write

    async def full_while_there_is_ballast(work: object) -> object:
        if (tmp_path / "ballast").exists():
            raise DatabaseFull("planted")
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(store.journal._writer, "write", full_while_there_is_ballast)
    await shop.settle_all(store)

    assert store.outbox.figures().waiting == 0
    assert store.ballast.is_full


async def test_sales_go_on_once_the_ballast_lies_there_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    room = [0]
    ballast = Ballast(tmp_path, free=lambda _: room[0])
    checkpoints = 0

    async def checkpoint() -> None:
        nonlocal checkpoints
        checkpoints += 1
        raise DatabaseFull("no room even for that")

    ballast.release()
    await ballast.look(checkpoint)
    assert (ballast.is_full, checkpoints) == (True, 1)
    room[0] = 16 * MIB
    with caplog.at_level(logging.INFO):
        await ballast.look(checkpoint)
    assert not ballast.is_full
    assert "sales go on" in caplog.text
    await ballast.look(checkpoint)
    assert checkpoints == 2  # where there is room the log of the database takes care of itself
