"""Quotes: how many points a sale would credit now. Pure, and by the rules that a sale is planned with.

The page asks while the amount is typed, so that staff can say the points before they press the key; the one earn rule
stays here, and no page computes points.
"""

from pydantic import Field, model_validator

from agent.codes import TEXT_CHARS_MAX
from sync.contract.customers import Code, Currency, Value
from sync.contract.events import IdentifierId, Money, Strict
from sync.contract.ledger import Balance
from sync.contract.program import Program, SaleLine, earn


class QuoteRequest(Strict):
    """An amount, and who it would be for, as in a sale; without anybody, somebody who is known."""

    net_minor: Money
    currency: Currency
    card: str | None = Field(default=None, min_length=1, max_length=TEXT_CHARS_MAX, repr=False)
    card_id: IdentifierId | None = None
    customer_id: Code | None = None

    @model_validator(mode="after")
    def _names_one_card(self) -> "QuoteRequest":
        if self.card is not None and self.card_id is not None:
            raise ValueError("must name its card once, by card or by card_id")
        return self


class Quote(Value):
    """What a sale would credit now. `capped`: less than the amount earns, because nobody is known for the card."""

    points: int
    capped: bool
    program_version: int


def quote(program: Program, net_minor: int, on_card: Balance | None) -> Quote:
    """Return what a sale of `net_minor` would credit.

    `on_card` is what waits on the card already where the points would stay on it, and None where a customer gets them.
    """
    lines = (SaleLine(quantity="1", net_minor=net_minor),)
    points = earned = sum(earn(program, lines))
    if on_card is not None:
        points = sum(earn(program, lines, points_max=program.unknown_card_points_max - on_card.shown))
    return Quote(points=points, capped=points != earned, program_version=program.version)
