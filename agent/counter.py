"""The counter: what staff and the point of sale do. Each flow decides purely, records in one transaction, and shows.

No network is asked. A card that nobody is known for keeps its points, and the wish to know more goes to the hub by
itself.
"""

import logging

from agent import codes
from agent.advice import person_row
from agent.codes import CardNumber, Email, Name, Phone
from agent.counter_errors import CurrencyRefused, CustomerUnknown, NoProgram
from agent.decisions import time_flags, who_it_is
from agent.quotes import Quote, QuoteRequest, quote
from agent.recognition import Chain, HubWord, Presented, Recognition
from agent.redeeming import HubAsked, Redeeming
from agent.sales import (
    Buyer,
    ReversalRequest,
    ReversalResult,
    SaleRequest,
    SaleResult,
    fingerprint,
    plan_reversal,
    plan_sale,
)
from agent.screen import Screen, Shown
from agent.shift import Act, Acts
from agent.store import Store
from agent.store.customers import Asked
from agent.store.entries import Decision, ReversalEntry, SaleEntry, Stamp
from agent.views import CustomerView, OtherView, PersonRow, View
from agent.wedge import Scanner
from sync.contract.customers import Value
from sync.contract.events import Flag
from sync.contract.identifiers import Scheme
from sync.contract.program import Program
from sync.runtime.clock import Clock
from sync.runtime.sqlite_file import DatabaseError

_log = logging.getLogger(__name__)


class Search(Value):
    """Customers that a search found, each with just enough to be told apart; `more` says there were others."""

    people: tuple[PersonRow, ...]
    more: bool


