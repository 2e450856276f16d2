"""Identifiers that were presented at a counter: whom do they lead to? What leads to nobody is kept apart, erasable.

It goes when it leads to a customer, when a person at the hub erases it, and when nobody presented it for long.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sync.contract.protocol import PresentedIdentifier
from sync.runtime.sqlite_file import Connection

# Whoever comes once a year, for the same feast, comes again within it; who does not will not become a customer by it.
KEPT = timedelta(days=400)
# A write of so many is over in some milliseconds, and uploads do not wait.
FORGOTTEN_AT_ONCE = 500


def known_ids(connection: Connection, presented: Sequence[PresentedIdentifier]) -> tuple[str, ...]:
    """Return the ids among these that lead to a customer, in their order."""
    rows = connection.execute(
        "SELECT DISTINCT id FROM identifiers WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([entry.id for entry in presented]),),
    )
    known = {row[0] for row in rows}
    return tuple(entry.id for entry in presented if entry.id in known)


def keep(
    connection: Connection, presented: Sequence[PresentedIdentifier], terminal_id: str, now: datetime
) -> tuple[str, ...]:
    """Keep the values that lead to nobody, and return the ids that lead to somebody.

    The value of somebody who was erased is not kept again.
    """
    known = known_ids(connection, presented)
    closed = _closed_ids(connection, presented)
    connection.executemany(
        "INSERT INTO presented (id, scheme, value, terminal_id, presented_ms) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET terminal_id = excluded.terminal_id, presented_ms = excluded.presented_ms",
        [
            (entry.id, entry.identifier.scheme, entry.identifier.value, terminal_id, int(now.timestamp() * 1000))
            for entry in presented
            if entry.id not in known and entry.id not in closed
        ],
    )
    return known


def erase(connection: Connection, ids: Collection[str]) -> set[str]:
    """Erase these values, and return the ids of those that were kept."""
    rows = connection.execute(
        "DELETE FROM presented WHERE id IN (SELECT value FROM json_each(?)) RETURNING id", (json.dumps(sorted(ids)),)
    )
    return {row[0] for row in rows.fetchall()}


def forget_old(connection: Connection, now: datetime) -> int:
    """Erase values that nobody presented for `KEPT`, at most `FORGOTTEN_AT_ONCE`, and return how many.

    They leave the pages of the file too.
    """
    before_ms = int((now - KEPT).timestamp() * 1000)
    (usual,) = connection.execute("PRAGMA secure_delete").fetchone() or (0,)
    connection.execute("PRAGMA secure_delete=ON").fetchone()
    try:
        return connection.execute(
            "DELETE FROM presented WHERE id IN (SELECT id FROM presented WHERE presented_ms < ? LIMIT ?)",
            (before_ms, FORGOTTEN_AT_ONCE),
        ).rowcount
    finally:
        connection.execute(f"PRAGMA secure_delete={usual}").fetchone()


def _closed_ids(connection: Connection, presented: Sequence[PresentedIdentifier]) -> set[str]:
    rows = connection.execute(
        "SELECT id FROM erased_identifiers WHERE is_closed AND id IN (SELECT value FROM json_each(?))",
        (json.dumps([entry.id for entry in presented]),),
    )
    return {row[0] for row in rows}
