"""The pump's ports in memory: a journal, a cache and a hub that keep the rules and can be told to fail."""

import asyncio
import contextlib
import gzip
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from sync.contract.chain import WITHHELD
from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.customers import Customer
from sync.contract.events import EARNED
from sync.contract.program import EarnRule, Program
from sync.contract.protocol import (
    AppliedThrough,
    CardPut,
    Change,
    CredentialAnswer,
    CustomerPut,
    FeedPage,
    HeldEvent,
    HelloAnswer,
    HelloRequest,
    IdentifiersAnswer,
    IncarnationLength,
    Outcome,
    OutcomePut,
    PresentedIdentifier,
    SnapshotChunk,
    SnapshotManifest,
    UploadAnswer,
    Verdict,
)
from sync.hub_errors import HubRefused, MessageTooLarge
from sync.pump.line import first_of
from sync.pump.ports import Batch, JournalState, Waiting
from sync.runtime.clock import Clock

T = TypeVar("T")

INC = "a" * 16
AS_OF = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
PROGRAM = Program(version=1, currency="CAD", earn=EarnRule(points=1, per_minor=100))


def event_json(seq: int, inc: str = INC, *, size: int = 0) -> str:
    """Return an event of the journal, of at least `size` bytes."""
    data = {"sale_id": f"sale-{inc[0]}-{seq}", "note": "x" * size}
    envelope = {"id": f"t1/{inc}/{seq}", "inc": inc, "seq": seq, "type": EARNED, "subject": "0" * 32, "data": data}
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"))


class MemoryJournal:
    """Implements `sync.pump.ports.Journal`. `verdicts` is what was settled; nothing ever leaves `events`."""

    def __init__(self) -> None:
        self.events: dict[str, list[str]] = {}
        self.verdicts: dict[tuple[str, int], Outcome] = {}
        self.settled_times: dict[tuple[str, int], int] = defaultdict(int)
        self.withheld: dict[tuple[str, int], str] = {}
        self.acked: dict[str, int] = defaultdict(int)
        self.presented: list[PresentedIdentifier] = []
        self.known: list[str] = []
        self.parked: list[HeldEvent] = []
        self.concluded: list[OutcomePut] = []
        self._notice = asyncio.Event()

    @property
    def notice(self) -> asyncio.Event:
        return self._notice

    def commit(self, count: int = 1, inc: str = INC, *, size: int = 0) -> None:
        events = self.events.setdefault(inc, [])
        for _ in range(count):
            events.append(event_json(len(events) + 1, inc, size=size))
        self._notice.set()

    def present(self, one: PresentedIdentifier) -> None:
        self.presented.append(one)
        self._notice.set()

    async def state(self) -> JournalState:
        told = tuple(IncarnationLength(inc=inc, length=len(events)) for inc, events in self.events.items())
        count = sum(len(events) - self.acked[inc] for inc, events in self.events.items())
        return JournalState(told, tuple(self.parked), Waiting(count, AS_OF if count else None))

    async def rewind(self, applied: Sequence[AppliedThrough]) -> None:
        for word in applied:
            self.acked[word.inc] = min(self.acked[word.inc], word.through)

    async def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        for inc, events in self.events.items():
            taken: list[str] = []
            size = 0
            for event in events[self.acked[inc] : self.acked[inc] + max_events]:
                size += len(event)
                if taken and size > max_bytes:
                    break
                taken.append(event)
            if taken:
                return Batch(inc, self.acked[inc] + 1, tuple(taken))
        return None

    async def settle(self, inc: str, answer: UploadAnswer, chain: bytes | None = None) -> None:  # noqa: ARG002
        for verdict in answer.results:
            self.verdicts[(inc, verdict.seq)] = verdict.outcome
            self.settled_times[(inc, verdict.seq)] += 1
        self.acked[inc] = answer.applied_through

    async def withhold(self, inc: str, seq: int, reason: str) -> None:
        self.withheld[(inc, seq)] = reason

    async def conclude(self, outcomes: Sequence[OutcomePut]) -> None:
        self.concluded += outcomes

    async def unsent_identifiers(self, limit: int) -> Sequence[PresentedIdentifier]:
        return self.presented[:limit]

    async def identifiers_sent(self, ids: Sequence[str], known: Sequence[str]) -> None:
        self.presented = [one for one in self.presented if one.id not in ids]
        self.known += known


