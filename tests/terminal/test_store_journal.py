import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from agent.store import Store
from agent.store.entries import ReversalIdReused, SaleIdReused
from sync.contract.events import EARNED, REVERSED, Event, PointsEarned, PointsReversed, canonical_json, read_fact
from sync.contract.identifiers import Identifier, Scheme
from sync.contract.ledger import Balance
from sync.contract.protocol import AppliedThrough, Outcome, OutcomePut, PresentedIdentifier, Reason, Verdict
from tests.support import shop
from tests.support.clock import FakeClock

SECOND_INC = "00000000000000b2"


def rejected(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED)


def parked(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.PARKED, reason=Reason.WAITS_FOR_SALE)


def applied(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.APPLIED)


async def test_a_sale_is_in_the_journal_and_in_the_balance_at_once(store: Store) -> None:
    recorded = await shop.credit(store, "s-1", 1_599)

    assert recorded.answer is not None
    assert recorded.answer.points == 15
    assert shop.balance(store) == Balance(100, 15)
    assert store.outbox.figures().waiting == 1


async def test_an_event_says_what_happened_and_names_nobody(store: Store) -> None:
    await shop.credit(store, "s-1", 1_599)

    batch = await store.journal.next_batch(10, 10_000)
    assert batch is not None
    (text,) = batch.events
    event = Event.model_validate_json(text)
    fact = read_fact(event)
    assert isinstance(fact, PointsEarned)
    assert (event.type, event.inc, event.seq, event.subject) == (EARNED, shop.INC, 1, shop.card_id(shop.card()))
    assert (event.id, event.source) == (f"till-1/{shop.INC}/1", "/stores/store-1/terminals/till-1")
    assert (fact.sale_id, fact.net_minor, fact.points, fact.lines[0].points) == ("s-1", 1_599, 15, 15)
    assert text == canonical_json(json.loads(text))
    assert shop.card() not in text


async def test_the_same_sale_again_answers_the_first_result_and_records_nothing(store: Store) -> None:
    first = await shop.credit(store)
    await store.cache.apply(shop.page(shop.put(points=900), position=2))
    again = await shop.credit(store)

    assert (again.result, again.repeated) == (first.result, True)
    assert store.outbox.figures().waiting == 1
    assert shop.balance(store) == Balance(900, 15)


async def test_the_same_sale_from_sixty_four_callers_at_once_counts_once(store: Store) -> None:
    recorded = await asyncio.gather(*(shop.credit(store) for _ in range(64)))

    assert len({one.result for one in recorded}) == 1
    assert sum(not one.repeated for one in recorded) == 1
    assert shop.balance(store) == Balance(100, 15)


async def test_another_sale_under_a_used_id_is_refused_and_changes_nothing(store: Store) -> None:
    await shop.credit(store, "s-1", 1_500)

    with pytest.raises(SaleIdReused, match="s-1"):
        await shop.credit(store, "s-1", 1_600)
    assert store.outbox.figures().waiting == 1
    assert shop.balance(store) == Balance(100, 15)


async def test_a_refused_sale_takes_none_of_its_companions_along(store: Store) -> None:
    await shop.credit(store, "s-1", 1_500)

    sales = [shop.credit(store, f"n-{number}", 100) for number in range(20)]
    answers = await asyncio.gather(shop.credit(store, "s-1", 9_900), *sales, return_exceptions=True)

    assert [type(answer) for answer in answers].count(SaleIdReused) == 1
    assert shop.balance(store) == Balance(100, 35)
    batch = await store.journal.next_batch(100, 100_000)
    assert batch is not None
    assert [json.loads(event)["seq"] for event in batch.events] == list(range(1, 22))


async def test_points_on_an_unknown_card_stop_at_the_cap_even_for_sales_at_once(store: Store) -> None:
    unknown = shop.card(2)
    await asyncio.gather(*(shop.credit(store, f"s-{number}", 10_000, unknown) for number in range(16)))

    assert shop.balance(store, unknown) == Balance(0, 500)
    batch = await store.journal.next_batch(100, 100_000)
    assert batch is not None
    flags = [set(json.loads(event)["data"]["flags"]) for event in batch.events]
    assert flags[:5] == [{"card_unknown"}] * 5
    assert flags[5:] == [{"card_unknown", "points_capped"}] * 11


