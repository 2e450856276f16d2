"""Credits: one after the other and 64 at once, against bare FULL commits of the very rows that they wrote."""

import sqlite3
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

_JOURNAL = "SELECT position, recorded_at, subject, points, event FROM journal WHERE position > ? ORDER BY position"
_SALES = "SELECT sale_id, fingerprint, position, taken_back, result FROM sales WHERE position = ?"
_PENDING = "SELECT position, subject, inc, seq, points FROM pending WHERE position = ?"


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
            start = time.perf_counter()
            await sell(counter, todo)
            return number / (time.perf_counter() - start)

        async def raw() -> float:
            return bare.commit(_ONE_BY_ONE)

        taken = await interleaved(rounds, ours=ours, raw=raw)
        bare.close()
    return rounds_of(taken)


class _Written(NamedTuple):
    """The rows that one credit wrote."""

    journal: Row
    sale: Row
    pending: Row | None


class _Bare:
    """A plain file with the till's tables beside the till's own; writes again what the till has written."""

    def __init__(self, till: Till) -> None:
        self._reader = open_for_reading(till_file(till.state, till.database_key), {})
        self._path = till.state / "bare.db"
        self._plain = open_durable(self._path)
        self._last = self._reader.execute("SELECT coalesce(max(position), 0) FROM journal").fetchone() or (0,)
        self._inc = ""

    def commit(self, most: int) -> float:
        """Commit the rows of the newest credits one by one, and return the rate."""
        written = self._newest()[:most]
        start = time.perf_counter()
        for credit_of in written:
            _commit(self._plain, credit_of, self._inc)
        return len(written) / (time.perf_counter() - start)

    def close(self) -> None:
        self._reader.close()
        self._plain.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()

    def _newest(self) -> list[_Written]:
        rows = self._reader.execute(_JOURNAL, self._last).fetchall()
        self._last = (rows[-1][0],)
        self._begin_incarnation(rows[0][0])
        return [_Written(row, self._one(_SALES, row[0]), self._maybe(_PENDING, row[0])) for row in rows]

    def _begin_incarnation(self, position: int) -> None:
        row = self._reader.execute(
            "SELECT number, inc, first_position FROM incarnations WHERE ? BETWEEN first_position"
            " AND first_position + length - 1",
            (position,),
        ).fetchone()
        if row is not None and row[1] != self._inc:
            self._inc = row[1]
            self._plain.execute(
                "INSERT INTO incarnations (number, inc, first_position, length) VALUES (?, ?, ?, 0)", row
            )

    def _maybe(self, sql: str, position: int) -> Row | None:
        return self._reader.execute(sql, (position,)).fetchone()

    def _one(self, sql: str, position: int) -> Row:
        row = self._maybe(sql, position)
        if row is None:
            raise LookupError(f"the credit at position {position} has no row for: {sql}")
        return row


def _commit(plain: sqlite3.Connection, written: _Written, inc: str) -> None:
    plain.execute("BEGIN IMMEDIATE")
    plain.execute("UPDATE incarnations SET length = length + 1 WHERE inc = ?", (inc,))
    plain.execute(
        "INSERT INTO journal (position, recorded_at, subject, points, event) VALUES (?, ?, ?, ?, ?)", written.journal
    )
    plain.execute(
        "INSERT INTO sales (sale_id, fingerprint, position, taken_back, result) VALUES (?, ?, ?, ?, ?)", written.sale
    )
    if written.pending is not None:
        plain.execute(
            "INSERT INTO pending (position, subject, inc, seq, points) VALUES (?, ?, ?, ?, ?)", written.pending
        )
    plain.execute("COMMIT")
