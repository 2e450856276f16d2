"""Redeeming: a customer gives points for something, within what the hub has reserved for this till.

What the till holds decides at once and needs no line. Only where that is too little and the hub is there is it asked,
for a moment: a customer waits, so a hub that does not answer is the same as none. Only where that did not help either
does the store give what the program lets it give at its own cost.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agent.counter_errors import NoProgram
from agent.decisions import time_flags, who_it_is
from agent.purse import WhyNot
from agent.recognition import HubWord, Presented, Recognition
from agent.redemptions import (
    NotSpendable,
    Payer,
    RedemptionRequest,
    RedemptionResult,
    RedemptionReversalResult,
    plan_redemption,
    plan_redemption_reversal,
    wish,
)
from agent.sales import Buyer, ReversalRequest, fingerprint
from agent.screen import Screen
from agent.shift import Act
from agent.store import Store
from agent.store.entries import Stamp
from agent.store.spends import GivingBackEntry, RedemptionDecision, RedemptionEntry
from agent.views import CustomerView, View
from sync.contract.program import Program
from sync.runtime.clock import Clock

# A customer stands at the counter: the hub gets this long in all, whatever becomes of it.
ASKING_S_MAX = 2.5
# Another till is asked for what it holds; it needs a moment to give it back.
ASK_AGAIN_S = 0.25
# Against these goodwill helps. Every other reason says that the points must not be spent at all.
_NOT_HELD = (WhyNot.NO_ALLOWANCE, WhyNot.RESERVED_ELSEWHERE)


@dataclass(frozen=True, slots=True)
class HubAsked:
    """The hub, as far as redeeming needs it.

    `is_there` tells whether it is worth asking. `ask` wishes to hold so many points of a customer, and tells whether
    the hub gave its word.
    """

    is_there: Callable[[], bool] = lambda: False
    ask: Callable[[str, int], Awaitable[bool]] | None = None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How a redemption is tried: with a word of the hub that came in for it, and as the last resort."""

    is_online: bool = False
    is_last_resort: bool = False


