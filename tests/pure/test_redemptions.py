"""What may be redeemed here and now: never more than the allowances, and always with a reason that is so."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.purse import Given, Held, Purse, Reading, Trust, WhyNot, goodwill, room
from agent.redemptions import (
    NotSpendable,
    Payer,
    RedemptionDraft,
    RedemptionResult,
    RewardUnknown,
    plan_redemption,
    wish,
)
from agent.sales import Buyer
from sync.contract.allowance import Spend, remaining
from sync.contract.events import PointsRedeemed
from sync.contract.ledger import Balance
from sync.contract.program import RedemptionRule
from tests.support import shop
from tests.support.allowances import redemption
from tests.support.shop import MORNING

HOUR_MS = 3_600_000
NOW = Reading(1_000 * HOUR_MS, 50 * HOUR_MS, "boot-1")
TRUST = Trust(is_frozen=False, heard=NOW, latest_ms=NOW.wall_ms)
RULE = RedemptionRule()


def _purse(*remaining_points: int, trust: Trust = TRUST, now: Reading = NOW, **figures: Any) -> Purse:
    held = tuple(Held(f"a-{number}", points) for number, points in enumerate(remaining_points, start=1))
    return Purse(now, trust, held, **figures)


def _plan(purse: Purse, points: int, shown: int = 1_000, rule: RedemptionRule = RULE) -> RedemptionDraft:
    payer = Payer(Buyer("ab" * 16, "c-1"), Balance(shown, 0), None)
    rules = shop.program(redemption=rule)
    return plan_redemption(redemption("d-1", points), rules, payer, purse, recorded_at=MORNING)


def _refusal(purse: Purse, points: int, shown: int = 1_000, rule: RedemptionRule = RULE) -> tuple[WhyNot, int, int]:
    with pytest.raises(NotSpendable) as refused:
        _plan(purse, points, shown, rule)
    return refused.value.reason, refused.value.spendable, refused.value.waiting


def _heard(ago_ms: int, boot: str = "boot-1") -> Trust:
    heard = Reading(NOW.wall_ms - ago_ms, NOW.monotonic_ms - ago_ms, boot)
    return Trust(is_frozen=False, heard=heard, latest_ms=heard.wall_ms)


@pytest.mark.parametrize(
    ("purse", "points", "shown", "expected"),
    [
        (_purse(40), 50, 120, (WhyNot.NO_ALLOWANCE, 40, 80)),
        (_purse(), 50, 120, (WhyNot.NO_ALLOWANCE, 0, 120)),
        (_purse(40, reserved_elsewhere=10), 50, 120, (WhyNot.RESERVED_ELSEWHERE, 40, 80)),
        (_purse(200), 150, 120, (WhyNot.TOO_FEW_POINTS, 120, 0)),
        (_purse(200), 50, -10, (WhyNot.TOO_FEW_POINTS, 0, 0)),
        (_purse(900, spent=450), 60, 1_000, (WhyNot.OFFLINE_LIMIT, 50, 950)),
        (_purse(900, spent_by_all=4_990), 11, 1_000, (WhyNot.OFFLINE_LIMIT, 10, 990)),
        (_purse(900, trust=replace(TRUST, is_frozen=True)), 10, 1_000, (WhyNot.FROZEN, 0, 1_000)),
        (_purse(900, trust=replace(TRUST, heard=None)), 10, 1_000, (WhyNot.NO_ALLOWANCE, 0, 1_000)),
        (_purse(900, trust=_heard(72 * HOUR_MS + 1)), 10, 1_000, (WhyNot.TOO_LONG_WITHOUT_HUB, 0, 1_000)),
        (_purse(900, trust=_heard(72 * HOUR_MS + 1, "boot-0")), 10, 1_000, (WhyNot.TOO_LONG_WITHOUT_HUB, 0, 1_000)),
        (_purse(900, trust=replace(TRUST, latest_ms=NOW.wall_ms + 121_000)), 10, 1_000, (WhyNot.FROZEN, 0, 1_000)),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    purse: Purse, points: int, shown: int, expected: tuple[WhyNot, int, int]
) -> None:
    assert _refusal(purse, points, shown) == expected


def test_with_the_hub_just_heard_only_the_limit_of_one_redemption_binds() -> None:
    spent = replace(_purse(1_200, spent=450, spent_by_all=4_990), is_online=True)
    assert _plan(spent, 1_000, shown=2_000).event.points == -1_000
    assert _refusal(spent, 1_001, shown=2_000)[0] is WhyNot.LIMIT


def test_a_wall_clock_that_is_set_back_makes_no_word_of_the_hub_younger() -> None:
    back = replace(NOW, wall_ms=NOW.wall_ms + 60_000, monotonic_ms=NOW.monotonic_ms + 73 * HOUR_MS)
    assert _refusal(_purse(900, now=back), 10)[0] is WhyNot.TOO_LONG_WITHOUT_HUB


def test_shares_are_taken_from_the_soonest_to_end_first() -> None:
    assert _plan(_purse(30, 40), 50).taken == (("a-1", 30), ("a-2", 20))


def _given(points: int, ago_ms: int, monotonic_ago_ms: int | None = None, boot: str = "boot-1") -> Given:
    monotonic_ms = NOW.monotonic_ms - (ago_ms if monotonic_ago_ms is None else monotonic_ago_ms)
    return Given(points, Reading(NOW.wall_ms - ago_ms, monotonic_ms, boot))


def _last_resort(*remaining_points: int, **figures: Any) -> Purse:
    return _purse(*remaining_points, is_last_resort=True, **figures)


def test_goodwill_is_given_as_the_last_resort_only() -> None:
    rule = RedemptionRule(goodwill_points_max=20)
    assert _refusal(_purse(40), 60, rule=rule) == (WhyNot.NO_ALLOWANCE, 40, 960)
    assert _refusal(_purse(40, is_online=True), 41, rule=rule)[0] is WhyNot.NO_ALLOWANCE
    assert _plan(_last_resort(40), 60, rule=rule).goodwill == 20
    assert _plan(_last_resort(60), 60, rule=rule).goodwill == 0


def test_goodwill_covers_what_the_allowances_lack_up_to_the_cap_of_the_program() -> None:
    rule = RedemptionRule(goodwill_points_max=20)
    planned = _plan(_last_resort(40), 60, rule=rule)
    assert (planned.taken, planned.goodwill, planned.event.points) == ((("a-1", 40),), 20, -40)
    assert PointsRedeemed.model_validate(planned.event.data).goodwill == 20
    assert _refusal(_last_resort(40), 61, rule=rule) == (WhyNot.NO_ALLOWANCE, 40, 960)
    # What the customer was given today counts: it costs them nothing, so it could go on for ever.
    assert _refusal(_last_resort(40, given=(_given(15, HOUR_MS),)), 46, rule=rule)[0] is WhyNot.NO_ALLOWANCE
    assert _plan(_last_resort(40, given=(_given(15, HOUR_MS),)), 45, rule=rule).goodwill == 5


@pytest.mark.parametrize(
    ("given", "still"),
    [
        ((), 50),
        ((_given(20, 0), _given(10, HOUR_MS)), 20),
        ((_given(50, 24 * HOUR_MS - 1),), 0),
        ((_given(50, 24 * HOUR_MS),), 50),
        ((_given(50, 24 * HOUR_MS), _given(15, HOUR_MS)), 35),
        ((_given(70, HOUR_MS),), 0),  # under an older program
        ((_given(50, 25 * HOUR_MS, monotonic_ago_ms=HOUR_MS),), 0),  # the wall was put forward
        ((_given(50, HOUR_MS, monotonic_ago_ms=25 * HOUR_MS),), 0),
        ((_given(50, 25 * HOUR_MS, monotonic_ago_ms=-HOUR_MS, boot="boot-0"),), 50),
        ((_given(50, 23 * HOUR_MS, monotonic_ago_ms=40 * HOUR_MS, boot="boot-0"),), 0),
        ((_given(50, -30 * HOUR_MS, boot="boot-0"),), 0),
    ],
)
def test_what_a_customer_was_given_counts_for_a_day_by_the_clock_that_says_shorter(
    given: tuple[Given, ...], still: int
) -> None:
    rule = RedemptionRule(goodwill_points_max=50)
    assert goodwill(_last_resort(given=given), rule) == still
    assert goodwill(_purse(given=given), rule) == 0


def test_what_is_given_counts_towards_what_a_till_may_give_on_its_own() -> None:
    rule = RedemptionRule(goodwill_points_max=50, per_customer_offline_max=100, per_terminal_offline_max=300)
    assert _refusal(_last_resort(10, spent=80), 21, rule=rule) == (WhyNot.OFFLINE_LIMIT, 10, 990)
    assert _refusal(_last_resort(10, spent_by_all=280), 21, rule=rule) == (WhyNot.OFFLINE_LIMIT, 10, 990)
    assert _plan(_last_resort(10, spent=80, spent_by_all=280), 20, rule=rule).goodwill == 10


def test_goodwill_is_no_way_around_too_few_points_a_limit_or_a_freeze() -> None:
    rule = RedemptionRule(goodwill_points_max=500, per_redemption_max=100)
    assert _refusal(_last_resort(40), 60, shown=50, rule=rule)[0] is WhyNot.TOO_FEW_POINTS
    assert _refusal(_last_resort(40), 101, rule=rule)[0] is WhyNot.LIMIT
    assert _refusal(_last_resort(40, trust=replace(TRUST, is_frozen=True)), 60, rule=rule)[0] is WhyNot.FROZEN


def test_a_reward_costs_what_the_program_says() -> None:
    payer = Payer(Buyer("ab" * 16, "c-1"), Balance(1_000, 0), None)
    answer = plan_redemption(redemption(), shop.program(), payer, _purse(80), recorded_at=MORNING).answer
    assert isinstance(answer, RedemptionResult)
    assert (answer.points, answer.reward_id, answer.spendable) == (50, "cookie", 30)
    with pytest.raises(RewardUnknown):
        plan_redemption(redemption(reward_id="yacht"), shop.program(), payer, _purse(80), recorded_at=MORNING)


def test_a_card_that_nobody_is_known_for_redeems_nothing() -> None:
    payer = Payer(Buyer("ab" * 16, None), Balance(80, 0), None)
    with pytest.raises(NotSpendable) as refused:
        plan_redemption(redemption("d-1", 50), shop.program(), payer, _purse(80), recorded_at=MORNING)
    assert (refused.value.spendable, refused.value.waiting) == (0, 80)


@pytest.mark.parametrize(("posted", "points"), [(0, 0), (49, 0), (50, 50), (99, 50), (100, 100), (9_000, 100)])
def test_a_till_wishes_for_the_dearest_reward_within_reach(posted: int, points: int) -> None:
    assert wish(shop.program(), posted) == points


@given(
    held=st.lists(st.integers(1, 60), max_size=4),
    points=st.integers(1, 150),
    shown=st.integers(-20, 150),
    spent=st.integers(0, 100),
    by_all=st.integers(0, 150),
    generous=st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()),
)
def test_no_redemption_takes_more_than_there_is(
    held: list[int], points: int, shown: int, spent: int, by_all: int, generous: tuple[int, int, bool]
) -> None:
    cap, given_before, is_last = generous
    rule = RedemptionRule(
        per_redemption_max=90, per_customer_offline_max=110, per_terminal_offline_max=130, goodwill_points_max=cap
    )
    given = (_given(given_before, HOUR_MS),)
    purse = _purse(*held, spent=spent, spent_by_all=by_all, given=given, is_last_resort=is_last)
    cap = max(cap - given_before, 0) if is_last else 0
    possible = room(purse, rule, shown)
    assert possible.points is not None
    assert 0 <= possible.points <= min(sum(held), max(shown, 0), 90)
    assert (possible.reason is None) == (possible.points >= shown)
    if points > possible.points + (cap if points <= shown else 0):
        _, spendable, waiting = _refusal(purse, points, shown, rule)
        assert (spendable, spendable + waiting) == (possible.points, max(shown, 0))
        return
    try:
        planned = _plan(purse, points, shown, rule)
    except NotSpendable:
        assert points > possible.points
        return
    taken = dict(planned.taken)
    assert sum(taken.values()) + planned.goodwill == points <= shown
    assert all(0 < taken[one.allowance_id] <= one.remaining for one in purse.held if one.allowance_id in taken)
    assert planned.goodwill <= cap
    assert spent + points <= 110
    PointsRedeemed.model_validate(planned.event.data)
    assert planned.event.points == planned.goodwill - points


@given(st.data())
def test_an_allowance_is_never_spent_beyond_its_amount_whatever_word_is_heard(data: st.DataObject) -> None:
    """The hub judges a prefix of the events; its words arrive as of any prefix."""
    amount = data.draw(st.integers(1, 40))
    spends: list[Spend] = []
    judged, heard = 0, (0, 0)
    for step in data.draw(st.lists(st.sampled_from(["spend", "judge", "word"]), max_size=30)):
        left = remaining(amount, heard[1], spends, {"inc": heard[0]})
        if step == "spend" and left:
            spends.append(Spend("inc", len(spends) + 1, data.draw(st.integers(1, left))))
        elif step == "judge" and judged < len(spends):
            judged += 1
        elif step == "word":
            heard_of = data.draw(st.integers(0, judged))  # a hub may also come back from a backup
            heard = (heard_of, sum(spend.points or 0 for spend in spends[:heard_of]))
        assert 0 <= sum(spend.points or 0 for spend in spends) <= amount
