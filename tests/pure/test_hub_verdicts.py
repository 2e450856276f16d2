import pytest

from sync.contract.events import PointsEarned, PointsReversed
from sync.contract.protocol import Outcome, Reason
from sync.hub.judging.verdicts import Decision, Sale, judge_reversal, judge_sale
from tests.support.hub_events import CARD, PROGRAM, sale_data

CREDITED = Sale(1, CARD, 10, 0)
OTHER_CURRENCY = PROGRAM.model_copy(update={"currency": "EUR"})


def fact(*net_minor: int, **changes: object) -> PointsEarned:
    return PointsEarned.model_validate(sale_data("s-1", *net_minor, **changes))


def line(net_minor: int, points: int) -> dict[str, object]:
    return {"quantity": "1", "net_minor": net_minor, "points": points}


def test_a_sale_by_the_rules_is_credited() -> None:
    assert judge_sale(fact(450, 725, 1290), CARD, PROGRAM, None) == Decision(Outcome.APPLIED, points=24)


def test_a_sale_of_nothing_is_applied_and_books_nothing() -> None:
    assert judge_sale(fact(0), CARD, PROGRAM, None) == Decision(Outcome.APPLIED, points=0)


@pytest.mark.parametrize(
    ("sale", "reason"),
    [
        (fact(1_000, net_minor=999), Reason.BAD_EVENT),
        (fact(1_000, points=11), Reason.BAD_EVENT),
        (fact(1_000, lines=[line(1_000, 11)], points=11), Reason.POINTS_MISMATCH),
        (fact(1_000, lines=[line(1_000, 9)], points=9), Reason.POINTS_MISMATCH),
        (fact(150, 150, lines=[line(150, 1), line(150, 2)]), Reason.POINTS_MISMATCH),
        (fact(1_000, currency="EUR"), Reason.CURRENCY_MISMATCH),
        (fact(1_000, lines=[line(1_000, 11)], points=11, flags=["points_capped"]), Reason.POINTS_MISMATCH),
        (fact(300, 700, lines=[line(300, 4), line(700, 0)], points=4, flags=["points_capped"]), Reason.POINTS_MISMATCH),
    ],
)
def test_a_sale_against_the_rules_is_rejected_with_its_reason(sale: PointsEarned, reason: Reason) -> None:
    assert judge_sale(sale, CARD, PROGRAM, None) == Decision(Outcome.REJECTED, reason)


def test_a_sale_without_an_identifier_can_be_booked_nowhere() -> None:
    assert judge_sale(fact(1_000), None, PROGRAM, None).reason is Reason.BAD_EVENT


def test_a_sale_under_rules_the_hub_never_had_is_rejected() -> None:
    assert judge_sale(fact(1_000), CARD, None, None).reason is Reason.UNKNOWN_PROGRAM


def test_a_sale_is_credited_once() -> None:
    assert judge_sale(fact(1_000), CARD, PROGRAM, CREDITED).reason is Reason.SALE_ALREADY_CREDITED


def test_a_capped_sale_may_have_less_as_the_rules_spread_it() -> None:
    capped = fact(300, 700, lines=[line(300, 1), line(700, 3)], points=4, flags=["points_capped"])

    assert judge_sale(capped, CARD, PROGRAM, None) == Decision(Outcome.APPLIED, points=4)


def test_a_cap_may_give_a_line_more_than_it_has_without_a_cap() -> None:
    # The Alabama paradox of largest remainders: of 11 points the last line gets 1, of 10 it gets 2.
    nets = (471, 471, 158)
    assert [share["points"] for share in sale_data("s-1", *nets)["lines"]] == [5, 5, 1]
    lines = [line(net, points) for net, points in zip(nets, (4, 4, 2), strict=True)]

    capped = fact(*nets, lines=lines, points=10, flags=["points_capped"])

    assert judge_sale(capped, CARD, PROGRAM, None) == Decision(Outcome.APPLIED, points=10)


REVERSAL = PointsReversed(reversal_id="r-1", sale_id="s-1")


@pytest.mark.parametrize(
    ("sale", "known_for", "decision"),
    [
        (CREDITED, None, Decision(Outcome.APPLIED, points=-10)),
        (CREDITED, "s-1", Decision(Outcome.APPLIED, points=-10)),
        (Sale(1, CARD, 10, 10), None, Decision(Outcome.APPLIED, points=0)),
        (Sale(1, CARD, 10, 4), None, Decision(Outcome.APPLIED, points=-6)),
        (None, None, Decision(Outcome.PARKED, Reason.WAITS_FOR_SALE)),
        (None, "s-1", Decision(Outcome.PARKED, Reason.WAITS_FOR_SALE)),
        (None, "s-2", Decision(Outcome.REJECTED, Reason.REVERSAL_CONFLICT)),
        (CREDITED, "s-2", Decision(Outcome.REJECTED, Reason.REVERSAL_CONFLICT)),
    ],
)
def test_a_reversal_takes_back_what_is_left_or_waits_or_is_refused(
    sale: Sale | None, known_for: str | None, decision: Decision
) -> None:
    assert judge_reversal(REVERSAL, sale, known_for) == decision
