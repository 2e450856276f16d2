"""Allowances: points that the hub reserved for one terminal. Their messages, and the arithmetic of both ends.

The hub cuts an allowance from posted points that nobody else may use, so a till that spends inside one overspends
nobody, whoever is offline. What is left of it is never a guess: it is what the hub last said, less the terminal's own
spends that this word does not contain. So a word that is lost, late or said twice changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from sync.contract.customers import Code, Value
from sync.contract.events import POINTS_MAX, Covered, Share

ALLOWANCES_PER_TERMINAL_MAX = 1_000
WANTS_PER_CALL_MAX = 50


class HeldAllowance(Value):
    """An allowance as a terminal holds it: `spent` is what the hub last said."""

    allowance_id: Code
    customer_id: Code
    amount: int = Field(ge=1, le=POINTS_MAX)
    spent: int = Field(ge=0, le=POINTS_MAX)


class Want(Value):
    """What a terminal would like to hold of one customer's points, in all."""

    customer_id: Code
    points: int = Field(ge=1, le=POINTS_MAX, strict=True)


class AllowancesRequest(Value):
    """`POST /v1/allowances`: make what I hold of these customers at least so much.

    The hub counts what is left of an allowance by the spends that it has; a terminal with others on their way adds
    them to what it wants. `prefetch` asks for likely visitors of the store too. The same again reserves nothing more.
    """

    want: tuple[Want, ...] = Field(default=(), max_length=WANTS_PER_CALL_MAX)
    prefetch: bool = False


class Allowance(Value):
    """Points of a customer that are reserved for this terminal.

    `ttl_s` is what is left of its life. One that is `recalled`, or whose life is over, is not spent any more and
    returned by an event.
    """

    allowance_id: Code
    customer_id: Code
    amount: int = Field(ge=1, le=POINTS_MAX)
    spent: int = Field(ge=0, le=POINTS_MAX)
    ttl_s: int = Field(ge=0)
    recalled: bool = False


class NotGranted(Value):
    """A wish that could not be filled: the points that are missing, and how many other terminals hold."""

    customer_id: Code
    points: int = Field(ge=1)
    reserved_elsewhere: int = Field(default=0, ge=0)


class AllowancesWord(Value):
    """All open allowances of the asking terminal, as of one transaction of the hub.

    It replaces what the terminal held, in one transaction with `applied`: each `spent` contains the terminal's spends
    up to there. An incarnation that is missing in it is contained through 0.
    """

    hub_epoch: Code
    allowances: tuple[Allowance, ...] = Field(max_length=ALLOWANCES_PER_TERMINAL_MAX)
    applied: Covered
    refused: tuple[NotGranted, ...] = ()


@dataclass(frozen=True, slots=True)
class Spend:
    """What one event of the terminal did to an allowance.

    `points` above 0 were spent; below 0 they came back, because this terminal reversed its own redemption; None
    returned the allowance, all that was left of it.
    """

    inc: str
    seq: int
    points: int | None


def remaining(amount: int, spent: int, spends: Iterable[Spend], applied: Mapping[str, int]) -> int:
    """Return the points of an allowance that may still be spent; never below 0.

    Points that came back count once the hub says so. Another till may have taken the same redemption back before, and
    then they were free for everybody.

    Args:
        amount: what the hub reserved.
        spent: what it says was spent of that.
        spends: what this terminal's events did to it, in any order.
        applied: incarnation -> the last seq that the hub's word contains; one that is missing contains none.
    """
    open_spends = [spend.points for spend in spends if spend.seq > applied.get(spend.inc, 0)]
    left = amount - spent
    for points in open_spends:
        if points is None:
            return 0
        left -= max(points, 0)
    return max(left, 0)


def draw(points: int, rests: Sequence[tuple[str, int]]) -> tuple[Share, ...]:
    """Return shares of at most `points` in all, taken from (allowance id, rest) in their order.

    Their sum is less than `points` where the rests are; then there is not enough.
    """
    shares = []
    for allowance_id, rest in rests:
        taken = min(rest, points)
        if taken > 0:
            shares.append(Share(allowance_id=allowance_id, points=taken))
            points -= taken
    return tuple(shares)


def free(posted: int, reserved: int) -> int:
    """Return the posted points of an account that no allowance holds; never below 0."""
    return max(posted - reserved, 0)
