"""Streams: the head of each incarnation of each terminal, which is all that is needed to know an event again, for ever.

Where the head stands, `chain` says what lies before it: two histories with the same chain are the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sync.contract.chain import chain_start, extend, link
from sync.contract.protocol import AppliedThrough, Outcome, Reason
from sync.hub.posting import event_number
from sync.runtime.sqlite_file import Connection


@dataclass(frozen=True, slots=True)
class Stream:
    """The head of one incarnation: the books hold its events 1 to `through`, and `chain` is the chain there."""

    number: int
    through: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class KeptVerdict:
    """The verdict the books hold for a seq, and the event's text."""

    outcome: Outcome
    reason: Reason | None
    raw: str


def open_stream(connection: Connection, terminal_id: str, inc: str) -> Stream:
    """Return the stream of an incarnation, begun where it is new."""
    row = connection.execute(
        "SELECT stream, through, chain FROM streams WHERE terminal_id = ? AND inc = ?", (terminal_id, inc)
    ).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO streams (terminal_id, inc, through, last_pos) VALUES (?, ?, 0, 0)"
            " RETURNING stream, through, chain",
            (terminal_id, inc),
        ).fetchone()
    if row is None:
        raise LookupError("a new stream got no number")
    number, through, chain = row
    return Stream(number, through, chain or _folded(connection, number, chain_start(terminal_id, inc)))


def move_head(connection: Connection, stream: int, through: int, pos: int, chain: bytes) -> None:
    """Note that the books hold a stream up to this seq, whose event has this position, and the chain there."""
    connection.execute(
        "UPDATE streams SET through = ?, last_pos = ?, chain = ? WHERE stream = ?", (through, pos, chain, stream)
    )


def kept_verdicts(connection: Connection, stream: int, first: int, last: int) -> list[KeptVerdict]:
    """Return what the books hold for the seqs `first` to `last` of a stream, in their order."""
    rows = connection.execute(
        "SELECT outcome, reason, raw FROM events WHERE number BETWEEN ? AND ? ORDER BY number",
        (event_number(stream, first), event_number(stream, last)),
    )
    return [KeptVerdict(Outcome(outcome), Reason(reason) if reason else None, raw) for outcome, reason, raw in rows]


def applied_through(connection: Connection, terminal_id: str, incs: Sequence[str]) -> dict[str, int]:
    """Return how far the books hold each of these incarnations; 0 for one they never saw."""
    return {one.inc: one.through for one in applied(connection, terminal_id, incs)}


def applied(connection: Connection, terminal_id: str, incs: Sequence[str]) -> tuple[AppliedThrough, ...]:
    """Return how far the books hold each of these incarnations, and the chain there; 0 for one they never saw."""
    rows = connection.execute(
        "SELECT inc, through, chain FROM streams WHERE terminal_id = ? AND inc IN (SELECT value FROM json_each(?))",
        (terminal_id, json.dumps(incs)),
    )
    held = {inc: (through, chain) for inc, through, chain in rows}
    return tuple(_applied(inc, *held.get(inc, (0, None))) for inc in incs)


def _applied(inc: str, through: int, chain: bytes | None) -> AppliedThrough:
    return AppliedThrough(inc=inc, through=through, chain=chain.hex() if chain is not None else None)


def _folded(connection: Connection, stream: int, start: bytes) -> bytes:
    """Return the chain of a stream whose events came before chains were kept."""
    rows = connection.execute(
        "SELECT raw FROM events WHERE number BETWEEN ? AND ? ORDER BY number",
        (event_number(stream, 0), event_number(stream + 1, 0)),
    )
    return extend(start, (link(raw) for (raw,) in rows))
