"""Sales and reversals as a point of sale sends them, and what they become: pure, before anything is written.

The caller brings the ids, so that it may ask again after a lost answer. Amounts are integers in the minor unit of
one currency, points are integers, and a wrong clock costs nobody points: a sale is refused by its time only where
the hub's own time proves it to be more than a day ahead.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, field_validator, model_validator

from agent.codes import TEXT_CHARS_MAX
from sync.contract.customers import Code, Currency, Value
from sync.contract.events import EARNED, LINES_MAX, REVERSED, Flag, IdentifierId, Money, Strict
from sync.contract.ledger import Balance, take_back
from sync.contract.program import Program, SaleLine, earn

# Two clocks that agree better than this are the same clock to a customer.
CLOCK_TOLERANCE = timedelta(minutes=2)
# Longer than any time zone mistake; a sale further ahead than this never happened.
FUTURE_MAX = timedelta(hours=24)
# A line may be down for weeks; a sale from before last year was made by a dead clock, which says 1970.
PAST_MAX = timedelta(days=366)
# A dead clock says 1970; a year that no database or log can write is refused.
_YEAR_MIN, _YEAR_MAX = 1970, 9998

Moment = Annotated[AwareDatetime, Field(strict=True)]


class RequestLine(SaleLine):
    """One line as it comes through the door: nothing but what is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Occurred(Strict):
    """Something that happened at a moment that a database and a log can write."""

    occurred_at: Moment

    @field_validator("occurred_at")
    @classmethod
    def _can_be_written(cls, occurred_at: datetime) -> datetime:
        if not _YEAR_MIN <= occurred_at.year <= _YEAR_MAX:
            raise ValueError(f"must lie in the years {_YEAR_MIN} to {_YEAR_MAX}")
        return occurred_at.astimezone(UTC)


class SaleRequest(Occurred):
    """A finished sale of one customer: who by the card, by `customer_id`, or by both.

    The card is `card` (the text as scanned) or `card_id` (as a view of an unknown card names it).
    """

    sale_id: Code
    card: str | None = Field(default=None, min_length=1, max_length=TEXT_CHARS_MAX, repr=False)
    card_id: IdentifierId | None = None
    customer_id: Code | None = None
    lines: tuple[RequestLine, ...] = Field(min_length=1, max_length=LINES_MAX)
    net_minor: Money
    tax_minor: Money = 0
    currency: Currency
    staff_ref: Code | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "SaleRequest":
        if self.card is None and self.card_id is None and self.customer_id is None:
            raise ValueError("must name a card, a card_id or a customer_id")
        if self.card is not None and self.card_id is not None:
            raise ValueError("must name its card once, by card or by card_id")
        if sum(line.net_minor for line in self.lines) != self.net_minor:
            raise ValueError("net_minor must be the sum of the lines' net_minor")
        return self


class ReversalRequest(Occurred):
    """A whole sale or redemption is taken back. It may be from another till, or not known here yet."""

    reversal_id: Code
    staff_ref: Code | None = None


class BalanceAfter(Value):
    """The customer's points right after the sale: posted by the hub as of `as_of`, and pending here."""

    posted: int
    pending: int
    shown: int
    as_of: AwareDatetime | None


class SaleResult(Value):
    """What a sale credited; the same for every repeat of its `sale_id`."""

    kind: Literal["sale"] = "sale"
    sale_id: Code
    state: Literal["credited", "kept_for_card"]
    points: int
    customer_id: Code | None
    program_version: int
    flags: tuple[Flag, ...]
    balance: BalanceAfter
    recorded_at: AwareDatetime


class ReversalState(StrEnum):
    """What a reversal did here."""

    TAKEN_BACK = "taken_back"
    ALREADY_TAKEN_BACK = "already_taken_back"
    SALE_NOT_KNOWN_HERE = "sale_not_known_here"
    """Recorded; the hub takes the points back as soon as it knows the sale."""


class ReversalResult(Value):
    """What a reversal took back here; the same for every repeat of its `reversal_id`."""

    kind: Literal["reversal"] = "reversal"
    reversal_id: Code
    sale_id: Code
    state: ReversalState
    points: int = Field(description="points taken back here, as a positive number")
    flags: tuple[Flag, ...]
    recorded_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event before it has its place in the journal: its type, subject and data, and its effect."""

    type: str
    subject: str | None
    time: datetime
    data: dict[str, Any]
    points: int


@dataclass(frozen=True, slots=True)
class Draft(EventDraft):
    """A sale or a reversal before it has its place in the journal, and its answer."""

    answer: SaleResult | ReversalResult


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whom a sale is for: the identifier that stands in the event, and the customer it leads to, if one is known."""

    subject: str
    customer_id: str | None
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True)
class SaleHere:
    """A sale that this till recorded: its subject, what it still counts for, what earlier reversals took back."""

    subject: str | None
    earned: int
    taken_back: int