class Counter:
    """The flows of one till."""

    def __init__(
        self,
        store: Store,
        screen: Screen,
        chain: Chain,
        clock: Clock,
        hub: HubWord,
        asked: HubAsked | None = None,
    ) -> None:
        self._store = store
        self._screen = screen
        self._chain = chain
        self._clock = clock
        self._hub = hub
        self._recognition = Recognition(store, chain, clock, hub)
        self.redeeming = Redeeming(store, screen, self._recognition, clock, hub, asked or HubAsked())
        """Redemptions, at the same counter."""

    async def scan(self, text: str, symbology: str | None = None) -> View:
        """Show who or what a scanned or typed text is, and return what is shown."""
        meaning = codes.read(text, symbology, self._chain.scheme)
        if not isinstance(meaning, CardNumber):
            shown = Shown(OtherView(meaning=dict(codes.to_json(meaning))))
        else:
            presented = self._recognition.presented(Scheme.CARD, meaning.number)
            found = self._recognition.found(presented)
            if not found.people and found.asked in (Asked.NOT_YET, Asked.UNKNOWN):
                await self._wish_to_know(presented)
            shown = self._recognition.shown(presented, found if found.people else None)
        self._screen.show(shown)
        self.redeeming.wish_for(shown.view)
        return shown.view

    async def sale(self, request: SaleRequest) -> SaleResult:
        """Credit a sale, durable on return; the same request again answers the first result.

        Raises:
            CounterError: one of its kinds; nothing was recorded.
            SaleIdReused: another sale has this id.
            DatabaseError: nothing was recorded.
        """
        presented = self._recognition.card_of(request)
        stamp = self._store.journal.stamp()
        entry = SaleEntry(
            request.sale_id,
            fingerprint(request, presented.id if presented is not None else None),
            lambda: self._decide(request, presented, stamp),
        )
        recorded = await self._store.journal.record_sale(entry, stamp)
        answer = recorded.answer
        result = answer if isinstance(answer, SaleResult) else SaleResult.model_validate_json(recorded.result)
        self._screen.show_soon(lambda: self._after(request, result, presented), lambda: self._act(result.sale_id))
        return result

    def quote(self, request: QuoteRequest) -> Quote:
        """Return what a sale would credit now. Nothing is recorded or shown.

        Raises:
            CounterError: one of its kinds, as for the sale.
            DatabaseError: the till's files cannot be read.
        """
        program = self._program_for(request.currency)
        presented = self._recognition.card_of(request)
        if presented is None and request.customer_id is None:
            return quote(program, request.net_minor, None)
        buyer = who_it_is(self._store.near_holders, presented, request.customer_id).buyer
        stays_on_card = buyer.customer_id is None
        on_card = self._store.customers.by_identifier(buyer.subject).card.balance if stays_on_card else None
        return quote(program, request.net_minor, on_card)

    async def reverse(self, sale_id: str, request: ReversalRequest) -> ReversalResult:
        """Take a sale back, durable on return; the same request again answers the first result.

        Raises:
            SaleFromTheFuture: nothing was recorded.
            ReversalIdReused: another reversal has this id.
            DatabaseError: nothing was recorded.
        """
        flags = time_flags(request.occurred_at, self._clock, self._hub)
        stamp = self._store.journal.stamp()
        entry = ReversalEntry(
            request.reversal_id,
            sale_id,
            fingerprint(request, sale_id),
            lambda sale: plan_reversal(sale_id, request, sale, flags=flags, recorded_at=stamp.recorded_at),
        )
        recorded = await self._store.journal.record_reversal(entry, stamp)
        if recorded.subject is not None:
            self._screen.touched(self._recognition.accounts_of(recorded.subject))
        if isinstance(recorded.answer, ReversalResult):
            return recorded.answer
        return ReversalResult.model_validate_json(recorded.result)

    async def acts(self, limit: int) -> Acts:
        """Return the newest acts of this shift, the newest first, at most `limit`."""
        kept = await self._store.acts.newest(limit)
        return Acts(since=kept.since, rows=tuple(self._recognition.in_words(row) for row in kept.rows), more=kept.more)

    async def begin_shift(self) -> Acts:
        """Begin a new shift, durable on return, and return its empty list. What was done before is not undone here.

        Raises:
            DatabaseError: the shift before goes on.
        """
        await self._store.acts.begin_shift()
        self._screen.forget_act()
        _log.info("shift begun")
        return await self.acts(1)

    async def keep_scanner(self, scanner: Scanner) -> Scanner:
        """Keep how the page tells the scanner from a person, for every window and over a restart.

        Raises:
            DatabaseError: the settings before stay in force.
        """
        await self._store.scanner.keep(scanner)
        self._screen.put_scanner(scanner)
        return scanner

    async def search(self, text: str) -> Search:
        """Return the customers that a card number, a phone, an e-mail or the beginnings of a name lead to."""
        query = codes.read_query(text, self._chain.scheme, self._chain.country_code)
        if isinstance(query, CardNumber):
            found = self._exactly(Scheme.CARD, query.number)
        elif isinstance(query, Phone):
            found = self._exactly(Scheme.PHONE, query.e164)
        elif isinstance(query, Email):
            found = self._exactly(Scheme.EMAIL, query.address)
        elif isinstance(query, Name):
            found = await self._by_name(query.text)
        else:
            found = Search(people=(), more=False)
        _log.info("searched: by=%s ids=%s", query.kind, ",".join(row.customer_id for row in found.people))
        return found

    def customer(self, customer_id: str) -> CustomerView:
        """Return a customer as staff may see them. Nothing is shown, and nothing wished for: who polls is no act.

        Raises:
            CustomerUnknown: there is none of this id here.
            DatabaseError: the till's files cannot be read.
        """
        return _known(self._recognition.person_shown(customer_id))

    def show_customer(self, customer_id: str) -> CustomerView:
        """Show a customer that staff chose, and return what is shown.

        Raises:
            CustomerUnknown: there is none of this id here.
            DatabaseError: the till's files cannot be read.
        """
        shown = self._recognition.person_shown(customer_id)
        view = _known(shown)
        _log.info("customer opened: id=%s", customer_id)
        self._screen.show(shown)
        self.redeeming.wish_for(view)
        return view

    async def _wish_to_know(self, presented: Presented) -> None:
        """Keep the wish to know whom a card leads to. On a full disk it is let go: the next scan wishes again."""
        wish = presented.for_hub()
        if wish is None:
            return
        try:
            await self._store.journal.present(wish)
        except DatabaseError as error:
            _log.warning("a wish to know a card was not kept: cause=%s", type(error).__name__)

    def _program_for(self, currency: str) -> Program:
        program = self._store.cache.program
        if program is None:
            raise NoProgram
        if currency != program.currency:
            raise CurrencyRefused(program.currency)
        return program

    def _decide(self, request: SaleRequest, presented: Presented | None, stamp: Stamp) -> Decision:
        """Decide a sale that is not known yet. Runs on the writer's thread, within the transaction that records it."""
        program = self._program_for(request.currency)
        flags = time_flags(request.occurred_at, self._clock, self._hub)
        who = who_it_is(self._store.holders, presented, request.customer_id)
        buyer = Buyer(who.buyer.subject, who.buyer.customer_id, (*who.buyer.flags, *flags))
        as_of = self._recognition.as_of(who.basis.as_of)
        return Decision(
            who.basis,
            lambda before: plan_sale(request, program, buyer, before, as_of=as_of, recorded_at=stamp.recorded_at),
            presented.for_hub() if presented is not None and Flag.CARD_UNKNOWN in buyer.flags else None,
        )

    def _after(self, request: SaleRequest, result: SaleResult, presented: Presented | None) -> Shown:
        """Return whom the sale was for, with the new balance: the point of sale may not have scanned before."""
        if presented is not None and result.customer_id is None:
            return self._recognition.shown(presented)
        # Without a card the sale names the customer, also where the points wait on an identifier that others share.
        return self._recognition.person_shown(result.customer_id or request.customer_id or "")

    def _act(self, sale_id: str) -> Act | None:
        kept = self._store.acts.of_sale(sale_id)
        return self._recognition.in_words(kept) if kept is not None else None

    def _exactly(self, scheme: Scheme, value: str) -> Search:
        found = self._recognition.found(self._recognition.presented(scheme, value))
        program = self._store.cache.program
        return Search(
            people=tuple(person_row(who.customer, who.identifiers, program) for who in found.people), more=False
        )

    async def _by_name(self, name: str) -> Search:
        hits = await self._store.customers.search(name)
        program = self._store.cache.program
        return Search(
            people=tuple(person_row(put.customer, put.identifiers, program) for put in hits.people), more=hits.more
        )


def _known(shown: Shown) -> CustomerView:
    if not isinstance(shown.view, CustomerView):
        raise CustomerUnknown
    return shown.view
