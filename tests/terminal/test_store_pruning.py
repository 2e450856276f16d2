import asyncio
import json
import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.store import Store
from agent.store.pruning import LOOK_S, ROWS_PER_STEP
from sync.contract.chain import GONE
from sync.contract.events import Event, UnknownEventType, read_fact
from sync.contract.ledger import Balance
from sync.contract.protocol import AppliedThrough, Outcome, Reason, Verdict
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.clock import FakeClock

SECOND_INC = "00000000000000b2"
KEEP = timedelta(days=14)


async def _deliver(store: Store, points: int = 100, inc: str = shop.INC, through: int = 99) -> None:
    """Let the hub apply everything, and its balance contain it."""
    while await shop.settle_all(store):
        pass
    await store.cache.apply(shop.page(shop.put(points=points), position=2, covered={inc: through}))


async def _prune(store: Store, now: datetime, keep: timedelta = KEEP) -> int:
    pruned = 0
    while step := await store.pruner.step(keep, now):
        pruned += step
    return pruned


async def _positions(store: Store) -> list[int]:
    def read(connection: Connection) -> list[int]:
        return [position for (position,) in connection.execute("SELECT position FROM journal").fetchall()]

    return await store.journal._reader.read(read)


async def test_an_event_is_kept_for_its_time_after_the_ack_and_then_pruned(store: Store) -> None:
    for number in range(4):
        await shop.credit(store, f"s-{number}")
    await _deliver(store, 160)
    assert await _prune(store, shop.MORNING) == 0  # from here on the time counts
    assert await _prune(store, shop.MORNING + KEEP - timedelta(seconds=1)) == 0
    assert await _positions(store) == [1, 2, 3, 4]

    await _prune(store, shop.MORNING + KEEP)

    assert await _positions(store) == [4]  # the next position is counted from it
    assert shop.balance(store) == Balance(160, 0)


async def test_what_the_hub_does_not_have_is_never_pruned(store: Store) -> None:
    for number in range(3):
        await shop.credit(store, f"s-{number}")
    await store.journal.settle(shop.INC, shop.verdicts(Verdict(seq=1, outcome=Outcome.APPLIED)))
    await store.cache.apply(shop.page(shop.put(points=115), position=2, covered={shop.INC: 1}))
    await _prune(store, shop.MORNING)

    await _prune(store, shop.MORNING + timedelta(days=1000))

    assert await _positions(store) == [2, 3]
    assert store.outbox.figures().waiting == 2
    assert shop.balance(store) == Balance(115, 30)


async def test_what_the_balance_does_not_contain_is_not_pruned(store: Store) -> None:
    await shop.credit(store, "s-1")
    await shop.credit(store, "s-2")
    await shop.settle_all(store)
    await _prune(store, shop.MORNING)

    await _prune(store, shop.MORNING + timedelta(days=1000))

    assert await _positions(store) == [1, 2]
    assert shop.balance(store) == Balance(100, 30)


async def test_what_a_person_should_look_at_is_not_pruned(store: Store) -> None:
    for number in range(3):
        await shop.credit(store, f"s-{number}")
    await shop.settle_all(store, {2: Verdict(seq=2, outcome=Outcome.PARKED, reason=Reason.WAITS_FOR_SALE)})
    await _deliver(store)
    await _prune(store, shop.MORNING)

    await _prune(store, shop.MORNING + KEEP)

    assert await _positions(store) == [2, 3]
    assert [row.seq for row in (await store.outbox.rows()).rows] == [2]


async def test_a_pruned_sale_answers_again_is_shown_and_is_taken_back(store: Store) -> None:
    first = await shop.credit(store, "s-1", 1_500)
    await shop.credit(store, "s-2", 1_500)
    before = store.acts.of_sale("s-1")
    await _deliver(store, 130, through=2)
    await _prune(store, shop.MORNING)
    await _prune(store, shop.MORNING + KEEP)
    assert await _positions(store) == [2]

    again = await shop.credit(store, "s-1", 1_500)
    assert (again.result, again.subject, again.repeated) == (first.result, first.subject, True)
    assert store.acts.of_sale("s-1") == before
    await shop.take_back(store, "r-1", "s-1")
    assert shop.balance(store) == Balance(130, -15)
    assert store.outbox.figures().waiting == 1


