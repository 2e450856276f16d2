import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.quotes import QuoteRequest, quote
from agent.sales import Buyer, fingerprint, plan_sale
from sync.contract.events import Flag
from sync.contract.ledger import Balance
from sync.contract.program import EarnRule
from tests.support import shop

_CARD = "0f" * 16


@given(
    net_minor=st.integers(0, 1_000_000_000),
    points=st.integers(1, 10_000),
    per_minor=st.integers(1, 1_000_000),
    points_max=st.integers(0, 1_000),
    on_card=st.one_of(st.none(), st.integers(-50, 1_500)),
)
def test_a_quote_is_what_a_sale_is_planned_with(
    net_minor: int, points: int, per_minor: int, points_max: int, on_card: int | None
) -> None:
    rules = shop.program(3, earn=EarnRule(points=points, per_minor=per_minor), unknown_card_points_max=points_max)
    before = Balance(0, on_card or 0)
    buyer = Buyer(_CARD, "c-1" if on_card is None else None)
    draft = plan_sale(shop.sale("s-1", net_minor), rules, buyer, before, as_of=None, recorded_at=shop.MORNING)

    quoted = quote(rules, net_minor, None if on_card is None else before)

    assert quoted.points == draft.points
    assert quoted.capped == (Flag.POINTS_CAPPED in draft.answer.flags)
    assert quoted.program_version == 3


def test_a_quote_names_at_most_one_card() -> None:
    with pytest.raises(ValidationError, match="once"):
        QuoteRequest(net_minor=1, currency="CAD", card=shop.card(), card_id=_CARD)
    assert QuoteRequest(net_minor=1, currency="CAD", card_id=_CARD, customer_id="c-1").card_id == _CARD


def test_a_sale_is_the_same_sale_by_the_number_and_by_the_id_of_its_card() -> None:
    by_number, by_id = shop.sale(), shop.sale(card=None, card_id=_CARD)
    assert fingerprint(by_number, _CARD) == fingerprint(by_id, _CARD)
    assert fingerprint(by_number, _CARD) != fingerprint(by_id, "1f" * 16)


def test_a_sale_of_an_earlier_version_is_known_again() -> None:
    # Made by the version before `card_id` was there; tills hold such fingerprints for ever.
    assert fingerprint(shop.sale(), _CARD).hex() == "a151ee170594c79c046d028083cff8af6cf9cd599a89be6058c12e0a30bf0605"
    chosen = shop.sale(customer_id="c-1")
    assert fingerprint(chosen, None).hex() == "e4004cdae4640fe89c760ad2adcd296335fc468420f38d45b2d74b6d5201a8ec"
