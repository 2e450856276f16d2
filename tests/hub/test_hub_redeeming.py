import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest

from sync.contract.allowance import AllowancesWord
from sync.contract.events import EVENT_TYPES, REDEEMED
from sync.contract.protocol import Outcome, Reason
from sync.hub.books.event_rows import parked_events
from sync.hub.books.redemption_rows import listed_risks
from sync.hub.escrow.allowances import listed, prune_closed, release
from sync.hub.founding import database_file
from sync.hub.uploads.fences import quarantine
from sync.hub.uploads.intake import replay
from sync.hub.uploads.quarantine import release_step
from tests.support.hub_books import NOW, NOW_MS, Books, card_id, customer, open_books
from tests.support.hub_events import reversal, sale
from tests.support.hub_redemptions import NUMBER, ONE, TWO, ask, redemption, returned, two_tills, undoing

CARD = card_id(NUMBER)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with two_tills(tmp_path) as books:
        yield books


def only(word: AllowancesWord) -> str:
    assert len(word.allowances) == 1
    return word.allowances[0].allowance_id


def balance(books: Books, customer_id: str = "C-1") -> int:
    return books.number("SELECT points FROM balances WHERE customer_id = ?", customer_id)


def risks(books: Books) -> dict[str, int]:
    return {kind: points for _, kind, points in listed_risks(books.connection)}


def test_f16_the_same_question_again_reserves_nothing_more(books: Books) -> None:
    first = ask(books, ONE, C_1=40)
    again = ask(books, ONE, C_1=40)

    assert first.allowances == again.allowances
    assert (first.allowances[0].amount, first.allowances[0].customer_id) == (40, "C-1")
    assert books.number("SELECT reserved FROM balances") == 40


def test_a_till_gets_what_is_missing_to_what_it_wants(books: Books) -> None:
    ask(books, ONE, C_1=40)
    more = ask(books, ONE, C_1=70)

    assert sorted(one.amount for one in more.allowances) == [30, 40]
    assert more.refused == ()


def test_f14_two_tills_never_hold_more_than_there_is(books: Books) -> None:
    ask(books, ONE, C_1=80)
    second = ask(books, TWO, C_1=80)

    assert [one.amount for one in second.allowances] == [20]
    assert [(one.points, one.reserved_elsewhere) for one in second.refused] == [(60, 80)]

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {only(ask(books, ONE)): 80}, CARD))
    books.upload(TWO, 1, redemption(TWO, 1, "r-2", {only(second): 20}, CARD))
    assert (balance(books), risks(books)) == (0, {})


def test_a_redemption_inside_an_allowance_is_the_customers(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))

    answer = books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD))

    assert answer.results[0].outcome is Outcome.APPLIED
    word = ask(books, ONE)
    assert (balance(books), word.allowances[0].spent, word.applied) == (70, 30, {ONE.inc: 1})
    assert books.page(ONE.terminal_id, 0).covered == {ONE.inc: 1}


def test_the_same_redemption_twice_counts_once_and_another_under_its_id_is_refused(books: Books) -> None:
    held = only(ask(books, ONE, C_1=60))
    other = only(ask(books, TWO, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD))

    twice = books.upload(TWO, 1, redemption(TWO, 1, "r-1", {other: 30}, CARD))
    changed = books.upload(TWO, 2, redemption(TWO, 2, "r-1", {other: 31}, CARD))

    assert twice.results[0].outcome is Outcome.APPLIED
    assert changed.results[0].reason is Reason.REDEMPTION_CONFLICT
    assert (balance(books), ask(books, TWO).allowances[0].spent) == (70, 0)


def test_f15_what_no_allowance_covers_is_paid_by_free_points_and_then_by_the_store(books: Books) -> None:
    ask(books, TWO, C_1=70)

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"made-up": 50}, CARD))

    assert (balance(books), risks(books)) == (70, {"uncovered": 20})
    assert ask(books, TWO).allowances[0].spent == 0


def test_goodwill_is_the_stores_and_comes_back_with_the_redemption(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 40}, CARD, goodwill=10))
    assert (balance(books), risks(books)) == (60, {"goodwill": 10})

    books.upload(ONE, 2, undoing(ONE, 2, "u-1", "r-1"))

    assert (balance(books), risks(books)) == (100, {})


def test_nobody_spends_an_allowance_of_another_till(books: Books) -> None:
    held = only(ask(books, ONE, C_1=100))

    books.upload(TWO, 1, redemption(TWO, 1, "r-1", {held: 10}, CARD))

    assert (balance(books), risks(books)) == (100, {"uncovered": 10})
    assert ask(books, ONE).allowances[0].spent == 0


