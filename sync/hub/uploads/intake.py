"""Intake: the order of the steps of an upload. One transaction, one verdict per event, dedupe on the stream's head.

Whatever happens to the answer on its way, the same range again has no second effect: seqs up to the head are repeated
from the books, the next one is applied, and a gap is refused with the seq to go on from.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sync.contract.chain import GONE, extend
from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import Outcome, Reason, UploadAnswer, Verdict
from sync.hub.books.event_rows import ParkedEvent, parked_events
from sync.hub.books.ledger import load, write
from sync.hub.escrow.allowances import tell
from sync.hub.feed.head import Head
from sync.hub.judging.posting import SEQ_BITS, Origin, Posting
from sync.hub.judging.times import BusinessDay
from sync.hub.uploads.batch import Item, Sender
from sync.hub.uploads.clocks import timekeeper
from sync.hub.uploads.faults import Bug, tried
from sync.hub.uploads.fences import Standing, quarantine, standing
from sync.hub.uploads.placing import Piece, place
from sync.hub.uploads.streams import Stream, kept_verdicts, move_head
from sync.hub.uploads.upload import Upload, read_upload
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.metrics import Metrics
from sync.runtime.sqlite_file import Connection

# An event that our own code falls over must not block its line for ever; where it falls over everything, nothing is
# held, the tills keep their events and ring.
FAULTY_PER_UPLOAD_MAX = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an upload did: its verdicts, the stream's new head and the feed's new position.

    `differing` are seqs that came changed, from a terminal that does not sign; `forked` counts the events that are kept
    aside, because two histories of the terminal met; `faulty` are seqs that this version of the hub cannot judge.
    """

    verdicts: tuple[Verdict, ...]
    through: int
    chain: bytes
    pos: int
    differing: tuple[int, ...]
    forked: int
    faulty: tuple[int, ...] = ()


class Intake:
    """Takes uploads."""

    def __init__(
        self,
        writer: Writer,
        head: Head,
        epoch: str,
        clock: Clock,
        metrics: Metrics,
        day: BusinessDay | None = None,
    ) -> None:
        self._writer = writer
        self._head = head
        self._epoch = epoch
        self._clock = clock
        self._day = day or BusinessDay()
        self._events = metrics.counter("hub_events", "Events received, by verdict.", ["result"])
        self._uploads = metrics.counter("hub_uploads", "Uploads taken.")
        self._forked = metrics.counter(
            "hub_events_forked", "Events kept aside because two histories of a terminal met; it is quarantined."
        )
        self._faulty = metrics.counter(
            "hub_events_faulty", "Events that the hub's own code fell over; they are held until an upgrade."
        )
        self._differing = metrics.counter(
            "hub_events_differing", "Events that came again with another text; somebody should look."
        )

    async def upload(self, sender: Sender, first: int, body: bytes, proof: str = "") -> UploadAnswer:
        """Apply a range of events and return its verdicts, once they are durable.

        Raises:
            NoBatch, TooMany, WrongPlace: nothing was read (sync.hub.uploads.batch).
            SignatureInvalid: nothing was believed (sync.hub.uploads.upload).
            StaleFence: it is not the running process that sent it (sync.hub.uploads.fences); nothing was applied.
            Gap: nothing was applied.
            DatabaseError: nothing was written.
        """
        upload = await asyncio.to_thread(read_upload, body, sender, first, proof)
        now = self._clock.now()
        applied = await self._writer.write(lambda connection: apply_around(connection, upload, now, self._day))
        self._head.reached(applied.pos)
        self._count(sender, applied)
        return UploadAnswer(
            hub_epoch=self._epoch,
            applied_through=applied.through,
            results=applied.verdicts,
            chain=applied.chain.hex(),
        )

    async def replay_parked(self) -> int:
        """Judge again the parked events that this version may understand; return how many got a verdict."""
        now = self._clock.now()
        judged = 0
        for reason in (Reason.UNKNOWN_TYPE, Reason.HUB_FAULT):
            for event in await self._writer.write(partial(parked_events, types=EVENT_TYPES, reason=reason)):
                pos = await self._writer.write(partial(replay_or_leave, event=event, now=now))
                self._head.reached(pos or 0)
                judged += pos is not None
        return judged

    def _count(self, sender: Sender, applied: Applied) -> None:
        self._uploads.inc()
        for outcome in Outcome:
            number = sum(verdict.outcome is outcome for verdict in applied.verdicts)
            if number:
                self._events.labels(outcome.value).inc(number)
        if applied.forked:
            self._forked.inc(applied.forked)
            _log.error(
                "two histories of a terminal met, it is quarantined: terminal=%s inc=%s events=%d",
                sender.terminal_id,
                sender.inc,
                applied.forked,
            )
        if applied.faulty:
            self._faulty.inc(len(applied.faulty))
            _log.error(
                "the hub could not judge events and holds them: terminal=%s inc=%s seqs=%s",
                sender.terminal_id,
                sender.inc,
                ",".join(map(str, applied.faulty)),
            )
        if applied.differing:
            self._differing.inc(len(applied.differing))
            _log.warning(
                "events came again with another text: terminal=%s inc=%s first_seq=%d count=%d",
                sender.terminal_id,
                sender.inc,
                applied.differing[0],
                len(applied.differing),
            )


