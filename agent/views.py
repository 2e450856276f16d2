"""Views: what the cashier sees after a scan, as values.

They carry codes and the chain's own wordings, not sentences: the doors pick a language.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from agent.purse import WhyNot
from sync.contract.customers import CautionKind, Code, Language, Value, Wording
from sync.contract.events import IdentifierId


class Freshness(StrEnum):
    """How old the hub's balance is: up to 15 minutes, up to a day, older, or never heard."""

    FRESH = "fresh"
    STALE = "stale"
    OLD = "old"
    NEVER = "never"


class BalanceShown(Value):
    """`shown` = `posted` by the hub as of `as_of`, plus `pending` here."""

    posted: int
    pending: int
    shown: int
    as_of: datetime | None
    freshness: Freshness


class TierShown(Value):
    """The customer's tier, and the chain's words for it; None where the program has none for the code."""

    tier: Code
    text: Wording | None


class RewardShown(Value):
    """A reward, and the points still missing to it (0 when it is within reach)."""

    reward_id: Code
    text: Wording
    points: int
    missing: int
    why_not: WhyNot | None = Field(default=None, description="what stands against giving a reached one here now")


class OfferShown(Value):
    """The one offer to say aloud, with its reason."""

    offer_id: Code
    text: Wording
    reason: Wording
    ends_on: date | None


class CautionShown(Value):
    """The one thing to mind."""

    kind: CautionKind
    since: date


class PreferenceShown(Value):
    """Something the customer likes."""

    text: Wording
    noted_on: date


class ValueShown(Value):
    """Lifetime value as a band, never as a figure."""

    band: Code
    text: Wording
    as_of: date


class CustomerView(Value):
    """One customer. `preferences` and `value` are None without consent: then speak neutrally.

    `reached_rewards` are those that the shown points pay for, the dearest first; those up to `spendable` can be given
    now. One more may be possible all the same while the hub is reachable: it is asked when the redemption is sent.
    """

    kind: Literal["customer"] = "customer"
    customer_id: Code
    name: str = Field(description="as the customer wants to be called")
    language: Language
    tier: TierShown | None
    balance: BalanceShown
    next_reward: RewardShown | None
    reached_reward: RewardShown | None
    reached_rewards: tuple[RewardShown, ...] = ()
    spendable: int | None = Field(default=None, description="points that can be used here now; null: nobody can tell")
    spendable_reason: WhyNot | None = Field(default=None, description="why these are not all of the shown points")
    offer: OfferShown | None
    caution: CautionShown | None
    last_visit_on: date | None
    preferences: tuple[PreferenceShown, ...] | None
    value: ValueShown | None


class UnknownCardView(Value):
    """A card of ours that nobody is known for here. Points are kept for it, up to `points_max`.

    `asked`: the hub will be asked (`waiting`), knows the customer and is sending it (`known`), or knows nobody
    (`unknown`). `card_id` stands for the card in a sale; the number itself is not shown.
    """

    kind: Literal["unknown_card"] = "unknown_card"
    card_id: IdentifierId
    hint: str
    balance: BalanceShown
    points_max: int
    asked: Literal["waiting", "known", "unknown"]


class PersonRow(Value):
    """Just enough of a customer to be chosen among several."""

    customer_id: Code
    name: str
    tier: TierShown | None
    hints: tuple[str, ...]
    last_visit_on: date | None


class ChoiceView(Value):
    """The identifier leads to several customers: a person chooses, the till never guesses."""

    kind: Literal["choice"] = "choice"
    people: tuple[PersonRow, ...]


class OtherView(Value):
    """What was scanned is not a customer: `meaning` names it for what it is."""

    kind: Literal["other"] = "other"
    meaning: dict[str, Any]


class NothingView(Value):
    """Nothing is shown."""

    kind: Literal["nothing"] = "nothing"


View = Annotated[CustomerView | UnknownCardView | ChoiceView | OtherView | NothingView, Field(discriminator="kind")]
