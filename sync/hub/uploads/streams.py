"""Streams: the head of each incarnation of each terminal, which is all that is needed to know an event again, for ever.

Where the head stands, `chain` says what lies before it: two histories with the same chain are the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sync.contract.chain import Link, chain_start, extend, link
from sync.contract.protocol import AppliedThrough, Outcome, Reason
from sync.hub.judging.posting import event_number
from sync.runtime.sqlite_file import Connection, Row


@dataclass(frozen=True, slots=True)
class Stream:
    """The head of one incarnation: the books hold its events `first` to `through`, and `chain` is the chain there.

    `first` is 1, except in a fork, which begins where it parts. No event behind `fenced_at` is of it any more.
    """

    number: int
    inc: str
    through: int
    chain: bytes
    first: int = 1
    fenced_at: int | None = None
    is_fork: bool = False


@dataclass(frozen=True, slots=True)
class KeptVerdict:
    """The verdict the books hold for a seq, and the event's text."""

    outcome: Outcome
    reason: Reason | None
    raw: str


def open_stream(connection: Connection, terminal_id: str, inc: str) -> Stream:
    """Return the stream of an incarnation, begun where it is new."""
    row = connection.execute(
        "SELECT stream, through, chain, fenced_at FROM streams WHERE terminal_id = ? AND inc = ?", (terminal_id, inc)
    ).fetchone()
    if row is None:
        number = _begin(connection, (terminal_id, inc, 0, None, None, None))
        return Stream(number, inc, 0, chain_start(terminal_id, inc))
    number, through, chain, fenced_at = row
    chain = chain or _folded(connection, number, chain_start(terminal_id, inc))
    return Stream(number, inc, through, chain, fenced_at=fenced_at)


def forks_of(connection: Connection, terminal_id: str, inc: str) -> list[Stream]:
    """Return the forks of an incarnation, the oldest first."""
    rows = connection.execute(
        "SELECT stream, inc, through, chain, fork_at FROM streams"
        " WHERE terminal_id = ? AND fork_of = ? ORDER BY stream",
        (terminal_id, inc),
    )
    return [Stream(number, name, through, chain, first, is_fork=True) for number, name, through, chain, first in rows]


def begin_fork(connection: Connection, terminal_id: str, of: str, name: str, first: int, before: bytes) -> Stream:
    """Return a new stream for events that part from an incarnation at seq `first`, behind the chain `before`."""
    number = _begin(connection, (terminal_id, name, first - 1, before, of, first))
    return Stream(number, name, first - 1, before, first, is_fork=True)


def named(connection: Connection, terminal_id: str, inc: str) -> str:
    """Return the incarnation as its terminal knows it: a fork goes by the name of what it parts from."""
    row = connection.execute(
        "SELECT coalesce(fork_of, inc) FROM streams WHERE terminal_id = ? AND inc = ?", (terminal_id, inc)
    ).fetchone()
    return str(row[0]) if row else inc


def holder(connection: Connection, terminal_id: str, inc: str, seq: int) -> str:
    """Return under which incarnation the books hold an event that a terminal shows as held: a fork, if there is one.

    What a terminal holds is parked, and where a fork has the seq too, the incarnation's own event never was.
    """
    row = connection.execute(
        "SELECT streams.inc FROM streams JOIN events ON events.number = streams.stream << 32 | ?3"
        " WHERE terminal_id = ?1 AND fork_of = ?2 ORDER BY streams.stream DESC LIMIT 1",
        (terminal_id, inc, seq),
    ).fetchone()
    return str(row[0]) if row else inc


def kept_links(connection: Connection, stream: Stream, first: int, last: int) -> list[Link]:
    """Return the links of the events that the books hold for the seqs `first` to `last` of a stream."""
    return [link(kept.raw) for kept in kept_verdicts(connection, stream.number, first, last)]


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


def applied(
    connection: Connection, terminal_id: str, incs: Sequence[str], *, knows_epoch: bool = False
) -> tuple[AppliedThrough, ...]:
    """Return how far the books hold each of these incarnations, and the chain there; 0 for one they never saw.

    Where two histories of an incarnation met, nobody can tell which of them asks. A terminal that `knows_epoch` has
    been told less since the epoch began, and all that it believes since then is here, whichever it is: it is told of
    the one that reaches furthest. Any other may believe what a restored hub has lost: it is told what both share.
    """
    wanted = (terminal_id, json.dumps(incs))
    rows = connection.execute(
        "SELECT inc, through, chain FROM streams WHERE terminal_id = ? AND inc IN (SELECT value FROM json_each(?))",
        wanted,
    )
    held: dict[str, tuple[int, bytes | None]] = {inc: (through, chain) for inc, through, chain in rows}
    forks = connection.execute(
        "SELECT fork_of, fork_at, through, chain FROM streams"
        " WHERE terminal_id = ? AND fork_of IN (SELECT value FROM json_each(?)) ORDER BY stream",
        wanted,
    )
    for inc, first, through, chain in forks:
        furthest = held[inc][0]
        if knows_epoch and through > furthest:
            held[inc] = (through, chain)
        elif not knows_epoch and first <= furthest:
            held[inc] = (first - 1, None)
    return tuple(_applied(inc, *held.get(inc, (0, None))) for inc in incs)


def _applied(inc: str, through: int, chain: bytes | None) -> AppliedThrough:
    return AppliedThrough(inc=inc, through=through, chain=chain.hex() if chain is not None else None)


def _begin(connection: Connection, row: Row) -> int:
    begun = connection.execute(
        "INSERT INTO streams (terminal_id, inc, through, last_pos, chain, fork_of, fork_at)"
        " VALUES (?, ?, ?, 0, ?, ?, ?) RETURNING stream",
        row,
    ).fetchone()
    if begun is None:
        raise LookupError("a new stream got no number")
    return int(begun[0])


def _folded(connection: Connection, stream: int, start: bytes) -> bytes:
    """Return the chain of a stream whose events came before chains were kept."""
    rows = connection.execute(
        "SELECT raw FROM events WHERE number BETWEEN ? AND ? ORDER BY number",
        (event_number(stream, 0), event_number(stream + 1, 0)),
    )
    return extend(start, (link(raw) for (raw,) in rows))
