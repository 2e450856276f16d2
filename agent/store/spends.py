"""Spends: how a redemption, its reversal or the return of an allowance enters the journal.

Functions on the till's connection, each one transaction: the event, what it takes from which allowance, its effect on
the balance and the answer are on disk together, or none of them is. So no two redemptions at once, and no crash
between them, can spend the same points.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from agent.purse import Purse, Reading
from agent.redemptions import RedemptionDraft, RedemptionHere
from agent.sales import EventDraft
from agent.store.allowances import read_purse
from agent.store.ballast import Ballast, no_room
from agent.store.entries import Basis, Recorded, Stamp, StoreError, Terminal, append, pending_on
from agent.store.files import milliseconds
from agent.store.journal import EventJournal
from agent.store.trust import Marker, note_time
from sync.contract.events import ALLOWANCE_RETURNED, AllowanceReturned
from sync.contract.ledger import Balance, fold
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection, DatabaseError, DatabaseFull

T = TypeVar("T")


class RedemptionIdReused(StoreError):
    """Another redemption was recorded under this redemption_id."""


class GivingBackIdReused(StoreError):
    """The reversal of another redemption was recorded under this reversal_id."""


@dataclass(frozen=True, slots=True)
class RedemptionDecision:
    """What was decided about a redemption. `plan` is pure; it is given balance and purse of this very transaction."""

    basis: Basis
    customer_id: str | None
    plan: Callable[[Balance, Purse], RedemptionDraft]


@dataclass(frozen=True, slots=True)
class RedemptionEntry:
    """A redemption to record. `decide` runs within the transaction, on the writer's thread, unless it is known."""

    redemption_id: str
    fingerprint: bytes
    decide: Callable[[], RedemptionDecision]


@dataclass(frozen=True, slots=True)
class GivingBackEntry:
    """The reversal of a redemption. `plan` is pure and is given the redemption where this till recorded it."""

    reversal_id: str
    redemption_id: str
    fingerprint: bytes
    plan: Callable[[RedemptionHere | None], RedemptionDraft]


class Redeemer:
    """Records redemptions and their reversals."""

    def __init__(self, writer: Writer, journal: EventJournal, ballast: Ballast, marker: Marker) -> None:
        """Take the till's writer, the journal that the events go into, what knows of a full disk, and the marker."""
        self._marker = marker
        self._writer = writer
        self._journal = journal
        self._ballast = ballast

    async def redeem(self, entry: RedemptionEntry, stamp: Stamp) -> Recorded:
        """Record a redemption, durable on return; the same again answers the first result.

        Raises:
            RedemptionIdReused: the id stands for another redemption.
            DatabaseFull: the disk is full; nothing was recorded, nor will be before there is room again.
            DatabaseError: nothing was recorded.
            Exception: whatever `entry.decide` or its plan raised; nothing was recorded.
        """
        if self._ballast.is_full:
            entry = replace(entry, decide=no_room)
        recorded = await self._record(lambda connection, here: record_redemption(connection, here, stamp, entry))
        if recorded.answer is not None:
            await self._outdate()
        return recorded

    async def give_back(self, entry: GivingBackEntry, stamp: Stamp) -> Recorded:
        """Record the reversal of a redemption, durable on return; the same again answers the first result.

        Raises:
            GivingBackIdReused: the id stands for the reversal of another redemption.
            DatabaseFull: the disk is full; nothing was recorded, nor will be before there is room again.
            DatabaseError: nothing was recorded.
        """
        if self._ballast.is_full:
            entry = replace(entry, plan=no_room)
        return await self._record(lambda connection, here: record_giving_back(connection, here, stamp, entry))

    async def return_allowances(self, allowance_ids: Sequence[str]) -> None:
        """Give allowances back to the hub, durable on return.

        Raises:
            DatabaseError: none was given back.
        """
        stamp = self._journal.stamp()

        def record(connection: Connection, here: Terminal) -> None:
            for allowance_id in allowance_ids:
                record_return(connection, here, stamp, allowance_id)

        await self._record(record)
        await self._outdate()

    async def _outdate(self) -> None:
        """Let no copy of the file fit that knows less of what was spent; what was recorded stands in any case."""
        with suppress(DatabaseError):
            await self._marker.renew()

    async def _record(self, work: Callable[[Connection, Terminal], T]) -> T:
        try:
            recorded = await self._writer.write(lambda connection: work(connection, self._journal.terminal))
        except DatabaseFull:
            self._ballast.release()
            raise
        self._journal.notice.set()
        return recorded


