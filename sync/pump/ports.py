"""The ports of the pump: what it needs from a terminal's store and from a hub, and the values that pass through them.

Values and protocols only, so that the store and the hub client can import them without knowing the pump.

Two rules that the store keeps and the pump relies on:

* Only a verdict settles an event. `rewind` may lower what a terminal takes for delivered and never raises it: an
  event whose answer got lost is uploaded again, because its verdict (applied, rejected, parked) is still unknown.
* A cursor and what it stands for are written in one transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Protocol

from sync.contract.allowance import AllowancesWord, Want
from sync.contract.chain import Link, link
from sync.contract.protocol import (
    AppliedThrough,
    CredentialAnswer,
    FeedPage,
    HeldEvent,
    HelloAnswer,
    HelloRequest,
    IdentifiersAnswer,
    IncarnationLength,
    OutcomePut,
    PresentedIdentifier,
    SnapshotManifest,
    UploadAnswer,
)


@dataclass(frozen=True)  # without slots: a cached property needs the dictionary
class Batch:
    """Consecutive events of one incarnation, from seq `first` on, each in its canonical JSON as journalled.

    `before` is the chain before `first`.
    """

    inc: str
    first: int
    events: tuple[str, ...]
    before: bytes = b""

    @property
    def last(self) -> int:
        """The seq of the last event."""
        return self.first + len(self.events) - 1

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """What each event adds to the chain."""
        return tuple(link(event) for event in self.events)

    @property
    def size_bytes(self) -> int:
        """The bytes of the events in UTF-8, without the brackets and commas of the wire."""
        return sum(len(event.encode()) for event in self.events)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the hub has not acknowledged: how many events, and since when the oldest waits."""

    count: int
    oldest_recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class JournalState:
    """How a journal stands at one moment: what a hello tells of it.

    `incarnations` are those with events that the hub may still be without, the oldest first, and of many the newest;
    `held` are events that the hub parked and that no final verdict came for.
    """

    incarnations: tuple[IncarnationLength, ...]
    held: tuple[HeldEvent, ...]
    waiting: Waiting


class Journal(Protocol):
    """The terminal's events on their way to the hub. Nothing here ever deletes an event."""

    @property
    def notice(self) -> asyncio.Event:
        """Set by the store whenever an event or an identifier begins to wait; cleared by the pusher before it reads."""

    async def state(self) -> JournalState:
        """Return how the journal stands, all of it at one moment, and no more than a hello takes.

        Of more held events than that each call returns the next ones, so that all of them get their turn.
        """

    async def rewind(self, applied: Sequence[AppliedThrough]) -> None:
        """Take the hub's word that it holds each incarnation no further than this; what lies beyond is due again."""

    async def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        """Return the oldest events without a verdict, of one incarnation, or None.

        At least one event, even one larger than `max_bytes`; the cost is that of the batch, not of the backlog.
        """

    async def settle(self, inc: str, answer: UploadAnswer, chain: bytes | None = None) -> None:
        """Write the verdicts down in one transaction. Only the seqs in `answer.results` are settled.

        `chain` is the one behind the last of them; where it is not given, the journal works it out when it needs it.
        """

    async def withhold(self, inc: str, seq: int, reason: str) -> None:
        """Note that the network refuses to carry this event: it leaves the pending sum, stays here and is shown.

        The pump sends a marker in its place under the same seq; a second call changes nothing.
        """

    async def conclude(self, outcomes: Sequence[OutcomePut]) -> None:
        """Write down final verdicts on events that the hub had parked. Any number of times the same."""

    async def unsent_identifiers(self, limit: int) -> Sequence[PresentedIdentifier]:
        """Return presented identifiers that the hub was not asked about yet, the oldest first."""

    async def identifiers_sent(self, ids: Sequence[str], known: Sequence[str]) -> None:
        """Note that the hub has these, and which of them lead to a customer there."""


class Cache(Protocol):
    """The terminal's copy of the hub's customers and balances. It can always be had again."""

    async def cursor(self) -> str | None:
        """Return where the feed continues, or None where no snapshot was ever finished."""

    async def apply(self, page: FeedPage) -> frozenset[str]:
        """Write a page, its coverage and its cursor in one transaction; return the accounts touched."""

    async def begin_snapshot(self, manifest: SnapshotManifest) -> int:
        """Open where this snapshot is loaded, beside the live cache; return how many chunks it has already."""

    async def load_chunk(self, number: int, data: bytes) -> None:
        """Load the gzipped NDJSON of one chunk, whole or not at all. The pump has checked its hash."""

    async def finish_snapshot(self, manifest: SnapshotManifest) -> None:
        """Let the loaded snapshot take the live cache's place, with the manifest's cursor, coverage and program."""


# Keeps the hub's word on allowances; tells whether it was kept. One that crossed another word on its way is not.
KeepWord = Callable[[AllowancesWord], Awaitable[bool]]


class Reserved(Protocol):
    """What the hub reserved for this terminal, as it last said."""

    @property
    def notice(self) -> asyncio.Event:
        """Set whenever the hub should be asked something."""

    def take_wishes(self) -> tuple[tuple[Want, ...], bool]:
        """Return what to ask for, and whether to ask even where that is nothing. Wishes are taken once."""

    def want(self, customer_id: str, points: int) -> Want:
        """Return a wish as the hub counts it: it does not know the spends that are still on their way."""

    def asking(self) -> KeepWord:
        """Return what keeps the answer to a question that is about to be asked."""

    async def note_time(self) -> None:
        """Write down that it is at least so late."""


class Hub(Protocol):
    """The hub, as the pump sees it. `hub_epoch` is the epoch of the last hello.

    Each method raises a `HubError` (sync.hub_errors) and nothing else; an error means *unknown*, except for a refusal.
    """

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        """Say who is there and hear what the hub holds."""

    async def upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        """Put a range of events; the same range any number of times has one effect."""

    async def feed(self, cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        """Return what changed after the cursor, waiting up to `wait_s` for a first change."""

    async def snapshot_manifest(self, hub_epoch: str, snapshot_id: str | None = None) -> SnapshotManifest:
        """Return the manifest of that snapshot, or of the hub's current one, which is begun where none is fresh."""

    async def snapshot_chunk(self, hub_epoch: str, snapshot_id: str, number: int) -> bytes:
        """Return a chunk as it lies at the hub, gzipped."""

    async def send_identifiers(self, hub_epoch: str, presented: Sequence[PresentedIdentifier]) -> IdentifiersAnswer:
        """Ask whom these lead to."""

    async def rotate_credential(self) -> CredentialAnswer:
        """Return a new credential; the old one serves until the new one was used."""
