"""Salvage: what can still be read of a damaged till goes into a new file, under the same incarnations and seqs.

A page that cannot be read makes the whole connection useless, so each failure opens a new one; a table is walked from
both of its ends, and the gap between is asked for row by row. What is gone leaves a place behind: the hub gets a marker
for it, and the events behind it go on. Where nobody can tell any more how far the hub had an incarnation, its events
are sent again: the hub knows each by its number, and a second copy changes nothing there.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from agent.store.allowances import rebuild_spends
from agent.store.wanted import CHUNK, TABLES, Table
from sync.runtime.near_reader import NearReader, open_near_reader
from sync.runtime.sqlite_file import Connection, DatabaseError, DatabaseFile, Row

# Each failure opens the file anew, some milliseconds; with these a salvage ends within seconds whatever it meets.
FAILURES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came of it: events that were kept, and those lost, of which the hub may lack so many.

    `lost_answers` are acts whose event is kept and whose answer is not: sent again by the point of sale, each is a new
    event, which the hub refuses because it has the first. An event at the end of the journal whose sale is lost too
    leaves no trace and is not counted. Where not even the list of tables could be read, nobody can tell what is lost.
    """

    events: int
    lost: int
    lost_unsent: int
    lost_answers: int
    is_readable: bool


class Wreck:
    """A damaged file, read as far as it can be."""

    def __init__(self, file: DatabaseFile) -> None:
        """Take the file; it is only read."""
        self._file = file
        self._stack = ExitStack()
        self._reader: NearReader | None = None
        self._failures = 0

    def close(self) -> None:
        """Close the file."""
        self._reader = None
        self._stack.close()
        self._stack = ExitStack()

    def try_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row] | None:
        """Return the rows, or None where they cannot be read."""
        if self._failures >= FAILURES_MAX:
            return None
        try:
            if self._reader is None:
                self._reader = self._stack.enter_context(open_near_reader(self._file, {}))
            return self._reader.glance(sql, parameters)
        except DatabaseError:
            self._failures += 1
            self.close()
            return None

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns in this file; none where it has no such table, or cannot tell."""
        return [row[1] for row in self.try_rows(f"PRAGMA table_info({table})") or []]

    def walk(self, table: Table, columns: Sequence[str]) -> dict[Any, Row]:
        """Return the readable rows of a table by their key, which is the first of the columns."""
        found = dict(self._one_way(table, columns, ">", "ASC", None))
        if self._is_whole(table, found):
            return found
        upper = dict(self._one_way(table, columns, "<", "DESC", max(found, default=None)))
        if table.is_numbered:
            first = max(found, default=0) + 1
            end = min(upper, default=first + CHUNK)
            found |= self.ask(table, columns, range(first, min(end, first + 10 * CHUNK)))
        return found | upper

    def ask(self, table: Table, columns: Sequence[str], keys: Sequence[Any]) -> dict[Any, Row]:
        """Return the rows of these keys, as far as they can be read."""
        sql = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {table.key} = ?"
        return {row[0]: row for key in keys for row in self.try_rows(sql, (key,)) or []}

    def _is_whole(self, table: Table, found: dict[Any, Row]) -> bool:
        behind = "1" if not found else f"{table.key} > ?"
        sql = f"SELECT 1 FROM {table.name} WHERE {behind} LIMIT 1"
        return self.try_rows(sql, (max(found),) if found else ()) == []

    def _one_way(
        self, table: Table, columns: Sequence[str], sign: str, order: str, beyond: Any
    ) -> Iterator[tuple[Any, Row]]:
        """Yield rows from one end up to where nothing can be read; downwards no further than `beyond`."""
        last: Any = None
        size = CHUNK
        while True:
            limits = [(f"{table.key} {sign} ?", last)] if last is not None else []
            limits += [(f"{table.key} > ?", beyond)] if beyond is not None else []
            where = " AND ".join(limit for limit, _ in limits) or "1"
            select = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {where}"
            rows = self.try_rows(f"{select} ORDER BY {table.key} {order} LIMIT {size}", [value for _, value in limits])
            if rows is None and size > 1:
                size = max(size // 8, 1)
                continue
            if not rows:
                return
            yield from ((row[0], row) for row in rows)
            last = rows[-1][0]


def salvage(wreck: Wreck, connection: Connection, now_ms: int) -> Salvaged:
    """Copy what can be read into the tables of a new, empty till, in the caller's transaction."""
    is_readable = False
    lost_answers = 0
    for table in TABLES:
        known = set(wreck.columns(table.name))
        is_readable = is_readable or bool(known)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table.name})").fetchall()]
        columns = [table.key, *(name for name in columns if name in known and name != table.key)]
        if table.key not in known:
            continue
        rows = wreck.walk(table, columns)
        if table.named_in is not None:
            named = connection.execute(
                f"SELECT event ->> '$.data.{table.key}' FROM journal WHERE event ->> '$.type' = ?", (table.named_in,)
            ).fetchall()
            missing = [name for (name,) in named if name not in rows]
            found = wreck.ask(table, columns, missing)
            rows |= found
            lost_answers += len(missing) - len(found)
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT OR REPLACE INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", rows.values()
        )
    events, lost, lost_unsent = _make_whole(connection, now_ms)
    return Salvaged(events, lost, lost_unsent, lost_answers, is_readable)


