"""Recognition: whom a card, a phone or a choice leads to, and what the screen shows of them. Records nothing.

An identifier that leads to several customers is a choice for a person; nothing here guesses.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from agent import codes
from agent.advice import advise, balance_shown, person_row, with_spendable
from agent.codes import CardNumber, CardScheme
from agent.counter_errors import NotACard
from agent.quotes import QuoteRequest
from agent.redemptions import RedemptionRequest
from agent.sales import SaleRequest
from agent.screen import Shown
from agent.shift import Act
from agent.store import Store
from agent.store.acts import KeptAct
from agent.store.customers import Asked, Found, Person
from agent.views import ChoiceView, CustomerView, NothingView, UnknownCardView, View
from sync.contract.identifiers import Identifier, Scheme, hint, identifier_id
from sync.contract.protocol import PresentedIdentifier
from sync.runtime.clock import Clock

# A shift's cards that nobody is known for. Their numbers are not kept in memory, only what tells them apart.
HINTS_MAX = 512
HINT_FORGOTTEN = "••"


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


class Presented(NamedTuple):
    """An identifier as it was presented at the counter. Personal data.

    Where a page names a card by its id there is no `value`: the number was noted when the card was scanned, and the
    wish to know whose it is with it, so neither is needed again. `was_here` tells whether that scan is on record.
    """

    id: str
    scheme: Scheme
    value: str | None
    was_here: bool = True

    def for_hub(self) -> PresentedIdentifier | None:
        """Return it as it travels to the hub, if it leads to nobody here; None where it is named by its id."""
        if self.value is None:
            return None
        return PresentedIdentifier(id=self.id, identifier=Identifier(scheme=self.scheme, value=self.value))


class Recognition:
    """Recognises customers for one till."""

    def __init__(self, store: Store, chain: Chain, clock: Clock, hub: HubWord) -> None:
        self._store = store
        self._chain = chain
        self._clock = clock
        self._hub = hub
        self._hints: OrderedDict[str, str] = OrderedDict()

    def presented(self, scheme: Scheme, value: str) -> Presented:
        """Return a value with the id that stands for it in every event."""
        return Presented(identifier_id(self._chain.identifier_key, scheme, value), scheme, value)

    def found(self, presented: Presented) -> Found:
        """Return what an identifier leads to."""
        return self._store.customers.by_identifier(presented.id)

    def shown(self, presented: Presented, found: Found | None = None) -> Shown:
        """Return what the screen shows for an identifier: a customer, a choice, or a card nobody is known for."""
        found = found or self.found(presented)

        async def again() -> Shown:
            return self.shown(presented)

        accounts = frozenset(customer_id for who in found.people for customer_id in _accounts(who))
        return Shown(self._found_view(found, presented), accounts | {presented.id}, again)

    def person_shown(self, customer_id: str) -> Shown:
        """Return what the screen shows for a customer: nothing, where they have left this cache meanwhile.

        One who was merged with another meanwhile, or parted again, is shown as whom their identifiers lead to now.
        """
        person = self._store.customers.by_id(customer_id)
        if person is None:
            return Shown(NothingView())

        async def again() -> Shown:
            return self.person_shown(self._now(person))

        return Shown(self._view(person), _accounts(person), again)

    def _now(self, person: Person) -> str:
        """Return the id that a person goes by now: their own, or the one that all of their identifiers lead to."""
        customer_id = person.customer.customer_id
        if self._store.customers.by_id(customer_id) is not None:
            return customer_id
        found = [self._store.customers.by_identifier(identifier.id).people for identifier in person.identifiers]
        others = {other.customer.customer_id for people in found for other in people}
        return others.pop() if len(others) == 1 else customer_id

    def card_of(self, request: SaleRequest | QuoteRequest | RedemptionRequest) -> Presented | None:
        """Return the card that a request presents, or None where it presents none.

        Raises:
            NotACard: the text is none of our card numbers.
        """
        if request.card_id is not None:
            return Presented(request.card_id, Scheme.CARD, None, was_here=self._was_here(request.card_id))
        if request.card is None:
            return None
        meaning = codes.read(request.card, None, self._chain.scheme)
        if not isinstance(meaning, CardNumber):
            raise NotACard(meaning.kind)
        return self.presented(Scheme.CARD, meaning.number)

    def accounts_of(self, identifier: str) -> frozenset[str]:
        """Return every account that an identifier's points may show in."""
        found = self._store.customers.by_identifier(identifier)
        return frozenset({identifier}).union(*(_accounts(person) for person in found.people))

    def as_of(self, written: datetime | None) -> datetime | None:
        """Return as of when a balance is true: a quiet hub that was asked a moment ago makes an old figure new."""
        current = self._hub.current_as_of()
        return written if written is None or current is None else max(written, current)

    def hint_of(self, identifier: str) -> str | None:
        """Return the hint of a card that nobody was known for when it was shown; None where that is long ago."""
        return self._hints.get(identifier)

    def in_words(self, kept: KeptAct) -> Act:
        """Return an act with its reward in words, and a hint of its card where the files do not know that any more."""
        act, program = kept.act, self._store.cache.program
        rewards = {one.reward_id: one.text for one in program.rewards} if program and act.reward_id else {}
        hint_shown = act.hint or self.hint_of(kept.subject)
        return act.model_copy(update={"hint": hint_shown, "reward": rewards.get(act.reward_id or "")})

    def _was_here(self, identifier: str) -> bool:
        if identifier in self._hints:
            return True
        found = self._store.customers.by_identifier(identifier)
        return bool(found.people) or found.asked is not Asked.NOT_YET

    def _hint(self, presented: Presented) -> str:
        if presented.value is None:
            return self._hints.get(presented.id, HINT_FORGOTTEN)
        kept = self._hints[presented.id] = hint(presented.scheme, presented.value)
        self._hints.move_to_end(presented.id)
        if len(self._hints) > HINTS_MAX:
            self._hints.popitem(last=False)
        return kept

    def _found_view(self, found: Found, presented: Presented) -> View:
        if len(found.people) == 1:
            return self._view(found.people[0])
        program = self._store.cache.program
        if found.people:
            return ChoiceView(people=tuple(person_row(who.customer, who.identifiers, program) for who in found.people))
        return UnknownCardView(
            card_id=presented.id,
            hint=self._hint(presented),
            balance=balance_shown(found.card.balance, self.as_of(found.card.as_of), self._clock.now()),
            points_max=program.unknown_card_points_max if program else 0,
            asked=_ASKED[found.asked],
        )

    def _view(self, person: Person) -> CustomerView:
        now = self._clock.now()
        account = person.account
        program = self._store.cache.program
        view = advise(
            person.customer, account.balance, self.as_of(account.as_of), program, now, now.astimezone().date()
        )
        if program is None:
            return view
        subjects = [identifier.id for identifier in person.identifiers]
        purse = self._store.allowances.purse(person.customer.customer_id, subjects)
        return with_spendable(view, purse, program.redemption)


_ASKED: Mapping[Asked, Literal["waiting", "known", "unknown"]] = {
    Asked.NOT_YET: "waiting",
    Asked.WAITING: "waiting",
    Asked.KNOWN: "known",
    Asked.UNKNOWN: "unknown",
}


def _accounts(person: Person) -> frozenset[str]:
    return frozenset({person.customer.customer_id, *(identifier.id for identifier in person.identifiers)})
