"""What a parked redemption spent stays reserved, whatever becomes of its allowance: nobody else is given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from sync.contract.allowance import AllowancesWord
from sync.contract.protocol import Outcome, Reason, Verdict
from sync.hub.books.redemption_rows import listed_risks
from sync.hub.escrow.recovery import begin
from sync.hub.escrow.reserving import end_by_steps
from sync.hub.feed.head import Head
from sync.hub.judging import posting, redemptions
from sync.hub.judging.times import BusinessDay
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.fences import quarantine
from sync.hub.uploads.intake import Intake, apply_around
from sync.hub.uploads.quarantine import release_step
from sync.hub.uploads.upload import read_upload
from sync.runtime.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.hub_books import NOW, Books, card_id
from tests.support.hub_events import body, sale
from tests.support.hub_redemptions import NUMBER, ONE, TWO, ask, redemption, returned, two_tills, undoing

CARD = card_id(NUMBER)
HELD = (Outcome.PARKED, Reason.HUB_FAULT)
APPLIED = (Outcome.APPLIED, None)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with two_tills(tmp_path) as books:
        yield books


@contextmanager
def bug_on(redemption_id: str) -> Iterator[None]:
    """Let the rules fall over this redemption."""

    def judge(claim: redemptions.Claim, *rest: Any, **more: Any) -> redemptions.Redeeming:
        if claim.fact.redemption_id == redemption_id:
            raise ZeroDivisionError
        return redemptions.judge_redemption(claim, *rest, **more)

    with mock.patch.object(posting, "judge_redemption", judge):
        yield


class ThisThread:
    """The books' writer, on this thread."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def write(self, work: Any) -> Any:
        return self._books.write(work)


async def start_anew(books: Books) -> int:
    """Judge what is parked as a hub does at each start; return how many got a verdict."""
    metrics = Metrics(program="hub", version="0")
    return await Intake(cast("Any", ThisThread(books)), mock.Mock(Head), "e", FakeClock(NOW), metrics).replay_parked()


def upload(books: Books, sender: Sender, first: int, *events: str) -> list[tuple[Outcome, str | None]]:
    """Upload as a hub takes it, with what it falls over held; return the verdicts."""
    read = read_upload(body(*events), sender, first)
    return said(books.write(lambda connection: apply_around(connection, read, NOW, BusinessDay())).verdicts)


def said(verdicts: tuple[Verdict, ...]) -> list[tuple[Outcome, str | None]]:
    return [(one.outcome, one.reason) for one in verdicts]


def release(books: Books, sender: Sender) -> None:
    while books.write(partial(release_step, terminal_id=sender.terminal_id, now=NOW)).total:
        pass


def only(word: AllowancesWord) -> str:
    assert len(word.allowances) == 1
    return word.allowances[0].allowance_id


def granted(word: AllowancesWord) -> int:
    return sum(one.amount for one in word.allowances)


def figures(books: Books) -> tuple[int, int, int]:
    """The customer's balance, what allowances hold of it, and the store's risk."""
    risk = sum(points for _, _, points in listed_risks(books.connection))
    return books.number("SELECT points FROM balances"), books.number("SELECT reserved FROM balances"), risk


def spend_all_at_the_other_till(books: Books) -> int:
    """Let the other till redeem whatever it is granted; return how much that is."""
    word = ask(books, TWO, C_1=100)
    points = granted(word)
    if points:
        assert upload(books, TWO, 1, redemption(TWO, 1, "r-other", {only(word): points}, CARD)) == [APPLIED]
    return points


@pytest.mark.parametrize("is_one_upload", [False, True])
async def test_a_redemption_that_the_hub_fell_over_keeps_its_points_though_its_allowance_comes_back(
    books: Books, *, is_one_upload: bool
) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    events = [redemption(ONE, 1, "r-1", {allowance: 50}, CARD), returned(ONE, 2, allowance), sale(ONE, 3, "s-1", CARD)]
    with bug_on("r-1"):
        if is_one_upload:
            assert upload(books, ONE, 1, *events) == [HELD, HELD, APPLIED]
        else:
            assert [upload(books, ONE, seq, event)[0] for seq, event in enumerate(events, 1)] == [HELD, HELD, APPLIED]
        assert figures(books) == (110, 60, 0)
        assert spend_all_at_the_other_till(books) == 50

        assert await start_anew(books) == 0  # no wiser: the return still waits behind it
        assert figures(books) == (60, 60, 0)

    assert await start_anew(books) == 2
    assert figures(books) == (10, 0, 0)
    assert '"outcome"' in "".join(books.page(ONE.terminal_id, 0).changes)