async def test_a_reversal_takes_back_what_the_sale_earned_and_only_once(store: Store) -> None:
    await shop.credit(store)

    first = await shop.take_back(store, "r-1")
    repeated = await shop.take_back(store, "r-1")
    second = await shop.take_back(store, "r-2")

    assert shop.balance(store) == Balance(100, 0)
    assert (repeated.result, repeated.repeated) == (first.result, True)
    assert first.answer is not None
    assert second.answer is not None
    assert (first.answer.points, second.answer.points) == (15, 0)
    assert json.loads(second.result)["state"] == "already_taken_back"


async def test_a_reversal_of_a_sale_that_is_not_known_here_is_kept_for_the_hub(store: Store) -> None:
    recorded = await shop.take_back(store, "r-1", "elsewhere")

    assert json.loads(recorded.result)["state"] == "sale_not_known_here"
    batch = await store.journal.next_batch(1, 10_000)
    assert batch is not None
    event = Event.model_validate_json(batch.events[0])
    fact = read_fact(event)
    assert isinstance(fact, PointsReversed)
    assert (event.type, event.subject, fact.sale_id) == (REVERSED, None, "elsewhere")
    assert shop.balance(store) == Balance(100, 0)


async def test_another_reversal_under_a_used_id_is_refused(store: Store) -> None:
    await shop.take_back(store, "r-1", "s-1")

    with pytest.raises(ReversalIdReused, match="r-1"):
        await shop.take_back(store, "r-1", "s-2")


async def test_a_sale_that_the_hub_refused_is_not_taken_back_twice(store: Store) -> None:
    await shop.credit(store)
    await shop.settle_all(store, {1: rejected(1)})

    await shop.take_back(store)

    assert shop.balance(store) == Balance(100, 0)


async def test_an_acknowledged_event_stays_pending_until_the_balance_contains_it(store: Store) -> None:
    await shop.credit(store)
    await shop.settle_all(store)

    assert store.outbox.figures().waiting == 0
    assert shop.balance(store) == Balance(100, 15)
    await store.cache.apply(shop.page(shop.put(points=115), position=2, covered={shop.INC: 1}))
    assert shop.balance(store) == Balance(115, 0)


async def test_a_balance_that_overtakes_the_answer_to_the_upload_counts_once(store: Store) -> None:
    await shop.credit(store)
    await store.cache.apply(shop.page(shop.put(points=115), position=2, covered={shop.INC: 1}))

    assert shop.balance(store) == Balance(115, 0)
    await shop.settle_all(store)
    assert shop.balance(store) == Balance(115, 0)


async def test_a_rejected_event_leaves_the_sum_and_is_shown_with_its_reason(store: Store) -> None:
    await shop.credit(store)
    await shop.settle_all(store, {1: rejected(1)})

    assert shop.balance(store) == Balance(100, 0)
    figures = store.outbox.figures()
    assert (figures.waiting, figures.rejected) == (0, 1)
    page = await store.outbox.rows()
    (row,) = page.rows
    assert (row.state, row.reason, row.sale_id) == ("rejected", "sale_already_credited", "s-1")


async def test_a_parked_event_is_held_until_its_final_verdict_comes_on_the_feed(store: Store) -> None:
    await shop.credit(store)
    await shop.settle_all(store, {1: parked(1)})
    assert shop.balance(store) == Balance(100, 0)
    assert store.outbox.figures().parked == 1

    await store.cache.apply(shop.page(OutcomePut(inc=shop.INC, verdict=applied(1)), position=2))
    assert store.outbox.figures().parked == 0


