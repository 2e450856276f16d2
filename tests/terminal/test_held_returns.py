"""The return of an allowance that the hub holds: it is shown, it stops nothing, and its verdict settles it."""

from datetime import timedelta

from agent.store import Store
from agent.store.outbox import EntryState
from sync.contract.events import ALLOWANCE_RETURNED, REDEEMED
from sync.contract.protocol import HeldEvent, Outcome, OutcomePut, Reason, Verdict
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.allowances import allowance, hear, left, redeem, word
from tests.support.clock import FakeClock

KEEP = timedelta(days=14)


async def _positions(store: Store) -> list[int]:
    def read(connection: Connection) -> list[int]:
        return [position for (position,) in connection.execute("SELECT position FROM journal").fetchall()]

    return await store.journal._reader.read(read)


async def _prune(store: Store) -> None:
    """Let the time go by for which events are kept."""
    for hub_now in (shop.MORNING, shop.MORNING + KEEP):
        while await store.pruner.step(KEEP, hub_now):
            pass


async def test_a_return_that_the_hub_holds_is_shown_and_stops_nothing_and_ends_with_its_verdict(
    store: Store, clock: FakeClock
) -> None:
    await hear(store, word(allowance(100, ttl_s=3600)))
    await redeem(store, "d-1", 30)
    await clock.advance(3600.0)
    await store.redeemer.return_allowances(await store.allowances.due_back())
    await shop.credit(store)
    held = {seq: Verdict(seq=seq, outcome=Outcome.PARKED, reason=Reason.HUB_FAULT) for seq in (1, 2)}

    await shop.settle_all(store, held)

    figures = store.outbox.figures()
    assert (figures.waiting, figures.parked) == (0, 2)  # what stands behind them is through
    rows = (await store.outbox.rows(EntryState.PARKED)).rows
    assert [(row.type, row.reason) for row in rows] == [
        (REDEEMED, Reason.HUB_FAULT),
        (ALLOWANCE_RETURNED, Reason.HUB_FAULT),
    ]
    await hear(store, word(applied={shop.INC: 3}))
    assert (left(store), await store.allowances.due_back(), await store.allowances.held()) == (0, (), ())
    assert (await store.journal.state()).held == tuple(HeldEvent(inc=shop.INC, seq=seq) for seq in (1, 2))
    covered = {shop.INC: 3}
    await store.cache.apply(shop.page(shop.put(points=115), position=2, covered=covered))
    await shop.credit(store, "s-2")
    await _prune(store)
    assert await _positions(store) == [1, 2, 4]  # what is held stays here, and no more than that

    verdicts = [OutcomePut(inc=shop.INC, verdict=Verdict(seq=seq, outcome=Outcome.APPLIED)) for seq in (1, 2)]
    await store.cache.apply(shop.page(shop.put(points=85), *verdicts, position=3, covered=covered))

    assert (store.outbox.figures().parked, (await store.journal.state()).held) == (0, ())
    assert shop.balance(store).posted == 85
