from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.advice import OLD_AFTER, STALE_AFTER, advise, person_row
from agent.views import CustomerView, Freshness
from sync.contract.customers import Caution, CautionKind, OfferState, Preference, Purpose
from sync.contract.identifiers import Scheme
from sync.contract.ledger import Balance
from tests.support import shop


def _advise(points: int = 120, pending: int = 15, **changes: Any) -> CustomerView:
    customer = shop.whole_customer(**changes)
    return advise(customer, Balance(points, pending), shop.MORNING, shop.program(), shop.MORNING, shop.TODAY)


def _caution(kind: CautionKind, day: int = 1) -> Caution:
    return Caution(kind=kind, since=date(2026, 3, day))


def test_the_customer_is_called_as_they_wish() -> None:
    assert _advise().name == "Mimi"
    assert _advise(called=None).name == "Marie"


@pytest.mark.parametrize("kind", CautionKind)
def test_nobody_with_a_caution_is_pitched_to(kind: CautionKind) -> None:
    view = _advise(cautions=(_caution(kind),))
    assert view.offer is None
    assert view.caution is not None
    assert view.caution.kind is kind


def test_one_caution_is_shown_the_gravest_and_oldest() -> None:
    cautions = (
        _caution(CautionKind.DO_NOT_CONTACT),
        _caution(CautionKind.OPEN_COMPLAINT, 5),
        _caution(CautionKind.OPEN_COMPLAINT, 3),
        _caution(CautionKind.RECENT_REFUND),
    )
    caution = _advise(cautions=cautions).caution
    assert caution is not None
    assert (caution.kind, caution.since.day) == (CautionKind.OPEN_COMPLAINT, 3)


@pytest.mark.parametrize(
    ("changes", "offered"),
    [
        ({}, True),
        ({"state": OfferState.CONSUMED}, False),
        ({"state": OfferState.HELD}, False),
        ({"ends_on": shop.TODAY}, True),
        ({"ends_on": shop.TODAY - timedelta(days=1)}, False),
    ],
)
def test_a_used_held_or_ended_offer_is_never_made(changes: dict[str, Any], offered: bool) -> None:
    assert (_advise(offers=(shop.offer(**changes),)).offer is not None) is offered


def test_one_offer_is_made_the_one_that_ends_first() -> None:
    offers = (
        shop.offer("open"),
        shop.offer("later", ends_on=date(2026, 5, 1)),
        shop.offer("sooner", ends_on=date(2026, 4, 1)),
    )
    offer = _advise(offers=offers).offer
    assert offer is not None
    assert offer.offer_id == "sooner"


@given(st.sets(st.sampled_from(Purpose)))
def test_each_purpose_shows_its_own_and_nothing_more(agreed: set[Purpose]) -> None:
    view = _advise(consents=shop.agreed(*agreed))
    assert (view.preferences is not None) == (Purpose.PREFERENCES in agreed)
    assert (view.value is not None) == (Purpose.PROFILING in agreed)
    assert view.balance.shown == 135


def test_a_withdrawal_after_a_grant_hides_at_once() -> None:
    granted = shop.agreed(Purpose.PREFERENCES, Purpose.PROFILING)
    later = shop.MORNING + timedelta(days=1)
    withdrawn = shop.agreed(Purpose.PREFERENCES, Purpose.PROFILING, granted=False, on=later)
    view = _advise(consents=(*withdrawn, *granted))
    assert (view.preferences, view.value) == (None, None)


def test_value_is_a_band_and_the_figure_stays_here() -> None:
    view = _advise()
    assert view.value is not None
    assert view.value.band == "loyal"
    assert "120000" not in view.model_dump_json()


def test_the_newest_two_preferences_are_shown() -> None:
    known = tuple(
        Preference(text=shop.wording(f"like {day}"), source="staff", noted_on=date(2026, 1, day)) for day in (2, 9, 5)
    )
    shown = _advise(preferences=known).preferences
    assert shown is not None
    assert [preference.noted_on.day for preference in shown] == [9, 5]


@given(st.integers(0, 300), st.integers(-50, 300))
def test_two_honest_numbers_and_the_rewards_by_their_sum(points: int, pending: int) -> None:
    view = _advise(points, pending)
    assert (view.balance.posted, view.balance.pending) == (points, pending)
    assert view.balance.shown == points + pending
    if view.next_reward is not None:
        assert view.next_reward.points == view.balance.shown + view.next_reward.missing
    if view.reached_reward is not None:
        assert view.reached_reward.points <= view.balance.shown


@pytest.mark.parametrize(
    ("age", "freshness"),
    [
        (timedelta(0), Freshness.FRESH),
        (STALE_AFTER, Freshness.FRESH),
        (STALE_AFTER + timedelta(seconds=1), Freshness.STALE),
        (OLD_AFTER, Freshness.STALE),
        (OLD_AFTER + timedelta(seconds=1), Freshness.OLD),
        (timedelta(hours=-1), Freshness.FRESH),
    ],
)
def test_an_old_figure_says_so(age: timedelta, freshness: Freshness) -> None:
    as_of = shop.MORNING - age
    view = advise(shop.customer(), Balance(1, 0), as_of, shop.program(), shop.MORNING, shop.TODAY)
    assert view.balance.freshness is freshness


def test_before_the_first_contact_nothing_is_made_up() -> None:
    view = advise(shop.whole_customer(), Balance(0, 5), None, None, shop.MORNING, shop.TODAY)
    assert (view.balance.freshness, view.next_reward, view.value) == (Freshness.NEVER, None, None)
    assert view.tier is not None
    assert (view.tier.tier, view.tier.text) == ("gold", None)


def test_a_row_of_a_list_tells_just_enough() -> None:
    refs = (shop.ref(Scheme.PHONE, "+15145550123"),)
    row = person_row(shop.whole_customer(), refs, shop.program())
    assert (row.name, row.hints) == ("Mimi Tremblay", ("•• 0123",))
    assert "5145550123" not in row.model_dump_json()
    assert "Oat" not in row.model_dump_json()