class Redeeming:
    """Redeems points at one till, and takes redemptions back."""

    def __init__(
        self, store: Store, screen: Screen, recognition: Recognition, clock: Clock, word: HubWord, hub: HubAsked
    ) -> None:
        self._store = store
        self._screen = screen
        self._recognition = recognition
        self._clock = clock
        self._word = word
        self._hub = hub

    def wish_for(self, view: View) -> None:
        """Wish to hold what somebody who is shown may want to spend, so that it is here when they do."""
        program = self._store.cache.program
        if not isinstance(view, CustomerView) or program is None or not self._hub.is_there():
            return
        points = wish(program, view.balance.posted)
        if points > (view.spendable or 0):
            self._store.allowances.wish(view.customer_id, points)

    async def redeem(self, request: RedemptionRequest) -> RedemptionResult:
        """Redeem points, durable on return; the same request again answers the first result.

        Raises:
            CounterError, RewardUnknown: one of its kinds; nothing was recorded.
            NotSpendable: as many points cannot be used here now; nothing was recorded.
            RedemptionIdReused: another redemption has this id.
            DatabaseError: nothing was recorded.
        """
        presented = self._recognition.card_of(request)
        try:
            result = await self._record(request, presented, _Attempt())
        except NotSpendable as refused:
            result = await self._with_the_hub(request, presented, refused)
        self._screen.show_soon(
            lambda: self._recognition.person_shown(result.customer_id), lambda: self._act(result.redemption_id)
        )
        return result

    async def give_back(self, redemption_id: str, request: ReversalRequest) -> RedemptionReversalResult:
        """Take a redemption back, durable on return; the same request again answers the first result.

        Raises:
            SaleFromTheFuture: nothing was recorded.
            GivingBackIdReused: the reversal of another redemption has this id.
            DatabaseError: nothing was recorded.
        """
        flags = time_flags(request.occurred_at, self._clock, self._word)
        stamp = self._store.journal.stamp()
        entry = GivingBackEntry(
            request.reversal_id,
            redemption_id,
            fingerprint(request, redemption_id),
            lambda here: plan_redemption_reversal(
                redemption_id, request, here, flags=flags, recorded_at=stamp.recorded_at
            ),
        )
        recorded = await self._store.redeemer.give_back(entry, stamp)
        if recorded.subject is not None:
            self._screen.touched(self._recognition.accounts_of(recorded.subject))
        if isinstance(recorded.answer, RedemptionReversalResult):
            return recorded.answer
        return RedemptionReversalResult.model_validate_json(recorded.result)

    async def _with_the_hub(
        self, request: RedemptionRequest, presented: Presented | None, refused: NotSpendable
    ) -> RedemptionResult:
        """Ask the hub for more, and try again, for as long as a customer waits; goodwill comes last.

        Raises:
            NotSpendable: it is still too little.
        """
        attempt = _Attempt()
        ends_s = self._clock.monotonic() + ASKING_S_MAX
        while refused.reason is not WhyNot.LIMIT and await self._asked(refused, ends_s):
            attempt = _Attempt(is_online=True)
            try:
                return await self._record(request, presented, attempt)
            except NotSpendable as again:
                refused = again
            if not _may_change_soon(refused):
                break
            await self._clock.sleep(ASK_AGAIN_S)
        if refused.reason in _NOT_HELD and self._program().redemption.goodwill_points_max:
            try:
                return await self._record(request, presented, replace(attempt, is_last_resort=True))
            except NotSpendable as again:
                refused = again
        if refused.customer_id is not None and refused.reason not in (WhyNot.TOO_FEW_POINTS, WhyNot.LIMIT):
            # The line may come back while the customer is still there.
            self._store.allowances.wish(refused.customer_id, refused.asked)
        raise refused

    async def _asked(self, refused: NotSpendable, ends_s: float) -> bool:
        left_s = ends_s - self._clock.monotonic()
        if refused.customer_id is None or self._hub.ask is None or left_s <= 0 or not self._hub.is_there():
            return False
        try:
            async with asyncio.timeout(left_s):
                return await self._hub.ask(refused.customer_id, refused.asked)
        except TimeoutError:
            return False

    async def _record(
        self, request: RedemptionRequest, presented: Presented | None, attempt: _Attempt
    ) -> RedemptionResult:
        stamp = self._store.journal.stamp()
        entry = RedemptionEntry(
            request.redemption_id,
            fingerprint(request, presented.id if presented is not None else None),
            lambda: self._decide(request, presented, stamp, attempt),
        )
        recorded = await self._store.redeemer.redeem(entry, stamp)
        if isinstance(recorded.answer, RedemptionResult):
            return recorded.answer
        return RedemptionResult.model_validate_json(recorded.result)

    def _decide(
        self, request: RedemptionRequest, presented: Presented | None, stamp: Stamp, attempt: _Attempt
    ) -> RedemptionDecision:
        """Decide a redemption that is not known yet. Runs on the writer's thread, within its transaction."""
        program = self._program()
        flags = time_flags(request.occurred_at, self._clock, self._word)
        who = who_it_is(self._store.holders, presented, request.customer_id)
        buyer = Buyer(who.buyer.subject, who.buyer.customer_id, (*who.buyer.flags, *flags))
        as_of = self._recognition.as_of(who.basis.as_of)
        elsewhere = self._store.allowances.reserved_elsewhere(buyer.customer_id or "")
        return RedemptionDecision(
            who.basis,
            buyer.customer_id,
            lambda before, purse: plan_redemption(
                request,
                program,
                Payer(buyer, before, as_of),
                replace(
                    purse,
                    reserved_elsewhere=elsewhere,
                    is_online=attempt.is_online,
                    is_last_resort=attempt.is_last_resort,
                ),
                recorded_at=stamp.recorded_at,
            ),
        )

    def _program(self) -> Program:
        program = self._store.cache.program
        if program is None:
            raise NoProgram
        return program

    def _act(self, redemption_id: str) -> Act | None:
        kept = self._store.acts.of_redemption(redemption_id)
        return self._recognition.in_words(kept) if kept is not None else None


def _may_change_soon(refused: NotSpendable) -> bool:
    """Tell whether a moment may help: another till gives back, or the balance is still on its way."""
    if refused.reason is WhyNot.TOO_FEW_POINTS:
        return refused.held >= refused.asked
    return refused.reason is WhyNot.RESERVED_ELSEWHERE
