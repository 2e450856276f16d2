"""Quarantine: what a terminal sent after two histories of it met is parked, and judged when a person releases it.

Release judges in the order in which the events came, as if each came now: a sale that both sides have counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import add

from sync.contract.protocol import Outcome, Reason
from sync.hub.books.event_rows import ParkedEvent
from sync.hub.books.ledger import load, write
from sync.hub.escrow.allowances import tell
from sync.hub.judging.posting import Origin, Posting
from sync.hub.uploads.batch import read_item
from sync.hub.uploads.faults import Bug, tried
from sync.hub.uploads.fences import lift
from sync.runtime.sqlite_file import Connection

# A commit of so many events takes some ten milliseconds; the tills' uploads wait no longer behind it.
EVENTS_PER_STEP = 200


@dataclass(frozen=True, slots=True)
class Released:
    """How many events a step of a release judged: counted, refused, and held for another reason."""

    applied: int = 0
    rejected: int = 0
    parked: int = 0

    @property
    def total(self) -> int:
        """All of them; 0 at the end."""
        return self.applied + self.rejected + self.parked

    def __add__(self, other: "Released") -> "Released":
        return Released(self.applied + other.applied, self.rejected + other.rejected, self.parked + other.parked)


def release_step(connection: Connection, terminal_id: str, now: datetime) -> Released:
    """Judge the oldest events that a quarantine holds, in the caller's transaction. Where none is left, it is over."""
    events = _held(connection, terminal_id)
    if not events:
        lift(connection, terminal_id)
        tell(connection, [terminal_id])
        return Released()
    released = tried(connection, lambda: _judge(connection, events, now))
    if not isinstance(released, Bug):
        return released
    return reduce(add, (_judge_or_hold(connection, event, now) for event in events))


def _judge_or_hold(connection: Connection, event: ParkedEvent, now: datetime) -> Released:
    """Judge one event; what our own code falls over is held until an upgrade, and the quarantine ends all the same."""
    released = tried(connection, lambda: _judge(connection, [event], now))
    if not isinstance(released, Bug):
        return released
    held = replace(event, item=replace(event.item, fact=None, fault=Reason.HUB_FAULT))
    return _judge(connection, [held], now)


def _judge(connection: Connection, events: Sequence[ParkedEvent], now: datetime) -> Released:
    store_id = events[0].store_id
    posting = Posting(load(connection, store_id, [event.item for event in events]))
    for event in events:
        posting.settle(event.origin, event.item)
    write(connection, store_id, posting, int(now.timestamp() * 1000))
    outcomes = list({kept.number: kept.decision.outcome for kept in posting.settled}.values())
    return Released(*(outcomes.count(outcome) for outcome in (Outcome.APPLIED, Outcome.REJECTED, Outcome.PARKED)))


def _held(connection: Connection, terminal_id: str) -> list[ParkedEvent]:
    # Two ranges of one index, merged as they are read: a step costs the same however much waits behind it.
    held = (
        "SELECT events.pos, events.number, events.stream, streams.inc, events.seq, events.raw FROM events "
        "CROSS JOIN streams ON streams.stream = events.stream "
        "WHERE events.outcome = 'parked' AND events.reason = ? AND streams.terminal_id = ?"
    )
    rows = connection.execute(
        "SELECT terminals.store_id, held.stream, held.inc, held.seq, held.raw FROM "
        f"({held} UNION ALL {held} ORDER BY 1, 2 LIMIT ?) AS held JOIN terminals ON terminals.terminal_id = ? "
        "ORDER BY held.pos, held.number",
        (Reason.FORK, terminal_id, Reason.QUARANTINED, terminal_id, EVENTS_PER_STEP, terminal_id),
    )
    return [
        ParkedEvent(store_id, Origin(stream, terminal_id, inc), read_item(raw, store_id, terminal_id, seq))
        for store_id, stream, inc, seq, raw in rows
    ]
