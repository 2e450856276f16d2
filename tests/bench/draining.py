"""The outbox drained: pump and client in this process, the real hub in another, loopback between them.

The clock runs from the pump's first look into the journal, after its hello, until the last verdict is written down.
"""

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from agent.store.journal import EventJournal
from sync.contract.protocol import (
    BATCH_EVENTS_MAX,
    AppliedThrough,
    HeldEvent,
    HelloAnswer,
    HelloRequest,
    IncarnationLength,
    OutcomePut,
    PresentedIdentifier,
    UploadAnswer,
)
from sync.hub_client import HubClient, open_session
from sync.pump.line import HubState, Line
from sync.pump.ports import Batch, Waiting
from sync.pump.pusher import Pusher, Terminal
from sync.runtime.clock import SystemClock
from tests.bench.findings import Bound, Finding, Round
from tests.bench.selling import Sales, open_counter, sell_at_once
from tests.bench.world import Till, World

_FEW = 100
_MANY = 20_000
# One drain of a few is over in some 30 ms; so many are one round.
_FEW_TIMES = 15
_DRAIN_S_MAX = 300.0


async def drain(world: World, rounds: int) -> list[Finding]:
    """Drain few and many waiting events, then few again after all of those were acked."""
    till, hub = await world.till(), await world.hub()
    many = min(_MANY, max(1_000, world.size * 2))
    few, much, alike, later = [], [], [], []
    async with hub.process(), open_counter(till) as (counter, store), open_session() as session:
        way = _Way(till, session)
        sales = Sales(world.size)

        async def rate(waiting: int, most: int = BATCH_EVENTS_MAX) -> float:
            await sell_at_once(counter, sales.next(waiting))
            return await way.drain(store.journal, waiting, most)

        async def rate_of_few() -> float:
            rates = [await rate(_FEW) for _ in range(_FEW_TIMES)]
            return sorted(rates)[_FEW_TIMES // 2]

        await rate_of_few()
        for nth in range(rounds):
            world.say(f"draining {_FEW} and {many:,}, round {nth + 1}")
            before = await rate_of_few()
            few.append(Round(before))
            much.append(Round(await rate(many), before))
            alike.append(Round(await rate(many, _FEW), before))
            later.append(Round(await rate_of_few(), before))
    size, unit = world.size, "events/s"
    fast = Bound("ours", ">=", 2_000.0)
    same = (Bound("ratio", ">=", 0.8), Bound("ratio", "<=", 1.2))
    raw_is = f"the rate with {_FEW} waiting, before"
    return [
        Finding("drain", f"{_FEW}_waiting", size, unit, tuple(few), bounds=(fast,)),
        Finding("drain", f"{many}_waiting", size, unit, tuple(much), raw_is, (fast, same[0])),
        Finding("drain", f"{many}_waiting_{_FEW}_a_batch", size, unit, tuple(alike), raw_is, (fast, *same)),
        Finding("drain", f"{_FEW}_after_all_acked", size, unit, tuple(later), raw_is, (fast, *same)),
    ]


class _Way:
    """The way from a till to its hub, on one session that stays open."""

    def __init__(self, till: Till, session: aiohttp.ClientSession) -> None:
        answer, url = till.enrolment.answer, till.settings.hub.url
        self._client = _WatchedHub(session, url, answer.terminal_id, lambda: answer.credential)

    async def drain(self, journal: EventJournal, waiting: int, most: int) -> float:
        """Push all that waits, at most that many events an upload, and return the events per second."""
        clock = SystemClock()
        watched = _WatchedJournal(journal, waiting)
        self._client.most = most
        line = Line(clock, _ignore)
        pusher = Pusher(watched, self._client, line, Terminal("bench", _no_cursor, _keep_nothing), clock)
        async with asyncio.timeout(_DRAIN_S_MAX), asyncio.TaskGroup() as group:
            pushing = group.create_task(pusher.run())
            await watched.drained.wait()
            pushing.cancel()
        left = await journal.waiting()
        if left.count:
            raise RuntimeError(f"{left.count} events still wait after the drain of {waiting}")
        return waiting / watched.seconds


class _WatchedHub(HubClient):
    """The client, and the hub's limit of a batch as this bench sets it."""

    most = BATCH_EVENTS_MAX

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        answer = await super().hello(request)
        return answer.model_copy(update={"max_batch_events": min(self.most, answer.max_batch_events)})


class _WatchedJournal:
    """The journal, and when its draining began and ended."""

    def __init__(self, journal: EventJournal, waiting: int) -> None:
        self._journal = journal
        self._left = waiting
        self._start = 0.0
        self.seconds = 0.0
        self.drained = asyncio.Event()

    @property
    def notice(self) -> asyncio.Event:
        return self._journal.notice

    async def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        self._start = self._start or time.perf_counter()
        return await self._journal.next_batch(max_events, max_bytes)

    async def settle(self, inc: str, answer: UploadAnswer, chain: bytes | None = None) -> None:
        await self._journal.settle(inc, answer, chain)
        self._left -= len(answer.results)
        refused = [verdict for verdict in answer.results if verdict.reason is not None]
        if refused:
            raise RuntimeError(f"the hub refused {len(refused)} events: {refused[0]}")
        if self._left <= 0:
            self.seconds = time.perf_counter() - self._start
            self.drained.set()

    async def incarnations(self) -> Sequence[IncarnationLength]:
        return await self._journal.incarnations()

    async def rewind(self, applied: Sequence[AppliedThrough]) -> None:
        await self._journal.rewind(applied)

    async def withhold(self, inc: str, seq: int, reason: str) -> None:
        await self._journal.withhold(inc, seq, reason)

    async def held(self, limit: int) -> Sequence[HeldEvent]:
        return await self._journal.held(limit)

    async def conclude(self, outcomes: Sequence[OutcomePut]) -> None:
        await self._journal.conclude(outcomes)

    async def unsent_identifiers(self, limit: int) -> Sequence[PresentedIdentifier]:
        return await self._journal.unsent_identifiers(limit)

    async def identifiers_sent(self, ids: Sequence[str], known: Sequence[str]) -> None:
        await self._journal.identifiers_sent(ids, known)

    async def waiting(self) -> Waiting:
        return await self._journal.waiting()


def _ignore(_: HubState) -> None:
    """Nobody looks at the screen of a bench."""


async def _no_cursor() -> str | None:
    return None


async def _keep_nothing(_: str) -> None:
    """No credential is rotated here."""
