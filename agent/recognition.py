"""Recognition: whom a card, a phone or a choice leads to, and who a sale is for. Reads the store, records nothing.

An identifier that leads to several customers is a choice for a person; nothing here guesses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from agent import codes
from agent.advice import advise, balance_shown, person_row
from agent.codes import CardNumber, CardScheme
from agent.counter_errors import CardMismatch, ChoiceNeeded, CustomerUnknown, NotACard
from agent.sales import Buyer, SaleRequest
from agent.screen import Shown
from agent.store import Store
from agent.store.customers import Asked, Found, Person
from agent.store.entries import Account
from agent.views import ChoiceView, CustomerView, NothingView, UnknownCardView, View
from sync.contract.customers import IdentifierRef
from sync.contract.events import Flag
from sync.contract.identifiers import Identifier, Scheme, hint, identifier_id
from sync.contract.protocol import PresentedIdentifier
from sync.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Chain:
    """What all terminals of a chain share: the key of identifier ids, and how card and phone numbers are built."""

    identifier_key: bytes
    scheme: CardScheme
    country_code: str


def _unknown() -> datetime | None:
    return None


@dataclass(frozen=True, slots=True)
class HubWord:
    """What the hub says of time: its time now, and as of when the balances here are all it had. None: not known."""

    now: Callable[[], datetime | None] = _unknown
    current_as_of: Callable[[], datetime | None] = _unknown


@dataclass(frozen=True, slots=True)
class Bought:
    """Who a sale is for: the buyer, the account it counts to, and the card that was presented, if one was."""

    buyer: Buyer
    account: Account
    presented: PresentedIdentifier | None


class Recognition:
    """Recognises customers for one till."""

    def __init__(self, store: Store, chain: Chain, clock: Clock, hub: HubWord) -> None:
        self._store = store
        self._chain = chain
        self._clock = clock
        self._hub = hub

    def presented(self, scheme: Scheme, value: str) -> PresentedIdentifier:
        """Return an identifier as it travels to the hub, if it leads to nobody here."""
        key = identifier_id(self._chain.identifier_key, scheme, value)
        return PresentedIdentifier(id=key, identifier=Identifier(scheme=scheme, value=value))

    def found(self, presented: PresentedIdentifier) -> Found:
        """Return what an identifier leads to."""
        return self._store.customers.by_identifier(presented.id)

    def shown(self, presented: PresentedIdentifier) -> Shown:
        """Return what the screen shows for an identifier: a customer, a choice, or a card nobody is known for."""
        found = self.found(presented)

        async def again() -> Shown:
            return self.shown(presented)

        accounts = frozenset(customer_id for who in found.people for customer_id in _accounts(who))
        return Shown(self._found_view(found, presented), accounts | {presented.id}, again)

    def person(self, customer_id: str) -> tuple[CustomerView, Shown]:
        """Return a customer that staff chose, as a view and as the screen shows it.

        Raises:
            CustomerUnknown: there is none of this id here.
        """
        person = self._store.customers.by_id(customer_id)
        if person is None:
            raise CustomerUnknown
        view = self._view(person)

        async def again() -> Shown:
            try:
                return self.person(customer_id)[1]
            except CustomerUnknown:  # erased meanwhile
                return Shown(NothingView())

        return view, Shown(view, _accounts(person), again)

    def card_of(self, request: SaleRequest) -> PresentedIdentifier | None:
        """Return the card that a sale presents, or None where it presents none.

        Raises:
            NotACard: the text is none of our card numbers.
        """
        if request.card is None:
            return None
        meaning = codes.read(request.card, None, self._chain.scheme)
        if not isinstance(meaning, CardNumber):
            raise NotACard(meaning.kind)
        return self.presented(Scheme.CARD, meaning.number)

    def buyer(self, request: SaleRequest) -> Bought:
        """Return who a sale is for.

        Raises:
            NotACard, ChoiceNeeded, CardMismatch, CustomerUnknown: the request does not say who it is for.
        """
        presented = self.card_of(request)
        if presented is None:
            return self._chosen(request.customer_id)
        found = self.found(presented)
        people = {person.customer.customer_id: person for person in found.people}
        if request.customer_id is not None and request.customer_id not in people:
            raise CardMismatch
        if not people:
            return Bought(Buyer(presented.id, None, (Flag.CARD_UNKNOWN,)), found.card, presented)
        if len(people) > 1:
            if request.customer_id is None:
                raise ChoiceNeeded
            return self._by_own_identifier(people[request.customer_id], presented)
        person = found.people[0]
        return Bought(Buyer(presented.id, person.customer.customer_id), person.account, presented)

    def accounts_of(self, identifier: str) -> frozenset[str]:
        """Return every account that an identifier's points may show in."""
        found = self._store.customers.by_identifier(identifier)
        return frozenset({identifier}).union(*(_accounts(person) for person in found.people))

    def as_of(self, account: Account) -> datetime | None:
        """Return as of when a balance is true: a quiet hub that was asked a moment ago makes an old figure new."""
        moments = [moment for moment in (account.as_of, self._hub.current_as_of()) if moment is not None]
        return max(moments) if account.as_of is not None else None

    def _chosen(self, customer_id: str | None) -> Bought:
        person = self._store.customers.by_id(customer_id) if customer_id is not None else None
        if person is None:
            raise CustomerUnknown
        return self._by_own_identifier(person, None)

    def _by_own_identifier(self, person: Person, presented: PresentedIdentifier | None) -> Bought:
        """Return a customer by an identifier that leads to nobody else: events name identifiers, not customers.

        Without one the points wait on what was presented, until a person decides.
        """
        shared = self._store.customers.shared([identifier.id for identifier in person.identifiers])
        own = sorted((ref for ref in person.identifiers if ref.id not in shared), key=_cards_first)
        customer_id = person.customer.customer_id
        if own:
            return Bought(Buyer(own[0].id, customer_id), person.account, presented)
        if not person.identifiers:
            raise CardMismatch
        subject = presented.id if presented else min(person.identifiers, key=_cards_first).id
        card = self._store.customers.by_identifier(subject).card
        return Bought(Buyer(subject, None, (Flag.CARD_SHARED,)), card, presented)

    def _found_view(self, found: Found, presented: PresentedIdentifier) -> View:
        if len(found.people) == 1:
            return self._view(found.people[0])
        program = self._store.cache.program
        if found.people:
            return ChoiceView(people=tuple(person_row(who.customer, who.identifiers, program) for who in found.people))
        return UnknownCardView(
            hint=hint(presented.identifier.scheme, presented.identifier.value),
            balance=balance_shown(found.card.balance, self.as_of(found.card), self._clock.now()),
            points_max=program.unknown_card_points_max if program else 0,
            asked=_ASKED[found.asked],
        )

    def _view(self, person: Person) -> CustomerView:
        now = self._clock.now()
        account = person.account
        program = self._store.cache.program
        return advise(person.customer, account.balance, self.as_of(account), program, now, now.astimezone().date())


_ASKED: Mapping[Asked, Literal["waiting", "known", "unknown"]] = {
    Asked.NOT_YET: "waiting",
    Asked.WAITING: "waiting",
    Asked.KNOWN: "known",
    Asked.UNKNOWN: "unknown",
}


def _accounts(person: Person) -> frozenset[str]:
    return frozenset({person.customer.customer_id, *(identifier.id for identifier in person.identifiers)})


def _cards_first(ref: IdentifierRef) -> bool:
    return ref.scheme != "card"
