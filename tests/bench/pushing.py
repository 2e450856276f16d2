"""A real till's upload, watched: pump, client and journal as the product runs them, in this process.

The clock of a drain runs from the pump's first look into the journal, after its hello, until the last verdict is
written down.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import aiohttp

from agent import keys
from agent.counter import Counter
from agent.store import Store
from agent.store.journal import EventJournal
from sync.contract.protocol import BATCH_EVENTS_MAX, HelloAnswer, HelloRequest, UploadAnswer
from sync.contract.signing import Prover
from sync.hub_client import HubClient
from sync.pump.line import HubState, Line
from sync.pump.ports import Batch
from sync.pump.pusher import Pusher, Terminal
from sync.runtime.clock import SystemClock
from tests.bench.selling import open_counter
from tests.bench.world import Till

DRAIN_S_MAX = 300.0


Between = Callable[[], Awaitable[None]]


class Drained(NamedTuple):
    """When a drain began and ended, and how long it rested between, in seconds of one clock."""

    began_s: float
    ended_s: float
    rested_s: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s - self.rested_s


class Ack(NamedTuple):
    """One batch: when its events were read, and when their verdicts were written down, in seconds of that clock."""

    read_s: float
    settled_s: float


class Desk(NamedTuple):
    """One till, open for sales and for uploads."""

    counter: Counter
    store: Store
    way: "Way"


@asynccontextmanager
async def open_desk(till: Till, session: aiohttp.ClientSession) -> AsyncIterator[Desk]:
    """Open a till in this process. What is sold here is forgotten in the end."""
    async with open_counter(till) as (counter, store):
        yield Desk(counter, store, Way(till, store.journal, session))


class Way:
    """The way from a till's journal to its hub, signed, on one session that stays open."""

    def __init__(self, till: Till, journal: EventJournal, session: aiohttp.ClientSession) -> None:
        answer, url = till.enrolment.answer, till.settings.hub.url
        key = keys.terminal_key(till.settings.terminal_key_file)
        prover = Prover(journal.terminal.inc, key)
        self._client = _LimitedHub(session, url, answer.terminal_id, lambda: answer.credential, prover=prover)
        self._terminal = Terminal("bench", _no_cursor, _keep_nothing, key.public, running=prover.by)
        self._journal = journal
        self._clock = SystemClock()

    async def drain(self, waiting: int, most: int = BATCH_EVENTS_MAX, between: Between | None = None) -> Drained:
        """Push all that waits, at most that many events an upload, and rest for what is done between two of them."""
        async with asyncio.timeout(DRAIN_S_MAX), self.pushing(waiting, most) as watched:
            watched.between = between
            await watched.drained.wait()
        left = await self._journal.waiting()
        if left.count:
            raise RuntimeError(f"{left.count} events still wait after the drain of {waiting}")
        return watched.took

    @asynccontextmanager
    async def pushing(
        self, waiting: int, most: int = BATCH_EVENTS_MAX, line: Line | None = None
    ) -> AsyncIterator["WatchedJournal"]:
        """Push for the length of the block."""
        self._client.most = most
        watched = WatchedJournal(self._journal, waiting)
        # Whatever is not watched goes straight to the journal.
        journal = cast("EventJournal", watched)
        pusher = Pusher(journal, self._client, line or Line(self._clock, _ignore), self._terminal, self._clock)
        async with asyncio.TaskGroup() as group:
            pushing = group.create_task(pusher.run())
            yield watched
            pushing.cancel()


class WatchedJournal:
    """A journal, and when its draining began, went on and ended."""

    def __init__(self, journal: EventJournal, waiting: int) -> None:
        self._journal = journal
        self._left = waiting
        self._began_s = 0.0
        self._read_s = 0.0
        self._rested_s = 0.0
        self.between: Between | None = None
        self.acks: list[Ack] = []
        self.drained = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    @property
    def took(self) -> Drained:
        return Drained(self._began_s, self.acks[-1].settled_s, self._rested_s)

    async def next_batch(self, *limits: int) -> Batch | None:
        if self.between is not None and self.acks and self._left > 0:
            rests_from_s = time.perf_counter()
            await self.between()
            self._rested_s += time.perf_counter() - rests_from_s
        self._read_s = time.perf_counter()
        self._began_s = self._began_s or self._read_s
        return await self._journal.next_batch(*limits)

    async def settle(self, inc: str, answer: UploadAnswer, *more: Any) -> None:
        await self._journal.settle(inc, answer, *more)
        refused = [verdict for verdict in answer.results if verdict.reason is not None]
        if refused:
            raise RuntimeError(f"the hub refused {len(refused)} events: {refused[0]}")
        self.acks.append(Ack(self._read_s, time.perf_counter()))
        self._left -= len(answer.results)
        if self._left <= 0:
            self.drained.set()


class _LimitedHub(HubClient):
    """The client, and the hub's limit of a batch as this bench sets it."""

    most = BATCH_EVENTS_MAX

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        answer = await super().hello(request)
        return answer.model_copy(update={"max_batch_events": min(self.most, answer.max_batch_events)})


def _ignore(_: HubState) -> None:
    """Nobody looks at the screen of a bench."""


async def _no_cursor() -> str | None:
    return None


async def _keep_nothing(_: str) -> None:
    """No credential is rotated here."""
