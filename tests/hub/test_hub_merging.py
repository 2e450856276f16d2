import json
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from sync.contract.customers import Caution, CautionKind, Consent, Customer, Purpose
from sync.hub.feed.snapshot_files import chunk_texts
from sync.hub.people.customer_rows import IDENTIFIERS_MAX, CustomerRow, Leaving
from sync.hub.people.exporting import export_customers
from sync.hub.people.merged_rows import compose
from sync.hub.people.merging import MergeRefused
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import Books, card_id, customer, open_books
from tests.support.hub_events import SENDER, reversal, sale

OTHER = Sender("till-2", "store-1", "1" * 16)
ANN, BEN, CLEO = "9990000000000001", "9990000000000002", "9990000000000003"
A, B = card_id(ANN), card_id(BEN)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        books.put(customer("ann", ANN, points=100, name="Ann"), customer("ben", BEN, points=20, name="Ben"))
        books.put(customer("cleo", CLEO, name="Cleo"))
        yield books
        books.check_sums()


def shown(books: Books) -> dict[str, int]:
    """What a snapshot of now shows: each customer and card with its points."""
    rows = [json.loads(line) for _, text in chunk_texts(books.connection) for line in text.splitlines()]
    return {row["customer"]["customer_id"] if "customer" in row else row["identifier"]: row["points"] for row in rows}


def test_f45_a_merge_while_both_cards_have_pending_events_counts_each_once(books: Books) -> None:
    books.merge("ann", "ben")

    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", A), sale(SENDER, 2, "s-2", B))
    books.upload(OTHER, 1, sale(OTHER, 1, "s-3", A))

    assert shown(books) == {"ben": 150, "cleo": 0}
    books.unmerge("ann")
    assert shown(books) == {"ann": 120, "ben": 30, "cleo": 0}


def test_f46_a_chain_is_parted_in_any_order_and_each_has_its_own_again(books: Books) -> None:
    books.merge("ann", "ben")
    books.merge("ben", "cleo")
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", A), sale(SENDER, 2, "s-2", B), reversal(SENDER, 3, "r-1", "s-1"))
    assert shown(books) == {"cleo": 130}

    books.unmerge("ben")
    assert shown(books) == {"ben": 130, "cleo": 0}
    books.unmerge("ann")

    assert shown(books) == {"ann": 100, "ben": 30, "cleo": 0}
    assert books.number("SELECT count(*) FROM origins") == 0


def test_f46_a_circle_is_refused_and_leaves_nothing(books: Books) -> None:
    books.merge("ann", "ben")
    books.merge("ben", "cleo")
    before = list(books.connection.execute("SELECT max(pos), (SELECT count(*) FROM merges) FROM feed"))

    for loser, winner in (("cleo", "ann"), ("ben", "ann"), ("ann", "ann")):
        with pytest.raises(MergeRefused):
            books.merge(loser, winner)

    assert list(books.connection.execute("SELECT max(pos), (SELECT count(*) FROM merges) FROM feed")) == before


def test_a_merge_twice_is_harmless_and_into_another_is_refused(books: Books) -> None:
    first = books.merge("ann", "ben")

    again = books.merge("ann", "ben")

    assert (again.merge_id, again.is_new, again.pos) == (first.merge_id, False, first.pos)
    with pytest.raises(MergeRefused, match="merged into ben already"):
        books.merge("ann", "cleo")


def test_a_merge_with_nobody_or_somebody_erased_is_refused(books: Books) -> None:
    books.put(Leaving("ann", "erased"))

    with pytest.raises(MergeRefused, match="ann was erased on 2026-03-09"):
        books.merge("ann", "ben")
    with pytest.raises(MergeRefused, match="ann was erased"):
        books.merge("ben", "ann")
    with pytest.raises(MergeRefused, match="no such customer"):
        books.merge("ben", "nobody")
    assert shown(books) == {"ben": 20, "cleo": 0}


def test_an_unmerge_goes_by_the_merges_number_too_and_is_refused_where_none_stands(books: Books) -> None:
    merged = books.merge("ann", "ben")

    ended = books.unmerge(str(merged.merge_id))

    assert (ended.loser, ended.winner) == ("ann", "ben")
    with pytest.raises(MergeRefused, match="merged into nobody"):
        books.unmerge("ann")


