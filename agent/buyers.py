"""Buyers: who a sale is for, worked out from what the request names and from whom the cache knows.

Events name identifiers, not customers, so that a wrong merge can be undone. A card that leads to several customers is
a choice for a person; nothing here guesses.
"""

from dataclasses import dataclass

from agent.counter_errors import CardMismatch, ChoiceNeeded, CustomerUnknown
from agent.sales import Buyer
from agent.store.entries import Basis
from agent.store.holders import Holder, Holders, Ref
from sync.contract.events import Flag


@dataclass(frozen=True, slots=True)
class Bought:
    """Who a sale is for, and what the hub said of the account it counts to."""

    buyer: Buyer
    basis: Basis


def bought(holders: Holders, card: str | None, customer_id: str | None) -> Bought:
    """Return who a sale is for.

    Args:
        holders: whom the cache knows; asked on the thread that the caller runs on.
        card: the identifier id of the card that was presented, or None.
        customer_id: the customer that the sale names, or None.

    Raises:
        ChoiceNeeded, CardMismatch, CustomerUnknown: the sale does not say who it is for.
    """
    if card is None:
        chosen = holders.of_customer(customer_id) if customer_id is not None else None
        if chosen is None:
            raise CustomerUnknown
        return _by_own_identifier(holders, chosen, None)
    people = {holder.customer_id: holder for holder in holders.of_identifier(card)}
    if customer_id is not None and customer_id not in people:
        raise CardMismatch
    if not people:
        return Bought(Buyer(card, None, (Flag.CARD_UNKNOWN,)), holders.card(card))
    if len(people) > 1:
        if customer_id is None:
            raise ChoiceNeeded
        return _by_own_identifier(holders, people[customer_id], card)
    holder = next(iter(people.values()))
    return Bought(Buyer(card, holder.customer_id), holder.basis)


def _by_own_identifier(holders: Holders, holder: Holder, card: str | None) -> Bought:
    """Return a customer by an identifier that leads to nobody else.

    Without one the points wait on what was presented, until a person decides.
    """
    shared = holders.shared([ref.id for ref in holder.refs])
    own = sorted((ref for ref in holder.refs if ref.id not in shared), key=_no_card)
    if own:
        return Bought(Buyer(own[0].id, holder.customer_id), holder.basis)
    if not holder.refs:
        raise CardMismatch
    subject = card or min(holder.refs, key=_no_card).id
    return Bought(Buyer(subject, None, (Flag.CARD_SHARED,)), holders.card(subject))


def _no_card(ref: Ref) -> bool:
    return ref.scheme != "card"