class Timing(StrEnum):
    """How far the time of a sale may be believed."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    FROM_THE_FUTURE = "from_the_future"


def judge_time(occurred_at: datetime, now: datetime, hub_now: datetime | None) -> Timing:
    """Return how far `occurred_at` may be believed; `hub_now` is the hub's time where it is known in this boot.

    What is about now by our own clock is happening, however wrong that clock is: it costs nobody points.
    """
    if hub_now is not None and occurred_at > max(hub_now + FUTURE_MAX, now + CLOCK_TOLERANCE):
        return Timing.FROM_THE_FUTURE
    clock_is_off = hub_now is not None and abs(now - hub_now) > CLOCK_TOLERANCE
    if clock_is_off or not now - PAST_MAX <= occurred_at <= now + CLOCK_TOLERANCE:
        return Timing.UNTRUSTED
    return Timing.TRUSTED


def fingerprint(request: Occurred, *presented: str | None) -> bytes:
    """Return the sha256 of a request: the same for the same request, however its card is written.

    `presented` stands for what may not be written down, or is not in the body: the card's identifier id, the sale_id.
    Fields at their default are left out, so that a later version with more of them knows an old request again.
    """
    body = request.model_dump_json(exclude={"card", "card_id"}, exclude_defaults=True)
    return hashlib.sha256(f"{presented} {body}".encode()).digest()


def plan_sale(
    request: SaleRequest,
    program: Program,
    buyer: Buyer,
    before: Balance,
    *,
    as_of: datetime | None,
    recorded_at: datetime,
) -> Draft:
    """Return the event of a sale. Points for nobody known are capped by what already waits on the card (`before`)."""
    flags = buyer.flags
    earned = earn(program, request.lines)
    if buyer.customer_id is None:
        capped = earn(program, request.lines, points_max=program.unknown_card_points_max - before.shown)
        if capped != earned:
            earned, flags = capped, (*flags, Flag.POINTS_CAPPED)
    points = sum(earned)
    after = Balance(before.posted, before.pending + points)
    answer = SaleResult(
        sale_id=request.sale_id,
        state="kept_for_card" if buyer.customer_id is None else "credited",
        points=points,
        customer_id=buyer.customer_id,
        program_version=program.version,
        flags=flags,
        balance=BalanceAfter(posted=after.posted, pending=after.pending, shown=after.shown, as_of=as_of),
        recorded_at=recorded_at,
    )
    data = _earned(request, program, earned, flags)
    return Draft(EARNED, buyer.subject, request.occurred_at, data, points, answer)


def plan_reversal(
    sale_id: str,
    request: ReversalRequest,
    sale: SaleHere | None,
    *,
    flags: tuple[Flag, ...],
    recorded_at: datetime,
) -> Draft:
    """Return the event of a reversal. A sale that is not known here, or does not count any more, takes nothing here."""
    points = take_back(sale.earned, sale.taken_back) if sale is not None else 0
    state = ReversalState.TAKEN_BACK
    if sale is None:
        state = ReversalState.SALE_NOT_KNOWN_HERE
    elif sale.taken_back:
        state = ReversalState.ALREADY_TAKEN_BACK
    answer = ReversalResult(
        reversal_id=request.reversal_id,
        sale_id=sale_id,
        state=state,
        points=points,
        flags=flags,
        recorded_at=recorded_at,
    )
    data = {"reversal_id": request.reversal_id, "sale_id": sale_id} | _optional(request.staff_ref, flags)
    return Draft(REVERSED, sale.subject if sale is not None else None, request.occurred_at, data, -points, answer)


def _earned(request: SaleRequest, program: Program, earned: Sequence[int], flags: tuple[Flag, ...]) -> dict[str, Any]:
    """Return the data of `sync.contract.events.PointsEarned` as plain JSON members; a sale waits for no model."""
    lines = [
        {"quantity": line.quantity, "net_minor": line.net_minor, "points": points}
        | ({"sku": line.sku} if line.sku is not None else {})
        for line, points in zip(request.lines, earned, strict=True)
    ]
    return {
        "sale_id": request.sale_id,
        "program_version": program.version,
        "currency": request.currency,
        "net_minor": request.net_minor,
        "tax_minor": request.tax_minor,
        "lines": lines,
        "points": sum(earned),
    } | _optional(request.staff_ref, flags)


def _optional(staff_ref: str | None, flags: tuple[Flag, ...]) -> dict[str, Any]:
    """Return the members that are left out where they say nothing."""
    return ({"staff_ref": staff_ref} if staff_ref is not None else {}) | ({"flags": flags} if flags else {})
