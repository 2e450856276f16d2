import asyncio
import errno
from pathlib import Path

import pytest

from agent.store import Store
from agent.store.wiping import LOOK_S
from sync.contract.ledger import Balance
from sync.runtime.sqlite_file import Connection, DatabaseFull
from tests.support import shop
from tests.support.clock import FakeClock

SECOND_INC = "00000000000000b2"
STRANGER = shop.card(9)


def _values(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT value FROM presented WHERE value IS NOT NULL").fetchall()


async def _events(store: Store) -> tuple[str, ...]:
    batch = await store.journal.next_batch(100, 1_000_000)
    return batch.events if batch is not None else ()


async def test_a_shut_out_terminal_forgets_its_customers_and_keeps_its_outbox(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(store, "s-1")
        await shop.credit(store, "s-2", number=STRANGER)
        before = await _events(store)
        assert len(await store.journal._reader.read(_values)) == 1

        await store.wiper.wipe()

        assert store.wiper.due.is_set()
        assert await store.journal._reader.read(_values) == []
    assert (tmp_path / "wipe").exists()
    cache = (tmp_path / "cache-1.db").read_bytes()
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert (tmp_path / "cache-1.db").read_bytes()[:16] != cache[:16]  # another file, and not the old one emptied
        assert await store.cache.cursor() is None
        assert store.customers.by_identifier(shop.card_id(shop.card())).people == ()
        assert await _events(store) == before
        assert shop.balance(store) == Balance(0, 15)

        await store.wiper.wipe()
        assert not store.wiper.due.is_set()  # there is nothing left to wipe
        assert not (tmp_path / "wipe").exists()


async def test_let_in_again_the_customers_come_back_and_a_card_is_asked_about_anew(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(store, "s-1", number=STRANGER)
        await store.wiper.wipe()
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert await store.journal.unsent_identifiers(5) == []
        await shop.credit(store, "s-2", number=STRANGER)
        assert [one.identifier.value for one in await store.journal.unsent_identifiers(5)] == [STRANGER]
        chunk = shop.chunk(shop.put(points=100))
        await store.cache.begin_snapshot(shop.manifest([chunk]))
        await store.cache.load_chunk(1, chunk)
        await store.cache.finish_snapshot(shop.manifest([chunk]))
        assert shop.balance(store) == Balance(100, 0)


async def test_a_half_loaded_cache_goes_too(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        chunk = shop.chunk(shop.put(points=100))
        await store.cache.begin_snapshot(shop.manifest([chunk]))
        await store.cache.load_chunk(1, chunk)
        await store.wiper.wipe()
        assert store.wiper.due.is_set()
    async with shop.open_till(tmp_path, inc=SECOND_INC):
        assert not (tmp_path / "cache-2.db").exists()


async def test_only_a_shut_out_terminal_is_wiped(tmp_path: Path) -> None:
    clock = FakeClock(shop.MORNING)
    is_shut_out = False
    async with shop.open_till(tmp_path, clock) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        loop = asyncio.create_task(store.wiper.run(lambda: is_shut_out, clock))
        await clock.advance(100.0)
        for _ in range(10):  # let the threads do what they were asked for, if they were
            await store.journal._writer.outside_transaction(lambda _: None)
            await clock.advance(LOOK_S)
        assert not store.wiper.due.is_set()
        assert shop.balance(store) == Balance(100, 0)
        is_shut_out = True
        async with asyncio.timeout(10):
            while not store.wiper.due.is_set():
                await store.journal._writer.outside_transaction(lambda _: None)
                await clock.advance(LOOK_S)
        loop.cancel()


async def test_on_a_full_disk_nobody_is_shown_any_more_and_the_rest_is_wiped_as_soon_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(store, "s-1", number=STRANGER)

        async def full(_: object) -> object:
            raise DatabaseFull("planted")

        with monkeypatch.context() as patch:
            patch.setattr(store.journal._writer, "write", full)
            with pytest.raises(DatabaseFull):
                await store.wiper.wipe()
        assert store.wiper.due.is_set()

    clock = FakeClock(shop.MORNING)
    async with shop.open_till(tmp_path, clock, inc=SECOND_INC) as store:
        assert store.customers.by_identifier(shop.card_id(shop.card())).people == ()
        assert len(await store.journal.unsent_identifiers(5)) == 1
        loop = asyncio.create_task(store.wiper.run(lambda: False, clock))  # the line is down: nobody says it again
        async with asyncio.timeout(20):
            while (tmp_path / "wipe").exists():
                await store.journal._writer.outside_transaction(lambda _: None)
                await clock.advance(LOOK_S)
        loop.cancel()
        assert await store.journal._reader.read(_values) == []
        assert (tmp_path / "till.db-wal").stat().st_size == 0


async def test_a_wipe_takes_the_room_of_the_ballast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(store, "s-1", number=STRANGER)
        await asyncio.to_thread(store.ballast.make)
        write, touch = store.journal._writer.write, Path.touch

        async def full_while_there_is_ballast(work: object) -> object:
            if (tmp_path / "ballast").exists():
                raise DatabaseFull("planted")
            return await write(work)  # type: ignore[arg-type]

        def no_note_while_there_is_ballast(path: Path, mode: int = 0o666) -> None:
            if (tmp_path / "ballast").exists():
                raise OSError(errno.ENOSPC, "planted")
            touch(path, mode)

        monkeypatch.setattr(store.journal._writer, "write", full_while_there_is_ballast)
        await store.wiper.wipe()
        assert store.ballast.is_full
        assert await store.journal._reader.read(_values) == []

        store.wiper.due.clear()
        await asyncio.to_thread(store.ballast.make)
        monkeypatch.setattr(Path, "touch", no_note_while_there_is_ballast)
        await store.wiper.wipe()
        assert (tmp_path / "wipe").exists()