def apply_around(connection: Connection, upload: Upload, now: datetime, day: BusinessDay) -> Applied:
    """Apply a range as `apply_upload` does; a few events that our own code falls over are held, and the rest counts.

    Raises:
        StaleFence, Gap, DatabaseError: as there.
        Exception: our own code falls over more than a few of them, or not over an event.
    """
    held: set[int] = set()

    def holding(seqs: set[int]) -> Callable[[], Applied]:
        items = [
            replace(item, fact=None, fault=Reason.HUB_FAULT) if item.seq in seqs else item for item in upload.items
        ]
        asked = replace(upload, items=tuple(items)) if seqs else upload
        return lambda: apply_upload(connection, asked, now, day)

    while isinstance(applied := tried(connection, holding(held)), Bug):
        others = [item.seq for item in upload.items if item.seq not in held]
        if len(held) == FAULTY_PER_UPLOAD_MAX or not others:
            raise applied.error
        good, bad = 0, len(others)  # judging so many of them works, and does not
        if isinstance(tried(connection, holding(held | set(others)), keeps=False), Bug):
            raise applied.error
        while bad - good > 1:
            middle = (good + bad) // 2
            falls = isinstance(tried(connection, holding(held | set(others[middle:])), keeps=False), Bug)
            good, bad = (good, middle) if falls else (middle, bad)
        held.add(others[good])
    return replace(applied, faulty=tuple(sorted(held))) if held else applied


def apply_upload(connection: Connection, upload: Upload, now: datetime, day: BusinessDay) -> Applied:
    """Apply a range in the caller's transaction; `day` says which events are late.

    Raises:
        StaleFence: the process that sent it is not the terminal's running one.
        Gap: the range begins beyond the next seq.
    """
    sender = upload.sender
    stands = standing(connection, sender.terminal_id, upload.proof)
    pieces = place(connection, upload)
    fresh = [
        [_held_back(item, _why_held(stands, piece.stream, item, upload)) for item in _fresh(upload, piece)]
        for piece in pieces
    ]
    posting = Posting(load(connection, sender.store_id, [item for items in fresh for item in items]))
    verdicts: list[Verdict] = []
    differing: list[int] = []
    for piece, items in zip(pieces, fresh, strict=True):
        verdicts += _repeat(connection, upload, piece, differing)
        origin = Origin(piece.stream.number, sender.terminal_id, piece.stream.inc)
        verdicts += [posting.add(origin, item) for item in items]
    posting.close(sender.terminal_id)
    if posting.fresh:
        boots = {item.claim.boot_id for items in fresh for item in items if item.claim is not None}
        times = timekeeper(connection, sender.terminal_id, sender.inc, boots, now, day)
        write(connection, sender.store_id, posting, times.now_ms, times)
    heads = [_move_head(connection, upload, piece, posting) for piece in pieces]
    forked = sum(item.fault is Reason.FORK for items in fresh for item in items)
    pos = posting.known.last_pos
    if forked:
        quarantine(connection, sender.terminal_id, now)
        pos = tell(connection, [sender.terminal_id])  # whichever process hears it spends no allowance any more
    return Applied(tuple(verdicts), *heads[-1], pos, tuple(differing), forked)