def test_f13_a_redemption_is_taken_back_once_and_its_allowance_grows_back(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD), undoing(ONE, 2, "u-1", "r-1"))
    books.upload(ONE, 3, undoing(ONE, 3, "u-2", "r-1"))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD), undoing(ONE, 2, "u-1", "r-1"))

    assert (balance(books), ask(books, ONE).allowances[0].spent) == (100, 0)
    assert books.page(ONE.terminal_id, 0).changes.count('{"op":"allowances"}') == 1
    assert '{"op":"allowances"}' not in books.page(TWO.terminal_id, 0).changes


def test_f13_taken_back_at_another_till_the_points_are_simply_free(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD))
    books.upload(TWO, 1, undoing(TWO, 1, "u-1", "r-1"))

    assert (balance(books), ask(books, ONE).allowances[0].spent) == (100, 30)


def test_f13_a_reversal_that_comes_before_its_redemption_waits_for_it(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    parked = books.upload(TWO, 1, undoing(TWO, 1, "u-1", "r-1"))
    assert parked.results[0].reason is Reason.WAITS_FOR_REDEMPTION

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD))

    assert balance(books) == 100
    told = "".join(books.page(TWO.terminal_id, 0).changes)
    assert '"op":"outcome"' in told
    assert '"outcome":"applied"' in told


def test_a_reversal_id_of_another_redemption_is_refused(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 10}, CARD), redemption(ONE, 2, "r-2", {held: 10}, CARD))
    books.upload(ONE, 3, undoing(ONE, 3, "u-1", "r-1"))

    assert books.upload(ONE, 4, undoing(ONE, 4, "u-1", "r-2")).results[0].reason is Reason.REVERSAL_CONFLICT


def test_an_allowance_that_comes_back_is_free_at_once(books: Books) -> None:
    held = only(ask(books, ONE, C_1=100))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 30}, CARD), returned(ONE, 2, held), returned(ONE, 3, held))

    assert ask(books, ONE).allowances == ()
    assert [one.amount for one in ask(books, TWO, C_1=100).allowances] == [70]


def test_a_recall_calls_the_till_that_holds_points_and_names_what_it_holds(books: Books) -> None:
    held = only(ask(books, ONE, C_1=100))
    missing = ask(books, TWO, C_1=50)
    ask(books, TWO, C_1=50)

    assert [(one.points, one.reserved_elsewhere) for one in missing.refused] == [(50, 100)]
    assert books.page(ONE.terminal_id, 0).changes[-1] == '{"op":"allowances"}'
    assert '{"op":"allowances"}' not in books.page(TWO.terminal_id, 0).changes
    assert books.number("SELECT count(*) FROM feed WHERE kind = 'allowances'") == 1
    assert ask(books, ONE).allowances[0].recalled

    books.upload(ONE, 1, returned(ONE, 1, held))
    assert [one.amount for one in ask(books, TWO, C_1=50).allowances] == [50]


def test_an_allowance_whose_life_is_over_is_said_so_and_stays_reserved(books: Books) -> None:
    ask(books, ONE, C_1=100)
    later = NOW + timedelta(hours=25)

    word = ask(books, ONE, later, C_1=50)

    assert [one.ttl_s for one in word.allowances] == [0]
    assert [one.reserved_elsewhere for one in word.refused] == [0]
    assert ask(books, TWO, later, C_1=50).refused[0].reserved_elsewhere == 100


def test_a_persons_release_frees_points_and_a_late_spend_is_the_stores_risk(books: Books) -> None:
    held = only(ask(books, ONE, C_1=100))
    assert books.write(lambda connection: release(connection, ONE.terminal_id, NOW_MS)) == (1, 100)
    ask(books, TWO, C_1=80)

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 50}, CARD))

    assert (balance(books), risks(books)) == (80, {"uncovered": 30})
    assert [one.rest for one in listed(books.connection)] == [80]


def test_a_sale_taken_back_after_its_points_were_spent_is_owed_and_paid_by_later_sales(books: Books) -> None:
    books.upload(TWO, 1, sale(TWO, 1, "s-1", CARD, 5_000))
    held = only(ask(books, ONE, C_1=130))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 100}, CARD))
    assert balance(books) == 50

    books.upload(TWO, 2, reversal(TWO, 2, "x-1", "s-1"))
    assert (balance(books), books.number("SELECT debt FROM balances")) == (30, 30)

    books.upload(TWO, 3, sale(TWO, 3, "s-2", CARD, 2_000))
    assert (balance(books), books.number("SELECT debt FROM balances")) == (30, 10)

    books.upload(ONE, 2, returned(ONE, 2, held))
    assert (balance(books), books.number("SELECT debt FROM balances")) == (20, 0)
    assert books.page(ONE.terminal_id, 0).changes[-1].endswith('"points":20}')
    assert books.number("SELECT sum(points) FROM entries WHERE kind = 'debt'") == 0


