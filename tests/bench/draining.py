"""The outbox drained: pump and client in this process, the real hub in another, loopback between them.

Few events wait after a busy hour, very many after a month without a line. Both go at one rate, because a batch costs
what it carries; how much waits costs nothing. So a rate is held to that of few at the same number of events a batch;
where a backlog has earned larger batches, it may only be faster.

The many wait at one till and the few at another, and both are drained in turns of a fraction of a second: a machine
whose speed changes from one second to the next changes it for both.
"""

from contextlib import AsyncExitStack
from typing import NamedTuple

from sync.contract.protocol import BATCH_EVENTS_MAX
from sync.hub_client import open_session
from tests.bench.findings import Bound, Finding, Round
from tests.bench.pushing import Desk, open_desk
from tests.bench.selling import Sales, sell_at_once, waiting_events
from tests.bench.taking_in import A_BATCH, bare_process, drained_barely
from tests.bench.world import World

_FEW = 100
_MANY = 20_000
_MOST = 100_000
# How often the few are drained while the many are.
_TURNS, _CUSTOMERS_PER_TURN = 50, 100
# Those that wait by the ten thousand take long enough to be measured few times.
_ROUNDS_OF_MANY = 3
_ROUNDS_OF_MOST = 1
_RAW_IS = "the same texts from plain SQLite by a bare client to a bare handler that commits them"


class _Drain(NamedTuple):
    """The rate of one drain, that of few beside it, and that of the bare thing just after it; events per second."""

    rate: float
    of_few: float
    bare: float


class _Tills(NamedTuple):
    """Where the many wait and where the few do, how often they take turns, and the bare hub."""

    world: World
    of_many: Desk
    of_few: Desk
    turns: int
    sales: Sales
    bare_port: int


class _Few:
    """Few events that wait, drained again and again, each time by a pump that has just begun."""

    def __init__(self, tills: _Tills, desk: Desk) -> None:
        self._tills = tills
        self._desk = desk
        self._times = 0
        self._seconds = 0.0

    async def drain(self) -> list[str]:
        """Sell few, drain them and return their texts."""
        texts = await _sold(self._tills, self._desk, _FEW)
        self._seconds += (await self._desk.way.drain(_FEW)).seconds
        self._times += 1
        return texts

    @property
    def rate(self) -> float:
        return self._times * _FEW / self._seconds


class _Turns:
    """The few, drained again behind so many uploads of the many."""

    def __init__(self, few: _Few, uploads_each: int) -> None:
        self._few = few
        self._uploads_each = uploads_each
        self._uploads = 0

    async def between(self) -> None:
        self._uploads += 1
        if self._uploads % self._uploads_each == 0:
            await self._few.drain()


async def drain(world: World, rounds: int) -> list[Finding]:
    """Drain few, many and very many waiting events, and few again after all of those were acked."""
    hub, (first, second, *_) = await world.hub(), await world.counters()
    many, most = min(_MANY, world.size * 2), min(_MOST, world.size * 10)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hub.process())
        bare = await stack.enter_async_context(bare_process(world))
        session = await stack.enter_async_context(open_session())
        of_many, of_few = [await stack.enter_async_context(open_desk(till, session)) for till in (first, second)]
        turns = max(3, min(_TURNS, world.size // _CUSTOMERS_PER_TURN))
        tills = _Tills(world, of_many, of_few, turns, Sales(world.size), bare.port)

        await _few_at_both(tills)
        few = [await _few_at_both(tills) for _ in range(rounds)]
        times_of_many, times_of_most = min(rounds, _ROUNDS_OF_MANY), min(rounds, _ROUNDS_OF_MOST)
        big = {
            f"{many}_waiting": await _taken(tills, many, BATCH_EVENTS_MAX, times_of_many),
            f"{many}_waiting_{A_BATCH}_a_batch": await _taken(tills, many, A_BATCH, times_of_many),
            f"{most}_waiting": await _taken(tills, most, BATCH_EVENTS_MAX, times_of_most),
            f"{most}_waiting_{A_BATCH}_a_batch": await _taken(tills, most, A_BATCH, times_of_most),
        }
        later = [await _few_at_both(tills) for _ in range(rounds)]
    return [
        _found(world, f"{_FEW}_waiting", few),
        *(_found(world, number, drains) for number, drains in big.items()),
        *(_alike(world, number, drains) for number, drains in big.items()),
        _alike(world, f"{_FEW}_after_all_acked", later),
    ]


async def _taken(tills: _Tills, waiting: int, a_batch: int, times: int) -> list[_Drain]:
    drains = []
    for nth in range(times):
        tills.world.say(f"draining {waiting:,}, {a_batch} a batch, round {nth + 1}")
        texts = await _sold(tills, tills.of_many, waiting)
        few = _Few(tills, tills.of_few)
        await few.drain()
        turns = _Turns(few, max(1, waiting // tills.turns // a_batch))
        took = await tills.of_many.way.drain(waiting, a_batch, turns.between)
        bare = await drained_barely(tills.world, tills.bare_port, [texts], a_batch)
        drains.append(_Drain(waiting / took.seconds, few.rate, bare))
    return drains


async def _few_at_both(tills: _Tills) -> _Drain:
    """Drain few at the till where the many wait, and few at the other, in turns; each is the first in every other."""
    here, beside = _Few(tills, tills.of_many), _Few(tills, tills.of_few)
    bare_s = 0.0
    for nth in range(tills.turns):
        for few in (here, beside) if nth % 2 else (beside, here):
            texts = await few.drain()
        bare_s += _FEW / await drained_barely(tills.world, tills.bare_port, [texts], _FEW)
    return _Drain(here.rate, beside.rate, tills.turns * _FEW / bare_s)


async def _sold(tills: _Tills, desk: Desk, number: int) -> list[str]:
    """Sell so many times and return the texts of the events."""
    await sell_at_once(desk.counter, tills.sales.next(number))
    return await waiting_events(desk.store.outbox)


def _found(world: World, number: str, drains: list[_Drain]) -> Finding:
    rounds = tuple(Round(drain.rate, drain.bare) for drain in drains)
    return Finding("drain", number, world.size, "events/s", rounds, _RAW_IS, (Bound("ours", ">=", 2_000.0),))


def _alike(world: World, number: str, drains: list[_Drain]) -> Finding:
    """Hold a rate against that of few, which were drained in turns with it."""
    rounds = tuple(Round(drain.rate, drain.of_few) for drain in drains)
    has_same_batches = not number.endswith("_waiting")
    same = (Bound("ratio", ">=", 0.8), *((Bound("ratio", "<=", 1.2),) if has_same_batches else ()))
    return Finding(
        "drain", f"{number}_as_{_FEW}", world.size, "events/s", rounds, f"our rate with {_FEW} waiting", same
    )