async def test_a_held_event_that_is_finally_refused_is_listed_as_rejected(store: Store) -> None:
    await shop.credit(store)
    await shop.settle_all(store, {1: parked(1)})

    put = OutcomePut(inc=shop.INC, verdict=rejected(1))
    for position in (2, 3):  # a page may come twice
        await store.cache.apply(shop.page(put, position=position))
    figures = store.outbox.figures()
    assert (figures.parked, figures.rejected) == (0, 1)


async def test_a_final_verdict_that_overtakes_the_answer_parked_is_not_held_for_ever(store: Store) -> None:
    await shop.credit(store)
    await store.cache.apply(shop.page(OutcomePut(inc=shop.INC, verdict=applied(1)), position=2))
    assert (await store.outbox.rows()).rows[0].state == "waiting"

    await shop.settle_all(store, {1: parked(1)})
    assert (await store.outbox.rows()).rows == ()
    assert store.outbox.figures().parked == 0


async def test_a_withheld_event_stays_listed_whatever_the_hub_says_of_its_marker(store: Store) -> None:
    await shop.credit(store)
    for _ in range(2):
        await store.journal.withhold(shop.INC, 1, "message_too_large")
    assert shop.balance(store) == Balance(100, 0)

    await shop.settle_all(store, {1: parked(1)})
    (row,) = (await store.outbox.rows()).rows
    assert (row.state, row.reason) == ("withheld", "message_too_large")
    assert (await store.outbox.export()).events[0].count('"sale_id":"s-1"') == 1


async def test_only_an_unbroken_run_of_verdicts_settles(store: Store) -> None:
    for number in range(4):
        await shop.credit(store, f"s-{number}")

    await store.journal.settle(shop.INC, shop.verdicts(applied(1), applied(3), applied(4)))

    batch = await store.journal.next_batch(10, 100_000)
    assert batch is not None
    assert (batch.first, batch.last) == (2, 4)


async def test_a_batch_keeps_to_its_limits_and_carries_one_event_at_least(store: Store) -> None:
    for number in range(5):
        await shop.credit(store, f"s-{number}")

    by_count = await store.journal.next_batch(3, 1_000_000)
    by_size = await store.journal.next_batch(5, 1_200)
    at_least = await store.journal.next_batch(5, 10)

    assert by_count is not None
    assert by_size is not None
    assert at_least is not None
    assert [len(batch.events) for batch in (by_count, by_size, at_least)] == [3, 2, 1]


async def test_a_hub_that_holds_less_than_we_believed_gets_the_rest_again(store: Store) -> None:
    for number in range(4):
        await shop.credit(store, f"s-{number}")
    await shop.settle_all(store, {2: rejected(2)})
    await store.cache.apply(shop.page(shop.put(points=145), position=2, covered={shop.INC: 4}))
    await shop.credit(store, "s-5")
    await shop.settle_all(store)  # sweeps what is covered

    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=1)])
    batch = await store.journal.next_batch(10, 100_000)
    assert batch is not None
    assert (batch.first, batch.last) == (2, 5)
    assert store.outbox.figures().rejected == 0
    assert shop.balance(store) == Balance(145, 15)  # the old cache still contains them

    chunk = shop.chunk(shop.put(points=115))
    manifest = shop.manifest([chunk], covered={shop.INC: 1})
    await store.cache.begin_snapshot(manifest)
    await store.cache.load_chunk(1, chunk)
    await store.cache.finish_snapshot(manifest)
    assert shop.balance(store) == Balance(115, 60)  # the restored hub's does not


async def test_a_hub_that_claims_more_settles_nothing(store: Store) -> None:
    await shop.credit(store)

    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=7), AppliedThrough(inc=SECOND_INC, through=3)])

    assert store.outbox.figures().waiting == 1


