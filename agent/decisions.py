"""Decisions that every act at the counter shares: who it is for, and how far its time may be believed."""

from datetime import datetime

from agent.buyers import Bought, bought
from agent.counter_errors import CardIdUnknown, SaleFromTheFuture
from agent.recognition import HubWord, Presented
from agent.sales import Timing, judge_time
from agent.store.holders import Holders
from sync.contract.events import Flag
from sync.runtime.clock import Clock


def who_it_is(holders: Holders, presented: Presented | None, customer_id: str | None) -> Bought:
    """Return who an act is for.

    Raises:
        ChoiceNeeded, CardMismatch, CustomerUnknown, CardIdUnknown: it does not say who it is for.
    """
    who = bought(holders, presented.id if presented is not None else None, customer_id)
    if presented is not None and not presented.was_here and Flag.CARD_UNKNOWN in who.buyer.flags:
        raise CardIdUnknown
    return who


def time_flags(occurred_at: datetime, clock: Clock, hub: HubWord) -> tuple[Flag, ...]:
    """Return what an event says of its time.

    Raises:
        SaleFromTheFuture: it did not happen yet.
    """
    timing = judge_time(occurred_at, clock.now(), hub.now())
    if timing is Timing.FROM_THE_FUTURE:
        raise SaleFromTheFuture
    return (Flag.TIME_UNTRUSTED,) if timing is Timing.UNTRUSTED else ()
