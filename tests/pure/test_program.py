import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.contract.customers import Wording
from sync.contract.program import (
    EarnRule,
    Program,
    Reward,
    SaleLine,
    ValueBand,
    earn,
    next_reward,
    reached_reward,
    spread,
    value_band,
)

_WORDS = Wording(en="a coffee", fr="un café")
_PROGRAM = Program(
    version=3,
    currency="CAD",
    earn=EarnRule(points=1, per_minor=100),
    rewards=(
        Reward(reward_id="coffee", points=100, text=_WORDS),
        Reward(reward_id="cookie", points=50, text=_WORDS),
    ),
    value_bands=(
        ValueBand(band="new", from_minor=0, text=_WORDS),
        ValueBand(band="regular", from_minor=50_000, text=_WORDS),
    ),
)


def _lines(*net_minor: int) -> list[SaleLine]:
    return [SaleLine(quantity="1", net_minor=net) for net in net_minor]


@pytest.mark.parametrize(
    ("net_minor", "points_per_line"),
    [
        ([199], (1,)),
        ([99], (0,)),
        ([50, 50], (1, 0)),
        ([199, 199], (2, 1)),  # 3.98 earns 3, not 1 + 1
        ([0, 500], (0, 5)),
        ([0], (0,)),
        ([333, 333, 334], (3, 3, 4)),
    ],
)
def test_points_are_floored_once_over_the_sale_then_spread_over_its_lines(
    net_minor: list[int], points_per_line: tuple[int, ...]
) -> None:
    assert earn(_PROGRAM, _lines(*net_minor)) == points_per_line


def test_a_cap_holds_for_the_whole_sale_and_never_turns_negative() -> None:
    assert sum(earn(_PROGRAM, _lines(900, 900), points_max=5)) == 5
    assert earn(_PROGRAM, _lines(900), points_max=-4) == (0,)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60), st.integers(1, 50), st.integers(1, 10_000))
def test_the_lines_points_always_sum_to_the_sales_points(nets: list[int], points: int, per_minor: int) -> None:
    program = _PROGRAM.model_copy(update={"earn": EarnRule(points=points, per_minor=per_minor)})
    per_line = earn(program, _lines(*nets))
    assert sum(per_line) == sum(nets) * points // per_minor
    whole = sum(nets)
    for net, line_points in zip(nets, per_line, strict=True):
        share = sum(per_line) * net // whole if whole else 0
        assert share <= line_points <= share + 1


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
def test_a_spread_gives_all_and_only_to_lines_that_weigh(total: int, weights: list[int]) -> None:
    if sum(weights) == 0:
        total = 0
    parts = spread(total, weights)
    assert sum(parts) == total
    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0 and total <= sum(weights))


def test_points_cannot_be_spread_over_nothing() -> None:
    with pytest.raises(ValueError, match="cost nothing"):
        spread(3, [0, 0])


@pytest.mark.parametrize(
    ("points", "next_id", "missing", "reached_id"),
    [(0, "cookie", 50, None), (50, "coffee", 50, "cookie"), (99, "coffee", 1, "cookie"), (100, None, None, "coffee")],
)
def test_the_next_reward_is_the_cheapest_not_reached(
    points: int, next_id: str | None, missing: int | None, reached_id: str | None
) -> None:
    coming = next_reward(_PROGRAM, points)
    reached = reached_reward(_PROGRAM, points)
    assert (coming.reward.reward_id if coming else None) == next_id
    assert (coming.missing if coming else None) == missing
    assert (reached.reward_id if reached else None) == reached_id


@pytest.mark.parametrize(
    ("amount", "currency", "band"), [(0, "CAD", "new"), (50_000, "CAD", "regular"), (50_000, "USD", None)]
)
def test_a_lifetime_value_is_shown_as_a_band_of_its_own_currency_only(
    amount: int, currency: str, band: str | None
) -> None:
    found = value_band(_PROGRAM, amount, currency)
    assert (found.band if found else None) == band
