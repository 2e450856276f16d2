"""The journal: what this terminal committed, and how far the hub has it. Implements `sync.pump.ports.Journal`.

Rows are written once and never changed; `agent.store.pruning` deletes them long after the hub has them. How far the
hub has them is one number per incarnation. So
settling 500 events that were applied writes one row, and 20,000 settled events cost the next batch nothing. Only a
verdict settles an event; only a hub that says it holds less than we believed brings events back to the outbox.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

from agent.store.ballast import Ballast
from agent.store.chaining import PLACES, adopt, chain_at_ack, text_at
from agent.store.entries import (
    Recorded,
    ReversalEntry,
    SaleEntry,
    Stamp,
    Terminal,
    note_presented,
    record_reversal,
    record_sale,
)
from agent.store.files import milliseconds, moment
from agent.store.pruning import forget_marks, pruned_between
from agent.store.settling import conclude, parked, rewind, settle, sweep, withhold
from sync.contract.identifiers import Identifier, Scheme
from sync.contract.program import Program
from sync.contract.protocol import (
    HELD_PER_HELLO_MAX,
    INCARNATIONS_PER_HELLO_MAX,
    AppliedThrough,
    IncarnationLength,
    OutcomePut,
    PresentedIdentifier,
    UploadAnswer,
)
from sync.pump.ports import Batch, JournalState, Waiting
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Work, Writer
from sync.runtime.sqlite_file import Connection, DatabaseFull

T = TypeVar("T")

_log = logging.getLogger(__name__)


class EventJournal:
    """The terminal's events. `notice` is set whenever an event or an identifier begins to wait."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        terminal: Terminal,
        clock: Clock,
        ballast: Ballast,
        covered: Callable[[], Mapping[str, int]],
    ) -> None:
        """Take the till's connections; `covered` tells how far the live cache contains each incarnation."""
        self._writer = writer
        self._reader = reader
        self._terminal = terminal
        self._clock = clock
        self._ballast = ballast
        self._covered = covered
        self._notice = asyncio.Event()
        self._held_after = 0
        self._answered: Callable[[frozenset[str]], None] = lambda _: None

    @property
    def notice(self) -> asyncio.Event:
        """Set whenever an event or an identifier begins to wait."""
        return self._notice

    @property
    def terminal(self) -> Terminal:
        """Who records here."""
        return self._terminal

    def stamp(self) -> Stamp:
        """Return this moment, as an act recorded now carries it."""
        return Stamp(self._clock.now(), self._clock.boot_id, int(self._clock.monotonic() * 1000))

    async def record_sale(self, entry: SaleEntry, stamp: Stamp) -> Recorded:
        """Record a sale, durable on return; the same again answers the first result.

        Raises:
            SaleIdReused: the id stands for another sale.
            DatabaseFull: the disk is full; nothing was recorded, nor will be before there is room again.
            DatabaseError: nothing was recorded.
        """
        if self._ballast.is_full:
            entry = replace(entry, decide=_refused)
        recorded = await self._record(lambda connection: record_sale(connection, self._terminal, stamp, entry))
        self._notice.set()
        return recorded

    async def record_reversal(self, entry: ReversalEntry, stamp: Stamp) -> Recorded:
        """Record a reversal, durable on return; the same again answers the first result.

        Raises:
            ReversalIdReused: the id stands for another reversal.
            DatabaseFull: the disk is full; nothing was recorded, nor will be before there is room again.
            DatabaseError: nothing was recorded.
        """
        if self._ballast.is_full:
            entry = replace(entry, plan=_refused)
        recorded = await self._record(lambda connection: record_reversal(connection, self._terminal, stamp, entry))
        self._notice.set()
        return recorded

    async def present(self, presented: PresentedIdentifier) -> None:
        """Keep the wish to know whom an identifier leads to; its value is erased once the hub has it."""
        now_ms = milliseconds(self._clock.now())
        if await self._writer.write(lambda connection: note_presented(connection, presented, now_ms)):
            self._notice.set()

    async def state(self, held_max: int = HELD_PER_HELLO_MAX) -> JournalState:
        """Return how the journal stands, all of it at one moment, and no more than a hello takes.

        Of more held events than `held_max` each call returns the next ones, so that all of them get their turn.
        """

        def read(connection: Connection) -> tuple[JournalState, int]:
            found = parked(connection, self._held_after, held_max)
            held_after = found[-1][0] if len(found) == held_max else 0
            held = tuple(event for _, event in found)
            return JournalState(_incarnations(connection), held, read_waiting(connection)), held_after

        state, self._held_after = await self._reader.read(read)
        return state

    async def rewind(self, applied: Sequence[AppliedThrough]) -> None:
        """Take the hub's word that it holds each incarnation no further than this; never raises anything.

        What is asked for and not kept any more goes out as markers, and the log says how many events that are.
        """

        def write(connection: Connection) -> dict[str, int]:
            lowered = rewind(connection, applied)
            for held in lowered:
                forget_marks(connection, held.inc, held.through)
            for held in applied:
                adopt(connection, held)
            return {held.inc: pruned_between(connection, held.inc, held.through) for held in lowered}

        for inc, lost in (await self._keep(write)).items():
            if lost:
                _log.error("the hub asks for events that are not kept any more: inc=%s events=%d", inc, lost)

    async def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        """Return the oldest events without a verdict, of one incarnation; at least one, or None."""
        return await self._reader.read(
            lambda connection: _next_batch(connection, self._terminal, max_events, max_bytes)
        )

    async def settle(self, inc: str, answer: UploadAnswer, chain: bytes | None = None) -> None:
        """Write the verdicts down. Only an unbroken run of them from the first unsettled event on counts.

        `chain` is the one behind the last of them; where it is not given, it is worked out when it is needed.
        """
        now_ms = milliseconds(self._clock.now())

        def write(connection: Connection) -> None:
            settle(connection, inc, answer, now_ms, chain)
            # Asked for in here: another cache may take the live one's place before this write has its turn.
            sweep(connection, self._covered())

        await self._keep(write)

    async def withhold(self, inc: str, seq: int, reason: str) -> None:
        """Note that the network refuses to carry this event: it leaves the pending sum, stays here and is shown."""
        now_ms = milliseconds(self._clock.now())
        await self._keep(lambda connection: withhold(connection, inc, seq, reason, now_ms))

    async def conclude(self, outcomes: Sequence[OutcomePut]) -> None:
        """Write down final verdicts on events that the hub had parked. Any number of times the same."""
        now_ms = milliseconds(self._clock.now())
        await self._keep(lambda connection: conclude(connection, outcomes, now_ms))

    async def keep_program(self, program: Program) -> None:
        """Keep a version of the rules, for as long as this till lives."""
        row = (program.version, program.model_dump_json(), milliseconds(self._clock.now()))
        await self._keep(
            lambda connection: connection.execute(
                "INSERT INTO programs (version, program, received_at) VALUES (?, ?, ?)"
                " ON CONFLICT (version) DO UPDATE SET program = excluded.program WHERE program <> excluded.program",
                row,
            )
        )

    async def newest_program(self) -> Program | None:
        """Return the rules in force, or None before the hub sent any."""

        def read(connection: Connection) -> Program | None:
            row = connection.execute("SELECT program FROM programs ORDER BY version DESC LIMIT 1").fetchone()
            return Program.model_validate_json(row[0]) if row else None

        return await self._reader.read(read)

    async def unsent_identifiers(self, limit: int) -> Sequence[PresentedIdentifier]:
        """Return presented identifiers that the hub was not asked about yet, the oldest first."""

        def read(connection: Connection) -> Sequence[PresentedIdentifier]:
            rows = connection.execute(
                "SELECT id, scheme, value FROM presented WHERE value IS NOT NULL ORDER BY presented_at LIMIT ?",
                (limit,),
            ).fetchall()
            return [
                PresentedIdentifier(id=key.hex(), identifier=Identifier(scheme=Scheme(scheme), value=value))
                for key, scheme, value in rows
            ]

        return await self._reader.read(read)

    def tell(self, answered: Callable[[frozenset[str]], None]) -> None:
        """Take whom to tell of identifiers of which the hub has said whom they lead to."""
        self._answered = answered

    async def identifiers_sent(self, ids: Sequence[str], known: Sequence[str]) -> None:
        """Erase the values that the hub has now, and note which of them lead to a customer there."""
        answers = [("known" if key in set(known) else "unknown", bytes.fromhex(key)) for key in ids]

        def write(connection: Connection) -> None:
            connection.executemany("UPDATE presented SET value = NULL, answer = ? WHERE id = ?", answers)

        await self._keep(write)
        self._answered(frozenset(ids))

    async def forget_presented(self, ids: Sequence[bytes]) -> None:
        """Erase these identifiers where they were presented here."""
        rows = [(key,) for key in ids]
        await self._keep(lambda connection: connection.executemany("DELETE FROM presented WHERE id = ?", rows))

    async def forget_all_presented(self) -> int:
        """Erase the value of every identifier; one that is presented again is asked about at once. Returns how many."""
        return await self._keep(
            lambda connection: (
                connection.execute(
                    "UPDATE presented SET value = NULL, answer = 'unknown', presented_at = 0 WHERE value IS NOT NULL"
                ).rowcount
            )
        )

    async def waiting(self) -> Waiting:
        """Return how many events the hub has not acknowledged, and since when the oldest waits."""
        return await self._reader.read(read_waiting)

    async def checkpoint(self) -> None:
        """Carry the log of the till's file over into it, and give the log's room back, where nobody reads it now."""
        await self._writer.outside_transaction(
            lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        )

    async def _record(self, work: Work[T]) -> T:
        try:
            return await self._writer.write(work)
        except DatabaseFull:
            self._ballast.release()
            raise

    async def _keep(self, work: Work[T]) -> T:
        """Write what empties the outbox: on a full disk the ballast makes room for it."""
        try:
            return await self._writer.write(work)
        except DatabaseFull:
            self._ballast.release()
            return await self._writer.write(work)


