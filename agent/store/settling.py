"""Settling: how far the hub has the events, and which of them it did not simply apply. SQL on the till's connection.

A hub may answer late, twice, or after it was restored to a backup. So an acknowledgement is only ever raised by
verdicts in an unbroken run and lowered by the hub's own word, and each event's effect is where it must be at every
moment: in the pending sum, in the hub's balance, or set aside with a reason. Which balances those are may change:
a snapshot may be older than the cache it replaces, and a power cut takes the cache's last commits but none of the
till's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sync.contract.protocol import AppliedThrough, HeldEvent, Outcome, OutcomePut, UploadAnswer, Verdict
from sync.runtime.sqlite_file import Connection

# What is known of each event, kept or pruned.
_EFFECTS = "(SELECT position, subject, points FROM journal UNION ALL SELECT position, subject, points FROM bygone)"

# The verdicts that stop an event from counting here, and the state it is then shown in.
_SET_ASIDE = {Outcome.REJECTED: "rejected", Outcome.PARKED: "parked"}


def settle(connection: Connection, inc: str, answer: UploadAnswer, now_ms: int, chain: bytes | None = None) -> None:
    """Write down the verdicts of an unbroken run from the first unsettled event on; others are not believed.

    `chain` is the one behind the last event that the answer settles, where it is known.
    """
    row = connection.execute(
        "SELECT first_position, acked_through, length FROM streams WHERE inc = ?", (inc,)
    ).fetchone()
    if row is None:
        return
    first_position, acked_through, length = row
    through = acked_through
    for verdict in sorted(answer.results, key=lambda verdict: verdict.seq):
        if verdict.seq == through + 1 and verdict.seq <= length:
            through = verdict.seq
            state = _SET_ASIDE.get(verdict.outcome)
            if state is not None:
                place = _Place(first_position + verdict.seq - 1, inc, verdict.seq)
                _set_aside(connection, place, state, verdict.reason or verdict.outcome, now_ms)
    _ack(connection, inc, through, now_ms)
    if through != acked_through:
        known = chain if through == answer.applied_through else None
        connection.execute("UPDATE incarnations SET acked_chain = ? WHERE inc = ?", (known, inc))
    connection.execute(
        "DELETE FROM set_aside WHERE state = 'final' AND position >= ? AND position < ?",
        (first_position + acked_through, first_position + through),
    )


def _ack(connection: Connection, inc: str, through: int, now_ms: int) -> None:
    """Note how far the hub has an incarnation. The newest is never done: its next event may come at any time."""
    connection.execute(
        "UPDATE incarnations SET acked_through = ?1, acked_at = CASE WHEN length = ?1 THEN ?2 END,"
        " swept_through = min(swept_through, ?1) WHERE inc = ?3",
        (through, now_ms, inc),
    )


class _Place(NamedTuple):
    """Where an event stands: in the journal, and in its incarnation."""

    position: int
    inc: str
    seq: int


def _place(connection: Connection, inc: str, seq: int) -> _Place | None:
    row = connection.execute(
        "SELECT first_position + ? - 1 FROM streams WHERE inc = ? AND ? BETWEEN 1 AND length", (seq, inc, seq)
    ).fetchone()
    return _Place(row[0], inc, seq) if row is not None else None


def _set_aside(connection: Connection, place: _Place, state: str, reason: str, now_ms: int) -> None:
    """Take an event out of the pending sum and keep it in sight. What is withheld or already final stays so."""
    connection.execute(
        f"DELETE FROM pending WHERE subject = (SELECT subject FROM {_EFFECTS} WHERE position = ?)"
        " AND inc = ? AND seq = ?",
        place,
    )
    # A pruned event is not in the journal any more: the verdict is on the marker that went in its place.
    connection.execute(
        "INSERT INTO set_aside (position, state, reason, since)"
        " SELECT position, ?, ?, ? FROM journal WHERE position = ? ON CONFLICT (position) DO NOTHING",
        (state, reason, now_ms, place.position),
    )


def withhold(connection: Connection, inc: str, seq: int, reason: str, now_ms: int) -> None:
    """Take an event that the network refuses out of the pending sum, and keep it in sight."""
    place = _place(connection, inc, seq)
    if place is not None:
        _set_aside(connection, place, "withheld", reason, now_ms)


def conclude(connection: Connection, outcomes: Sequence[OutcomePut], now_ms: int) -> None:
    """Write down final verdicts on events that the hub had parked."""
    for put in outcomes:
        _conclude_one(connection, put.inc, put.verdict, now_ms)


def _conclude_one(connection: Connection, inc: str, verdict: Verdict, now_ms: int) -> None:
    """Write a final verdict down: the event is applied and out of sight, or rejected with its reason."""
    place = _place(connection, inc, verdict.seq)
    if place is None or verdict.outcome is Outcome.PARKED:
        return
    held = connection.execute(
        "DELETE FROM set_aside WHERE position = ? AND state IN ('parked', 'final')", place[:1]
    ).rowcount
    if verdict.outcome is Outcome.REJECTED:
        # One that has its verdict is not meant: a copy of this till has another event under the same identity.
        if held or _is_unsettled(connection, inc, verdict.seq):
            _set_aside(connection, place, "rejected", verdict.reason or verdict.outcome, now_ms)
        return
    # Where the answer to the upload is still on its way, it will say "parked".
    connection.execute(
        "INSERT INTO set_aside (position, state, reason, since)"
        " SELECT position, 'final', ?, ? FROM journal WHERE position = ?"
        " AND EXISTS (SELECT 1 FROM incarnations WHERE inc = ? AND acked_through < ?)"
        " ON CONFLICT (position) DO NOTHING",
        (verdict.outcome, now_ms, place.position, inc, verdict.seq),
    )


def _is_unsettled(connection: Connection, inc: str, seq: int) -> bool:
    row = connection.execute("SELECT 1 FROM incarnations WHERE inc = ? AND acked_through < ?", (inc, seq)).fetchone()
    return row is not None


def parked(connection: Connection, after: int, limit: int) -> list[tuple[int, HeldEvent]]:
    """Return parked events that stand behind a position of the journal, with their positions."""
    rows = connection.execute(
        "SELECT a.position, i.inc, a.position - i.first_position + 1 FROM set_aside a"
        " JOIN incarnations i ON i.number = (SELECT number FROM incarnations WHERE first_position <= a.position"
        " ORDER BY first_position DESC LIMIT 1)"
        " WHERE a.state = 'parked' AND a.position > ? ORDER BY a.position LIMIT ?",
        (after, limit),
    ).fetchall()
    return [(position, HeldEvent(inc=inc, seq=seq)) for position, inc, seq in rows]


def rewind(connection: Connection, applied: Sequence[AppliedThrough]) -> Sequence[AppliedThrough]:
    """Put what the hub says it lacks back into the outbox and the pending sum, and return what was lowered.

    Its word never raises anything.
    """
    return [held for held in applied if _rewind_one(connection, held)]


def _rewind_one(connection: Connection, held: AppliedThrough) -> bool:
    row = connection.execute(
        "SELECT first_position, acked_through FROM incarnations WHERE inc = ?", (held.inc,)
    ).fetchone()
    if row is None or held.through >= row[1]:
        return False
    first_position, acked_through = row
    due = (first_position + held.through, first_position + acked_through)
    _ack(connection, held.inc, held.through, 0)
    connection.execute("UPDATE incarnations SET acked_chain = NULL WHERE inc = ?", (held.inc,))
    connection.execute("DELETE FROM set_aside WHERE position >= ? AND position < ? AND state <> 'withheld'", due)
    _count_again(connection, held.inc, first_position, "journal", due)
    return True


def _count_again(connection: Connection, inc: str, first_position: int, source: str, due: tuple[int, int]) -> None:
    """Put the effects from one position up to before another back into the pending sum, but those set aside."""
    connection.execute(
        "INSERT INTO pending (subject, inc, seq, points)"
        f" SELECT subject, ?, position - ? + 1, points FROM {source}"
        " WHERE position >= ? AND position < ? AND points <> 0 AND subject IS NOT NULL"
        " AND position NOT IN (SELECT position FROM set_aside) ON CONFLICT DO NOTHING",
        (inc, first_position, *due),
    )


def sweep(connection: Connection, coverage: Mapping[str, int]) -> None:
    """Delete the pending rows that are settled and in the hub's balance. Each event is looked at once."""
    rows = connection.execute(
        "SELECT inc, first_position, swept_through, acked_through FROM incarnations WHERE swept_through < acked_through"
    ).fetchall()
    for inc, first_position, swept_through, acked_through in rows:
        through = min(coverage.get(inc, 0), acked_through)
        if through <= swept_through:
            continue
        gone = connection.execute(
            f"SELECT subject, ?, position - ? + 1 FROM {_EFFECTS} WHERE position >= ? AND position < ? AND points <> 0",
            (inc, first_position, first_position + swept_through, first_position + through),
        ).fetchall()
        connection.executemany("DELETE FROM pending WHERE subject = ? AND inc = ? AND seq = ?", gone)
        connection.execute("UPDATE incarnations SET swept_through = ? WHERE inc = ?", (through, inc))


def unsweep(connection: Connection, coverage: Mapping[str, int]) -> None:
    """Put back what was swept away by balances that contained more than those of `coverage` do, pruned or not."""
    rows = connection.execute("SELECT inc, first_position, swept_through FROM incarnations").fetchall()
    for inc, first_position, swept_through in rows:
        through = coverage.get(inc, 0)
        if through < swept_through:
            due = (first_position + through, first_position + swept_through)
            _count_again(connection, inc, first_position, _EFFECTS, due)
            connection.execute("UPDATE incarnations SET swept_through = ? WHERE inc = ?", (through, inc))
