"""Intake: the order of the steps of an upload. One transaction, one verdict per event, dedupe on the stream's head.

Whatever happens to the answer on its way, the same range again has no second effect: seqs up to the head are repeated
from the books, the next one is applied, and a gap is refused with the seq to go on from.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sync.contract.chain import extend
from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import Outcome, UploadAnswer, Verdict
from sync.hub.batch import Sender
from sync.hub.books import ParkedEvent, load, parked_events, write
from sync.hub.head import Head
from sync.hub.posting import Origin, Posting
from sync.hub.streams import Stream, kept_verdicts, move_head, open_stream
from sync.hub.uploads import Upload, read_upload
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.metrics import Metrics
from sync.runtime.sqlite_file import Connection

_log = logging.getLogger(__name__)


class Gap(Exception):
    """The range begins beyond the next seq: send from `applied_through` + 1."""

    def __init__(self, applied_through: int) -> None:
        super().__init__(f"the hub holds this incarnation through {applied_through}")
        self.applied_through = applied_through


@dataclass(frozen=True, slots=True)
class Applied:
    """What an upload did: its verdicts, the stream's new head, the feed's new position, and seqs that came changed."""

    verdicts: tuple[Verdict, ...]
    through: int
    chain: bytes
    pos: int
    differing: tuple[int, ...]


class Intake:
    """Takes uploads."""

    def __init__(self, writer: Writer, head: Head, epoch: str, clock: Clock, metrics: Metrics) -> None:
        self._writer = writer
        self._head = head
        self._epoch = epoch
        self._clock = clock
        self._events = metrics.counter("hub_events", "Events received, by verdict.", ["result"])
        self._uploads = metrics.counter("hub_uploads", "Uploads taken.")
        self._differing = metrics.counter(
            "hub_events_differing", "Events that came again with another text; somebody should look."
        )

    async def upload(self, sender: Sender, first: int, body: bytes, proof: str = "") -> UploadAnswer:
        """Apply a range of events and return its verdicts, once they are durable.

        Raises:
            NoBatch, TooMany, WrongPlace: nothing was read (sync.hub.batch).
            SignatureInvalid: nothing was believed (sync.hub.uploads).
            Gap: nothing was applied.
            DatabaseError: nothing was written.
        """
        upload = await asyncio.to_thread(read_upload, body, sender, first, proof)
        now = self._clock.now()
        applied = await self._writer.write(lambda connection: apply_upload(connection, upload, now))
        self._head.reached(applied.pos)
        self._count(sender, applied)
        return UploadAnswer(
            hub_epoch=self._epoch,
            applied_through=applied.through,
            results=applied.verdicts,
            chain=applied.chain.hex(),
        )

    async def replay_parked(self) -> int:
        """Judge again the parked events whose type this version knows; return how many got a verdict."""
        parked = await self._writer.write(lambda connection: parked_events(connection, EVENT_TYPES))
        now = self._clock.now()
        for event in parked:
            self._head.reached(await self._writer.write(partial(replay, event=event, now=now)))
        return len(parked)

    def _count(self, sender: Sender, applied: Applied) -> None:
        self._uploads.inc()
        for outcome in Outcome:
            number = sum(verdict.outcome is outcome for verdict in applied.verdicts)
            if number:
                self._events.labels(outcome.value).inc(number)
        if applied.differing:
            self._differing.inc(len(applied.differing))
            _log.warning(
                "events came again with another text: terminal=%s inc=%s first_seq=%d count=%d",
                sender.terminal_id,
                sender.inc,
                applied.differing[0],
                len(applied.differing),
            )


def apply_upload(connection: Connection, upload: Upload, now: datetime) -> Applied:
    """Apply a range in the caller's transaction.

    Raises:
        Gap: the range begins beyond the next seq.
    """
    sender = upload.sender
    stream = open_stream(connection, sender.terminal_id, sender.inc)
    if upload.first > stream.through + 1:
        raise Gap(stream.through)
    repeated, differing = _repeat(connection, stream, upload)
    new = len(repeated)
    fresh = upload.items[new:]
    posting = Posting(load(connection, sender.store_id, fresh))
    origin = Origin(stream.number, sender.terminal_id, sender.inc)
    verdicts = [posting.add(origin, item) for item in fresh]
    posting.close(sender.terminal_id)
    through, chain = stream.through, stream.chain
    if fresh:
        through, chain = fresh[-1].seq, extend(chain, upload.links[new:])
        write(connection, sender.store_id, posting, int(now.timestamp() * 1000))
        move_head(connection, stream.number, through, posting.fresh[-1].pos, chain)
    return Applied((*repeated, *verdicts), through, chain, posting.known.last_pos, differing)


def replay(connection: Connection, event: ParkedEvent, now: datetime) -> int:
    """Judge one parked event anew in the caller's transaction; return the feed's new position."""
    posting = Posting(load(connection, event.store_id, [event.item]))
    posting.settle(event.origin, event.item)
    write(connection, event.store_id, posting, int(now.timestamp() * 1000))
    return posting.known.last_pos


def _repeat(connection: Connection, stream: Stream, upload: Upload) -> tuple[list[Verdict], tuple[int, ...]]:
    """Return the verdicts of events that the books hold: a refusal as it was, an applied one as a duplicate."""
    verdicts = []
    differing = []
    kept = kept_verdicts(connection, stream.number, upload.first, upload.last)
    for item, held in zip(upload.items, kept, strict=False):
        outcome = Outcome.DUPLICATE if held.outcome is Outcome.APPLIED else held.outcome
        verdicts.append(Verdict(seq=item.seq, outcome=outcome, reason=held.reason))
        if held.raw != item.raw:
            differing.append(item.seq)
    return verdicts, tuple(differing)
