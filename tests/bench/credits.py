"""Credits: one after the other and 64 at once, against bare FULL commits of the very rows that they wrote.

The ratio is a question to the disk first: a bare commit is nearly nothing but its sync, and deciding, encrypting and
handing over to the database's thread cost a credit some 0.5 ms whatever the disk. Measured on one machine, its syncs
slowed down step by step (one fdatasync: one after the other, 64 at once): 0.13 ms: 0.27x, 1.2x; 0.45 ms: 0.46x, 2.6x;
0.78 ms: 0.60x, 4.3x. So both bounds hold on a disk that takes about 0.35 ms and more, and the table names the sync.
"""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from agent.counter import Counter
from agent.sales import SaleRequest
from agent.store.files import till_file
from sync.runtime.sqlite_file import Row, open_for_reading
from tests.bench.findings import Bound, Finding
from tests.bench.plain import open_durable
from tests.bench.rounds import interleaved, rounds_of
from tests.bench.selling import CONCURRENT, Sales, open_counter, sell_at_once, sell_one_by_one
from tests.bench.world import Till, World

_ONE_BY_ONE = 300
_AT_ONCE = CONCURRENT * 30
Sell = Callable[[Counter, Sequence[SaleRequest]], Awaitable[None]]

_NEW = (
    "SELECT j.position, j.subject, i.inc, j.position - i.first_position + 1, j.event ->> '$.data.sale_id'"
    " FROM journal j JOIN incarnations i"
    " ON i.number = (SELECT max(number) FROM incarnations WHERE first_position <= j.position)"
    " WHERE j.position > ? ORDER BY j.position"
)
_PLACE = ("position", "subject", "inc", "seq", "sale_id")
# The rows that a credit wrote.
_ROWS = {
    "journal": "SELECT * FROM journal WHERE position = :position",
    "sales": "SELECT * FROM sales WHERE sale_id = :sale_id",
    "pending": "SELECT * FROM pending WHERE subject = :subject AND inc = :inc AND seq = :seq",
}


async def credit(world: World, rounds: int) -> list[Finding]:
    """Credit sales of random customers, each durable on return."""
    till = await world.till()
    one_by_one, at_once = [
        await _rates(world, till, rounds, sell, number)
        for sell, number in ((sell_one_by_one, _ONE_BY_ONE), (sell_at_once, _AT_ONCE))
    ]
    raw_is = "commits of the same rows one after the other, plain sqlite3, WAL, synchronous=FULL, same folder"
    size, unit = world.size, "credits/s"
    return [
        Finding("credit", "one_by_one", size, unit, one_by_one, raw_is, (Bound("ratio", ">=", 0.4),)),
        Finding("credit", "64_at_once", size, unit, at_once, raw_is, (Bound("ratio", ">=", 2.0),)),
    ]


async def _rates(world: World, till: Till, rounds: int, sell: Sell, number: int) -> Any:
    sales = Sales(world.size)
    async with open_counter(till) as (counter, _):
        bare = _Bare(till)

        async def ours() -> float:
            todo = sales.next(number)
            _settle_disk()
            start = time.perf_counter()
            await sell(counter, todo)
            return number / (time.perf_counter() - start)

        async def raw() -> float:
            return bare.commit(_ONE_BY_ONE)

        taken = await interleaved(rounds, ours=ours, raw=raw)
        bare.close()
    return rounds_of(taken)


class _Insert(NamedTuple):
    """One row that a credit wrote, as the statement that writes it again."""

    sql: str
    row: Row


class _Bare:
    """A plain file with the till's tables beside the till's own; writes again what the till has written."""

    def __init__(self, till: Till) -> None:
        self._reader = open_for_reading(till_file(till.state, till.database_key), {})
        self._path = till.state / "bare.db"
        self._plain = open_durable(self._path)
        self._last = self._reader.execute("SELECT coalesce(max(position), 0) FROM journal").fetchone() or (0,)

    def commit(self, most: int) -> float:
        """Commit the rows of the newest credits one by one, and return the rate."""
        written = self._newest(most)
        _settle_disk()
        start = time.perf_counter()
        for inserts in written:
            self._plain.execute("BEGIN IMMEDIATE")
            for insert in inserts:
                self._plain.execute(insert.sql, insert.row)
            self._plain.execute("COMMIT")
        return len(written) / (time.perf_counter() - start)

    def close(self) -> None:
        self._reader.close()
        self._plain.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()

    def _newest(self, most: int) -> list[list[_Insert]]:
        places = self._reader.execute(_NEW, self._last).fetchall()
        self._last = places[-1][:1]
        return [self._rows(place) for place in places[:most]]

    def _rows(self, place: Row) -> list[_Insert]:
        named = dict(zip(_PLACE, place, strict=True))
        inserts = [
            _Insert(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
            for table, sql in _ROWS.items()
            for row in self._reader.execute(sql, named).fetchall()
        ]
        if len(inserts) != len(_ROWS):
            raise LookupError(f"the credit at position {place[0]} has {len(inserts)} rows and not {len(_ROWS)}")
        return inserts


def _settle_disk() -> None:
    """Let what the other side left to be written not be paid for by this one: an fsync would carry it along."""
    os.sync()