def record_redemption(connection: Connection, terminal: Terminal, stamp: Stamp, entry: RedemptionEntry) -> Recorded:
    """Write a redemption's event, spends, effect and answer, or return the first answer.

    Raises:
        RedemptionIdReused: the id stands for another redemption.
        Exception: whatever `entry.decide` or its plan raised; nothing was written.
    """
    known = connection.execute(
        "SELECT r.fingerprint, r.result, coalesce(j.subject, b.subject) FROM redemptions r"
        " LEFT JOIN journal j ON j.position = r.position LEFT JOIN bygone b ON b.position = r.position"
        " WHERE r.redemption_id = ?",
        (entry.redemption_id,),
    ).fetchone()
    if known is not None:
        if known[0] != entry.fingerprint:
            raise RedemptionIdReused(
                f"redemption {entry.redemption_id} was recorded with another content; give each its own id"
            )
        return Recorded(known[1], None, known[2].hex() if known[2] else None)
    decision = entry.decide()
    now = Reading(milliseconds(stamp.recorded_at), stamp.monotonic_ms, stamp.boot_id)
    purse = read_purse(connection, decision.customer_id, decision.basis.subjects, now)
    planned = decision.plan(fold(decision.basis.posted, pending_on(connection, decision.basis)), purse)
    position, seq = append(connection, terminal, stamp, planned.event)
    _note_spends(connection, planned, terminal.inc, seq, position)
    _note_goodwill(connection, planned, (terminal.inc, seq, position), now)
    note_time(connection, now.wall_ms)
    result = planned.answer.model_dump_json(exclude={"kind"})
    connection.execute(
        "INSERT INTO redemptions (redemption_id, fingerprint, position, result) VALUES (?, ?, ?, ?)",
        (entry.redemption_id, entry.fingerprint, position, result),
    )
    return Recorded(result, planned.answer, planned.event.subject)


def record_giving_back(connection: Connection, terminal: Terminal, stamp: Stamp, entry: GivingBackEntry) -> Recorded:
    """Write the reversal of a redemption, or return the first answer.

    Raises:
        GivingBackIdReused: the id stands for the reversal of another redemption.
    """
    known = connection.execute(
        "SELECT r.fingerprint, r.result, coalesce(j.subject, b.subject) FROM redemption_reversals r"
        " LEFT JOIN journal j ON j.position = r.position LEFT JOIN bygone b ON b.position = r.position"
        " WHERE r.reversal_id = ?",
        (entry.reversal_id,),
    ).fetchone()
    if known is not None:
        if known[0] != entry.fingerprint:
            raise GivingBackIdReused(
                f"reversal {entry.reversal_id} was recorded with another content; give each reversal its own id"
            )
        return Recorded(known[1], None, known[2].hex() if known[2] else None)
    planned = entry.plan(_redemption_here(connection, entry.redemption_id))
    position, _ = append(connection, terminal, stamp, planned.event)
    result = planned.answer.model_dump_json(exclude={"kind"})
    connection.execute(
        "INSERT INTO redemption_reversals (reversal_id, fingerprint, redemption_id, position, result)"
        " VALUES (?, ?, ?, ?, ?)",
        (entry.reversal_id, entry.fingerprint, entry.redemption_id, position, result),
    )
    connection.execute("UPDATE redemptions SET is_reversed = 1 WHERE redemption_id = ?", (entry.redemption_id,))
    return Recorded(result, planned.answer, planned.event.subject)


def record_return(connection: Connection, terminal: Terminal, stamp: Stamp, allowance_id: str) -> None:
    """Give all that is left of an allowance back to the hub: it is not spent any more from here on."""
    data = AllowanceReturned(allowance_id=allowance_id).model_dump()
    event = EventDraft(ALLOWANCE_RETURNED, None, stamp.recorded_at, data, 0)
    position, seq = append(connection, terminal, stamp, event)
    connection.execute(
        "INSERT INTO spends (allowance_id, inc, seq, position, points) VALUES (?, ?, ?, ?, NULL)",
        (allowance_id, terminal.inc, seq, position),
    )


def _note_spends(connection: Connection, planned: RedemptionDraft, inc: str, seq: int, position: int) -> None:
    connection.executemany(
        "INSERT INTO spends (allowance_id, inc, seq, position, points) VALUES (?, ?, ?, ?, ?)",
        [(allowance_id, inc, seq, position, points) for allowance_id, points in planned.taken],
    )


def _note_goodwill(connection: Connection, planned: RedemptionDraft, place: tuple[str, int, int], now: Reading) -> None:
    if planned.goodwill and planned.event.subject is not None:
        subject = bytes.fromhex(planned.event.subject)
        connection.execute(
            "INSERT INTO goodwill (subject, inc, seq, position, points, given_at, given_monotonic, given_boot)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (subject, *place, planned.goodwill, now.wall_ms, now.monotonic_ms, now.boot_id),
        )


def _redemption_here(connection: Connection, redemption_id: str) -> RedemptionHere | None:
    """Return a redemption of this till. One that the hub refused, holds or never got took nothing here."""
    row = connection.execute(
        "SELECT coalesce(j.subject, b.subject), coalesce(j.points, b.points), r.is_reversed,"
        " a.state IN ('rejected', 'parked', 'withheld') FROM redemptions r"
        " LEFT JOIN journal j ON j.position = r.position LEFT JOIN bygone b ON b.position = r.position"
        " LEFT JOIN set_aside a ON a.position = r.position"
        " WHERE r.redemption_id = ?",
        (redemption_id,),
    ).fetchone()
    if row is None or row[0] is None:  # its event was lost with a damaged file: the hub decides
        return None
    subject, points, is_reversed, is_set_aside = row
    return RedemptionHere(subject.hex(), 0 if is_set_aside else -points, bool(is_reversed))
