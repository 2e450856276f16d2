"""What the hub knows of a customer and a terminal may hold. Values only; who may see what is decided in `agent.advice`.

Every sentence that staff could read stands in English and in French: neither is a translation that may be missing.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

# Enough for any real name or sentence; keeps one row far below a page of the feed.
NAME_CHARS_MAX = 80
SENTENCE_CHARS_MAX = 200
ROWS_PER_CUSTOMER_MAX = 50

Language = Literal["en", "fr"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_CHARS_MAX)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=SENTENCE_CHARS_MAX)]


def _spoken(value: object) -> object:
    """Return the language that a terminal has words in: `fr-CA` is `fr`, and one that it has none in is `en`."""
    if not isinstance(value, str) or value in ("en", "fr"):
        return value
    return "fr" if value.lower().partition("-")[0] == "fr" else "en"


# On the wire: one customer of a language without words must not stop the feed of a shop.
Spoken = Annotated[Language, BeforeValidator(_spoken)]


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that an older terminal can read a newer hub."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Wording(Value):
    """One sentence in both languages."""

    en: Sentence
    fr: Sentence


class Purpose(StrEnum):
    """What a customer can agree to. Points need no consent: they are the contract itself."""

    PREFERENCES = "preferences"
    PROFILING = "profiling"
    MARKETING = "marketing"


class Consent(Value):
    """A decision of the customer for one purpose; the newest per purpose counts."""

    purpose: Purpose
    granted: bool
    decided_at: AwareDatetime
    wording_version: Code
    language: Spoken


class Preference(Value):
    """What the customer likes, with where it was learnt."""

    text: Wording
    source: Code
    noted_on: date


class LifetimeValue(Value):
    """CLV as the hub's model figured it. The screen shows a band, never this figure."""

    amount_minor: int = Field(ge=0)
    currency: Currency
    as_of: date
    model: Code


class OfferState(StrEnum):
    """available -> held -> consumed."""

    AVAILABLE = "available"
    HELD = "held"
    CONSUMED = "consumed"


class Offer(Value):
    """A benefit for this customer, with the reason staff can say aloud."""

    offer_id: Code
    text: Wording
    reason: Wording
    state: OfferState = OfferState.AVAILABLE
    ends_on: date | None = None


class CautionKind(StrEnum):
    """What staff must mind now, gravest first."""

    OPEN_COMPLAINT = "open_complaint"
    RECENT_REFUND = "recent_refund"
    DO_NOT_CONTACT = "do_not_contact"


class Caution(Value):
    """One thing to mind, since when."""

    kind: CautionKind
    since: date


class Customer(Value):
    """One person in the hub's master data, as a terminal may hold it.

    No balance: that has its own position in the feed.
    """

    customer_id: Code
    given_name: Name
    family_name: Name | None = None
    called: Name | None = Field(default=None, description="the name as the customer wants to be called")
    language: Spoken
    tier: Code | None = None
    last_visit_on: date | None = None
    preferences: tuple[Preference, ...] = Field(default=(), max_length=ROWS_PER_CUSTOMER_MAX)
    clv: LifetimeValue | None = None
    offers: tuple[Offer, ...] = Field(default=(), max_length=ROWS_PER_CUSTOMER_MAX)
    cautions: tuple[Caution, ...] = Field(default=(), max_length=ROWS_PER_CUSTOMER_MAX)
    consents: tuple[Consent, ...] = Field(default=(), max_length=ROWS_PER_CUSTOMER_MAX)

    def agrees_to(self, purpose: Purpose) -> bool:
        """Tell whether the newest decision for this purpose is a yes. No decision is a no."""
        decisions = [consent for consent in self.consents if consent.purpose is purpose]
        return bool(decisions) and max(decisions, key=_decided_at).granted


class IdentifierRef(Value):
    """An identifier as a terminal holds it: the opaque id to find by, and a hint to tell customers apart."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    scheme: Literal["card", "phone", "email"]
    hint: str = Field(max_length=SENTENCE_CHARS_MAX)


def _decided_at(consent: Consent) -> datetime:
    return consent.decided_at
