"""Redemptions as a point of sale sends them, and what they become: pure, before anything is written.

What cannot be spent is said with its reason and with what can, so that staff have a kind answer: "120 points are
waiting; 40 can be used now". What can be is counted in `agent.purse`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from agent.codes import TEXT_CHARS_MAX
from agent.purse import Held, Purse, WhyNot, room, why_not
from agent.sales import BalanceAfter, Buyer, EventDraft, Occurred, ReversalRequest
from sync.contract.allowance import draw
from sync.contract.customers import Code, Value
from sync.contract.events import POINTS_MAX, REDEEMED, REDEMPTION_REVERSED, Flag, IdentifierId, Share
from sync.contract.ledger import Balance
from sync.contract.program import Program, reached_reward

PointsAsked = Annotated[int, Field(ge=1, le=POINTS_MAX, strict=True)]


class RedemptionRequest(Occurred):
    """A customer gives points for a reward, or a number of points. Who it is stands as in a sale."""

    redemption_id: Code
    card: str | None = Field(default=None, min_length=1, max_length=TEXT_CHARS_MAX, repr=False)
    card_id: IdentifierId | None = None
    customer_id: Code | None = None
    reward_id: Code | None = None
    points: PointsAsked | None = None
    staff_ref: Code | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "RedemptionRequest":
        if self.card is None and self.card_id is None and self.customer_id is None:
            raise ValueError("must name a card, a card_id or a customer_id")
        if self.card is not None and self.card_id is not None:
            raise ValueError("must name its card once, by card or by card_id")
        if (self.reward_id is None) == (self.points is None):
            raise ValueError("must name a reward_id or a number of points, and not both")
        return self


class RedemptionResult(Value):
    """What was redeemed; the same for every repeat of its `redemption_id`."""

    kind: Literal["redemption"] = "redemption"
    redemption_id: Code
    state: Literal["redeemed"] = "redeemed"
    points: int = Field(description="what the reward costs")
    reward_id: Code | None
    goodwill: int = Field(description="the part of it that the store gives; the customer keeps those points")
    customer_id: Code
    program_version: int
    flags: tuple[Flag, ...]
    spendable: int = Field(description="what can be spent here right after")
    balance: BalanceAfter
    recorded_at: AwareDatetime


class RedemptionReversalState(StrEnum):
    """What the reversal of a redemption did here."""

    GIVEN_BACK = "given_back"
    ALREADY_GIVEN_BACK = "already_given_back"
    REDEMPTION_NOT_KNOWN_HERE = "redemption_not_known_here"
    """Recorded; the hub gives the points back as soon as it knows the redemption."""


class RedemptionReversalResult(Value):
    """What the reversal of a redemption gave back here; the same for every repeat of its `reversal_id`."""

    kind: Literal["redemption_reversal"] = "redemption_reversal"
    reversal_id: Code
    redemption_id: Code
    state: RedemptionReversalState
    points: int = Field(description="points given back here, as a positive number")
    flags: tuple[Flag, ...]
    recorded_at: AwareDatetime


class NotSpendable(Exception):
    """Nothing was redeemed: more was asked for than is spendable here now; `waiting` points are there all the same."""

    def __init__(
        self, asked: int, spendable: int, waiting: int, reason: WhyNot, *, held: int = 0, customer_id: str | None = None
    ) -> None:
        super().__init__(f"more points were asked for ({asked}) than can be used here now ({spendable})")
        self.asked = asked
        self.spendable = spendable
        self.waiting = waiting
        self.reason = reason
        self.held = held
        """What the allowances of this till would cover."""
        self.customer_id = customer_id


class RewardUnknown(Exception):
    """The program has no reward of this id."""

    def __init__(self, reward_id: str) -> None:
        super().__init__(
            f"the program has no reward {reward_id}; read the customer again, the program may have changed"
        )


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a redemption is for, their points as of this very transaction, and as of when the hub posted them."""

    buyer: Buyer
    before: Balance
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class RedemptionDraft:
    """A redemption before it has its place in the journal, or the reversal of one: event, answer, and what it takes.

    A reversal gives nothing back to the allowances here: another till may have reversed the same, so the hub says it.
    """

    event: EventDraft
    answer: RedemptionResult | RedemptionReversalResult
    taken: tuple[tuple[str, int], ...] = ()
    goodwill: int = 0


@dataclass(frozen=True, slots=True)
class RedemptionHere:
    """A redemption that this till recorded: its subject, and the points it took."""

    subject: str
    points: int
    is_reversed: bool


def price(request: RedemptionRequest, program: Program) -> int:
    """Return the points that are asked for.

    Raises:
        RewardUnknown: the program has no such reward.
    """
    if request.points is not None:
        return request.points
    for reward in program.rewards:
        if reward.reward_id == request.reward_id:
            return reward.points
    raise RewardUnknown(request.reward_id or "")


