"""A disk that is really full: a small file system in memory, where this machine lets us mount one."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.store import Store
from sync.runtime.sqlite_file import Connection, DatabaseFull
from tests.support import shop
from tests.support.chaos_tills import import_cards
from tests.support.hubs import hub_in_process
from tests.support.machine_books import hub_books
from tests.support.redeeming import ANN, open_shop_till
from tests.support.waiting import eventually

DISK_MB = 40


@pytest.fixture
def small_disk() -> Iterator[Path]:
    # Not in pytest's own folder: a run that is killed leaves the mount behind, and the next run could not clear up.
    folder = Path(tempfile.mkdtemp(prefix="loyalty-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        folder.rmdir()
        pytest.skip("this machine does not let the test mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 512, 1):
            while True:
                try:
                    if file.write(b"x" * size) < size:
                        break
                except OSError:
                    break
    return filler


def _rows(connection: Connection) -> tuple[int, int, str]:
    (journal,) = connection.execute("SELECT count(*) FROM journal").fetchone() or (0,)
    (sales,) = connection.execute("SELECT count(*) FROM sales").fetchone() or (0,)
    (check,) = connection.execute("PRAGMA integrity_check").fetchone() or ("",)
    return journal, sales, check


async def _sell_until_full(store: Store) -> int:
    for number in range(5000):
        try:
            await shop.credit(store, f"s-{number}", 100)
        except DatabaseFull:
            return number
    raise AssertionError("the disk never was full")


async def test_a_full_disk_refuses_sales_drains_the_outbox_and_resumes(small_disk: Path) -> None:
    async with shop.open_till(small_disk) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        await store.ballast.look(store.journal.checkpoint)
        assert (small_disk / "ballast").exists()
        for number in range(200):
            await shop.credit(store, f"before-{number}", 100)
        filler = await asyncio.to_thread(_fill, small_disk)

        sold = 200 + await _sell_until_full(store)
        assert store.ballast.is_full
        assert store.outbox.figures().waiting == sold
        while await shop.settle_all(store):
            pass
        await store.ballast.look(store.journal.checkpoint)  # no room for a new ballast yet
        assert (store.outbox.figures().waiting, store.ballast.is_full) == (0, True)
        assert (small_disk / "till.db-wal").stat().st_size == 0
        with pytest.raises(DatabaseFull):
            await shop.credit(store, "refused", 100)
        assert await store.journal._reader.read(_rows) == (sold, sold, "ok")

        filler.unlink()
        await store.ballast.look(store.journal.checkpoint)
        await shop.credit(store, "refused", 100)
        assert store.outbox.figures().waiting == 1
        assert (small_disk / "ballast").exists()


async def test_f31_a_redemption_on_a_full_disk_is_refused_kindly_and_takes_not_a_point(
    small_disk: Path, tmp_path: Path
) -> None:
    async with hub_in_process(tmp_path / "hub") as hub:
        await import_cards(hub, tmp_path, (1,), 100)
        async with open_shop_till(small_disk, hub) as till:
            store = till.till.store
            store.allowances.wish(ANN, 100)
            await eventually(lambda: till.left() == 100)
            assert (await till.redeem("d-0", 10))[0] == 200
            await till.until_quiet()
            filler = await asyncio.to_thread(_fill, small_disk)
            await _sell_until_full(store)

            for path in ("redeem", "again", "give back"):
                status, problem = await (till.undo("d-0", "u-0") if path == "give back" else till.redeem("d-1", 60))
                assert (status, problem["code"]) == (507, "disk_full")
                assert "nothing was recorded" in problem["title"]
            assert till.left() == 90
            assert await store.journal._reader.read(_spent) == ([(10,)], [("d-0", 0)], "ok")

            filler.unlink()
            await store.ballast.look(store.journal.checkpoint)
            assert (await till.redeem("d-1", 60))[0] == 200
            assert (await till.undo("d-0", "u-0"))[1]["state"] == "given_back"
            await till.until_quiet()
    books = await hub_books(tmp_path / "hub")
    assert [books.names()[name] for name in ("d-0", "d-1", "u-0")] == [1, 1, 1]
    assert (books.posted[ANN], books.risks) == (40, [])


def _spent(connection: Connection) -> tuple[list[Any], list[Any], str]:
    """What was taken of allowances, the redemptions with whether they were taken back, and how the file is."""
    (check,) = connection.execute("PRAGMA integrity_check").fetchone() or ("",)
    spends = connection.execute("SELECT points FROM spends").fetchall()
    return spends, connection.execute("SELECT redemption_id, is_reversed FROM redemptions").fetchall(), check


async def test_a_till_starts_on_a_full_disk_by_giving_up_its_ballast(small_disk: Path) -> None:
    async with shop.open_till(small_disk) as store:
        await store.ballast.look(store.journal.checkpoint)
        await shop.credit(store)
    await asyncio.to_thread(_fill, small_disk)

    async with shop.open_till(small_disk, inc="00000000000000b2") as store:
        assert store.ballast.is_full
        await shop.settle_all(store)
        assert store.outbox.figures().waiting == 0


async def test_f27_a_disk_that_fills_up_under_a_snapshot_leaves_the_live_cache_as_it_is(small_disk: Path) -> None:
    others = [shop.put(shop.customer(f"c-{number}"), 7, ()) for number in range(2, 400)]
    chunk = shop.chunk(shop.put(points=115), *others)
    manifest = shop.manifest([chunk], position=2)
    async with shop.open_till(small_disk) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        assert await store.cache.begin_snapshot(manifest) == 0
        filler = await asyncio.to_thread(_fill, small_disk)
        with pytest.raises(DatabaseFull):
            await store.cache.load_chunk(1, chunk)
        assert shop.balance(store).posted == 100
        assert await store.cache.cursor() == shop.cursor(1)

        filler.unlink()
        assert await store.cache.begin_snapshot(manifest) == 0
        await store.cache.load_chunk(1, chunk)
        await store.cache.finish_snapshot(manifest)
        assert shop.balance(store).posted == 115
        assert store.customers.by_id("c-399") is not None