async def test_sales_go_on_behind_a_pruned_journal_after_a_restart_too(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    for number in range(3):
        await shop.credit(store, f"s-{number}")
    await _deliver(store)
    await _prune(store, shop.MORNING)
    await _prune(store, shop.MORNING + KEEP)
    await shop.credit(store, "s-4")
    batch = await store.journal.next_batch(10, 10_000)
    assert batch is not None
    assert (batch.first, len(batch.events), json.loads(batch.events[0])["seq"]) == (4, 1, 4)

    async with shop.open_till(tmp_path, clock, SECOND_INC) as later:
        await shop.credit(later, "s-5")
        assert [(one.inc, one.length) for one in (await later.journal.state()).incarnations] == [
            (shop.INC, 4),
            (SECOND_INC, 1),
        ]
        assert [row.position for row in (await later.outbox.rows()).rows] == [4, 5]


async def test_an_incarnation_is_named_to_the_hub_while_its_events_are_kept(tmp_path: Path, clock: FakeClock) -> None:
    async with shop.open_till(tmp_path, clock) as store:
        await shop.credit(store)
        await shop.settle_all(store)
    async with shop.open_till(tmp_path, clock, SECOND_INC) as store:
        await store.cache.apply(shop.page(shop.put(points=115), position=2, covered={shop.INC: 1}))
        await shop.credit(store, "s-2")
        await _prune(store, shop.MORNING)
        clock.set_wall(clock.now() + timedelta(days=9000))  # this machine's clock decides nothing
        assert [one.inc for one in (await store.journal.state()).incarnations] == [shop.INC, SECOND_INC]
        await _prune(store, shop.MORNING + KEEP)
        assert [one.inc for one in (await store.journal.state()).incarnations] == [SECOND_INC]


async def test_a_hub_that_asks_for_pruned_events_gets_markers_and_the_line_moves_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        await shop.credit(store, f"s-{number}")
    await _deliver(store, 160)
    await _prune(store, shop.MORNING)
    await _prune(store, shop.MORNING + KEEP)
    assert await _positions(store) == [4]

    with caplog.at_level(logging.ERROR):
        await store.journal.rewind([AppliedThrough(inc=shop.INC, through=1)])

    assert f"not kept any more: inc={shop.INC} events=2" in caplog.text
    batch = await store.journal.next_batch(10, 100_000)
    assert batch is not None
    events = [Event.model_validate_json(text) for text in batch.events]
    assert [(event.seq, event.type == GONE, event.subject is None) for event in events] == [
        (2, True, True),
        (3, True, True),
        (4, False, False),
    ]
    with pytest.raises(UnknownEventType):  # so a hub parks it
        read_fact(events[0])
    held = Verdict(seq=2, outcome=Outcome.PARKED, reason=Reason.UNKNOWN_TYPE)
    await shop.settle_all(store, {2: held, 3: held.model_copy(update={"seq": 3})})
    figures = store.outbox.figures()
    assert (figures.waiting, figures.parked) == (0, 0)
    await shop.credit(store, "s-9")
    assert store.outbox.figures().waiting == 1


async def test_a_hub_that_comes_back_from_a_backup_stops_the_time_of_what_it_lacks(store: Store) -> None:
    for number in range(3):
        await shop.credit(store, f"s-{number}")
    await _deliver(store, 145)
    await _prune(store, shop.MORNING)
    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=0)])

    await _prune(store, shop.MORNING + KEEP)
    assert await _positions(store) == [1, 2, 3]

    await _deliver(store, 145)
    await _prune(store, shop.MORNING + KEEP)
    await _prune(store, shop.MORNING + KEEP + timedelta(days=13))
    assert await _positions(store) == [1, 2, 3]  # the time began anew
    await _prune(store, shop.MORNING + 2 * KEEP)
    assert await _positions(store) == [3]


async def test_a_step_is_small_and_the_loop_takes_as_many_as_it_needs(store: Store, clock: FakeClock) -> None:
    for number in range(2 * ROWS_PER_STEP + 10):
        await shop.credit(store, f"s-{number}", 100)
    await _deliver(store, through=9999)
    await _prune(store, shop.MORNING)
    assert await store.pruner.step(KEEP, shop.MORNING + KEEP) == ROWS_PER_STEP
    hub_time: list[datetime | None] = [None]

    loop = asyncio.create_task(store.pruner.run(KEEP, lambda: hub_time[0], clock))
    await clock.until_asleep()
    assert len(await _positions(store)) == ROWS_PER_STEP + 10  # without the hub's word nothing is pruned
    hub_time[0] = shop.MORNING + KEEP
    await clock.advance(LOOK_S)
    while len(await _positions(store)) > 1:
        await clock.until_asleep()
        await clock.advance(1.0)
    loop.cancel()