class MemoryCache:
    """Implements `sync.pump.ports.Cache`: rows are points by account."""

    def __init__(self) -> None:
        self.points: dict[str, int] = {}
        self.covered: dict[str, int] = {}
        self.held_cursor: str | None = None
        self.snapshots = 0
        self.loading_id: str | None = None
        self._chunks: list[bytes] = []

    async def cursor(self) -> str | None:
        return self.held_cursor

    async def apply(self, page: FeedPage) -> frozenset[str]:
        touched = {name: points for change in page.changes for name, points in _account(change)}
        self.points |= touched
        self.covered |= page.covered
        self.held_cursor = page.cursor
        return frozenset(touched)

    async def begin_snapshot(self, manifest: SnapshotManifest) -> int:
        if self.loading_id != manifest.snapshot_id:
            self.loading_id, self._chunks = manifest.snapshot_id, []
        return len(self._chunks)

    async def load_chunk(self, number: int, data: bytes) -> None:
        assert number == len(self._chunks) + 1
        self._chunks.append(data)

    async def finish_snapshot(self, manifest: SnapshotManifest) -> None:
        rows = [json.loads(row) for data in self._chunks for row in gzip.decompress(data).splitlines()]
        self.points = {row["customer"]["customer_id"]: row["points"] for row in rows}
        self.covered = dict(manifest.covered)
        self.held_cursor = manifest.cursor
        self.snapshots += 1
        self.loading_id, self._chunks = None, []


@dataclass
class Fault:
    """An error for one call: raised instead of it, or after it has had its effect (`answer_lost`)."""

    error: Exception
    answer_lost: bool = False


