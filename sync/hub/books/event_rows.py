"""The events in the books: each with its text as it came, its verdict, and what it booked on which identifier."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sync.contract.events import Flag
from sync.contract.protocol import Reason, Verdict
from sync.hub.judging.posting import Kept, Origin, event_number
from sync.hub.judging.times import Timekeeper
from sync.hub.uploads.batch import Item, read_item
from sync.runtime.sqlite_file import Connection, Row


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that could not be judged when it came."""

    store_id: str
    origin: Origin
    item: Item
    pos: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the order in which events came."""
        return (self.pos, event_number(self.origin.stream, self.item.seq))


def parked_events(
    connection: Connection,
    types: Sequence[str],
    reason: Reason = Reason.UNKNOWN_TYPE,
    after: tuple[int, int] = (0, 0),
    limit: int = -1,
) -> list[ParkedEvent]:
    """Return the events of these types that are parked for this reason, in the order they came in.

    Only those behind the place `after`, and at most `limit` of them; -1 for all.
    """
    rows = connection.execute(
        "SELECT terminals.store_id, events.stream, streams.terminal_id, streams.inc, events.seq, events.raw, "
        "events.pos FROM events "
        "JOIN streams ON streams.stream = events.stream "
        "JOIN terminals ON terminals.terminal_id = streams.terminal_id "
        "WHERE events.outcome = 'parked' AND events.reason = ? "
        "AND events.type IN (SELECT value FROM json_each(?)) AND (events.pos, events.number) > (?, ?) "
        "ORDER BY events.pos, events.number LIMIT ?",
        (reason, json.dumps(types), *after, limit),
    )
    return [
        ParkedEvent(store_id, Origin(stream, terminal_id, inc), read_item(raw, store_id, terminal_id, seq), pos)
        for store_id, stream, terminal_id, inc, seq, raw, pos in rows
    ]


def verdict_of(connection: Connection, terminal_id: str, inc: str, seq: int) -> Verdict | None:
    """Return the verdict that the books hold for an event now."""
    row = connection.execute(
        "SELECT outcome, reason FROM events WHERE number = "
        "(SELECT stream << 32 | ? FROM streams WHERE terminal_id = ? AND inc = ?)",
        (seq, terminal_id, inc),
    ).fetchone()
    return Verdict(seq=seq, outcome=row[0], reason=row[1]) if row else None


def write_fresh(connection: Connection, fresh: Iterable[Kept], now_ms: int, times: Timekeeper | None) -> None:
    """Write events that came for the first time; `times` says when they happened."""
    connection.executemany(
        "INSERT INTO events (number, type, identifier, points, outcome, reason, pos, received_ms, raw, occurred_ms, "
        "time_quality, is_late) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_fresh_row(kept, now_ms, times) for kept in fresh],
    )


def write_settled(connection: Connection, settled: Iterable[Kept]) -> None:
    """Write what became of events that were parked before."""
    connection.executemany(
        "UPDATE events SET outcome = ?, reason = ?, identifier = ?, points = ? WHERE number = ?",
        [
            (kept.decision.outcome, kept.decision.reason, kept.identifier, kept.decision.points, kept.number)
            for kept in settled
        ],
    )


def _fresh_row(kept: Kept, now_ms: int, times: Timekeeper | None) -> Row:
    decision, item = kept.decision, kept.item
    identifier = kept.identifier if decision.points else None
    verdict = (identifier, decision.points, decision.outcome, decision.reason)
    return (kept.number, item.type, *verdict, kept.pos, now_ms, item.raw, *_occurred(item, times))


def _occurred(item: Item, times: Timekeeper | None) -> tuple[int | None, str | None, bool | None]:
    if item.claim is None or times is None:
        return (None, None, None)
    is_doubted = item.fact is not None and Flag.TIME_UNTRUSTED in getattr(item.fact, "flags", ())
    return times.occurred(item.claim, is_doubted=is_doubted)
