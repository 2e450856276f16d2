"""The hub killed under load: from kill -9 until a till that keeps trying has its first ack again.

The hub is started anew at once, as by a supervisor that does not wait. The till knows nothing of that: it fails, waits
by its ladder, says hello and sends. The time from the hub being ready to the first ack, spent in the ladder, is the
backoff; what is left of it is hello and upload.
"""

import asyncio
import gzip
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp

from sync.hub_client import open_session
from sync.pump.line import Direction, HubState, Line
from sync.runtime.clock import SystemClock
from tests.bench import bare_hub
from tests.bench.findings import Bound, Finding, Round
from tests.bench.fuller_hub import fuller_hub
from tests.bench.pushing import WatchedJournal, Way
from tests.bench.selling import Sales, open_counter, sell_at_once
from tests.bench.taking_in import A_BATCH, bare_process
from tests.bench.world import Hub, World

_EVENTS = (100_000, 1_000_000)
# Pushed in one round: a few batches before the kill, a few behind it.
_PER_ROUND = 20 * A_BATCH
_ACKS_BEFORE = 2
_BARE_RETRY_S = 0.01
_RECOVERED_S_MAX = 120.0
_RAW_IS = "the bare hub killed and started anew, a bare client that tries a hundred times a second"


class _Recovered(NamedTuple):
    """Seconds from the kill to the first ack; of these until the hub was ready, and then in the till's backoff."""

    ack_s: float
    ready_s: float
    backoff_s: float


async def recover(world: World, rounds: int) -> list[Finding]:
    """Kill hubs of two sizes under load, several times each."""
    found: list[Finding] = []
    for events in _sizes(world):
        hub = await fuller_hub(world, events)
        world.say(f"killing a hub with {events:,} events, {rounds} times")
        ours = await _kill(world, hub, rounds)
        bare = [await _kill_barely(world) for _ in range(rounds)]
        found += _found(world.size, events, ours, bare)
    return found


def _sizes(world: World) -> list[int]:
    return sorted({min(events, world.size * 100) for events in _EVENTS})


async def _kill(world: World, hub: Hub, rounds: int) -> list[_Recovered]:
    till = await world.till()
    async with open_counter(till) as (counter, store), open_session() as session:
        await sell_at_once(counter, Sales(world.size).next(_PER_ROUND * rounds))
        way = Way(till, store.journal, session)
        return [await _killed_once(hub, way) for _ in range(rounds)]


async def _killed_once(hub: Hub, way: Way) -> _Recovered:
    line = _NotedLine()
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(hub.process())
        watched = await stack.enter_async_context(way.pushing(_PER_ROUND, A_BATCH, line))
        await process.until(lambda: len(watched.acks) >= _ACKS_BEFORE, _RECOVERED_S_MAX)
        await process.killed()
        killed_s = time.perf_counter()
        again = await stack.enter_async_context(hub.process())
        ready_s = time.perf_counter()
        await again.until(lambda: _first_ack_s(watched, killed_s) is not None, _RECOVERED_S_MAX)
        acked_s = _first_ack_s(watched, killed_s) or ready_s
    return _Recovered(acked_s - killed_s, ready_s - killed_s, line.waited_s(ready_s, acked_s))


def _first_ack_s(watched: WatchedJournal, killed_s: float) -> float | None:
    """Return when the first batch was acked that was read after the kill; an earlier one's ack was on its way."""
    return next((ack.settled_s for ack in watched.acks if ack.read_s > killed_s), None)


class _NotedLine(Line):
    """A line, and when the ladder of the upload waited."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), _ignore)
        self._waits: list[tuple[float, float]] = []

    async def pause(self, direction: Direction, seconds: float, error: BaseException | None) -> None:
        began_s = time.perf_counter()
        await super().pause(direction, seconds, error)
        self._waits.append((began_s, time.perf_counter()))

    def waited_s(self, from_s: float, to_s: float) -> float:
        """Return the seconds of waiting between two moments."""
        return sum(max(0.0, min(ended_s, to_s) - max(began_s, from_s)) for began_s, ended_s in self._waits)


async def _kill_barely(world: World) -> float:
    """Return the seconds from the kill of the bare hub until it takes a batch again."""
    batch = gzip.compress(json.dumps([{"seq": seq, "data": "x" * 600} for seq in range(A_BATCH)]).encode())
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(bare_process(world))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sent = await stack.enter_async_context(_sending(session, bare.port, batch))
        await bare.process.until(lambda: len(sent) >= _ACKS_BEFORE, _RECOVERED_S_MAX)
        await bare.process.killed()
        killed_s = time.perf_counter()
        again = await stack.enter_async_context(bare_process(world, bare.port))
        await again.process.until(lambda: sent[-1] > killed_s, _RECOVERED_S_MAX)
        return next(moment for moment in sent if moment > killed_s) - killed_s


@asynccontextmanager
async def _sending(session: aiohttp.ClientSession, port: int, batch: bytes) -> AsyncIterator[list[float]]:
    """Send one batch again and again for the length of the block; yield the moments at which one was taken."""
    taken: list[float] = []

    async def send() -> None:
        while True:
            try:
                async with session.put(f"http://127.0.0.1:{port}{bare_hub.EVENTS}", data=batch) as answer:
                    await answer.read()
                taken.append(time.perf_counter())
            except aiohttp.ClientError:
                await SystemClock().sleep(_BARE_RETRY_S)

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send())
        yield taken
        sending.cancel()


def _found(size: int, events: int, ours: list[_Recovered], bare: list[float]) -> list[Finding]:
    rounds = tuple(Round(one.ack_s, raw) for one, raw in zip(ours, bare, strict=True))
    soon = (Bound("ours", "<=", 5.0),)
    notes: dict[str, float | str] = {
        "hub_ready_s": statistics.median(one.ready_s for one in ours),
        "backoff_behind_ready_s": statistics.median(one.backoff_s for one in ours),
        "hello_and_upload_s": statistics.median(max(0.0, one.ack_s - one.ready_s - one.backoff_s) for one in ours),
    }
    worst = max(rounds, key=lambda one: one.ours)
    return [
        Finding("recover", f"{events}_events_first_ack", size, "s", rounds, _RAW_IS, soon, notes),
        Finding("recover", f"{events}_events_worst", size, "s", (worst,), _RAW_IS, soon),
    ]


def _ignore(_: HubState) -> None:
    """Nobody looks at the screen of a bench."""