def plan_redemption(
    request: RedemptionRequest, program: Program, payer: Payer, purse: Purse, *, recorded_at: datetime
) -> RedemptionDraft:
    """Return the event of a redemption with its shares, which never exceed the allowances.

    What the shares lack is goodwill; there is some only where the purse says that it is the last resort.

    Raises:
        RewardUnknown: the program has no such reward.
        NotSpendable: as many points cannot be spent here now.
    """
    asked, rule = price(request, program), program.redemption
    buyer, before = payer.buyer, payer.before
    if buyer.customer_id is None:
        raise NotSpendable(asked, 0, max(before.shown, 0), WhyNot.NO_ALLOWANCE)
    refusal = why_not(asked, purse, rule, before.shown)
    if refusal is not None:
        spendable = room(purse, rule, before.shown).points or 0
        waiting = max(before.shown, 0) - spendable
        raise NotSpendable(asked, spendable, waiting, refusal, held=purse.remaining, customer_id=buyer.customer_id)
    shares = draw(asked, [(one.allowance_id, one.remaining) for one in purse.held])
    goodwill = asked - sum(share.points for share in shares)
    after = Balance(before.posted, before.pending - asked + goodwill)
    spendable = room(_after(purse, shares, asked), rule, after.shown).points or 0
    answer = RedemptionResult(
        redemption_id=request.redemption_id,
        points=asked,
        reward_id=request.reward_id,
        goodwill=goodwill,
        customer_id=buyer.customer_id,
        program_version=program.version,
        flags=buyer.flags,
        spendable=spendable,
        balance=BalanceAfter(posted=after.posted, pending=after.pending, shown=after.shown, as_of=payer.as_of),
        recorded_at=recorded_at,
    )
    data = _redeemed(request, program, asked, shares, goodwill) | _optional(request.staff_ref, buyer.flags)
    event = EventDraft(REDEEMED, buyer.subject, request.occurred_at, data, goodwill - asked)
    return RedemptionDraft(event, answer, tuple((share.allowance_id, share.points) for share in shares), goodwill)


def plan_redemption_reversal(
    redemption_id: str,
    request: ReversalRequest,
    here: RedemptionHere | None,
    *,
    flags: tuple[Flag, ...],
    recorded_at: datetime,
) -> RedemptionDraft:
    """Return the event of a reversal. One that is not known here, or was reversed before, gives nothing back here."""
    gives = here is not None and not here.is_reversed
    points = here.points if here is not None and gives else 0
    state = RedemptionReversalState.REDEMPTION_NOT_KNOWN_HERE
    if here is not None:
        state = RedemptionReversalState.GIVEN_BACK if gives else RedemptionReversalState.ALREADY_GIVEN_BACK
    answer = RedemptionReversalResult(
        reversal_id=request.reversal_id,
        redemption_id=redemption_id,
        state=state,
        points=points,
        flags=flags,
        recorded_at=recorded_at,
    )
    data = {"reversal_id": request.reversal_id, "redemption_id": redemption_id} | _optional(request.staff_ref, flags)
    subject = here.subject if here is not None else None
    event = EventDraft(REDEMPTION_REVERSED, subject, request.occurred_at, data, points)
    return RedemptionDraft(event, answer)


def wish(program: Program, posted: int) -> int:
    """Return how many points a till should hold for a customer who is there: the dearest reward within reach, or 0."""
    reward = reached_reward(program, min(posted, program.redemption.per_redemption_max))
    return min(reward.points, program.redemption.per_customer_offline_max) if reward is not None else 0


def _after(purse: Purse, shares: Sequence[Share], points: int) -> Purse:
    """Return the purse right after a redemption of so many points, of which the shares are those not given."""
    taken = {share.allowance_id: share.points for share in shares}
    return replace(
        purse,
        held=tuple(Held(one.allowance_id, one.remaining - taken.get(one.allowance_id, 0)) for one in purse.held),
        spent=purse.spent + points,
        spent_by_all=purse.spent_by_all + points,
        is_online=False,
        is_last_resort=False,
    )


def _redeemed(
    request: RedemptionRequest, program: Program, points: int, shares: Sequence[Share], goodwill: int
) -> dict[str, Any]:
    """Return the data of `sync.contract.events.PointsRedeemed` as plain JSON members."""
    return (
        {
            "redemption_id": request.redemption_id,
            "program_version": program.version,
            "points": points,
            "shares": [{"allowance_id": share.allowance_id, "points": share.points} for share in shares],
        }
        | ({"reward_id": request.reward_id} if request.reward_id is not None else {})
        | ({"goodwill": goodwill} if goodwill else {})
    )


def _optional(staff_ref: str | None, flags: tuple[Flag, ...]) -> dict[str, Any]:
    return ({"staff_ref": staff_ref} if staff_ref is not None else {}) | ({"flags": flags} if flags else {})
