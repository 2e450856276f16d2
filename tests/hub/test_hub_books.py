from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sync.contract import events
from sync.contract.events import EARNED, PointsEarned, canonical_json
from sync.contract.protocol import Outcome, Reason, Verdict
from sync.hub.books.event_rows import parked_events
from sync.hub.people.customer_rows import Leaving
from sync.hub.terminals.roster import NewTerminal, Place, enrol
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.intake import replay
from sync.hub.uploads.placing import Gap
from tests.support.hub_books import NOW, Books, card_id, customer, open_books
from tests.support.hub_events import SENDER, event, reversal, sale, sale_data

OTHER = Sender("till-2", "store-1", "1" * 16)
ELSEWHERE = Sender("till-9", "store-2", "2" * 16)
CARD = card_id("9990000000000001")
PLACE = Place("store-1", "Front")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        yield books
        books.check_sums()


def verdict(seq: int, outcome: Outcome, reason: Reason | None = None) -> Verdict:
    return Verdict(seq=seq, outcome=outcome, reason=reason)


def leaving(customer_id: str) -> Leaving:
    return Leaving(customer_id, "erased")


def points_of_card(books: Books, card: str = CARD) -> int:
    return books.number("SELECT points FROM tallies WHERE identifier = ?", card)


def test_a_sale_is_applied_once_however_often_it_comes(books: Books) -> None:
    first = books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    again = [books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD)) for _ in range(3)]

    assert first.results == (verdict(1, Outcome.APPLIED),)
    assert {answer.results for answer in again} == {(verdict(1, Outcome.DUPLICATE),)}
    assert points_of_card(books) == 10


def test_a_range_that_overlaps_the_head_repeats_the_old_and_applies_the_new(books: Books) -> None:
    sales = [sale(SENDER, seq, f"s-{seq}", CARD) for seq in range(1, 5)]
    books.upload(SENDER, 1, *sales[:2])

    answer = books.upload(SENDER, 2, *sales[1:])

    assert answer.results == (
        verdict(2, Outcome.DUPLICATE),
        verdict(3, Outcome.APPLIED),
        verdict(4, Outcome.APPLIED),
    )
    assert answer.applied_through == 4


def test_a_gap_is_refused_and_leaves_nothing(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))

    with pytest.raises(Gap) as raised:
        books.upload(SENDER, 3, sale(SENDER, 3, "s-3", CARD))
    with pytest.raises(Gap) as never_begun:
        books.upload(OTHER, 2, sale(OTHER, 2, "s-9", CARD))

    assert (raised.value.applied_through, never_begun.value.applied_through) == (1, 0)
    assert books.number("SELECT count(*) FROM streams") == 1
    assert points_of_card(books) == 10


def test_a_refusal_is_repeated_as_it_was_when_its_answer_got_lost(books: Books) -> None:
    sent = (
        sale(SENDER, 1, "s-1", CARD, currency="EUR"),
        reversal(SENDER, 2, "r-1", "s-unknown"),
        sale(SENDER, 3, "s-3", CARD),
    )
    first = books.upload(SENDER, 1, *sent)

    again = books.upload(SENDER, 1, *sent)

    assert again.results == (*first.results[:2], verdict(3, Outcome.DUPLICATE))
    assert first.results[0].reason is Reason.CURRENCY_MISMATCH
    assert first.results[1].reason is Reason.WAITS_FOR_SALE


def test_the_same_sale_of_two_tills_is_credited_once(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))

    answer = books.upload(OTHER, 1, sale(OTHER, 1, "s-1", CARD))

    assert answer.results[0].reason is Reason.SALE_ALREADY_CREDITED
    assert points_of_card(books) == 10


def test_a_sale_id_belongs_to_its_store(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))

    answer = books.upload(ELSEWHERE, 1, sale(ELSEWHERE, 1, "s-1", CARD), reversal(ELSEWHERE, 2, "r-1", "s-1"))

    assert [one.outcome for one in answer.results] == [Outcome.APPLIED, Outcome.APPLIED]
    assert points_of_card(books) == 10


def test_a_bad_event_does_not_block_those_behind_it(books: Books) -> None:
    answer = books.upload(SENDER, 1, sale(SENDER, 1, "s-1", "no card"), sale(SENDER, 2, "s-2", CARD))

    assert answer.results == (verdict(1, Outcome.REJECTED, Reason.BAD_EVENT), verdict(2, Outcome.APPLIED))


def test_a_reversal_waits_for_its_sale_across_uploads_and_tills(books: Books) -> None:
    early = books.upload(SENDER, 1, reversal(SENDER, 1, "r-1", "s-1"))
    start = books.pages("till-1")[-1].pos

    books.upload(OTHER, 1, sale(OTHER, 1, "s-1", CARD))

    assert early.results == (verdict(1, Outcome.PARKED, Reason.WAITS_FOR_SALE),)
    assert points_of_card(books) == 0
    assert books.number("SELECT count(*) FROM waiting") == 0
    mine, theirs = (books.page(till, start).changes for till in ("till-1", "till-2"))
    assert [text for text in mine if "outcome" in text] == [
        f'{{"op":"outcome","inc":"{SENDER.inc}","verdict":{{"seq":1,"outcome":"applied","reason":null}}}}'
    ]
    assert not any("outcome" in text for text in theirs)