def _fresh(upload: Upload, piece: Piece) -> Sequence[Item]:
    return upload.items[piece.first + piece.repeated : piece.end]


def _why_held(stands: Standing, stream: Stream, item: Item, upload: Upload) -> Reason | None:
    """Return why a new event is not judged now, or None where it is.

    That an event is lost may come from behind a fence: a salvaged journal does not always know where an incarnation
    ended, and tells of a loss at each place up to the next one.
    """
    is_beyond_fence = upload.proof is not None and stream.fenced_at is not None and item.seq > stream.fenced_at
    is_beyond_fence = is_beyond_fence and item.type != GONE
    if stream.is_fork or stands.is_suspect or is_beyond_fence:
        return Reason.FORK
    return Reason.QUARANTINED if stands.is_quarantined else None


def _held_back(item: Item, why: Reason | None) -> Item:
    return item if why is None else replace(item, fact=None, fault=why)


def _move_head(connection: Connection, upload: Upload, piece: Piece, posting: Posting) -> tuple[int, bytes]:
    """Note how far the books hold a piece's stream now; return that, and the chain there."""
    stream = piece.stream
    links = upload.links[piece.first + piece.repeated : piece.end]
    if not links:
        return stream.through, stream.chain
    through, chain = stream.through + len(links), extend(stream.chain, links)
    pos = max(kept.pos for kept in posting.fresh if kept.number >> SEQ_BITS == stream.number)
    move_head(connection, stream.number, through, pos, chain)
    return through, chain


def replay_or_leave(
    connection: Connection, event: ParkedEvent, now: datetime, *, is_recovered: bool = False
) -> int | None:
    """Judge a parked event anew; None where this version cannot judge it either, or it still waits."""
    pos = tried(connection, lambda: replay(connection, event, now, is_recovered=is_recovered))
    return None if isinstance(pos, Bug) else pos


def replay(connection: Connection, event: ParkedEvent, now: datetime, *, is_recovered: bool = False) -> int | None:
    """Judge one parked event anew in the caller's transaction; return the feed's new position, None while it is held.

    `is_recovered` where all that a recovery waits for is there, and it is about to end.
    """
    posting = Posting(load(connection, event.store_id, [event.item]))
    posting.known.is_recovering = posting.known.is_recovering and not is_recovered
    posting.settle(event.origin, event.item)
    write(connection, event.store_id, posting, int(now.timestamp() * 1000))
    return posting.known.last_pos if posting.feed else None


def _repeat(connection: Connection, upload: Upload, piece: Piece, differing: list[int]) -> list[Verdict]:
    """Return the verdicts of events that the books hold: a refusal as it was, an applied one as a duplicate."""
    verdicts: list[Verdict] = []
    if not piece.repeated:
        return verdicts
    items = upload.items[piece.first : piece.first + piece.repeated]
    kept = kept_verdicts(connection, piece.stream.number, items[0].seq, items[-1].seq)
    for item, held in zip(items, kept, strict=True):
        outcome = Outcome.DUPLICATE if held.outcome is Outcome.APPLIED else held.outcome
        verdicts.append(Verdict(seq=item.seq, outcome=outcome, reason=held.reason))
        if upload.proof is None and held.raw != item.raw:
            differing.append(item.seq)
    return verdicts