def test_a_till_is_told_of_a_merge_by_ops_that_it_knows(books: Books) -> None:
    start = books.pages("till-1")[-1].pos

    books.merge("ann", "ben")

    put, gone = [json.loads(text) for text in books.page("till-1", start).changes]
    assert (put["op"], put["customer"]["customer_id"], put["points"]) == ("customer", "ben", 120)
    assert {ref["id"] for ref in put["identifiers"]} == {A, B}
    assert gone == {"op": "gone", "customer_id": "ann", "reason": "out_of_scope", "merged_into": "ben"}
    books.unmerge("ann")
    back = [json.loads(text) for text in books.page("till-1", start + 2).changes]
    assert {(one["customer"]["customer_id"], one["points"]) for one in back} == {("ann", 100), ("ben", 20)}


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_no_page_ends_inside_a_merge_or_its_end(books: Books, limit: int) -> None:
    start = books.pages("till-1")[-1].pos
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", card_id(CLEO)))
    books.merge("ann", "ben")
    books.upload(SENDER, 2, sale(SENDER, 2, "s-2", A))
    books.unmerge("ann")

    ends = [page.pos - start for page in books.pages("till-1", start, limit)]

    assert ends == {1: [1, 3, 4, 6], 2: [1, 6], 500: [6]}[limit]
    assert books.page("till-1", start + 2, 1).pos == start + 3  # a cursor from within goes on


def test_the_row_of_a_merged_customer_is_imported_under_its_own_id(books: Books) -> None:
    books.merge("ann", "ben")

    put = books.put(customer("ann", ANN, CLEO, points=100, name="Anna"), customer("ben", BEN, points=20, name="Ben"))

    assert (put.new, put.changed, put.same, put.gone, put.points_differ) == (0, 1, 1, 0, [])
    assert books.number("SELECT count(*) FROM customers WHERE customer_id = 'ann'") == 0
    books.unmerge("ann")
    wire = books.connection.execute("SELECT wire FROM customers WHERE customer_id = 'ann'").fetchone()
    assert wire is not None
    assert json.loads(wire[0])["given_name"] == "Anna"


def test_a_card_that_both_have_leads_to_the_merge_and_waits_again_after_it(books: Books) -> None:
    books.put(customer("cleo", BEN, name="Cleo"))
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", B))
    assert shown(books) == {"ann": 100, "ben": 20, "cleo": 0, B: 10}

    books.merge("ben", "cleo")
    assert shown(books) == {"ann": 100, "cleo": 30}
    books.unmerge("ben")

    assert shown(books) == {"ann": 100, "ben": 20, "cleo": 0, B: 10}


def test_one_who_leaves_takes_the_merge_along_and_not_the_other(books: Books) -> None:
    books.merge("ann", "ben")

    put = books.put(Leaving("ben", "out_of_scope"))

    assert put.gone == 1
    assert shown(books) == {"ann": 100, "cleo": 0}


def test_too_many_identifiers_together_are_refused(books: Books) -> None:
    books.put(customer("ann", *(f"88800000{number:08d}" for number in range(IDENTIFIERS_MAX)), name="Ann"))

    with pytest.raises(MergeRefused, match="identifiers"):
        books.merge("ann", "ben")


def test_customers_of_a_merge_are_exported_each_by_itself(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", A), sale(SENDER, 2, "s-2", B))
    before, after = StringIO(), StringIO()
    export_customers(books.connection, before, "ndjson")

    books.merge("ann", "ben")
    export_customers(books.connection, after, "ndjson")

    assert sorted(after.getvalue().splitlines()) == sorted(before.getvalue().splitlines())


def consent(day: int, *, granted: bool, purpose: Purpose = Purpose.MARKETING) -> Consent:
    at = datetime(2026, 1, day, tzinfo=UTC)
    return Consent(purpose=purpose, granted=granted, decided_at=at, wording_version="1", language="en")


def row(customer_id: str, *consents: Consent, cautions: tuple[Caution, ...] = ()) -> CustomerRow:
    profile = Customer(customer_id=customer_id, given_name="X", language="en", consents=consents, cautions=cautions)
    return CustomerRow(customer_id, profile.model_dump_json(exclude_defaults=True), "[]", ())


@pytest.mark.parametrize(
    ("winner", "loser", "agrees"),
    [
        ([consent(1, granted=True)], [], True),
        ([], [consent(1, granted=True)], False),  # never wider than what the winner said
        ([consent(9, granted=True)], [consent(1, granted=False)], False),  # a no beats a yes, whenever it was
        ([consent(1, granted=True)], [consent(9, granted=False)], False),
        ([consent(1, granted=False)], [consent(9, granted=True)], False),
        ([consent(9, granted=True)], [consent(1, granted=False), consent(2, granted=True)], True),
    ],
)
def test_a_merge_never_widens_a_consent(winner: list[Consent], loser: list[Consent], agrees: bool) -> None:
    composed = Customer.model_validate_json(compose(row("w", *winner), [row("l", *loser)]).wire)

    assert composed.agrees_to(Purpose.MARKETING) is agrees


def test_who_must_not_be_contacted_is_not_after_a_merge_either() -> None:
    silence = Caution(kind=CautionKind.DO_NOT_CONTACT, since=datetime(2026, 1, 1, tzinfo=UTC).date())

    composed = Customer.model_validate_json(compose(row("w"), [row("l", cautions=(silence,))]).wire)

    assert composed.cautions == (silence,)


def test_a_customer_alone_is_shown_word_for_word() -> None:
    alone = row("w", consent(1, granted=True), consent(2, granted=True))

    assert compose(alone, []) is alone
