"""Tills that wait: each holds one long poll open at the real hub, and now and then one of them sells.

What is asked is what a quiet chain of shops costs a hub in memory, and how soon all its tills hear of a change. The
polls are the real client's. They all run in this process, so that reading five hundred pages is in the time, on both
sides alike.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import NamedTuple, NoReturn

import aiohttp

from sync.contract.protocol import FEED_CHANGES_MAX, FEED_WAIT_S_MAX
from sync.hub_client import HubClient, open_session
from sync.runtime.clock import SystemClock
from tests.bench import bare_hub
from tests.bench.crowd import Crowd, crowd_at, open_polls
from tests.bench.findings import Bound, Finding
from tests.bench.processes import Running
from tests.bench.pushing import Way
from tests.bench.rounds import rounds_of
from tests.bench.selling import Sales, open_counter, sell_one_by_one
from tests.bench.taking_in import bare_process
from tests.bench.world import World

_TILLS = (100, 500)
_CUSTOMERS_PER_TILL = 20
_SETTLE_S = 1.0
_HEARD_S_MAX = 60.0
_MS = 1_000
_RAW_IS = "an aiohttp handler that holds as many polls of bare clients, and answers them all at a ring"
# Makes a change and returns when it began, on the clock of `time.perf_counter`.
_Change = Callable[[], Awaitable[float]]


class _Held(NamedTuple):
    """What so many polls cost: MB while nothing happens, MB at most, and ms until the first and the last have heard."""

    idle_mb: float
    peak_mb: float
    first_ms: list[float]
    last_ms: list[float]


async def idle(world: World, rounds: int) -> list[Finding]:
    """Let tills wait at the hub, look at its memory, and let a sale wake them all."""
    numbers = sorted({min(number, max(2, world.size // _CUSTOMERS_PER_TILL)) for number in _TILLS})
    found: list[Finding] = []
    async with crowd_at(await world.hub(), numbers[-1]) as crowd:
        for number in numbers:
            world.say(f"{number} tills wait")
            found += _found(
                world.size, number, await _ours(world, crowd, number, rounds), await _bare(world, number, rounds)
            )
    return found


async def _ours(world: World, crowd: Crowd, number: int, rounds: int) -> _Held:
    hub, till = await world.hub(), await world.till()
    ears = _Ears(number)
    async with (
        hub.process() as process,
        open_counter(till) as (counter, store),
        open_session() as session,
        open_polls() as polls,
    ):
        way, sales = Way(till, store.journal, session), Sales(world.size)

        async def sale() -> float:
            await sell_one_by_one(counter, sales.next(1))
            return (await way.drain(1)).began_s

        waiting = [_poll(client, crowd, ears) for client in crowd.clients(polls, number)]
        return await _held(process, waiting, ears, sale, rounds)


async def _bare(world: World, number: int, rounds: int) -> _Held:
    ears = _Ears(number)
    async with bare_process(world) as bare, open_polls() as polls:

        async def ring() -> float:
            began_s = time.perf_counter()
            async with polls.post(f"http://127.0.0.1:{bare.port}{bare_hub.RING}") as answer:
                await answer.read()
            return began_s

        waiting = [_poll_barely(polls, bare.port, ears) for _ in range(number)]
        return await _held(bare.process, waiting, ears, ring, rounds)


async def _held(
    process: Running,
    polls: Sequence[Coroutine[None, None, NoReturn]],
    ears: "_Ears",
    change: _Change,
    rounds: int,
) -> _Held:
    """Hold all polls open, look at the server's memory, and make so many changes."""
    clock = SystemClock()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(poll) for poll in polls]
        await clock.sleep(_SETTLE_S)
        idle_mb = process.rss_mb
        heard = []
        for _ in range(rounds + 1):
            heard.append(await ears.until_all(change))
            await clock.sleep(_SETTLE_S)
        for task in tasks:
            task.cancel()
    first, last = ([seconds * _MS for seconds in one] for one in zip(*heard[1:], strict=True))
    return _Held(idle_mb, process.peak_rss_mb, first, last)


class _Ears:
    """Who has heard, and when."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._heard: list[float] = []
        self._all = asyncio.Event()

    def heard(self) -> None:
        self._heard.append(time.perf_counter())
        if len(self._heard) == self._number:
            self._all.set()

    async def until_all(self, change: _Change) -> tuple[float, float]:
        """Make a change, and return the seconds from its beginning until the first and until the last has heard."""
        self._heard.clear()
        self._all.clear()
        began_s = await change()
        async with asyncio.timeout(_HEARD_S_MAX):
            await self._all.wait()
        return self._heard[0] - began_s, self._heard[-1] - began_s


async def _poll(client: HubClient, crowd: Crowd, ears: _Ears) -> NoReturn:
    """Ask as a till asks that is up to date, again and again."""
    cursor = crowd.cursor
    while True:
        page = await client.feed(cursor, crowd.epoch, limit=FEED_CHANGES_MAX, wait_s=FEED_WAIT_S_MAX)
        if page.cursor != cursor:
            cursor = page.cursor
            ears.heard()


async def _poll_barely(session: aiohttp.ClientSession, port: int, ears: _Ears) -> NoReturn:
    while True:
        async with session.get(f"http://127.0.0.1:{port}{bare_hub.POLL}") as answer:
            json.loads(await answer.read())
        ears.heard()


def _found(size: int, number: int, ours: _Held, bare: _Held) -> list[Finding]:
    few = (Bound("ours", "<=", 200.0),)

    def finding(name: str, unit: str, rounds: Iterable[tuple[float, float]], bounds: tuple[Bound, ...] = ()) -> Finding:
        return Finding("idle", f"{number}_tills_{name}", size, unit, rounds_of(rounds), _RAW_IS, bounds)

    return [
        finding("rss", "MB", [(ours.idle_mb, bare.idle_mb)], few),
        finding("rss_peak", "MB", [(ours.peak_mb, bare.peak_mb)], few),
        finding("first_hears", "ms", zip(ours.first_ms, bare.first_ms, strict=True)),
        finding("last_hears", "ms", zip(ours.last_ms, bare.last_ms, strict=True)),
    ]
