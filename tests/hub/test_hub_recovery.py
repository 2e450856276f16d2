"""A hub that was brought back from a backup while tills held points that it does not know of (F28)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sync.contract.allowance import AllowancesWord, HeldAllowance
from sync.contract.events import EVENT_TYPES, REDEEMED
from sync.contract.protocol import HelloRequest, IncarnationLength, Outcome, Reason
from sync.hub.books.event_rows import parked_events
from sync.hub.books.ledger import pay_what_is_owed
from sync.hub.books.redemption_rows import listed_risks
from sync.hub.escrow.recovery import begin, end, is_complete, shown
from sync.hub.escrow.reserving import Ending, end_by_steps, greet
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.intake import replay
from sync.runtime.sqlite_file import Connection
from tests.support.hub_books import NOW, Books, card_id, customer, open_books
from tests.support.hub_events import reversal, sale
from tests.support.hub_redemptions import ask, asker, enrolled, redemption, returned, undoing

NUMBER = "9000000000000001"
CARD = card_id(NUMBER)
ONE = Sender("till-1", "store-1", "1" * 16)
TWO = Sender("till-2", "store-1", "2" * 16)
HOURS = 24


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two tills, and a customer with 100 points, just after the restore."""
    with open_books(tmp_path) as books:
        enrolled(books, ONE, TWO)
        books.put(customer("C-1", NUMBER, points=100))
        books.write(lambda connection: begin(connection, NOW, HOURS))
        yield books
        books.check_sums()


def hello(books: Books, sender: Sender, length: int, *held: HeldAllowance, epoch: str | None = "e") -> AllowancesWord:
    request = HelloRequest(
        protocols=("storesync/1",),
        agent_version="0.1.0",
        event_types=EVENT_TYPES,
        hub_epoch=epoch,
        incarnations=(IncarnationLength(inc=sender.inc, length=length),),
        waiting=length,
        oldest_waiting_s=0,
        wall=NOW,
        monoms=1,
        bootid="boot-1",
        allowances=held,
    )
    return books.write(lambda connection: greet(connection, asker(sender), request, NOW))


def held(allowance_id: str, amount: int, spent: int = 0) -> HeldAllowance:
    return HeldAllowance(allowance_id=allowance_id, customer_id="C-1", amount=amount, spent=spent)


def advance(connection: Connection, now: datetime) -> bool:
    """Look whether the wait is over, and end it where it is."""
    is_over = is_complete(connection, now)
    if is_over:
        end(connection)
    return is_over


def is_over(books: Books, now: datetime = NOW) -> bool:
    return books.write(lambda connection: advance(connection, now))


def judge(books: Books) -> None:
    for event in parked_events(books.connection, (REDEEMED,), Reason.HUB_RECOVERING):
        books.write(partial(replay, event=event, now=NOW))


def balance(books: Books) -> int:
    return books.number("SELECT points FROM balances WHERE customer_id = 'C-1'")


def risks(books: Books) -> int:
    return sum(points for _, _, points in listed_risks(books.connection))


def test_f28_nothing_is_granted_until_every_till_has_sent_what_it_had(books: Books) -> None:
    word = hello(books, ONE, 1, held("a-1", 60, spent=40))
    assert [(one.allowance_id, one.amount, one.spent) for one in word.allowances] == [("a-1", 60, 0)]
    assert not is_over(books)
    assert [one.points for one in ask(books, TWO, C_1=10).refused] == [10]

    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 40}, CARD))
    assert not is_over(books)  # the other till has not said hello
    hello(books, TWO, 2)
    assert not is_over(books)  # nor sent its two events
    books.upload(TWO, 1, sale(TWO, 1, "s-1", CARD, 300), sale(TWO, 2, "s-2", CARD, 200))
    assert is_over(books)

    word = ask(books, TWO, C_1=100)
    # 105 - 40 spent - 20 that the first till still holds.
    assert ([one.amount for one in word.allowances], balance(books), risks(books)) == ([45], 65, 0)


def test_f28_an_allowance_is_known_again_once_however_often_it_is_named(books: Books) -> None:
    hello(books, ONE, 0, held("a-1", 60))
    hello(books, ONE, 0, held("a-1", 60))

    assert books.number("SELECT reserved FROM balances") == 60


