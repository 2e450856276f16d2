"""Entries: how a sale or a reversal enters the journal. Functions on the till's connection, each one transaction.

A till that answers "credited" has the event, its effect and the answer on disk together, or none of them. The id that
the caller brought decides whether this is a first time; the seq is taken in the same transaction, so no crash can
give it out twice.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.redemptions import RedemptionResult, RedemptionReversalResult
from agent.sales import Draft, EventDraft, ReversalResult, SaleHere, SaleResult
from agent.store.files import milliseconds
from sync.contract.events import canonical_json, event_id, event_source
from sync.contract.ledger import Balance, fold
from sync.contract.protocol import PresentedIdentifier
from sync.runtime.sqlite_file import Connection

# The hub is asked again about an identifier that it did not know, when that answer is a day old.
ASK_AGAIN_MS = 24 * 3600 * 1000
# Pending rows of one customer up to which they are read one by one: most often there are none or two.
_FEW = 16


class StoreError(Exception):
    """The store refuses; the message names the thing and the next step."""


class SaleIdReused(StoreError):
    """Another sale was recorded under this sale_id."""


class ReversalIdReused(StoreError):
    """Another reversal was recorded under this reversal_id."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Who records: the terminal, its store, and this process's incarnation."""

    terminal_id: str
    store_id: str
    inc: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an act was recorded, on both clocks. A claim: the hub stamps the ledger's own time."""

    recorded_at: datetime
    boot_id: str
    monotonic_ms: int