def _refused(*_: object) -> NoReturn:
    raise DatabaseFull("the disk is full: nothing was written; free some space and try again")


def _incarnations(connection: Connection) -> tuple[IncarnationLength, ...]:
    """Return the incarnations that the hub may be without events of, the oldest first.

    Those acked whole stay named while their events are kept here, for a hub that comes back from a backup.
    """
    rows = connection.execute(
        "SELECT inc, length FROM streams s WHERE acked_at IS NULL OR length >"
        " (SELECT pruned_through FROM incarnations i WHERE i.number = s.number) ORDER BY number DESC LIMIT ?",
        (INCARNATIONS_PER_HELLO_MAX,),
    ).fetchall()
    return tuple(IncarnationLength(inc=inc, length=length) for inc, length in reversed(rows))


def read_waiting(connection: Connection) -> Waiting:
    """Return the size of the outbox and the age of its oldest event."""
    row = connection.execute(
        "SELECT sum(length - acked_through), min(first_position + acked_through) FROM streams"
        " WHERE acked_at IS NULL AND acked_through < length"
    ).fetchone()
    if row is None or row[0] is None:
        return Waiting(0, None)
    oldest = connection.execute("SELECT recorded_at FROM journal WHERE position = ?", (row[1],)).fetchone()
    return Waiting(row[0], moment(oldest[0]) if oldest else None)


def _next_batch(connection: Connection, terminal: Terminal, max_events: int, max_bytes: int) -> Batch | None:
    row = connection.execute(
        "SELECT inc, first_position, acked_through, length FROM streams"
        " WHERE acked_at IS NULL AND acked_through < length ORDER BY number LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    inc, first_position, acked_through, length = row
    seq = acked_through + 1
    events: list[str] = []
    size_bytes = 0
    for place in connection.execute(
        # Between two places, and not up to a LIMIT: SQLite would read and sort the whole backlog for it.
        f"{PLACES} WHERE position >= ?1 AND position < ?2 ORDER BY position",
        (first_position + acked_through, first_position + min(acked_through + max_events, length)),
    ):
        event = text_at(terminal, inc, seq, place)
        size_bytes += len(event.encode()) + 1
        if events and size_bytes > max_bytes:
            break
        events.append(event)
        seq += 1
    return Batch(inc, acked_through + 1, tuple(events), chain_at_ack(connection, terminal, inc))
