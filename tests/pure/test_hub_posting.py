import random
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from sync.contract.events import EARNED, PointsEarned, PointsReversed
from sync.contract.protocol import Outcome, Reason
from sync.hub.judging.posting import Known, Origin, Posting, event_number
from sync.hub.uploads.batch import Item
from tests.support.hub_events import PROGRAM, sale_data

CARDS = tuple(letter * 32 for letter in "abc")
OWNERS = {CARDS[0]: "C-1", CARDS[1]: "C-1"}


def sale_item(seq: int, sale_id: str, card: str, net_minor: int, **changes: object) -> Item:
    fact = PointsEarned.model_validate(sale_data(sale_id, net_minor, **changes))
    return Item(seq, EARNED, "{}", card, fact)


def reversal_item(seq: int, reversal_id: str, sale_id: str) -> Item:
    return Item(seq, "reversed", "{}", None, PointsReversed(reversal_id=reversal_id, sale_id=sale_id))


def books() -> Known:
    return Known(7, programs={1: PROGRAM}, owners=dict(OWNERS), balances={"C-1": 100})


def test_each_booking_says_the_balance_as_it_was_then() -> None:
    posting = Posting(books())
    origin = Origin(1, "till-1", "0" * 16)

    posting.add(origin, sale_item(1, "s-1", CARDS[0], 500))
    posting.add(origin, sale_item(2, "s-2", CARDS[1], 700))
    posting.add(origin, sale_item(3, "s-3", CARDS[2], 300))

    assert [(row.pos, row.kind, row.key, row.points) for row in posting.feed] == [
        (8, "balance", "C-1", 105),
        (9, "balance", "C-1", 112),
        (10, "card", CARDS[2], 3),
    ]
    assert posting.known.tallies == {CARDS[0]: 5, CARDS[1]: 7, CARDS[2]: 3}


def test_events_that_book_nothing_get_the_next_position_or_a_head_row() -> None:
    posting = Posting(books())
    origin = Origin(1, "till-1", "0" * 16)
    rejected = Item(1, "x", "{}", fault=Reason.BAD_EVENT)

    posting.add(origin, rejected)
    posting.add(origin, sale_item(2, "s-1", CARDS[0], 500))
    posting.add(origin, Item(3, "x", "{}", fault=Reason.UNKNOWN_TYPE))
    posting.close("till-1")

    assert [(kept.item.seq, kept.pos) for kept in posting.fresh] == [(1, 8), (2, 8), (3, 9)]
    assert [row.kind for row in posting.feed] == ["balance", "head"]


def test_a_sale_settles_the_reversals_that_waited_and_books_before_it_says_so() -> None:
    posting = Posting(books())
    origin = Origin(1, "till-1", "0" * 16)

    first = posting.add(origin, reversal_item(1, "r-1", "s-1"))
    posting.add(origin, sale_item(2, "s-1", CARDS[0], 500))

    assert (first.outcome, first.reason) == (Outcome.PARKED, Reason.WAITS_FOR_SALE)
    assert [(row.kind, row.points) for row in posting.feed] == [("balance", 105), ("balance", 100), ("outcome", None)]
    assert [kept.number for kept in posting.settled] == [event_number(1, 1)]
    assert posting.known.waiting == {}


@given(seed=st.integers(0, 10_000), events=st.integers(1, 25))
def test_whatever_the_order_the_books_end_the_same_and_positions_never_fall(seed: int, events: int) -> None:
    dice = random.Random(seed)
    made: list[tuple[str, str, int] | tuple[str, str]] = []
    for number in range(events):
        sale_id = f"s-{dice.randrange(events)}"
        made.append(
            (sale_id, dice.choice(CARDS), dice.randrange(0, 900)) if dice.random() < 0.6 else (f"r-{number}", sale_id)
        )
    sales: dict[str, tuple[str, str, int]] = {}
    for one in made:
        if len(one) == 3:
            sales.setdefault(one[0], one)
    facts = [one for one in made if len(one) == 2] + list(sales.values())
    reversed_ids = {one[1] for one in facts if len(one) == 2}
    expected: dict[str, int] = defaultdict(int)
    for sale_id, card, net in sales.values():
        if sale_id not in reversed_ids:
            expected[card] += net // 100

    dice.shuffle(facts)
    posting = Posting(books())
    for index, one in enumerate(facts, start=1):
        origin = Origin(1 + index % 2, f"till-{index % 2}", "0" * 16)
        item = sale_item(index, *one) if len(one) == 3 else reversal_item(index, *one)
        posting.add(origin, item)
    posting.close("till-1")

    assert {card: points for card, points in posting.known.tallies.items() if points} == {
        card: points for card, points in expected.items() if points
    }
    assert posting.known.balances["C-1"] == 100 + expected[CARDS[0]] + expected[CARDS[1]]
    assert [row.pos for row in posting.feed] == list(range(8, 8 + len(posting.feed)))
    for stream in (1, 2):
        positions = [kept.pos for kept in posting.fresh if kept.number >> 32 == stream]
        assert positions == sorted(positions)
    held = {sale_id for sale_id in reversed_ids if sale_id not in sales}
    assert {sale_id for sale_id, waiting in posting.known.waiting.items() if waiting} == held


def test_an_event_number_is_stream_and_seq() -> None:
    assert event_number(1, 1) == 4_294_967_297
    assert event_number(3, 7) >> 32 == 3


def test_a_parked_event_that_is_understood_now_books_and_says_its_verdict() -> None:
    posting = Posting(books())

    posting.settle(Origin(1, "till-1", "0" * 16), sale_item(1, "s-1", CARDS[0], 500))

    assert [row.kind for row in posting.feed] == ["balance", "outcome"]
    assert posting.settled[0].decision.outcome is Outcome.APPLIED


def test_a_parked_event_that_still_waits_says_nothing() -> None:
    posting = Posting(books())

    posting.settle(Origin(1, "till-1", "0" * 16), reversal_item(1, "r-1", "s-1"))

    assert posting.feed == []
    assert posting.settled[0].decision.reason is Reason.WAITS_FOR_SALE
    assert posting.waits == [("s-1", event_number(1, 1))]