def test_f28_what_no_known_allowance_covers_waits_and_is_judged_at_the_end(books: Books) -> None:
    hello(books, ONE, 2)
    hello(books, TWO, 0, held("a-2", 50))

    answer = books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 40}, CARD), returned(ONE, 2, "a-1"))
    again = books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 40}, CARD))
    early = books.upload(TWO, 1, undoing(TWO, 1, "u-1", "r-2"))

    assert [(one.outcome, one.reason) for one in answer.results] == [
        (Outcome.PARKED, Reason.HUB_RECOVERING),
        (Outcome.APPLIED, None),
    ]
    assert again.results[0].reason is Reason.HUB_RECOVERING
    assert early.results[0].reason is Reason.WAITS_FOR_REDEMPTION
    assert balance(books) == 100
    assert is_over(books)
    judge(books)
    assert (balance(books), risks(books)) == (60, 0)
    assert '"outcome":"applied"' in "".join(books.page(ONE.terminal_id, 0).changes)
    books.upload(TWO, 2, redemption(TWO, 2, "r-2", {"a-2": 50}, CARD))
    assert (balance(books), risks(books)) == (60, 0)


def test_f28_what_a_waiting_redemption_spent_is_not_given_to_the_till_again(books: Books) -> None:
    hello(books, ONE, 1, held("a-1", 60))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 30, "gone": 5}, CARD))

    assert [one.spent for one in ask(books, ONE).allowances] == [30]
    assert books.number("SELECT reserved FROM balances") == 60
    # Whatever it is parked for: at the till the points are gone.
    books.write(lambda connection: connection.execute("UPDATE events SET reason = 'unknown_type'"))
    assert [one.spent for one in ask(books, ONE).allowances] == [30]
    books.write(lambda connection: connection.execute("UPDATE events SET reason = 'hub_recovering'"))

    books.write(end)
    judge(books)
    assert [one.spent for one in ask(books, ONE).allowances] == [30]
    assert (balance(books), risks(books)) == (65, 0)


def test_f28_points_that_are_still_on_their_way_back_are_waited_for(books: Books) -> None:
    hello(books, ONE, 1, held("a-1", 120))
    hello(books, TWO, 1)

    # The sale of the other till, which paid for it, was lost with the hub and comes a moment later.
    answer = books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 120}, CARD))
    assert answer.results[0].reason is Reason.HUB_RECOVERING
    books.upload(TWO, 1, sale(TWO, 1, "s-1", CARD, 2_000))
    assert is_over(books)
    judge(books)

    assert (balance(books), risks(books)) == (0, 0)


def test_f28_a_till_that_never_comes_is_waited_for_as_long_as_an_allowance_lives(books: Books) -> None:
    hello(books, ONE, 0)

    assert not is_over(books, NOW + timedelta(hours=HOURS, seconds=-1))
    assert is_over(books, NOW + timedelta(hours=HOURS))
    assert shown(books.connection) is None
    assert ask(books, ONE, C_1=10).refused == ()


def test_f28_restored_twice_everybody_is_waited_for_anew(books: Books) -> None:
    hello(books, ONE, 0)
    hello(books, TWO, 0)
    books.write(lambda connection: begin(connection, NOW, HOURS))

    assert not is_over(books)
    waiting = shown(books.connection)
    assert waiting is not None
    assert [(terminal, has_spoken) for terminal, _, has_spoken in waiting.terminals] == [
        ("till-1", False),
        ("till-2", False),
    ]


def test_a_person_ends_the_wait_and_what_is_spent_twice_is_the_stores(books: Books) -> None:
    books.write(end)
    ask(books, TWO, C_1=90)

    hello(books, ONE, 1, held("a-1", 60))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 60}, CARD))

    assert (balance(books), risks(books)) == (90, 50)


def test_f28_a_sale_taken_back_meanwhile_takes_no_point_that_a_till_may_hold(books: Books) -> None:
    """Nobody knows yet which points are free: it is owed, and paid when all are known again."""
    books.upload(TWO, 1, sale(TWO, 1, "s-1", CARD, 3_000), reversal(TWO, 2, "u-1", "s-1"))
    assert (balance(books), _owed(books)) == (130, 30)
    hello(books, ONE, 1, held("a-1", 60))
    hello(books, TWO, 2)
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"gone": 50}, CARD))

    assert is_over(books)
    judge(books)
    pos = books.write(lambda connection: pay_what_is_owed(connection, 1))

    # 50 were spent, 60 are held, and of the 30 that are owed 20 are there.
    assert (balance(books), _owed(books), risks(books)) == (60, 10, 0)
    assert books.number("SELECT max(pos) FROM feed") == pos
    assert books.write(lambda connection: pay_what_is_owed(connection, 1)) == pos


