"""Reading in process: a customer by card, and a search by name, each against the bare query for the same rows."""

import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from agent.store import Store
from agent.store.names import fold, prefix_query
from sync.contract.identifiers import Scheme, identifier_id
from tests.bench.findings import Bound, Finding, Round, percentile
from tests.bench.people import SEED, card, searches
from tests.bench.plain import open_plain
from tests.bench.rounds import interleaved, rounds_of
from tests.bench.selling import Sales, open_counter, sell_at_once
from tests.bench.world import World

_READS = 2_000
_SEARCHES = 300
_WAITING = 100
_US = 1_000_000
_MS = 1_000
# As many as a search of ours answers.
_ROWS_MAX = 20

_CUSTOMER = (
    "SELECT c.number, c.customer_id, c.points, c.put FROM identifiers i JOIN customers c ON c.number = i.customer"
    " WHERE i.id = ?"
)
_NAMES = (
    "SELECT c.number, c.customer_id, c.points, c.put FROM names JOIN customers c ON c.number = names.rowid"
    " WHERE names MATCH ? LIMIT ?"
)


async def customer_read(world: World, rounds: int) -> list[Finding]:
    """Read random customers by the id of their card: with nothing pending on this till, and with sales waiting."""
    till = await world.till()
    plain = open_plain(await world.plain())
    identifiers = _Cards(world.size, till.identifier_key)
    async with open_counter(till) as (counter, store):
        quiet = await _customers_read(store, plain, identifiers, rounds)
        await sell_at_once(counter, Sales(world.size).next(_WAITING))
        waiting = await _customers_read(store, plain, identifiers, rounds)
    plain.close()
    raw_is = "select of the same row by the same id, plain sqlite3, same process"
    bounds, notes = (Bound("ratio", "<=", 6.0),), {"reads_per_round": _READS}
    return [
        Finding("customer", number, world.size, "µs", taken, raw_is, bounds, {**notes})
        for number, taken in (("read", quiet), (f"read_with_{_WAITING}_sales_waiting", waiting))
    ]


async def _customers_read(
    store: Store, plain: sqlite3.Connection, identifiers: "_Cards", rounds: int
) -> tuple[Round, ...]:
    taken = await interleaved(
        rounds,
        ours=lambda: _each(store.customers.by_identifier, identifiers.next()),
        raw=lambda: _each_raw(plain, _CUSTOMER, identifiers.again()),
    )
    return rounds_of(taken)


async def name_search(world: World, rounds: int) -> list[Finding]:
    """Search as staff type: beginnings of names, whole names, two beginnings."""
    till = await world.till()
    plain = open_plain(await world.plain())
    texts = searches(_SEARCHES)
    queries = [(prefix_query(fold(text)), _ROWS_MAX) for text in texts]
    async with till.open_store() as store:
        taken = await interleaved(
            rounds,
            ours=lambda: _times(texts, store.customers.search),
            raw=partial(_times, queries, partial(_query, plain)),
        )
    plain.close()
    raw_is = "FTS5 prefix match joined to its first 20 rows, plain sqlite3, same process"
    notes: dict[str, float | str] = {"searches_per_round": _SEARCHES}
    p50s, p99s = (
        rounds_of((percentile(ours, share) * _MS, percentile(raw, share) * _MS) for ours, raw in taken)
        for share in (0.5, 0.99)
    )
    return [
        Finding("search", "p50", world.size, "ms", p50s, raw_is, notes=notes),
        Finding("search", "p99", world.size, "ms", p99s, raw_is, (Bound("ours", "<=", 20.0),), notes),
    ]


class _Cards:
    """Card ids at random: new ones each round, the same for both sides of it."""

    def __init__(self, customers: int, key: bytes) -> None:
        self._customers = customers
        self._key = key
        self._die = random.Random(SEED)
        self._last: Sequence[str] = ()

    def next(self) -> Sequence[str]:
        self._last = self._drawn()
        return self._last

    def again(self) -> Sequence[str]:
        return self._last

    def _drawn(self) -> Sequence[str]:
        numbers = self._die.choices(range(1, self._customers + 1), k=_READS)
        return [identifier_id(self._key, Scheme.CARD, card(number)) for number in numbers]


async def _each(read: Callable[[str], object], identifiers: Sequence[str]) -> float:
    """Return the µs of one read."""
    start = time.perf_counter()
    for identifier in identifiers:
        read(identifier)
    return (time.perf_counter() - start) / len(identifiers) * _US


async def _each_raw(plain: sqlite3.Connection, sql: str, identifiers: Sequence[str]) -> float:
    keys = [(bytes.fromhex(identifier),) for identifier in identifiers]
    start = time.perf_counter()
    for key in keys:
        plain.execute(sql, key).fetchall()
    return (time.perf_counter() - start) / len(keys) * _US


async def _times(asked: Sequence[Any], ask: Callable[[Any], Awaitable[Any]]) -> list[float]:
    seconds = []
    for one in asked:
        start = time.perf_counter()
        await ask(one)
        seconds.append(time.perf_counter() - start)
    return seconds


async def _query(plain: sqlite3.Connection, values: tuple[str, int]) -> None:
    plain.execute(_NAMES, values).fetchall()