def test_a_sale_of_a_batch_sees_the_debt_that_the_event_before_it_made(books: Books) -> None:
    held = only(ask(books, ONE, C_1=100))
    books.upload(
        ONE,
        1,
        sale(ONE, 1, "s-1", CARD, 3_000),
        redemption(ONE, 2, "r-1", {held: 100}, CARD),
        reversal(ONE, 3, "x-1", "s-1"),
    )
    assert (balance(books), books.number("SELECT debt FROM balances")) == (0, 0)

    ask(books, TWO, C_1=1)
    books.upload(ONE, 4, sale(ONE, 4, "s-2", CARD, 1_000), redemption(ONE, 5, "r-2", {"none": 10}, CARD))
    books.upload(ONE, 6, reversal(ONE, 6, "x-2", "s-2"), sale(ONE, 7, "s-3", CARD, 1_500))
    assert (balance(books), books.number("SELECT debt FROM balances")) == (5, 0)
    assert books.number("SELECT count(*) FROM entries") == 2


def test_an_unknown_customer_gets_nothing(books: Books) -> None:
    word = ask(books, ONE, C_9=10)

    assert word.allowances == ()
    assert [(one.customer_id, one.points) for one in word.refused] == [("C-9", 10)]


def test_no_single_allowance_is_larger_than_a_redemption_may_be(books: Books) -> None:
    books.put(customer("C-2", "9000000000000002", points=5_000))

    word = ask(books, ONE, C_2=5_000)

    assert [one.amount for one in word.allowances] == [1_000]
    assert [(one.points, one.reserved_elsewhere) for one in word.refused] == [(4_000, 0)]


def test_a_redemption_that_an_older_hub_parked_counts_after_the_upgrade(books: Books) -> None:
    held = only(ask(books, ONE, C_1=40))
    later = redemption(ONE, 1, "r-1", {held: 40}, CARD).replace("redeemed.v1", "redeemed.v9")
    assert books.upload(ONE, 1, later).results[0].reason is Reason.UNKNOWN_TYPE
    books.write(
        lambda connection: connection.execute("UPDATE events SET type = ?, raw = replace(raw, 'v9', 'v1')", (REDEEMED,))
    )

    for event in parked_events(books.connection, EVENT_TYPES):
        books.write(partial(replay, event=event, now=NOW))

    assert (balance(books), ask(books, ONE).allowances[0].spent, risks(books)) == (60, 40, {})


def test_an_allowance_that_ended_long_ago_is_forgotten(books: Books) -> None:
    first = only(ask(books, ONE, C_1=40))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {first: 30}, CARD), returned(ONE, 2, first))
    ask(books, ONE, C_1=20)

    for days in (59, 61):
        books.write(partial(prune_closed, now=NOW + timedelta(days=days)))

    assert books.number("SELECT count(*) FROM allowances") == 1
    books.upload(ONE, 3, undoing(ONE, 3, "u-1", "r-1"))
    assert balance(books) == 100


def test_the_feed_of_an_older_hub_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    file = database_file(tmp_path)
    steps = sorted(files("sync.hub.migrations").iterdir(), key=lambda step: step.name)
    connection = sqlite3.connect(file.path)
    for step in steps:
        if step.name.endswith(".sql") and step.name < "0005":
            connection.executescript(step.read_text(encoding="utf-8"))
    connection.execute(f"PRAGMA application_id={file.application_id}")
    connection.execute("PRAGMA user_version=4")
    connection.execute("INSERT INTO hub (one, epoch, identifier_key) VALUES (1, ?, ?)", ("e" * 16, b"k" * 32))
    connection.execute("INSERT INTO feed (pos, kind, key, points) VALUES (7, 'balance', 'C-1', 12)")
    connection.commit()
    connection.close()

    with open_books(tmp_path) as books:
        assert books.connection.execute("SELECT pos, kind, key, points FROM feed WHERE pos = 7").fetchall() == [
            (7, "balance", "C-1", 12)
        ]
        assert books.page(ONE.terminal_id, 7).changes


def test_a_till_in_quarantine_holds_nothing_and_what_it_held_stays_reserved(books: Books) -> None:
    held = only(ask(books, ONE, C_1=60))
    books.write(partial(quarantine, terminal_id=ONE.terminal_id, now=NOW))

    word = ask(books, ONE, C_1=100)
    assert (word.allowances, [one.points for one in word.refused]) == ((), [100])
    assert [one.reserved_elsewhere for one in ask(books, TWO, C_1=100).refused] == [60]

    answer = books.upload(ONE, 1, redemption(ONE, 1, "r-1", {held: 50}, CARD))
    assert answer.results[0].reason is Reason.QUARANTINED
    while books.write(partial(release_step, terminal_id=ONE.terminal_id, now=NOW)).total:
        pass
    assert (balance(books), [one.spent for one in ask(books, ONE).allowances]) == (50, [50])