def test_f28_a_card_that_comes_to_a_customer_with_a_debt_is_paid_by_what_is_earned_next(books: Books) -> None:
    """The backup knew nobody for the card, so what its customer has on others could not pay; nor does it at once."""
    number = "9000000000000002"
    card = card_id(number)
    books.upload(TWO, 1, sale(TWO, 1, "s-1", card, 3_000), reversal(TWO, 2, "u-1", "s-1"))
    hello(books, ONE, 1)
    hello(books, TWO, 2)
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"gone": 30}, card))
    books.write(partial(end_by_steps, after=(0, 0), now=NOW))

    books.put(customer("C-1", NUMBER, number))
    assert (balance(books), _owed(books), risks(books)) == (100, 30, 0)
    books.upload(TWO, 3, sale(TWO, 3, "s-2", CARD, 2_000))
    assert (balance(books), _owed(books)) == (100, 10)


def test_f28_a_hello_from_before_the_restore_that_comes_late_ends_no_wait(books: Books) -> None:
    """Whoever sent it may hold and have recorded more than it says, and its answer tells them of the restore.

    A till that heard of the new epoch by such an answer, and asked for the feed before it sent a redemption, was taken
    for one that had sent all: its points were granted again.
    """
    hello(books, TWO, 0)
    for before in ("e-before", None):
        hello(books, ONE, 0, epoch=before)
        assert not is_over(books)
    hello(books, ONE, 1, held("a-1", 60))
    hello(books, ONE, 0)  # said before that one, and later still
    assert not is_over(books)
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 60}, CARD))
    assert is_over(books)


@pytest.mark.parametrize("known", [60, 40])
def test_f28_points_that_two_tills_give_back_are_not_reserved_for_the_first_that_comes(
    books: Books, known: int
) -> None:
    """Before the restore the other till's word came first, freed the points, and they were granted to it.

    Afterwards the word of the till that had spent them came first: it got them again, and 160 of 100 were reserved.
    Where no known allowance covers all of the redemption, both words wait with it for the end of the recovery.
    """
    hello(books, ONE, 2, held("a-1", known))
    hello(books, TWO, 1, held("b-1", 100))
    books.upload(ONE, 1, redemption(ONE, 1, "r-1", {"a-1": 60}, CARD), undoing(ONE, 2, "u-1", "r-1"))
    books.upload(TWO, 1, undoing(TWO, 1, "u-2", "r-1"))
    books.write(partial(end_by_steps, after=(0, 0), now=NOW))

    reserved = books.number("SELECT reserved FROM balances WHERE customer_id = 'C-1'")
    assert (balance(books), reserved, risks(books)) == (100, 100, 0)


def test_f28_many_redemptions_that_wait_are_judged_in_steps_and_nothing_is_granted_before_the_last(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.escrow.reserving.EVENTS_PER_STEP", 2)
    hello(books, ONE, 5)
    hello(books, TWO, 0)
    books.upload(ONE, 1, *(redemption(ONE, seq, f"r-{seq}", {"gone": 15}, CARD) for seq in range(1, 6)))

    step, balances = Ending(), []
    while not step.is_over:
        assert books.write(lambda connection: is_complete(connection, NOW))
        assert ask(books, TWO, C_1=10).allowances == ()
        step = books.write(partial(end_by_steps, after=step.after, now=NOW))
        balances.append(balance(books))
        if len(balances) == 1:  # one more, while the others are judged
            late = books.upload(ONE, 6, redemption(ONE, 6, "r-6", {"gone": 15}, CARD))
            assert late.results[0].reason is Reason.HUB_RECOVERING

    assert (balances, risks(books), shown(books.connection)) == ([70, 40, 10], 0, None)
    assert [one.amount for one in ask(books, TWO, C_1=100).allowances] == [10]


def test_f28_an_end_that_was_broken_off_goes_on_with_what_is_not_judged(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.escrow.reserving.EVENTS_PER_STEP", 2)
    books.upload(ONE, 1, *(redemption(ONE, seq, f"r-{seq}", {"gone": 40}, CARD) for seq in range(1, 4)))
    assert not books.write(partial(end_by_steps, after=(0, 0), now=NOW)).is_over

    assert books.write(partial(end_by_steps, after=(0, 0), now=NOW)).is_over
    assert (balance(books), risks(books)) == (0, 20)


def _owed(books: Books) -> int:
    return books.number("SELECT debt FROM balances WHERE customer_id = 'C-1'")
