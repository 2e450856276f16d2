"""The program: the versioned rules of earning, rewards and tiers. Pure, and the same on both ends.

The hub owns the program and numbers its versions; an event names the version it was made under, so that points can
be recomputed by anyone, years later.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from sync.contract.customers import Code, Currency, Value, Wording
from sync.contract.events import EarnedLine, Money, Points, Quantity


class EarnRule(Value):
    """`points` for each full `per_minor` of the net amount: 1 per 100 is one point a dollar."""

    points: Annotated[int, Field(ge=1, le=10_000)]
    per_minor: Annotated[int, Field(ge=1, le=1_000_000)]


class Reward(Value):
    """Something points buy."""

    reward_id: Code
    points: Annotated[int, Field(ge=1)]
    text: Wording


class Tier(Value):
    """A standing of the customer, by its code, with the words for it."""

    tier: Code
    text: Wording


class ValueBand(Value):
    """A span of lifetime value, shown by its words: from `from_minor` up to the next band."""

    band: Code
    from_minor: Money
    text: Wording


class RedemptionRule(Value):
    """How far a till may go with points on its own. The hub's grants and the till's refusals follow the same rule.

    Goodwill is the last resort: points that the store gives at its own cost where no allowance covers them, and only
    after the hub, where it is there, was asked and could not help. One customer gets at most `goodwill_points_max` of
    it at one till in any 24 hours, whatever the hub has heard of meanwhile and whatever was taken back since. What the
    hub has not heard of yet counts towards both offline limits, as points spent do.
    """

    # One redemption, online or not.
    per_redemption_max: Points = 1_000
    # What one till may give one customer, and all customers, between two words of the hub.
    per_customer_offline_max: Points = 500
    per_terminal_offline_max: Points = 5_000
    # A till that has not heard from the hub for so long redeems nothing.
    hours_since_hello_max: Annotated[int, Field(ge=1, le=24 * 31)] = 72
    # A till stops spending an allowance that is older; the hub keeps the reserve until it comes back.
    allowance_ttl_h: Annotated[int, Field(ge=1, le=24 * 31)] = 24
    # Likely visitors that a till gets allowances for before they come.
    prefetch_customers_max: Annotated[int, Field(ge=0, le=500)] = 100
    # Given to one customer at one till in any 24 hours, at the store's cost; 0 gives nothing.
    goodwill_points_max: Points = 0


class Program(Value):
    """One version of the rules. Currency is ISO 4217; every amount is in its minor unit."""

    version: Annotated[int, Field(ge=1)]
    currency: Currency
    earn: EarnRule
    rewards: tuple[Reward, ...] = ()
    tiers: tuple[Tier, ...] = ()
    value_bands: tuple[ValueBand, ...] = ()
    # Points wait on a card that nobody is known for; a lost or invented card must not pile up more than this.
    unknown_card_points_max: Points = 500
    redemption: RedemptionRule = RedemptionRule()


class SaleLine(Value):
    """One line as the point of sale sends it: net is after discounts, before tax and tip."""

    quantity: Quantity
    net_minor: Money
    sku: Code | None = None


class NextReward(NamedTuple):
    """The cheapest reward not reached yet, and the points still missing to it."""

    reward: Reward
    missing: int


def earn(program: Program, lines: Sequence[SaleLine | EarnedLine], *, points_max: int | None = None) -> tuple[int, ...]:
    """Return the points of each line; their sum is the points of the sale.

    Floor once over the whole sale, then spread over its lines by largest remainder (loyalty semantics, "Earn base").
    `points_max` caps the sale, for a card that nobody is known for.
    """
    net_minor = sum(line.net_minor for line in lines)
    points = net_minor * program.earn.points // program.earn.per_minor
    if points_max is not None:
        points = min(points, max(points_max, 0))
    return spread(points, [line.net_minor for line in lines])


def spread(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split `total` >= 0 over `weights` >= 0 by largest remainder; the parts sum to `total`.

    Ties go to the earlier line, so that both ends split alike. Weights that are all 0 take nothing, and then
    `total` must be 0.
    """
    whole = sum(weights)
    if whole == 0:
        if total:
            raise ValueError("points cannot be spread over lines that cost nothing")
        return (0,) * len(weights)
    parts = [total * weight // whole for weight in weights]
    if sum(parts) == total:
        return tuple(parts)
    by_remainder = sorted(range(len(weights)), key=lambda line: (-(total * weights[line] % whole), line))
    for line in by_remainder[: total - sum(parts)]:
        parts[line] += 1
    return tuple(parts)


def next_reward(program: Program, points: int) -> NextReward | None:
    """Return the cheapest reward above `points`, or None when every reward is within reach."""
    above = [reward for reward in program.rewards if reward.points > points]
    if not above:
        return None
    reward = min(above, key=lambda candidate: candidate.points)
    return NextReward(reward, reward.points - points)


def reached_reward(program: Program, points: int) -> Reward | None:
    """Return the dearest reward that `points` already pay for, or None."""
    within = [reward for reward in program.rewards if reward.points <= points]
    return max(within, key=lambda candidate: candidate.points, default=None)


def value_band(program: Program, amount_minor: int, currency: str) -> ValueBand | None:
    """Return the band a lifetime value falls in, or None in another currency or below the first band."""
    if currency != program.currency:
        return None
    reached = [band for band in program.value_bands if band.from_minor <= amount_minor]
    return max(reached, key=lambda band: band.from_minor, default=None)
