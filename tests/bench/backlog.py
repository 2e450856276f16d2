"""A till that was alone for a month: the real agent starts with a backlog, the real hub takes it, and both are watched.

Here nothing of the product runs in this process: the rate is read from the hub's books, what both ends held in memory
from the system. Pump, feed, cache and upkeep all run, on both ends.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from sync.contract.protocol import BATCH_EVENTS_MAX
from tests.bench.catching_up import catch_up
from tests.bench.findings import Bound, Finding, Round
from tests.bench.processes import Running
from tests.bench.pushing import DRAIN_S_MAX
from tests.bench.selling import Sales, open_counter_for_good, sell_at_once, waiting_events
from tests.bench.taking_in import Bare, bare_process, drained_barely
from tests.bench.world import Hub, Till, World

_SOME = 20_000
_MANY = 100_000
_LOOK_S = 0.05
_MS = 1_000
_US = 1_000_000


class _Watched(NamedTuple):
    """A drain: its rate, the bare one's, the most that each end held in MB, and what it cost."""

    rate: float
    bare: float
    agent_mb: float
    hub_mb: float
    notes: dict[str, float | str]


async def backlog(world: World, _: int) -> list[Finding]:
    """Start an agent with some and with many events waiting, and watch both ends until the hub has them all."""
    some, many = min(_SOME, world.size * 2), min(_MANY, world.size * 10)
    async with bare_process(world) as raw:
        less, more = await _watched(world, some, raw), await _watched(world, many, raw)
    size = world.size
    raw_is = f"the peak of the same drain with {some:,} waiting"
    same = (Bound("ratio", "<=", 1.1),)
    # It may be faster: the agent's start and its growing batches weigh less in a longer drain.
    alike = (Bound("ratio", ">=", 0.8),)
    raw_rate_is = f"our rate with {some:,} waiting"
    rates = (Round(more.rate, less.rate),)
    return [
        *(_rate(size, waiting, drain) for waiting, drain in ((some, less), (many, more))),
        Finding("backlog", f"{many}_waiting_as_{some}", size, "events/s", rates, raw_rate_is, alike),
        Finding("backlog", f"agent_rss_at_{many}", size, "MB", (Round(more.agent_mb, less.agent_mb),), raw_is, same),
        Finding("backlog", f"hub_rss_at_{many}", size, "MB", (Round(more.hub_mb, less.hub_mb),), raw_is, same),
    ]


def _rate(size: int, waiting: int, drain: _Watched) -> Finding:
    raw_is = "the same texts from plain SQLite by a bare client to a bare handler that commits them"
    rounds, bound = (Round(drain.rate, drain.bare),), (Bound("ours", ">=", 2_000.0),)
    return Finding("backlog", f"{waiting}_waiting", size, "events/s", rounds, raw_is, bound, drain.notes)


async def _watched(world: World, waiting: int, raw: Bare) -> _Watched:
    till, hub = await world.till(), await world.hub()
    with till.put_back():
        async with hub.process() as hub_process:
            await catch_up(till)
            async with open_counter_for_good(till) as (counter, store):
                world.say(f"selling {waiting:,}")
                await sell_at_once(counter, Sales(world.size).next(waiting))
                texts = await waiting_events(store.outbox)
            bare = await drained_barely(world, raw.port, [texts], BATCH_EVENTS_MAX)
            world.say(f"draining {waiting:,}")
            return await _drained(hub, hub_process, till, waiting, bare)


async def _drained(hub: Hub, hub_process: Running, till: Till, waiting: int, bare: float) -> _Watched:
    """Start the agent, and wait until the hub holds all that waited."""
    with _books(hub, till) as books:
        all_held, hub_cpu_s = books.held() + waiting, hub_process.cpu_s
        async with till.process() as agent:
            await agent.until(lambda: books.held() >= all_held, DRAIN_S_MAX, look_s=_LOOK_S)
            notes: dict[str, float | str] = {
                "agent_ready_s": agent.ready_s,
                "agent_cpu_us_per_event": agent.cpu_s / waiting * _US,
                "hub_cpu_us_per_event": (hub_process.cpu_s - hub_cpu_s) / waiting * _US,
            }
            return _Watched(books.rate(), bare, agent.peak_rss_mb, hub_process.peak_rss_mb, notes)


class _Books:
    """What the hub holds of a till, read beside the running hub."""

    def __init__(self, connection: sqlite3.Connection, terminal_id: str) -> None:
        self._connection = connection
        self._terminal_id = terminal_id

    def held(self) -> int:
        """Return how many events the hub holds."""
        (through,) = self._connection.execute(
            "SELECT coalesce(sum(through), 0) FROM streams WHERE terminal_id = ?", (self._terminal_id,)
        ).fetchone()
        return int(through)

    def rate(self) -> float:
        """Return the events per second between the first commit of the newest filled stream and its last."""
        first, last, behind_first = self._connection.execute(
            "WITH newest AS (SELECT received_ms FROM events WHERE number >> 32 ="
            " (SELECT max(stream) FROM streams WHERE terminal_id = ? AND through > 0))"
            " SELECT min(received_ms), max(received_ms),"
            " sum(received_ms > (SELECT min(received_ms) FROM newest)) FROM newest",
            (self._terminal_id,),
        ).fetchone()
        return float(int(behind_first) / max((last - first) / _MS, 1 / _MS))


@contextlib.contextmanager
def _books(hub: Hub, till: Till) -> Iterator[_Books]:
    connection = sqlite3.connect(f"file:{hub.database}?mode=ro", uri=True, check_same_thread=False)
    try:
        yield _Books(connection, till.enrolment.answer.terminal_id)
    finally:
        connection.close()
