"""Intake: the order of the steps of an upload. One transaction, one verdict per event, dedupe on the stream's head.

Whatever happens to the answer on its way, the same range again has no second effect: seqs up to the head are repeated
from the books, the next one is applied, and a gap is refused with the seq to go on from.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import Outcome, UploadAnswer, Verdict
from sync.hub.batch import Item, Sender, read_batch
from sync.hub.books import (
    ParkedEvent,
    kept_verdicts,
    load,
    move_head,
    open_stream,
    parked_events,
    write,
)
from sync.hub.head import Head
from sync.hub.posting import Origin, Posting
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

    async def upload(self, sender: Sender, first: int, body: bytes) -> UploadAnswer:
        """Apply a range of events and return its verdicts, once they are durable.

        Raises:
            NoBatch, TooMany, WrongPlace: nothing was read (sync.hub.batch).
            Gap: nothing was applied.
            DatabaseError: nothing was written.
        """
        items = await asyncio.to_thread(read_batch, body, sender, first)
        now = self._clock.now()
        applied = await self._writer.write(lambda connection: apply_upload(connection, sender, first, items, now))
        self._head.reached(applied.pos)
        self._count(sender, applied)
        return UploadAnswer(hub_epoch=self._epoch, applied_through=applied.through, results=applied.verdicts)

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


def apply_upload(connection: Connection, sender: Sender, first: int, items: Sequence[Item], now: datetime) -> Applied:
    """Apply a range in the caller's transaction.

    Raises:
        Gap: the range begins beyond the next seq.
    """
    stream = open_stream(connection, sender)
    if first > stream.through + 1:
        raise Gap(stream.through)
    new = stream.through - first + 1  # index of the first item that the books do not hold
    repeated, differing = _repeat(connection, stream.number, items[:new])
    fresh = items[new:]
    posting = Posting(load(connection, sender.store_id, fresh))
    origin = Origin(stream.number, sender.terminal_id, sender.inc)
    verdicts = [posting.add(origin, item) for item in fresh]
    posting.close(sender.terminal_id)
    if fresh:
        write(connection, sender.store_id, posting, int(now.timestamp() * 1000))
        move_head(connection, stream.number, fresh[-1].seq, posting.fresh[-1].pos)
    through = max(stream.through, items[-1].seq)
    return Applied((*repeated, *verdicts), through, posting.known.last_pos, differing)


def replay(connection: Connection, event: ParkedEvent, now: datetime) -> int:
    """Judge one parked event anew in the caller's transaction; return the feed's new position."""
    posting = Posting(load(connection, event.store_id, [event.item]))
    posting.settle(event.origin, event.item)
    write(connection, event.store_id, posting, int(now.timestamp() * 1000))
    return posting.known.last_pos


def _repeat(connection: Connection, stream: int, items: Sequence[Item]) -> tuple[list[Verdict], tuple[int, ...]]:
    """Return the verdicts of events that the books hold: a refusal as it was, an applied one as a duplicate."""
    if not items:
        return [], ()
    kept = kept_verdicts(connection, stream, items[0].seq, items[-1].seq)
    verdicts = []
    differing = []
    for item, held in zip(items, kept, strict=True):
        outcome = Outcome.DUPLICATE if held.outcome is Outcome.APPLIED else held.outcome
        verdicts.append(Verdict(seq=item.seq, outcome=outcome, reason=held.reason))
        if held.raw != item.raw:
            differing.append(item.seq)
    return verdicts, tuple(differing)
