import hashlib
import subprocess
import sys
from datetime import date, timedelta

import pytest

from agent import codes
from agent.demo.sample_shop import CUSTOMERS, Shop, make_shop
from sync.contract.customers import CautionKind, OfferState, Purpose, Wording
from sync.contract.identifiers import Scheme, normalise
from sync.contract.program import next_reward, value_band

TODAY = date(2026, 3, 9)
_PRINT_HASH = """
import hashlib
from datetime import date
from agent.demo.sample_shop import make_shop
print(hashlib.sha256(repr(make_shop(date(2026, 3, 9))).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(TODAY)


def test_the_same_seed_gives_the_same_bytes_in_another_process(shop: Shop) -> None:
    elsewhere = subprocess.run(
        [sys.executable, "-c", _PRINT_HASH],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )

    assert elsewhere.stdout.strip() == hashlib.sha256(repr(shop).encode()).hexdigest()


def test_another_seed_gives_other_customers(shop: Shop) -> None:
    other = make_shop(TODAY, seed=21)

    assert other.members[-1] != shop.members[-1]
    assert not {card for member in other.members for card in member.cards} & {
        card for member in shop.members for card in member.cards
    }


def test_nobody_shares_an_id_a_card_or_an_email(shop: Shop) -> None:
    ids = [member.customer.customer_id for member in shop.members]
    unshared = [
        (found.scheme, found.value)
        for member in shop.members
        for found in member.identifiers
        if found.scheme is not Scheme.PHONE
    ]

    assert len(ids) == len(set(ids)) == CUSTOMERS >= 500
    assert len(unshared) == len(set(unshared))


def test_one_phone_leads_to_two_customers_and_every_other_to_one(shop: Shop) -> None:
    owners: dict[str, list[str]] = {}
    for member in shop.members:
        for found in member.identifiers:
            if found.scheme is Scheme.PHONE:
                owners.setdefault(found.value, []).append(member.customer.given_name)

    assert [names for names in owners.values() if len(names) > 1] == [["Léa", "Thomas"]]


def test_one_customer_has_two_cards_and_the_unknown_card_has_none(shop: Shop) -> None:
    assert [member.customer.given_name for member in shop.members if len(member.cards) == 2] == ["Priya"]
    assert all(shop.unknown_card not in member.cards for member in shop.members)
    assert codes.read(shop.unknown_card) == codes.CardNumber(shop.unknown_card)


def test_every_card_reads_as_our_own(shop: Shop) -> None:
    for member in shop.members:
        for card in member.cards:
            assert codes.read(card) == codes.CardNumber(card)


def test_every_identifier_is_already_written_the_one_way(shop: Shop) -> None:
    for member in shop.members:
        for found in member.identifiers:
            assert normalise(found.scheme, found.value) == found.value


def test_nobody_can_be_reached_by_mistake(shop: Shop) -> None:
    found = [identifier for member in shop.members for identifier in member.identifiers]

    assert all(one.value.endswith("@example.com") for one in found if one.scheme is Scheme.EMAIL)
    assert all(one.value[5:10] == "55501" for one in found if one.scheme is Scheme.PHONE)


def test_both_languages_are_well_represented_and_no_sentence_is_left_untranslated(shop: Shop) -> None:
    french = sum(member.customer.language == "fr" for member in shop.members)
    sentences = [
        wording
        for member in shop.members
        for wording in (
            *(preference.text for preference in member.customer.preferences),
            *(text for offer in member.customer.offers for text in (offer.text, offer.reason)),
        )
    ]

    assert CUSTOMERS // 3 < french < 2 * CUSTOMERS // 3
    assert Wording(en="Oat flat white, no sugar", fr="Flat white à l\u2019avoine, sans sucre") in sentences
    assert all(", " not in wording.en or wording.en != wording.fr for wording in sentences)


def test_the_shop_shows_every_road_through_the_view(shop: Shop) -> None:
    customers = [member.customer for member in shop.members]

    assert {customer.tier for customer in customers} == {tier.tier for tier in shop.program.tiers}
    assert {caution.kind for customer in customers for caution in customer.cautions} == set(CautionKind)
    assert {offer.state for customer in customers for offer in customer.offers} >= {
        OfferState.AVAILABLE,
        OfferState.CONSUMED,
    }
    assert any(customer.last_visit_on is None for customer in customers)
    assert any(customer.called for customer in customers)
    for purpose in Purpose:
        agreeing = sum(customer.agrees_to(purpose) for customer in customers)
        assert CUSTOMERS // 4 < agreeing < CUSTOMERS
        assert any(
            [one.granted for one in customer.consents if one.purpose is purpose] == [True, False]
            for customer in customers
        )


def test_nobody_comes_from_the_future(shop: Shop) -> None:
    for member in shop.members:
        customer = member.customer
        assert customer.last_visit_on is None or customer.last_visit_on < TODAY
        assert all(consent.decided_at.date() < TODAY for consent in customer.consents)
        assert all(preference.noted_on < TODAY for preference in customer.preferences)
        assert all(offer.ends_on and offer.ends_on > TODAY for offer in customer.offers)
        assert customer.clv is None or TODAY - customer.clv.as_of < timedelta(days=31)


def test_rewards_and_bands_fit_the_customers(shop: Shop) -> None:
    balances = [member.points for member in shop.members]
    values = [member.customer.clv for member in shop.members if member.customer.clv]
    bands = {value_band(shop.program, value.amount_minor, value.currency) for value in values}

    assert bands == set(shop.program.value_bands)
    assert {reward.reward.reward_id for points in balances if (reward := next_reward(shop.program, points))} == {
        reward.reward_id for reward in shop.program.rewards
    }


def test_those_written_by_hand_come_first_and_say_what_they_show(shop: Shop) -> None:
    assert shop.members[0].customer.given_name == "Marie"
    assert [bool(member.sees) for member in shop.members[:8]] == [True] * 7 + [False]
