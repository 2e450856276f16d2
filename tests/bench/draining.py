"""The outbox drained: pump and client in this process, the real hub in another, loopback between them.

Few events wait after a busy hour, very many after a month without a line. Both go at one rate, because a batch costs
what it carries; how much waits costs nothing. So a rate is held to that of few at the same number of events a batch;
where a backlog has earned larger batches, it may only be faster.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sync.contract.protocol import BATCH_EVENTS_MAX
from sync.hub_client import open_session
from tests.bench.findings import Bound, Finding, Round
from tests.bench.pushing import Way
from tests.bench.selling import Sales, open_counter, sell_at_once, waiting_events
from tests.bench.taking_in import A_BATCH, bare_process, drained_barely
from tests.bench.world import World

_FEW = 100
_MANY = 20_000
_MOST = 100_000
# One drain of a few is over in some 30 ms; so many are one round.
_FEW_TIMES, _CUSTOMERS_PER_TIME = 15, 500
# Those that wait by the ten thousand take long enough to be measured few times.
_ROUNDS_OF_MANY = 3
_ROUNDS_OF_MOST = 1
_RAW_IS = "the same texts from plain SQLite by a bare client to a bare handler that commits them"

_Rate = Callable[[], Awaitable[float]]


class _Drain(NamedTuple):
    """The rate of one drain, that of a few just before it, and that of the bare thing just after it."""

    rate: float
    of_few: float
    bare: float


async def drain(world: World, rounds: int) -> list[Finding]:
    """Drain few, many and very many waiting events, and few again after all of those were acked."""
    till, hub = await world.till(), await world.hub()
    many, most = min(_MANY, world.size * 2), min(_MOST, world.size * 10)
    times_of_few = max(3, min(_FEW_TIMES, world.size // _CUSTOMERS_PER_TIME))
    few: list[_Drain] = []
    async with (
        hub.process(),
        open_counter(till) as (counter, store),
        open_session() as session,
        bare_process(world) as raw,
    ):
        way, sales = Way(till, store.journal, session), Sales(world.size)

        async def one(waiting: int, a_batch: int) -> tuple[float, float]:
            await sell_at_once(counter, sales.next(waiting))
            texts = await waiting_events(store.outbox)
            rate = await way.rate(waiting, a_batch)
            return rate, await drained_barely(world, raw.port, [texts], a_batch)

        async def some() -> tuple[float, float]:
            rates = [await one(_FEW, BATCH_EVENTS_MAX) for _ in range(times_of_few)]
            return sorted(rates)[times_of_few // 2]

        async def taken(waiting: int, a_batch: int, times: int) -> list[_Drain]:
            drains = []
            for nth in range(times):
                world.say(f"draining {waiting:,}, {a_batch} a batch, round {nth + 1}")
                before = await some()
                few.append(_Drain(before[0], before[0], before[1]))
                rate, bare = await one(waiting, a_batch)
                drains.append(_Drain(rate, before[0], bare))
            return drains

        await some()
        of_many = min(rounds, _ROUNDS_OF_MANY)
        big = {
            f"{many}_waiting": await taken(many, BATCH_EVENTS_MAX, of_many),
            f"{many}_waiting_{A_BATCH}_a_batch": await taken(many, A_BATCH, of_many),
            f"{most}_waiting": await taken(most, BATCH_EVENTS_MAX, min(rounds, _ROUNDS_OF_MOST)),
            f"{most}_waiting_{A_BATCH}_a_batch": await taken(most, A_BATCH, min(rounds, _ROUNDS_OF_MOST)),
        }
        after = await some()
        later = _Drain(after[0], few[-1].rate, after[1])
    return [
        _found(world, f"{_FEW}_waiting", few),
        *(_found(world, number, drains) for number, drains in big.items()),
        *(_alike(world, number, drains) for number, drains in big.items()),
        _alike(world, f"{_FEW}_after_all_acked", [later]),
    ]


def _found(world: World, number: str, drains: list[_Drain]) -> Finding:
    rounds = tuple(Round(drain.rate, drain.bare) for drain in drains)
    return Finding("drain", number, world.size, "events/s", rounds, _RAW_IS, (Bound("ours", ">=", 2_000.0),))


def _alike(world: World, number: str, drains: list[_Drain]) -> Finding:
    """Hold a rate against that of a few, which waited just before."""
    rounds = tuple(Round(drain.rate, drain.of_few) for drain in drains)
    has_same_batches = not number.endswith("_waiting")
    same = (Bound("ratio", ">=", 0.8), *((Bound("ratio", "<=", 1.2),) if has_same_batches else ()))
    return Finding(
        "drain", f"{number}_as_{_FEW}", world.size, "events/s", rounds, f"our rate with {_FEW} waiting", same
    )