async def test_each_start_counts_from_one_and_the_older_events_go_first(
    store: Store, tmp_path: Path, clock: FakeClock
) -> None:
    await shop.credit(store, "s-1")
    await shop.credit(store, "s-2")
    async with shop.open_till(tmp_path, clock, SECOND_INC) as later:  # as after a crash: nobody closed the first
        await shop.credit(later, "s-3")
        assert [(one.inc, one.length) for one in (await later.journal.state()).incarnations] == [
            (shop.INC, 2),
            (SECOND_INC, 1),
        ]
        first = await shop.settle_all(later)
        second = await shop.settle_all(later)
        assert await shop.settle_all(later) is None

    assert first is not None
    assert second is not None
    assert (first.inc, first.first, first.last) == (shop.INC, 1, 2)
    assert (second.inc, second.first, second.last) == (SECOND_INC, 1, 1)


async def test_a_start_without_a_sale_leaves_no_trace(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        assert (await store.journal.state()).incarnations == ()
        assert await store.journal.next_batch(10, 10_000) is None
        assert (await store.journal.waiting()).oldest_recorded_at is None


async def test_waiting_says_how_many_and_since_when(store: Store, clock: FakeClock) -> None:
    await shop.credit(store, "s-1")
    clock.set_wall(shop.MORNING + timedelta(minutes=5))
    await shop.credit(store, "s-2")
    assert (await store.journal.waiting()).oldest_recorded_at == shop.MORNING

    await store.journal.settle(shop.INC, shop.verdicts(applied(1)))
    waiting = await store.journal.waiting()
    assert (waiting.count, waiting.oldest_recorded_at) == (1, shop.MORNING + timedelta(minutes=5))


async def test_what_a_hello_tells_is_of_one_moment(store: Store) -> None:
    async def sell() -> None:
        for number in range(20):
            await shop.credit(store, f"s-{number}")

    async with asyncio.TaskGroup() as group:
        selling = group.create_task(sell())
        while not selling.done():
            state = await store.journal.state()
            assert state.waiting.count == sum(one.length for one in state.incarnations)


async def test_pages_of_the_outbox_name_each_event_once_in_order(store: Store) -> None:
    for number in range(7):
        await shop.credit(store, f"s-{number}")
    await store.journal.settle(shop.INC, shop.verdicts(applied(1), rejected(2), applied(3), parked(4)))

    listed: list[tuple[int, str]] = []
    after: int | None = 0
    while after is not None:
        page = await store.outbox.rows(after=after, limit=2)
        listed += [(row.seq, row.state) for row in page.rows]
        after = page.next_after

    assert listed == [(2, "rejected"), (4, "parked"), (5, "waiting"), (6, "waiting"), (7, "waiting")]


async def test_a_presented_card_is_asked_about_once_and_its_value_is_erased_when_sent(store: Store) -> None:
    unknown = shop.card(2)
    await shop.credit(store, "s-1", 1_000, unknown)
    await shop.credit(store, "s-2", 1_000, unknown)

    (presented,) = await store.journal.unsent_identifiers(10)
    assert presented.identifier.value == unknown
    assert store.customers.by_identifier(presented.id).asked == "waiting"

    await store.journal.identifiers_sent([presented.id], [])
    assert await store.journal.unsent_identifiers(10) == []
    assert store.customers.by_identifier(presented.id).asked == "unknown"


async def test_the_hub_is_asked_again_after_a_day(store: Store, clock: FakeClock) -> None:
    presented = PresentedIdentifier(
        id=shop.card_id(shop.card(2)), identifier=Identifier(scheme=Scheme.CARD, value=shop.card(2))
    )
    await store.journal.present(presented)
    await store.journal.identifiers_sent([presented.id], [presented.id])
    await store.journal.present(presented)
    assert await store.journal.unsent_identifiers(10) == []

    clock.set_wall(clock.now() + timedelta(hours=25))
    await store.journal.present(presented)
    assert await store.journal.unsent_identifiers(10) == [presented]


async def test_whatever_begins_to_wait_wakes_the_pusher(store: Store) -> None:
    for act in (
        shop.credit(store),
        shop.take_back(store),
        store.journal.present(
            PresentedIdentifier(
                id=shop.card_id(shop.card(3)), identifier=Identifier(scheme=Scheme.CARD, value=shop.card(3))
            )
        ),
    ):
        store.journal.notice.clear()
        await act
        assert store.journal.notice.is_set()