@dataclass(frozen=True, slots=True)
class Basis:
    """What the hub said of one account, as one read of the cache saw it.

    `coverage` tells which local events the posted figure contains: so a later transaction counts the pending ones of
    `subjects` against this very figure. `shared` names those of the subjects that lead to others too: what is pending
    on them is nobody's yet. It is asked only where something is pending, because each answer may cost a page.
    """

    posted: int
    subjects: tuple[str, ...]
    coverage: Mapping[str, int]
    as_of: datetime | None
    shared: Callable[[Sequence[str]], Collection[str]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a sale. `plan` is pure and is given the account's balance as of this very transaction."""

    basis: Basis
    plan: Callable[[Balance], Draft]
    presented: PresentedIdentifier | None = None


@dataclass(frozen=True, slots=True)
class SaleEntry:
    """A sale to record. `decide` runs within the transaction, on the writer's thread, unless the sale is known."""

    sale_id: str
    fingerprint: bytes
    decide: Callable[[], Decision]


@dataclass(frozen=True, slots=True)
class ReversalEntry:
    """A reversal to record. `plan` is pure and is given the sale where this till recorded it."""

    reversal_id: str
    sale_id: str
    fingerprint: bytes
    plan: Callable[[SaleHere | None], Draft]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The answer to an act: `result` as kept, the first one, however often it is asked for. `answer` if it is new."""

    result: str
    answer: SaleResult | ReversalResult | RedemptionResult | RedemptionReversalResult | None
    subject: str | None

    @property
    def repeated(self) -> bool:
        """Whether this act had been recorded before."""
        return self.answer is None


def record_sale(connection: Connection, terminal: Terminal, stamp: Stamp, entry: SaleEntry) -> Recorded:
    """Write a sale's event, effect and answer, or return the first answer.

    Raises:
        SaleIdReused: the id stands for another sale.
        Exception: whatever `entry.decide` raised; nothing was written.
    """
    known = connection.execute(
        "SELECT s.fingerprint, s.result, coalesce(j.subject, b.subject) FROM sales s"
        " LEFT JOIN journal j ON j.position = s.position LEFT JOIN bygone b ON b.position = s.position"
        " WHERE s.sale_id = ?",
        (entry.sale_id,),
    ).fetchone()
    if known is not None:
        if known[0] != entry.fingerprint:
            raise SaleIdReused(f"sale {entry.sale_id} was recorded with another content; give each sale its own id")
        return Recorded(known[1], None, known[2].hex() if known[2] else None)
    decision = entry.decide()
    basis = decision.basis
    draft = decision.plan(fold(basis.posted, pending_on(connection, basis)))
    position, _ = append(connection, terminal, stamp, draft)
    result = draft.answer.model_dump_json(exclude={"kind"})
    connection.execute(
        "INSERT INTO sales (sale_id, fingerprint, position, result) VALUES (?, ?, ?, ?)",
        (entry.sale_id, entry.fingerprint, position, result),
    )
    if decision.presented is not None:
        note_presented(connection, decision.presented, milliseconds(stamp.recorded_at))
    return Recorded(result, draft.answer, draft.subject)


def record_reversal(connection: Connection, terminal: Terminal, stamp: Stamp, entry: ReversalEntry) -> Recorded:
    """Write a reversal's event, effect and answer, or return the first answer.

    Raises:
        ReversalIdReused: the id stands for another reversal.
    """
    known = connection.execute(
        "SELECT r.fingerprint, r.result, coalesce(j.subject, b.subject) FROM reversals r"
        " LEFT JOIN journal j ON j.position = r.position LEFT JOIN bygone b ON b.position = r.position"
        " WHERE r.reversal_id = ?",
        (entry.reversal_id,),
    ).fetchone()
    if known is not None:
        if known[0] != entry.fingerprint:
            raise ReversalIdReused(
                f"reversal {entry.reversal_id} was recorded with another content; give each reversal its own id"
            )
        return Recorded(known[1], None, known[2].hex() if known[2] else None)
    draft = entry.plan(_sale_here(connection, entry.sale_id))
    position, _ = append(connection, terminal, stamp, draft)
    result = draft.answer.model_dump_json(exclude={"kind"})
    connection.execute(
        "INSERT INTO reversals (reversal_id, fingerprint, sale_id, position, result) VALUES (?, ?, ?, ?, ?)",
        (entry.reversal_id, entry.fingerprint, entry.sale_id, position, result),
    )
    if draft.points:
        connection.execute(
            "UPDATE sales SET taken_back = taken_back - ? WHERE sale_id = ?", (draft.points, entry.sale_id)
        )
    return Recorded(result, draft.answer, draft.subject)


def note_presented(connection: Connection, presented: PresentedIdentifier, now_ms: int) -> bool:
    """Note an identifier that leads to nobody here, to ask the hub about; tell whether it is to be asked now.

    An answer from a time that is still to come is from a wrong clock, and is not waited for.
    """
    changed = connection.execute(
        "INSERT INTO presented (id, scheme, value, presented_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET value = excluded.value, answer = NULL, presented_at = excluded.presented_at"
        " WHERE value IS NULL AND (presented_at < ? OR presented_at > excluded.presented_at)",
        (
            bytes.fromhex(presented.id),
            presented.identifier.scheme.value,
            presented.identifier.value,
            now_ms,
            now_ms - ASK_AGAIN_MS,
        ),
    )
    return changed.rowcount > 0


def pending_of(connection: Connection, subjects: Sequence[str], coverage: Mapping[str, int]) -> dict[str, int]:
    """Return the points of each subject that local events brought and `coverage` does not contain."""
    marks = ", ".join("?" * len(subjects))
    keys = [bytes.fromhex(subject) for subject in subjects]
    rows = connection.execute(
        f"SELECT subject, inc, seq, points FROM pending WHERE subject IN ({marks}) LIMIT {_FEW + 1}", keys
    ).fetchall()
    if len(rows) > _FEW:
        return _pending_summed(connection, keys, coverage)
    pending: dict[str, int] = {}
    for subject, inc, seq, points in rows:
        if seq > coverage.get(inc, 0):
            pending[subject.hex()] = pending.get(subject.hex(), 0) + points
    return pending


def _pending_summed(connection: Connection, keys: Sequence[bytes], coverage: Mapping[str, int]) -> dict[str, int]:
    """Return the same, summed by SQLite: a card that is used all day while the line is down has thousands of rows."""
    marks = ", ".join("?" * len(keys))
    pending: dict[str, int] = {}
    for subject, inc, first, last, points in connection.execute(
        "SELECT subject, inc, min(seq), max(seq), sum(points) FROM pending"
        f" WHERE subject IN ({marks}) GROUP BY subject, inc",
        keys,
    ).fetchall():
        covered = coverage.get(inc, 0)
        if last <= covered:
            continue
        if first <= covered:
            (points,) = connection.execute(  # noqa: PLW2901 - the part of the sum that is not covered
                "SELECT sum(points) FROM pending WHERE subject = ? AND inc = ? AND seq > ?", (subject, inc, covered)
            ).fetchone() or (0,)
        pending[subject.hex()] = pending.get(subject.hex(), 0) + points
    return pending


def pending_on(connection: Connection, basis: Basis) -> list[int]:
    """Return the pending points of an account, by its identifiers; what is shared is nobody's yet."""
    pending = pending_of(connection, basis.subjects, basis.coverage)
    shared = basis.shared(tuple(pending)) if pending else ()
    return [points for subject, points in pending.items() if subject not in shared]


def append(connection: Connection, terminal: Terminal, stamp: Stamp, draft: EventDraft) -> tuple[int, int]:
    """Write an event and its effect behind the last one of this incarnation; return its position and its seq."""
    now_ms = milliseconds(stamp.recorded_at)
    position, seq = _next_place(connection, terminal.inc, now_ms)
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id(terminal.terminal_id, terminal.inc, seq),
        "source": event_source(terminal.store_id, terminal.terminal_id),
        "type": draft.type,
        "time": draft.time.isoformat(),
        "datacontenttype": "application/json",
        "inc": terminal.inc,
        "seq": seq,
        "bootid": stamp.boot_id,
        "monoms": stamp.monotonic_ms,
        "data": draft.data,
    }
    if draft.subject is not None:
        event["subject"] = draft.subject
    subject = bytes.fromhex(draft.subject) if draft.subject is not None else None
    connection.execute(
        "INSERT INTO journal (position, recorded_at, subject, points, event) VALUES (?, ?, ?, ?, ?)",
        (position, now_ms, subject, draft.points, canonical_json(event)),
    )
    if draft.points and subject is not None:
        connection.execute(
            "INSERT INTO pending (subject, inc, seq, points) VALUES (?, ?, ?, ?)",
            (subject, terminal.inc, seq, draft.points),
        )
    return position, seq


