"""Events: the immutable facts that terminals commit, and the CloudEvents 1.0 envelope they travel in.

The identity of an event is (terminal, incarnation, seq) and nothing else. Its subject is an opaque identifier id,
as scanned; no name, phone, e-mail or card number stands in any field.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from sync.contract.customers import Code, Currency

EARNED = "loyalty.points.earned.v1"
REVERSED = "loyalty.points.reversed.v1"
REDEEMED = "loyalty.points.redeemed.v1"
REDEMPTION_REVERSED = "loyalty.redemption.reversed.v1"
ALLOWANCE_RETURNED = "loyalty.allowance.returned.v1"
EVENT_TYPES = (EARNED, REVERSED, REDEEMED, REDEMPTION_REVERSED, ALLOWANCE_RETURNED)

# 10 million in the currency's minor unit times 100: above any sale at a counter, far below 2**53.
MONEY_MINOR_MAX = 1_000_000_000
POINTS_MAX = 1_000_000_000
LINES_MAX = 500
# A till holds a few allowances of one customer at most.
SHARES_MAX = 50

# What counts on the wire is exact in every JSON reader (RFC 7493, section 2.2), and has room in every database.
COUNT_MAX = 2**53 - 1
# The address of an upload has room for nine digits.
SEQ_MAX = 999_999_999

Money = Annotated[int, Field(ge=0, le=MONEY_MINOR_MAX, strict=True)]
Points = Annotated[int, Field(ge=0, le=POINTS_MAX, strict=True)]
# A decimal text, because 0.350 kg of beans is a quantity and a float is not.
Quantity = Annotated[
    str,
    StringConstraints(pattern=r"^([1-9][0-9]{0,5}(\.[0-9]{1,3})?|0\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))$"),
]
Incarnation = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Seq = Annotated[int, Field(ge=1, le=SEQ_MAX)]
IdentifierId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
# incarnation -> the last seq of it that something contains
Covered = dict[Incarnation, Annotated[int, Field(ge=0)]]


class Strict(BaseModel):
    """A frozen value whose unknown fields are kept out: what is not in the contract is not in the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Flag(StrEnum):
    """What a person may want to know later about how an event was made."""

    TIME_UNTRUSTED = "time_untrusted"
    CARD_UNKNOWN = "card_unknown"
    # The identifier leads to several customers, and the one chosen has none of their own: the points wait on it.
    CARD_SHARED = "card_shared"
    POINTS_CAPPED = "points_capped"


def _known_flags(value: object) -> object:
    """Leave out flags that only a newer version has: they explain an event, they never change what it does."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(flag for flag in value if not isinstance(flag, str) or flag in _FLAGS)


_FLAGS = frozenset(Flag)
Flags = Annotated[tuple[Flag, ...], BeforeValidator(_known_flags)]


class EarnedLine(Strict):
    """One line of the sale with the points it earned; a refund of the line takes back exactly these."""

    quantity: Quantity
    net_minor: Money
    points: Points
    sku: Code | None = None


class PointsEarned(Strict):
    """A sale credited points. `points` is the sum of the lines' points."""

    sale_id: Code
    program_version: int = Field(ge=1, strict=True)
    currency: Currency
    net_minor: Money
    tax_minor: Money
    lines: tuple[EarnedLine, ...] = Field(min_length=1, max_length=LINES_MAX)
    points: Points
    staff_ref: Code | None = None
    flags: Flags = ()


class PointsReversed(Strict):
    """A sale's points are taken back whole. The hub knows how many; the terminal may not know the sale yet."""

    reversal_id: Code
    sale_id: Code
    staff_ref: Code | None = None
    flags: Flags = ()


class Share(Strict):
    """The part of a redemption that one allowance pays."""

    allowance_id: Code
    points: int = Field(ge=1, le=POINTS_MAX, strict=True)


class PointsRedeemed(Strict):
    """Points paid for something, and the customer has it.

    `shares` name the allowances that pay; `goodwill` is what the program lets a till give beyond them, at the store's
    cost. Together they are `points`.
    """

    redemption_id: Code
    points: int = Field(ge=1, le=POINTS_MAX, strict=True)
    reward_id: Code | None = None
    program_version: int = Field(ge=1, strict=True)
    shares: tuple[Share, ...] = Field(default=(), max_length=SHARES_MAX)
    goodwill: Points = 0
    staff_ref: Code | None = None
    flags: Flags = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(share.points for share in self.shares) + self.goodwill != self.points:
            raise ValueError("the shares and the goodwill are not the points")
        if len({share.allowance_id for share in self.shares}) != len(self.shares):
            raise ValueError("an allowance has two shares")
        return self


class RedemptionReversed(Strict):
    """A redemption is taken back whole. The hub knows how many points it was; the terminal may not know it yet."""

    reversal_id: Code
    redemption_id: Code
    staff_ref: Code | None = None
    flags: Flags = ()


class AllowanceReturned(Strict):
    """The terminal gives back all that is left of an allowance. Every spend of it stands before this in the stream."""

    allowance_id: Code


Fact = PointsEarned | PointsReversed | PointsRedeemed | RedemptionReversed | AllowanceReturned
_FACTS: Mapping[str, type[Fact]] = {
    EARNED: PointsEarned,
    REVERSED: PointsReversed,
    REDEEMED: PointsRedeemed,
    REDEMPTION_REVERSED: RedemptionReversed,
    ALLOWANCE_RETURNED: AllowanceReturned,
}


class Event(BaseModel):
    """The envelope: CloudEvents 1.0 attributes in their JSON names, and our extensions `inc seq bootid monoms`.

    `data` stays raw here: a hub that does not know the type keeps the event as it came, and reads it after an upgrade.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(max_length=200)
    source: str = Field(max_length=200)
    type: str = Field(min_length=1, max_length=200)
    subject: IdentifierId | None = None
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    inc: Incarnation
    seq: int = Field(ge=1, strict=True)
    bootid: str = Field(max_length=64)
    monoms: int = Field(ge=0, strict=True)
    data: dict[str, Any]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class UnknownEventType(ValueError):  # it is no fault: a newer terminal speaks to an older hub
    """The event's type or version is not in this contract yet."""


def event_id(terminal_id: str, inc: str, seq: int) -> str:
    """Return the CloudEvents id: the event's identity, written out."""
    return f"{terminal_id}/{inc}/{seq}"


def event_source(store_id: str, terminal_id: str) -> str:
    """Return the CloudEvents source of a terminal."""
    return f"/stores/{store_id}/terminals/{terminal_id}"


def read_fact(event: Event) -> Fact:
    """Return what the event says happened, as far as this version knows its fields.

    A newer terminal may have added fields that explain an event; one that changes what it does comes under a new type.

    Raises:
        UnknownEventType: the type is not known here; keep the event, it will be understood later.
        pydantic.ValidationError: the type is known and the data does not fit it.
    """
    model = _FACTS.get(event.type)
    if model is None:
        raise UnknownEventType(event.type)
    return model.model_validate(event.data, extra="ignore")


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return the one way a JSON object is written: sorted keys, no spaces, UTF-8 as it is, no NaN."""
    return _CANONICAL.encode(value)
