"""The shift: which sales and redemptions of this till staff see again, and may take back.

An act is one of them as the page lists it. It names no customer: names leave the page a minute after the last act, and
the list stays for the length of the shift. Pure; what the till recorded is read in `agent.store.acts`.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime

from sync.contract.customers import Code, Currency, Value, Wording

# Longer than anybody stands at a till. Nobody has to press a key for yesterday's acts to leave the list.
SHIFT_MAX = timedelta(hours=14)


class ActState(StrEnum):
    """What became of a sale or a redemption here."""

    CREDITED = "credited"
    KEPT_FOR_CARD = "kept_for_card"
    TAKEN_BACK = "taken_back"
    REDEEMED = "redeemed"
    GIVEN_BACK = "given_back"


class Held(StrEnum):
    """Why an act does not count at the hub: refused there, not understood there yet, or not carried there."""

    REJECTED = "rejected"
    PARKED = "parked"
    WITHHELD = "withheld"


class Act(Value):
    """One act of this till. `points` is what a sale credited or a redemption took, also after it was undone.

    A sale has a `sale_id` and an amount; a redemption has a `redemption_id`, and its `reward_id` if it was for one,
    with the words that the program in force has for it.
    """

    kind: Literal["sale", "redemption"] = "sale"
    position: int
    sale_id: Code | None = None
    redemption_id: Code | None = None
    reward_id: Code | None = None
    reward: Wording | None = None
    customer_id: Code | None
    hint: str | None
    net_minor: int | None = None
    currency: Currency | None = None
    points: int
    state: ActState
    held: Held | None = None
    recorded_at: AwareDatetime


class Acts(Value):
    """The newest acts of this shift, the newest first; `more` says there were others since `since`."""

    since: AwareDatetime
    rows: tuple[Act, ...]
    more: bool


def shift_since(began_at: datetime | None, now: datetime) -> datetime:
    """Return from when on acts belong to this shift: since staff began it, and never longer than `SHIFT_MAX`."""
    earliest = now - SHIFT_MAX
    return earliest if began_at is None else max(began_at, earliest)
