"""Allowances while customers are merged, parted, erased, or lose a card."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.hub.books.redemption_rows import listed_risks
from sync.hub.people.customer_rows import Leaving
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import Books, card_id, customer, open_books
from tests.support.hub_events import reversal, sale
from tests.support.hub_redemptions import ask, enrolled, redemption, returned, undoing

NUMBERS = ("9000000000000001", "9000000000000002", "9000000000000003")
CARD_1, CARD_2, CARD_3 = map(card_id, NUMBERS)
ONE = Sender("till-1", "store-1", "1" * 16)
TWO = Sender("till-2", "store-2", "2" * 16)
CALL = '{"op":"allowances"}'


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two tills, and three customers with 100, 50 and 10 points."""
    with open_books(tmp_path) as books:
        enrolled(books, ONE, TWO)
        for number, (card, points) in enumerate(zip(NUMBERS, (100, 50, 10), strict=True), start=1):
            books.put(customer(f"C-{number}", card, points=points))
        yield books
        books.check_sums()


def balances(books: Books) -> dict[str, int]:
    rows = books.connection.execute(
        "SELECT customer_id, points FROM customers JOIN balances USING (customer_id)"
    ).fetchall()
    return dict(rows)


def risk(books: Books) -> int:
    return sum(points for _, _, points in listed_risks(books.connection))


def test_f45_allowances_of_both_sides_of_a_merge_stay_good(books: Books) -> None:
    first = ask(books, ONE, C_1=100).allowances[0].allowance_id
    second = ask(books, TWO, C_2=50).allowances[0].allowance_id

    books.merge("C-2", "C-1")
    assert [one.customer_id for one in ask(books, TWO).allowances] == ["C-1"]
    assert books.page(TWO.terminal_id, 0).changes[-1] == CALL

    # Both were offline: each spent with the card that it knew.
    books.upload(TWO, 1, sale(TWO, 1, "s-1", CARD_2, 700), redemption(TWO, 2, "r-1", {second: 50}, CARD_2))
    books.upload(ONE, 1, redemption(ONE, 1, "r-2", {first: 100}, CARD_1))
    assert (balances(books), risk(books)) == ({"C-1": 7, "C-3": 10}, 0)


def test_f45_a_merged_persons_points_are_granted_once(books: Books) -> None:
    ask(books, ONE, C_1=100)
    books.merge("C-2", "C-1")

    word = ask(books, TWO, C_2=80)

    assert [(one.customer_id, one.amount) for one in word.allowances] == [("C-1", 50)]
    assert [(one.points, one.reserved_elsewhere) for one in word.refused] == [(30, 100)]


def test_f46_after_an_unmerge_each_has_its_own_and_nobody_stands_below_zero(books: Books) -> None:
    books.merge("C-2", "C-1")
    held = ask(books, ONE, C_1=120).allowances[0].allowance_id
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 120}, CARD_2))
    assert balances(books) == {"C-1": 30, "C-3": 10}

    books.unmerge("C-2")

    # C-2 had 50 and 120 were spent on its card: the hub gives the 70.
    assert balances(books) == {"C-1": 100, "C-2": 0, "C-3": 10}
    assert books.number("SELECT sum(points) FROM entries WHERE kind = 'adjustment'") == 70
    books.upload(ONE, 2, sale(ONE, 2, "s-1", CARD_2, 500))
    assert balances(books)["C-2"] == 5


def test_f46_what_a_till_spends_after_an_unmerge_of_an_allowance_from_before(books: Books) -> None:
    books.merge("C-2", "C-1")
    held = ask(books, ONE, C_1=130).allowances[0].allowance_id

    books.unmerge("C-2")
    assert balances(books) == {"C-1": 100, "C-2": 50, "C-3": 10}
    assert ask(books, TWO, C_1=10).allowances == ()
    assert books.page(ONE.terminal_id, 0).changes.count(CALL) == 1

    # The till was offline: it spends with either card.
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 60}, CARD_2), redemption(ONE, 2, "r-2", {held: 70}, CARD_1))
    assert (balances(books), risk(books)) == ({"C-1": 30, "C-2": 0, "C-3": 10}, 10)
    assert ask(books, ONE).allowances[0].spent == 130


def test_f46_a_chain_of_merges_carries_allowances_to_its_root_and_back(books: Books) -> None:
    held = ask(books, ONE, C_3=10).allowances[0].allowance_id
    books.merge("C-3", "C-2")
    books.merge("C-2", "C-1")
    assert [one.customer_id for one in ask(books, ONE).allowances] == ["C-1"]

    books.unmerge("C-2")
    assert [one.customer_id for one in ask(books, ONE).allowances] == ["C-2"]
    books.unmerge("C-3")
    assert [one.customer_id for one in ask(books, ONE).allowances] == ["C-3"]

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 10}, CARD_3))
    assert (balances(books), risk(books)) == ({"C-1": 100, "C-2": 50, "C-3": 0}, 0)


