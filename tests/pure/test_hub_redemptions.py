from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.contract.events import PointsRedeemed, RedemptionReversed
from sync.contract.protocol import Outcome, Reason
from sync.hub.judging.bookings import Accounts
from sync.hub.judging.redemptions import Claim, Redemption, Reserve, judge_redemption, judge_undoing
from sync.hub.judging.verdicts import Decision
from tests.support.hub_redemptions import redemption_data

CARD, OTHER = "a" * 32, "b" * 32
TILL = "till-1"


def accounts(points: int = 100, reserved: int = 40) -> Accounts:
    return Accounts(owners={CARD: "C-1"}, balances={"C-1": points}, reserved={"C-1": reserved})


def claim(shares: Mapping[str, int], goodwill: int = 0, identifier: str | None = CARD) -> Claim:
    return Claim(7, TILL, identifier, PointsRedeemed.model_validate(redemption_data("r-1", shares, goodwill)))


def reserve(rest: int = 40, **changes: object) -> Reserve:
    known: dict[str, object] = {"terminal_id": TILL, "account": "C-1", "amount": rest, "spent": 0, "is_open": True}
    return Reserve(**(known | changes))  # type: ignore[arg-type]  # made up by name


@pytest.mark.parametrize(
    ("shares", "goodwill", "known", "booked", "risk", "spent"),
    [
        ({"a": 30}, 0, {"a": reserve()}, 30, 0, {"a": 30}),
        ({"a": 30}, 5, {"a": reserve()}, 30, 0, {"a": 30}),
        ({"a": 50}, 0, {"a": reserve()}, 50, 0, {"a": 40}),  # ten of the free points
        ({"a": 120}, 0, {"a": reserve()}, 100, 20, {"a": 40}),
        ({"a": 30}, 0, {}, 30, 0, {}),
        ({"a": 90}, 0, {}, 60, 30, {}),
        ({"a": 30}, 0, {"a": reserve(is_open=False)}, 30, 0, {}),
        ({"a": 90}, 0, {"a": reserve(terminal_id="till-2")}, 60, 30, {}),
        ({"a": 30}, 0, {"a": reserve(account="C-2")}, 30, 0, {"a": 30}),
        ({"a": 20, "b": 50}, 0, {"a": reserve(20), "b": reserve(20)}, 70, 0, {"a": 20, "b": 20}),
        ({}, 9, {}, 0, 0, {}),
    ],
)
def test_what_is_reserved_pays_first_then_what_is_free_then_the_store(
    shares: dict[str, int], goodwill: int, known: dict[str, Reserve], booked: int, risk: int, spent: dict[str, int]
) -> None:
    redeeming = judge_redemption(claim(shares, goodwill), None, known, accounts())

    assert redeeming.decision == Decision(Outcome.APPLIED, points=-booked)
    assert redeeming.redemption is not None
    assert (redeeming.redemption.risk, redeeming.redemption.goodwill) == (risk, goodwill)
    assert redeeming.spent == spent


def test_while_the_hub_recovers_only_what_is_known_to_be_covered_is_judged() -> None:
    covered = judge_redemption(claim({"a": 30}), None, {"a": reserve()}, accounts(), is_recovering=True)
    part = judge_redemption(claim({"a": 41}), None, {"a": reserve()}, accounts(), is_recovering=True)
    short = judge_redemption(claim({"a": 40}), None, {"a": reserve()}, accounts(points=10), is_recovering=True)

    assert covered.decision.outcome is Outcome.APPLIED
    assert [one.decision.reason for one in (part, short)] == [Reason.HUB_RECOVERING] * 2
    assert (part.spent, part.redemption) == ({}, None)


def test_a_redemption_on_nobodys_account_is_refused_and_an_erased_persons_costs_nobody() -> None:
    gone = Accounts(closed={CARD}, tallies={CARD: 5})

    assert judge_redemption(claim({"a": 1}, identifier=None), None, {}, accounts()).decision.reason is Reason.BAD_EVENT
    redeeming = judge_redemption(claim({"a": 30}), None, {"a": reserve(account="C-9")}, gone)
    assert redeeming.decision.points == -30


def undo(
    redemption: Redemption | None, known: Mapping[str, Reserve], **changes: str
) -> tuple[Decision, Mapping[str, int]]:
    fact = RedemptionReversed(reversal_id="u-1", redemption_id="r-1")
    undoing = judge_undoing(fact, changes.get("till", TILL), redemption, changes.get("before"), known, accounts())
    return undoing.decision, undoing.grown


def test_an_undoing_gives_back_what_was_the_customers_and_grows_the_allowances_of_its_own_till() -> None:
    redemption = Redemption(7, TILL, CARD, 50, None, 40, risk=10, covered={"a": 30})
    spent = reserve(40, spent=30)

    assert undo(redemption, {"a": spent}) == (Decision(Outcome.APPLIED, points=40), {"a": 30})
    assert undo(redemption, {"a": spent}, till="till-2")[1] == {}
    assert undo(redemption, {"a": reserve(40, spent=30, is_open=False)})[1] == {}
    assert undo(redemption, {"a": reserve(40, spent=30, account="C-2")})[1] == {}
    assert undo(None, {})[0] == Decision(Outcome.PARKED, Reason.WAITS_FOR_REDEMPTION)
    assert undo(redemption, {}, before="r-2")[0].reason is Reason.REVERSAL_CONFLICT
    assert undo(Redemption(7, TILL, CARD, 50, None, 40, is_reversed=True), {})[0] == Decision(Outcome.APPLIED)


steps = st.lists(
    st.tuples(st.sampled_from(["give", "take", "reserve", "spend", "let go"]), st.integers(1, 60), st.booleans()),
    max_size=30,
)


@given(steps=steps)
def test_no_account_falls_below_what_is_reserved_and_every_point_is_somewhere(
    steps: list[tuple[str, int, bool]],
) -> None:
    books = Accounts(owners={CARD: "C-1", OTHER: "C-1"}, balances={"C-1": 0})
    earned = taken = spent = 0
    for act, points, is_first in steps:
        card, reserved = CARD if is_first else OTHER, books.reserved.get("C-1", 0)
        if act == "give":
            books.give(1, card, points)
            earned += points
        elif act == "take" and earned - taken >= points:
            books.take(1, card, points)
            taken += points
        elif act == "reserve":
            books.reserve("C-1", min(points, books.free("C-1")))
        elif act == "spend":
            books.reserve("C-1", -min(points, reserved))
            books.post(card, -min(points, reserved))
            spent += min(points, reserved)
        elif act == "let go":
            books.reserve("C-1", -min(points, reserved))
            books.pay_debts(1, "C-1", min(points, reserved))
        owed = sum(books.debts.values())
        assert books.balances["C-1"] >= books.reserved.get("C-1", 0) >= 0
        assert books.balances["C-1"] - owed == earned - taken - spent
        assert books.balances["C-1"] == sum(books.tallies.values())
        assert owed == sum(entry.points for entry in books.entries)
        assert all(debt >= 0 for debt in books.debts.values())
        assert not (owed and books.free("C-1"))
