"""The hub's intake as tills meet it: the real hub in a process of its own, real tills with the real client, loopback.

One till alone waits for each answer before it sends again, so its number is that of the way there and back. Several at
once share the hub's commits, until one of the two processes has no more time; what each spends stands beside.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
import psutil

from sync.hub_client import open_session
from tests.bench import bare_hub
from tests.bench.findings import Bound, Finding, Round
from tests.bench.processes import Running, free_port, running
from tests.bench.pushing import Desk, open_desk
from tests.bench.selling import Sales, sell_at_once, waiting_events
from tests.bench.wire import answers
from tests.bench.world import World

A_BATCH = 100
RAW_IS = "as many bare clients: plain SQLite, the same texts by aiohttp to a handler that parses and commits them"
_TILLS = (1, 4)
# Of each till in one round.
_EVENTS = 2_000
_US = 1_000_000


class Bare(NamedTuple):
    """A running bare hub."""

    process: Running
    port: int


class _Taken(NamedTuple):
    """What a round cost: events per second, and µs of CPU per event here and in the hub's process."""

    rate: float
    tills_us: float
    hub_us: float


async def intake(world: World, rounds: int) -> list[Finding]:
    """Upload at 100 events a batch, from one till and from several at once."""
    hub, tills = await world.hub(), await world.counters()
    events = min(_EVENTS, world.size)
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(hub.process())
        bare = await stack.enter_async_context(bare_process(world))
        session = await stack.enter_async_context(open_session())
        desks = [await stack.enter_async_context(open_desk(till, session)) for till in tills]
        sales = Sales(world.size)
        found = []
        for number in _TILLS:
            taken = [await _round(world, started, desks[:number], sales, events, bare.port) for _ in range(rounds + 1)]
            found.append(_found(world, number, taken[1:]))
        return found


@asynccontextmanager
async def bare_process(world: World, again_at: int | None = None) -> AsyncIterator[Bare]:
    """Run the bare hub in a process of its own: on a fresh file, or once more `again_at` the port it had before."""
    port, file = again_at or free_port(), world.folder / "bare-hub.db"
    if again_at is None:
        for old in world.folder.glob(f"{file.name}*"):
            old.unlink()
    arguments = (bare_hub.__name__, str(port), file)
    async with running(arguments, world.folder / "bare.log", lambda: answers(port, bare_hub.READY)) as process:
        yield Bare(process, port)


async def drained_barely(world: World, port: int, outboxes: list[list[str]], most: int) -> float:
    """Send the texts of each outbox by a bare client of its own, all at once, and return the events per second."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        senders = []
        for nth, texts in enumerate(outboxes):
            file = world.folder / f"bare-outbox-{nth}.db"
            for old in world.folder.glob(f"{file.name}*"):
                old.unlink()
            senders.append(bare_hub.Outbox(file, texts))
            stack.callback(senders[-1].close)
        took = await asyncio.gather(*(sender.drain(session, port, most) for sender in senders))
    return sum(map(len, outboxes)) / max(took)


async def _round(
    world: World, hub: Running, desks: list[Desk], sales: Sales, events: int, bare_port: int
) -> tuple[_Taken, float]:
    """Sell, upload, and upload the same texts barely."""
    for desk in desks:
        await sell_at_once(desk.counter, sales.next(events))
    texts = [await waiting_events(desk.store.outbox) for desk in desks]
    here = psutil.Process()
    before_here, before_hub = _cpu_s(here), hub.cpu_s
    drains = await asyncio.gather(*(desk.way.drain(events, A_BATCH) for desk in desks))
    seconds = max(drain.ended_s for drain in drains) - min(drain.began_s for drain in drains)
    number = events * len(desks)
    taken = _Taken(
        number / seconds,
        (_cpu_s(here) - before_here) / number * _US,
        (hub.cpu_s - before_hub) / number * _US,
    )
    return taken, await drained_barely(world, bare_port, texts, A_BATCH)


def _found(world: World, tills: int, taken: list[tuple[_Taken, float]]) -> Finding:
    middle = sorted(ours for ours, _ in taken)[len(taken) // 2]
    return Finding(
        "intake",
        f"{A_BATCH}_a_batch_from_{tills}",
        world.size,
        "events/s",
        tuple(Round(ours.rate, raw) for ours, raw in taken),
        RAW_IS,
        (Bound("ours", ">=", 3_000.0),),
        {"tills": tills, "cpu_us_per_event_tills": middle.tills_us, "cpu_us_per_event_hub": middle.hub_us},
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