def _next_place(connection: Connection, inc: str, now_ms: int) -> tuple[int, int]:
    """Return the next position of the journal and the next seq of this process's incarnation, begun if it is new."""
    row = connection.execute(
        "SELECT first_position, (SELECT max(position) FROM journal) FROM incarnations WHERE inc = ?", (inc,)
    ).fetchone()
    if row is not None:
        return row[1] + 1, row[1] - row[0] + 2
    before = connection.execute(
        "SELECT number, inc, length, first_position + length FROM streams ORDER BY number DESC LIMIT 1"
    ).fetchone() or (0, None, None, 1)
    number, previous_inc, previous_seq, position = before
    connection.execute(
        "UPDATE incarnations SET length = ?1, acked_at = CASE WHEN acked_through = ?1 THEN ?2 END WHERE number = ?3",
        (previous_seq, now_ms, number),
    )
    connection.execute(
        "INSERT INTO incarnations (number, inc, previous_inc, previous_seq, first_position) VALUES (?, ?, ?, ?, ?)",
        (number + 1, inc, previous_inc, previous_seq, position),
    )
    return position, 1


def _sale_here(connection: Connection, sale_id: str) -> SaleHere | None:
    """Return a sale of this till. One that the hub refused, holds or never got counts for nothing here."""
    row = connection.execute(
        "SELECT coalesce(j.subject, b.subject), coalesce(j.points, b.points), s.taken_back,"
        " a.state IN ('rejected', 'parked', 'withheld') FROM sales s"
        " LEFT JOIN journal j ON j.position = s.position LEFT JOIN bygone b ON b.position = s.position"
        " LEFT JOIN set_aside a ON a.position = s.position"
        " WHERE s.sale_id = ?",
        (sale_id,),
    ).fetchone()
    if row is None or row[0] is None:  # its event was lost with a damaged file: the hub decides
        return None
    return SaleHere(row[0].hex(), 0 if row[3] else row[1], row[2])