def _make_whole(connection: Connection, now_ms: int) -> tuple[int, int, int]:
    """Let the salvaged tables fit each other again: every place has a row, and every effect its event.

    Returns how many events were kept, how many are lost, and how many of those the hub may lack.
    """
    _rebuild_incarnations(connection)
    before = connection.execute("SELECT count(*) FROM bygone").fetchone() or (0,)
    lost = list(_lost_places(connection))
    connection.executemany(
        "INSERT INTO bygone (position, recorded_at, points) VALUES (?, ?, 0)", ((place, now_ms) for place, _ in lost)
    )
    inside = (
        "EXISTS (SELECT 1 FROM streams i WHERE position BETWEEN i.first_position AND i.first_position + length - 1)"
    )
    for table in (
        "sales",
        "reversals",
        "redemptions",
        "redemption_reversals",
    ):  # a later event must not come to stand at the place of a lost one
        connection.execute(f"UPDATE {table} SET position = -position WHERE position > 0 AND NOT {inside}")
    connection.execute("DELETE FROM set_aside WHERE position NOT IN (SELECT position FROM journal)")
    connection.execute(
        "INSERT INTO pending (subject, inc, seq, points)"
        " SELECT j.subject, i.inc, j.position - i.first_position + 1, j.points FROM streams i JOIN journal j"
        " ON j.position >= i.first_position + i.swept_through AND j.position < i.first_position + i.length"
        " WHERE j.points <> 0 AND j.subject IS NOT NULL AND j.position NOT IN (SELECT position FROM set_aside)"
    )
    rebuild_spends(connection)
    (events,) = connection.execute("SELECT count(*) FROM journal").fetchone() or (0,)
    return events + before[0], len(lost), sum(is_unsent for _, is_unsent in lost)


def _rebuild_incarnations(connection: Connection) -> None:
    """Bring back the incarnations that only their events tell of, and give each its length."""
    known = {row[0] for row in connection.execute("SELECT inc FROM incarnations").fetchall()}
    kept = connection.execute("SELECT inc, first_position, length, acked_through FROM incarnations").fetchall()
    starts: dict[str, int] = {inc: first for inc, first, _, _ in kept}
    for position, event in connection.execute("SELECT position, event FROM journal ORDER BY position").fetchall():
        said = json.loads(event)
        starts.setdefault(said["inc"], position - said["seq"] + 1)
    order = sorted(starts.items(), key=lambda start: start[1])
    (top,) = connection.execute(
        "SELECT max(coalesce((SELECT max(position) FROM journal), 0), coalesce((SELECT max(position) FROM bygone), 0),"
        " coalesce((SELECT max(position) FROM sales), 0), coalesce((SELECT max(position) FROM reversals), 0),"
        " coalesce((SELECT max(position) FROM redemptions), 0),"
        " coalesce((SELECT max(position) FROM redemption_reversals), 0),"
        " coalesce((SELECT max(first_position + acked_through - 1) FROM incarnations), 0),"
        " coalesce((SELECT max(first_position + length - 1) FROM incarnations), 0))"
    ).fetchone() or (0,)
    connection.execute("UPDATE incarnations SET number = -number")
    before: tuple[str | None, int | None] = (None, None)
    for number, (inc, first) in enumerate(order, start=1):
        length = (order[number][1] if number < len(order) else top + 1) - first
        if length < 1:
            connection.execute("DELETE FROM incarnations WHERE inc = ?", (inc,))
            continue
        if inc not in known:
            connection.execute(
                "INSERT INTO incarnations (number, inc, previous_inc, previous_seq, first_position)"
                " VALUES (?, ?, ?, ?, ?)",
                (number, inc, *before, first),
            )
        connection.execute("UPDATE incarnations SET number = ?, length = ? WHERE inc = ?", (number, length, inc))
        before = (inc, length)


def _lost_places(connection: Connection) -> Iterator[tuple[int, bool]]:
    """Yield each place that has no row any more, and whether the hub may lack its event."""
    held = {row[0] for row in connection.execute("SELECT position FROM journal UNION SELECT position FROM bygone")}
    for first, length, acked_through in connection.execute(
        "SELECT first_position, length, acked_through FROM streams"
    ).fetchall():
        for position in range(first, first + length):
            if position not in held:
                yield position, position >= first + acked_through
