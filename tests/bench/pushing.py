"""A real till's upload, watched: pump, client and journal as the product runs them, in this process.

The clock of a drain runs from the pump's first look into the journal, after its hello, until the last verdict is
written down.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import aiohttp

from agent import keys
from agent.store.journal import EventJournal
from sync.contract.protocol import BATCH_EVENTS_MAX, HelloAnswer, HelloRequest, UploadAnswer
from sync.contract.signing import Prover
from sync.hub_client import HubClient
from sync.pump.line import HubState, Line
from sync.pump.ports import Batch
from sync.pump.pusher import Pusher, Terminal
from sync.runtime.clock import SystemClock
from tests.bench.world import Till

DRAIN_S_MAX = 300.0


class Drained(NamedTuple):
    """When a drain began and ended, in seconds of one clock."""

    began_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Ack(NamedTuple):
    """One batch: when its events were read, and when their verdicts were written down, in seconds of that clock."""

    read_s: float
    settled_s: float


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

    async def drain(self, waiting: int, most: int = BATCH_EVENTS_MAX) -> Drained:
        """Push all that waits, at most that many events an upload."""
        async with asyncio.timeout(DRAIN_S_MAX), self.pushing(waiting, most) as watched:
            await watched.drained.wait()
        left = await self._journal.waiting()
        if left.count:
            raise RuntimeError(f"{left.count} events still wait after the drain of {waiting}")
        return watched.took

    async def rate(self, waiting: int, most: int = BATCH_EVENTS_MAX) -> float:
        """Push all that waits and return the events per second."""
        return waiting / (await self.drain(waiting, most)).seconds

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
        self.acks: list[Ack] = []
        self.drained = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    @property
    def took(self) -> Drained:
        return Drained(self._began_s, self.acks[-1].settled_s)

    async def next_batch(self, *limits: int) -> Batch | None:
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