@dataclass
class MemoryHub:
    """Implements `sync.pump.ports.Hub`. `streams` is the ledger: each event once, in order."""

    clock: Clock
    epoch: str = "epoch-1"
    is_recovering: bool = False
    streams: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    log: list[Change] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    outcomes: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    hellos: list[HelloRequest] = field(default_factory=list)
    asked: list[PresentedIdentifier] = field(default_factory=list)
    carries_bytes_max: int = 10**9
    max_batch_events: int = 500
    reconnect_spread_s: int = 0
    rotate_credential_wanted: bool = False
    final: tuple[OutcomePut, ...] = ()
    protocol: str = "storesync/1"
    floor: int = 0
    snapshot_rows: dict[str, int] = field(default_factory=dict)
    snapshot_id: str = "snapshot-1"
    chunks_written: int = 10**6
    rows_per_chunk: int = 2
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, call: str, error: Exception, *, times: int = 1, answer_lost: bool = False) -> None:
        self.faults[call].extend([Fault(error, answer_lost)] * times)

    def publish(self, *changes: Change) -> None:
        self.log += changes
        self.news.set()

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        self.hellos.append(request)
        return await self._answer("hello", self._hello(request))

    async def upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        if batch.size_bytes > self.carries_bytes_max:
            self.fail("upload", MessageTooLarge())
        return await self._answer("upload", self._upload(batch, hub_epoch))

    async def feed(self, cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        return await self._answer(f"feed wait={wait_s}", self._feed(cursor, hub_epoch, limit, wait_s))

    async def snapshot_manifest(self, hub_epoch: str, snapshot_id: str | None = None) -> SnapshotManifest:
        return await self._answer("manifest", self._manifest(hub_epoch, snapshot_id))

    async def snapshot_chunk(self, hub_epoch: str, snapshot_id: str, number: int) -> bytes:
        assert (hub_epoch, snapshot_id) == (self.epoch, self.snapshot_id)
        return await self._answer("chunk", self._chunk(number))

    async def send_identifiers(self, hub_epoch: str, presented: Sequence[PresentedIdentifier]) -> IdentifiersAnswer:
        assert hub_epoch == self.epoch
        return await self._answer("identifiers", self._identifiers(presented))

    async def rotate_credential(self) -> CredentialAnswer:
        return await self._answer("credentials", self._credential())

    async def _answer(self, call: str, effect: Coroutine[Any, Any, T]) -> T:
        self.calls.append(call)
        faults = self.faults[call.partition(" ")[0]]
        fault = faults.popleft() if faults else None
        if fault and not fault.answer_lost:
            effect.close()
            raise fault.error
        answer = await effect
        if fault:
            raise fault.error
        return answer

    async def _hello(self, request: HelloRequest) -> HelloAnswer:
        return HelloAnswer(
            protocol=self.protocol,
            hub_epoch=self.epoch,
            applied=tuple(
                AppliedThrough(inc=told.inc, through=len(self.streams[told.inc]))
                for told in request.incarnations
                if told.inc in self.streams
            ),
            outcomes=self.final,
            max_batch_events=self.max_batch_events,
            max_batch_bytes=512 * 1024,
            reconnect_spread_s=self.reconnect_spread_s,
            server_time=self.clock.now(),
            rotate_credential=self.rotate_credential_wanted,
            again=self.is_recovering and request.hub_epoch != self.epoch,
        )

    async def _upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        if hub_epoch != self.epoch:
            raise HubRefused("hello_required")
        stream = self.streams[batch.inc]
        if batch.first > len(stream) + 1:
            raise HubRefused("gap", {"applied_through": len(stream)})
        self.batches.append(batch)
        results = [
            self._judge(batch.inc, seq, event, stream) for seq, event in enumerate(batch.events, start=batch.first)
        ]
        return UploadAnswer(hub_epoch=self.epoch, applied_through=len(stream), results=tuple(results))

    def _judge(self, inc: str, seq: int, event: str, stream: list[str]) -> Verdict:
        outcome = self.outcomes.get((inc, seq), Outcome.APPLIED)
        if json.loads(event)["type"] == WITHHELD:
            outcome = Outcome.PARKED
        if seq > len(stream):
            stream.append(event)
        elif outcome is Outcome.APPLIED:
            outcome = Outcome.DUPLICATE
        return Verdict(seq=seq, outcome=outcome)

    async def _feed(self, cursor: str, hub_epoch: str, limit: int, wait_s: int) -> FeedPage:
        if hub_epoch != self.epoch:
            raise HubRefused("hello_required")
        at = read_cursor(cursor)
        if at is None or at.hub_epoch != self.epoch or at.position < self.floor:
            raise HubRefused("resync")
        if wait_s and len(self.log) == at.position:
            self.news.clear()
            await first_of(self.clock, wait_s, self.news)
        end = min(at.position + limit, len(self.log))
        return FeedPage(
            hub_epoch=self.epoch,
            changes=tuple(self.log[at.position : end]),
            covered={inc: len(events) for inc, events in self.streams.items()},
            cursor=write_cursor(FeedCursor(self.epoch, end)),
            more=end < len(self.log),
            as_of=self.clock.now(),
        )

    async def _manifest(self, hub_epoch: str, snapshot_id: str | None) -> SnapshotManifest:
        if hub_epoch != self.epoch:
            raise HubRefused("hello_required")
        if snapshot_id not in (None, self.snapshot_id):
            raise HubRefused("not_found")
        whole = self._chunks()
        return SnapshotManifest(
            snapshot_id=self.snapshot_id,
            hub_epoch=self.epoch,
            cursor=write_cursor(FeedCursor(self.epoch, len(self.log))),
            covered={},
            program=PROGRAM,
            as_of=self.clock.now(),
            chunks=tuple(
                SnapshotChunk(number=number, rows=1, sha256=hashlib.sha256(data).hexdigest())
                for number, data in enumerate(whole[: self.chunks_written], start=1)
            ),
            complete=self.chunks_written >= len(whole),
        )

    async def _chunk(self, number: int) -> bytes:
        return self._chunks()[number - 1]

    def _chunks(self) -> list[bytes]:
        rows = [customer_put(name, points).model_dump_json() for name, points in sorted(self.snapshot_rows.items())]
        starts = range(0, len(rows), self.rows_per_chunk)
        return [gzip.compress("\n".join(rows[at : at + self.rows_per_chunk]).encode(), mtime=0) for at in starts]

    async def _identifiers(self, presented: Sequence[PresentedIdentifier]) -> IdentifiersAnswer:
        self.asked += presented
        return IdentifiersAnswer(known=tuple(one.id for one in presented if one.id.startswith("1")))

    async def _credential(self) -> CredentialAnswer:
        self.rotate_credential_wanted = False
        return CredentialAnswer(credential="new-credential-of-the-till")


def customer_put(name: str, points: int) -> CustomerPut:
    return CustomerPut(customer=Customer(customer_id=name, given_name=name, language="en"), points=points)


@contextlib.asynccontextmanager
async def running(*loops: Awaitable[Any]) -> AsyncIterator[None]:
    """Run loops beside the test, and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(loop)) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _run(loop: Awaitable[Any]) -> None:
    await loop


def _account(change: Change) -> list[tuple[str, int]]:
    if isinstance(change, CustomerPut):
        return [(change.customer.customer_id, change.points)]
    if isinstance(change, CardPut):
        return [(change.identifier, change.points)]
    return []