def test_a_debt_goes_with_the_card_it_was_made_on(books: Books) -> None:
    books.upload(ONE, 1, sale(ONE, 1, "s-1", CARD_2, 5_000))
    held = ask(books, ONE, C_2=100).allowances[0].allowance_id
    books.upload(ONE, 2, redemption(ONE, 2, "r-1", {held: 100}, CARD_2), reversal(ONE, 3, "x-1", "s-1"))
    assert books.number("SELECT debt FROM balances WHERE customer_id = 'C-2'") == 50

    books.merge("C-2", "C-1")
    assert books.number("SELECT debt FROM balances WHERE customer_id = 'C-1'") == 50
    books.upload(TWO, 1, sale(TWO, 1, "s-2", CARD_1, 3_000))
    assert balances(books) == {"C-1": 100, "C-3": 10}

    books.unmerge("C-2")
    assert books.number("SELECT debt FROM balances WHERE customer_id = 'C-1'") == 0
    assert books.number("SELECT debt FROM balances WHERE customer_id = 'C-2'") == 20
    assert balances(books) == {"C-1": 130, "C-2": 0, "C-3": 10}
    assert books.number("SELECT sum(points) FROM entries WHERE kind = 'adjustment'") == 30


def test_f47_an_erased_persons_allowances_end_and_late_spends_cost_nobody(books: Books) -> None:
    held = ask(books, ONE, C_1=100).allowances[0].allowance_id
    books.put(Leaving("C-1", "erased"))

    assert ask(books, ONE).allowances == ()
    assert books.page(ONE.terminal_id, 0).changes[-1] == CALL
    books.upload(
        ONE,
        1,
        redemption(ONE, 1, "r-1", {held: 40}, CARD_1),
        undoing(ONE, 2, "u-1", "r-1"),
        redemption(ONE, 3, "r-2", {held: 10}, CARD_1),
        returned(ONE, 4, held),
    )
    assert (balances(books), risk(books)) == ({"C-2": 50, "C-3": 10}, 0)


def test_f47_a_card_given_out_again_owes_nothing_of_the_erased_person(books: Books) -> None:
    books.upload(ONE, 1, sale(ONE, 1, "s-1", CARD_1, 5_000))
    held = ask(books, ONE, C_1=150).allowances[0].allowance_id
    books.upload(ONE, 2, redemption(ONE, 2, "r-1", {held: 150}, CARD_1), reversal(ONE, 3, "x-1", "s-1"))
    books.put(Leaving("C-1", "erased"))
    books.put(customer("C-9", NUMBERS[0]))

    books.upload(ONE, 4, sale(ONE, 4, "s-2", CARD_1, 900), undoing(ONE, 5, "u-1", "r-1"))

    assert balances(books)["C-9"] == 9


def test_a_customer_who_leaves_the_shop_is_recalled_and_the_spend_is_still_good(books: Books) -> None:
    books.upload(ONE, 1, sale(ONE, 1, "s-1", CARD_1, 2_000))
    held = ask(books, ONE, C_1=60).allowances[0].allowance_id
    books.put(Leaving("C-1", "out_of_scope"))

    assert ask(books, ONE).allowances[0].recalled
    books.upload(ONE, 2, redemption(ONE, 2, "r-1", {held: 30}, CARD_1))
    # Of the card's own 20 points, and the rest by the store: the opening balance is out of reach.
    assert books.number("SELECT points FROM tallies") == 0
    assert risk(books) == 10


def test_a_card_that_moves_to_another_customer_leaves_nobody_below_zero(books: Books) -> None:
    books.put(customer("C-1", NUMBERS[0], "9000000000000007", points=100))
    books.upload(ONE, 1, sale(ONE, 1, "s-1", card_id("9000000000000007"), 4_000))
    held = ask(books, ONE, C_1=140).allowances[0].allowance_id
    books.upload(ONE, 2, redemption(ONE, 2, "r-1", {held: 140}, CARD_1))

    books.put(customer("C-1", NUMBERS[0]), customer("C-3", NUMBERS[2], "9000000000000007"))

    assert balances(books) == {"C-1": 0, "C-2": 50, "C-3": 50}
    assert books.number("SELECT sum(points) FROM entries WHERE kind = 'adjustment'") == 40
