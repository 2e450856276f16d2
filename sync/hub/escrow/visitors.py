"""Likely visitors: who bought at a store lately, and so may want to redeem there when the line is down.

Read from the ends of the store's streams, newest first, so that no sale pays for an index that only this asks.
"""

import json
from collections.abc import Iterator
from datetime import datetime

from sync.contract.events import EARNED
from sync.runtime.sqlite_file import Connection

VISITED_DAYS = 60
# The ends of streams that are looked at: some ten milliseconds of reading.
_EVENTS_MAX = 5_000
_PART = 200
_DAY_MS = 24 * 3600 * 1000


def likely_visitors(connection: Connection, store_id: str, points_min: int, number: int, now: datetime) -> list[str]:
    """Return at most `number` customers with a sale at this store in the last 60 days and so many posted points."""
    since = int(now.timestamp() * 1000) - VISITED_DAYS * _DAY_MS
    found: dict[str, None] = {}
    part: list[str] = []
    for identifier in _bought_on(connection, store_id, since):
        part.append(identifier)
        if len(part) == _PART:
            found |= dict.fromkeys(_customers(connection, part, points_min))
            part.clear()
        if len(found) >= number:
            break
    found |= dict.fromkeys(_customers(connection, part, points_min))
    return list(found)[:number]


def _bought_on(connection: Connection, store_id: str, since: int) -> Iterator[str]:
    """Yield the identifiers of a store's sales, each once, those of the streams that moved last first."""
    streams = connection.execute(
        "SELECT stream FROM terminals CROSS JOIN streams ON streams.terminal_id = terminals.terminal_id "
        "WHERE store_id = ? ORDER BY last_pos DESC LIMIT 100",
        (store_id,),
    ).fetchall()
    seen: set[str] = set()
    left = _EVENTS_MAX
    for (stream,) in streams:
        rows = connection.execute(
            "SELECT identifier, type, received_ms FROM events WHERE number BETWEEN ? << 32 AND (? << 32 | 4294967295) "
            "ORDER BY number DESC LIMIT ?",
            (stream, stream, left),
        )
        for identifier, kind, received_ms in rows:
            if received_ms < since:
                break
            left -= 1
            if identifier is not None and kind == EARNED and identifier not in seen:
                seen.add(identifier)
                yield identifier
        if left <= 0:
            return


def _customers(connection: Connection, identifiers: list[str], points_min: int) -> list[str]:
    """Return the customers of these identifiers who have enough points, in their order."""
    rows = connection.execute(
        "SELECT asked.key, min(identifiers.customer_id) AS customer_id FROM json_each(?) AS asked "
        "CROSS JOIN identifiers ON identifiers.id = asked.value GROUP BY asked.key HAVING count(*) = 1",
        (json.dumps(identifiers),),
    ).fetchall()
    owners = json.dumps(sorted({row[1] for row in rows}))
    rich = {
        row[0]
        for row in connection.execute(
            "SELECT customer_id FROM balances WHERE points >= ? AND customer_id IN (SELECT value FROM json_each(?))",
            (points_min, owners),
        )
    }
    return [customer_id for _, customer_id in sorted(rows) if customer_id in rich]