def test_a_reversal_and_its_sale_in_one_batch_in_the_wrong_order_are_settled(books: Books) -> None:
    answer = books.upload(SENDER, 1, reversal(SENDER, 1, "r-1", "s-1"), sale(SENDER, 2, "s-1", CARD))

    assert [one.outcome for one in answer.results] == [Outcome.PARKED, Outcome.APPLIED]
    assert points_of_card(books) == 0
    assert books.number("SELECT count(*) FROM events WHERE outcome = 'applied'") == 2


def test_two_waiting_reversals_take_the_points_back_once(books: Books) -> None:
    books.upload(SENDER, 1, reversal(SENDER, 1, "r-1", "s-1"), reversal(SENDER, 2, "r-2", "s-1"))
    books.upload(OTHER, 1, reversal(OTHER, 1, "r-1", "s-1"), sale(OTHER, 2, "s-1", CARD))

    assert points_of_card(books) == 0
    assert books.number("SELECT min(points) FROM events") == -10
    assert books.number("SELECT sum(points) FROM events") == 0


def test_an_unknown_type_is_parked_whole_and_applied_once_when_it_is_understood(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = "loyalty.points.earned.v2"
    books.write(lambda connection: enrol(connection, NewTerminal("till-1", "x" * 40, "0.1.0"), PLACE, NOW))
    raw = canonical_json(event(SENDER, 1, newer, sale_data("s-1", 1_000), subject=CARD))
    answer = books.upload(SENDER, 1, raw, sale(SENDER, 2, "s-2", CARD))
    assert answer.results[0] == verdict(1, Outcome.PARKED, Reason.UNKNOWN_TYPE)
    start = books.pages("till-1")[-1].pos

    # The upgrade: the newer version is known from now on, and reads as the older one does.
    monkeypatch.setattr(events, "_FACTS", {EARNED: PointsEarned, newer: PointsEarned})
    for _ in range(2):
        for parked in books.write(lambda connection: parked_events(connection, (EARNED, newer))):
            books.write(partial(replay, event=parked, now=NOW))

    assert points_of_card(books) == 20
    changes = books.page("till-1", start).changes
    assert [text for text in changes if "outcome" in text] == [
        f'{{"op":"outcome","inc":"{SENDER.inc}","verdict":{{"seq":1,"outcome":"applied","reason":null}}}}'
    ]


def test_an_event_is_kept_word_for_word(books: Books) -> None:
    raw = sale(SENDER, 1, "s-1", CARD)
    books.upload(SENDER, 1, raw)

    assert books.connection.execute("SELECT raw, stream, seq FROM events").fetchone() == (raw, 1, 1)


def test_points_of_a_card_move_to_its_customer_and_back_to_the_card(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD, net_minor=3_000))

    books.put(customer("C-1", "9990000000000001", points=100))
    assert books.number("SELECT points FROM balances") == 130
    books.upload(SENDER, 2, sale(SENDER, 2, "s-2", CARD))
    assert books.number("SELECT points FROM balances") == 140
    books.put(customer("C-2", "9990000000000001"))

    assert books.connection.execute("SELECT customer_id, points FROM balances ORDER BY 1").fetchall() == [
        ("C-1", 100),
        ("C-2", 0),
    ]
    assert points_of_card(books) == 40
    books.put(customer("C-1"))
    assert books.number("SELECT points FROM balances WHERE customer_id = 'C-2'") == 40


def test_a_customer_who_is_erased_leaves_no_name_and_no_hint_and_the_ledger_stays(books: Books) -> None:
    books.put(customer("C-1", "9990000000000001", points=100, name="Canary"))
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    books.put(customer("C-1", "9990000000000001", "9990000000009876", name="Canary"))

    books.put(leaving("C-1"))

    assert points_of_card(books) == 10
    tables = (
        "customers",
        "identifiers",
        "presented",
        "feed",
        "events",
        "balances",
        "openings",
        "tallies",
        "merges",
        "origins",
    )
    for table in tables:
        rows = books.connection.execute(f"SELECT * FROM {table}").fetchall()
        assert not any("Canary" in str(row) or "9876" in str(row) or "0001" in str(row) for row in rows), table
    page = books.pages("till-1")[-1]
    assert '{"op":"gone","customer_id":"C-1","reason":"erased"}' in page.changes
    assert not any('"op":"card"' in text for text in page.changes)  # the points are nobody's


def test_a_customer_who_comes_back_keeps_what_was_opened_once(books: Books) -> None:
    books.put(customer("C-1", points=100))
    books.put(leaving("C-1"))

    books.put(customer("C-1", points=100))

    assert books.number("SELECT points FROM balances") == 100