async def test_the_terminal_is_not_told_of_an_allowance_that_it_gave_back_while_that_waits(books: Books) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    with bug_on("r-1"):
        upload(books, ONE, 1, redemption(ONE, 1, "r-1", {allowance: 20}, CARD))
        assert [one.spent for one in ask(books, ONE).allowances] == [20]
        upload(books, ONE, 2, returned(ONE, 2, allowance))
        assert ask(books, ONE).allowances == ()  # its rest would be spent behind its return

    assert await start_anew(books) == 2
    assert (ask(books, ONE).allowances, figures(books)) == ((), (80, 0, 0))


async def test_what_is_taken_back_of_a_held_redemption_comes_back_with_it(books: Books) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    with bug_on("r-1"):
        upload(books, ONE, 1, redemption(ONE, 1, "r-1", {allowance: 60}, CARD))
        waits = (Outcome.PARKED, Reason.WAITS_FOR_REDEMPTION)
        assert upload(books, ONE, 2, undoing(ONE, 2, "u-1", "r-1"), returned(ONE, 3, allowance)) == [waits, HELD]

    await start_anew(books)
    assert figures(books) == (100, 0, 0)


def test_another_allowance_goes_back_at_once_though_a_redemption_is_held(books: Books) -> None:
    first = only(ask(books, ONE, C_1=30))
    (second,) = {one.allowance_id for one in ask(books, ONE, C_1=60).allowances} - {first}
    with bug_on("r-1"):
        upload(books, ONE, 1, redemption(ONE, 1, "r-1", {first: 30}, CARD))

    assert upload(books, ONE, 2, returned(ONE, 2, second)) == [APPLIED]
    assert figures(books) == (100, 30, 0)


def test_what_another_terminal_says_it_spent_keeps_no_allowance_back(books: Books) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    with bug_on("r-1"):
        assert upload(books, TWO, 1, redemption(TWO, 1, "r-1", {allowance: 60}, CARD)) == [HELD]

    assert upload(books, ONE, 1, returned(ONE, 1, allowance)) == [APPLIED]
    assert figures(books) == (100, 0, 0)


def test_a_redemption_that_waits_for_a_recoverys_end_cannot_lose_its_points_because_nothing_is_granted_before_it(
    books: Books,
) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    books.write(lambda connection: begin(connection, NOW, 24))
    events = [redemption(ONE, 1, "r-1", {allowance: 50, "gone": 5}, CARD), returned(ONE, 2, allowance)]
    assert upload(books, ONE, 1, *events) == [(Outcome.PARKED, Reason.HUB_RECOVERING), APPLIED]
    assert spend_all_at_the_other_till(books) == 0

    ending = books.write(partial(end_by_steps, after=(0, 0), now=NOW))

    assert ending.is_over
    assert spend_all_at_the_other_till(books) == 45  # what came back paid for what no known allowance covered
    assert figures(books) == (0, 0, 0)


async def test_a_redemption_in_quarantine_cannot_lose_its_points_because_its_return_waits_behind_it(
    books: Books,
) -> None:
    """As a fork does: from its first event on all that the terminal sends is parked, and released in its order."""
    allowance = only(ask(books, ONE, C_1=60))
    books.write(partial(quarantine, terminal_id=ONE.terminal_id, now=NOW))
    quarantined = (Outcome.PARKED, Reason.QUARANTINED)
    assert upload(books, ONE, 1, redemption(ONE, 1, "r-1", {allowance: 50}, CARD)) == [quarantined]
    assert upload(books, ONE, 2, returned(ONE, 2, allowance)) == [quarantined]
    assert spend_all_at_the_other_till(books) == 40

    with bug_on("r-1"):
        release(books, ONE)  # and where the hub falls over it then, both wait for the upgrade
        assert figures(books) == (60, 60, 0)

    assert await start_anew(books) == 2
    assert figures(books) == (10, 0, 0)


def test_only_a_batch_with_a_return_is_asked_for_held_redemptions(books: Books) -> None:
    allowance = only(ask(books, ONE, C_1=60))
    asked: list[str] = []

    def statements(seq: int, event: str) -> int:
        asked.clear()
        upload(books, ONE, seq, event)
        return sum("instr(events.raw" in one for one in asked)

    raw = cast("Any", books.connection)
    raw.set_trace_callback(asked.append)
    try:
        assert statements(1, sale(ONE, 1, "s-1", CARD)) == 0
        assert statements(2, redemption(ONE, 2, "r-1", {allowance: 10}, CARD)) == 0
        assert statements(3, undoing(ONE, 3, "u-1", "r-1")) == 0
        assert statements(4, returned(ONE, 4, allowance)) == 1
    finally:
        raw.set_trace_callback(None)
