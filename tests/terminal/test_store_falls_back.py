"""A cache that contains less than the one before: an older snapshot, a hub from a backup, a power cut.

What was swept out of the pending sum because the balances contained it counts again where they do not.
"""

import shutil
from datetime import timedelta
from pathlib import Path

from agent.store import Store
from sync.contract.ledger import Balance
from sync.contract.protocol import Outcome, Reason, Verdict
from tests.support import shop

KEEP = timedelta(days=14)


async def load(store: Store, points: int, position: int, covered: dict[str, int]) -> None:
    """Load a snapshot of one customer with these points."""
    chunks = [shop.chunk(shop.put(points=points))]
    manifest = shop.manifest(chunks, position=position, covered=covered, snapshot_id=f"snapshot-{position}")
    await store.cache.begin_snapshot(manifest)
    await store.cache.load_chunk(1, chunks[0])
    await store.cache.finish_snapshot(manifest)


async def cover(store: Store, points: int, position: int, seq: int) -> None:
    """Let the hub take what waits, and its balance with it come down."""
    await store.cache.apply(shop.page(shop.put(points=points), position=position, covered={shop.INC: seq}))
    await shop.settle_all(store)


def drop_caches(folder: Path) -> None:
    for cache in folder.glob("cache-*"):
        cache.unlink()


def pending_rows(store: Store) -> int:
    return int(store.customers._near.glance("SELECT count(*) FROM pending", ())[0][0])


async def test_a_snapshot_from_before_a_sale_lets_the_sale_count_as_pending_again(tmp_path: Path) -> None:
    """A hub gives out a snapshot for an hour, and a restored hub's is older still."""
    async with shop.open_till(tmp_path) as store:
        await load(store, 100, 1, {})
        await shop.credit(store, "s-1", net_minor=1_500)
        await shop.credit(store, "s-2", net_minor=700)
        await cover(store, 122, 2, 2)
        assert (shop.balance(store), pending_rows(store)) == (Balance(122, 0), 0)
        await load(store, 115, 1, {shop.INC: 1})
        assert shop.balance(store) == Balance(115, 7)
        await cover(store, 122, 2, 2)
        await shop.credit(store, "s-3", net_minor=100)
        await cover(store, 123, 3, 3)
        assert (shop.balance(store), pending_rows(store)) == (Balance(123, 0), 0)


async def test_a_cache_that_lost_its_last_commits_lets_the_sale_count_as_pending_again(tmp_path: Path) -> None:
    """The cache is kept with synchronous=NORMAL: a power cut may take its newest commits, and the till's stay."""
    state, kept = tmp_path / "state", tmp_path / "kept"
    state.mkdir()
    async with shop.open_till(state) as store:
        await load(store, 100, 1, {})
        await shop.credit(store, net_minor=1_500)
    shutil.copytree(state, kept)
    async with shop.open_till(state) as store:
        await cover(store, 115, 2, 1)
    drop_caches(state)
    for old in kept.glob("cache-*"):
        shutil.copy(old, state)
    async with shop.open_till(state) as store:
        assert shop.balance(store) == Balance(100, 15)


async def test_a_cache_that_is_gone_lets_all_that_was_recorded_here_count(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await load(store, 100, 1, {})
        await shop.credit(store, net_minor=1_500)
        await cover(store, 115, 2, 1)
    drop_caches(tmp_path)
    async with shop.open_till(tmp_path) as store:
        assert shop.balance(store) == Balance(0, 15)
        await load(store, 115, 3, {shop.INC: 1})
        assert shop.balance(store) == Balance(115, 0)


async def test_a_sale_that_was_pruned_meanwhile_counts_again_too(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await load(store, 100, 1, {})
        await shop.credit(store, "s-1", net_minor=1_500)
        await shop.credit(store, "s-2", net_minor=700)
        await cover(store, 122, 2, 2)
        while await store.pruner.step(KEEP, shop.MORNING):
            pass
        assert await store.pruner.step(KEEP, shop.MORNING + KEEP) > 0
        await load(store, 100, 1, {})
        assert shop.balance(store) == Balance(100, 22)
        await cover(store, 122, 2, 2)
        await store.pruner.step(KEEP, shop.MORNING + KEEP)
        assert (shop.balance(store), pending_rows(store)) == (Balance(122, 0), 0)


async def test_a_refused_sale_does_not_count_again(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await load(store, 100, 1, {})
        await shop.credit(store, net_minor=1_500)
        refused = Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.POINTS_MISMATCH)
        await shop.settle_all(store, {1: refused})
        await store.cache.apply(shop.page(position=2, covered={shop.INC: 1}))
        await shop.credit(store, "s-2", net_minor=700)
        await cover(store, 107, 3, 2)
        await load(store, 100, 1, {})
        assert shop.balance(store) == Balance(100, 7)
