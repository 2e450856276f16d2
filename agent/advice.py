"""Advice: what staff should see and say of a customer. Pure, and consent first.

Somebody with an open complaint, a recent refund or a wish not to be contacted gets no sales pitch: any caution silences
the offer. Preferences and value appear only where the customer agreed to that purpose; points work without.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from agent.purse import Purse, room, why_not
from agent.views import (
    BalanceShown,
    CautionShown,
    CustomerView,
    Freshness,
    OfferShown,
    PersonRow,
    PreferenceShown,
    RewardShown,
    TierShown,
    ValueShown,
)
from sync.contract.customers import CautionKind, Customer, IdentifierRef, Offer, OfferState, Purpose
from sync.contract.ledger import Balance
from sync.contract.program import Program, RedemptionRule, Reward, next_reward, reached_reward, value_band

# A hub that is there tells of a change within seconds; beyond this the figure gets its time beside it.
STALE_AFTER = timedelta(minutes=15)
OLD_AFTER = timedelta(hours=24)
# The usual, and a second thing: more is not read in the second that counts.
PREFERENCES_SHOWN = 2
# A page of them; a program has a handful.
REWARDS_SHOWN = 12

_GRAVITY = tuple(CautionKind)


def advise(
    customer: Customer, balance: Balance, as_of: datetime | None, program: Program | None, now: datetime, today: date
) -> CustomerView:
    """Return what staff see of a customer.

    Args:
        customer: as the cache holds it.
        balance: posted and pending points.
        as_of: the hub's time of the posted figure; None where no snapshot was ever loaded.
        program: the rules in force; None before the hub sent any.
        now: for the age of the balance.
        today: the shop's own day, for offers that end.
    """
    points = balance.shown
    coming = next_reward(program, points) if program else None
    reached = reached_reward(program, points) if program else None
    caution = _gravest(customer)
    offer = None if caution else _best_offer(customer.offers, today)
    return CustomerView(
        customer_id=customer.customer_id,
        name=called(customer),
        language=customer.language,
        tier=tier_of(customer, program),
        balance=balance_shown(balance, as_of, now),
        next_reward=_reward(coming.reward, coming.missing) if coming else None,
        reached_reward=_reward(reached, 0) if reached else None,
        reached_rewards=_reached(program, points) if program else (),
        offer=offer,
        caution=caution,
        last_visit_on=customer.last_visit_on,
        preferences=_preferences(customer) if customer.agrees_to(Purpose.PREFERENCES) else None,
        value=_value(customer, program) if customer.agrees_to(Purpose.PROFILING) else None,
    )


def with_spendable(view: CustomerView, purse: Purse, rule: RedemptionRule) -> CustomerView:
    """Return the view with what can be redeemed here and now, and with what stands against each reward within reach."""
    shown = view.balance.shown
    spendable = room(purse, rule, shown)
    reached = tuple(
        reward.model_copy(update={"why_not": why_not(reward.points, purse, rule, shown)})
        for reward in view.reached_rewards
    )
    return view.model_copy(
        update={"spendable": spendable.points, "spendable_reason": spendable.reason, "reached_rewards": reached}
    )


def called(customer: Customer) -> str:
    """Return the name as the customer wants to be called."""
    return customer.called or customer.given_name


def person_row(customer: Customer, identifiers: Sequence[IdentifierRef], program: Program | None) -> PersonRow:
    """Return just enough of a customer to be told apart in a list: no full identifier, no preference, no value."""
    family = f" {customer.family_name}" if customer.family_name else ""
    return PersonRow(
        customer_id=customer.customer_id,
        name=called(customer) + family,
        tier=tier_of(customer, program),
        hints=tuple(identifier.hint for identifier in identifiers),
        last_visit_on=customer.last_visit_on,
    )


def tier_of(customer: Customer, program: Program | None) -> TierShown | None:
    """Return the customer's tier with the chain's words for it."""
    if customer.tier is None:
        return None
    texts = {tier.tier: tier.text for tier in program.tiers} if program else {}
    return TierShown(tier=customer.tier, text=texts.get(customer.tier))


def balance_shown(balance: Balance, as_of: datetime | None, now: datetime) -> BalanceShown:
    """Return the two honest numbers, and how old the first one is."""
    return BalanceShown(
        posted=balance.posted,
        pending=balance.pending,
        shown=balance.shown,
        as_of=as_of,
        freshness=_freshness(as_of, now),
    )


def _freshness(as_of: datetime | None, now: datetime) -> Freshness:
    if as_of is None:
        return Freshness.NEVER
    age = now - as_of
    if age > OLD_AFTER:
        return Freshness.OLD
    return Freshness.STALE if age > STALE_AFTER else Freshness.FRESH


def _reward(reward: Reward, missing: int) -> RewardShown:
    return RewardShown(reward_id=reward.reward_id, text=reward.text, points=reward.points, missing=missing)


def _reached(program: Program, points: int) -> tuple[RewardShown, ...]:
    within = sorted((one for one in program.rewards if one.points <= points), key=lambda one: -one.points)
    return tuple(_reward(one, 0) for one in within[:REWARDS_SHOWN])


def _gravest(customer: Customer) -> CautionShown | None:
    if not customer.cautions:
        return None
    gravest = min(customer.cautions, key=lambda caution: (_GRAVITY.index(caution.kind), caution.since))
    return CautionShown(kind=gravest.kind, since=gravest.since)


def _best_offer(offers: Sequence[Offer], today: date) -> OfferShown | None:
    """Return the offer that ends first among those that can still be used; the hub's own order breaks ties."""
    usable = [
        offer
        for offer in offers
        if offer.state is OfferState.AVAILABLE and (offer.ends_on is None or offer.ends_on >= today)
    ]
    if not usable:
        return None
    best = min(usable, key=lambda offer: offer.ends_on or date.max)
    return OfferShown(offer_id=best.offer_id, text=best.text, reason=best.reason, ends_on=best.ends_on)


def _preferences(customer: Customer) -> tuple[PreferenceShown, ...]:
    newest = sorted(customer.preferences, key=lambda preference: preference.noted_on, reverse=True)
    return tuple(
        PreferenceShown(text=preference.text, noted_on=preference.noted_on) for preference in newest[:PREFERENCES_SHOWN]
    )


def _value(customer: Customer, program: Program | None) -> ValueShown | None:
    clv = customer.clv
    band = value_band(program, clv.amount_minor, clv.currency) if clv and program else None
    if clv is None or band is None:
        return None
    return ValueShown(band=band.band, text=band.text, as_of=clv.as_of)
