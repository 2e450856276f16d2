"""Identifiers that were presented at a counter: whom do they lead to? What leads to nobody is kept apart, erasable."""

import json
from collections.abc import Sequence
from datetime import datetime

from sync.contract.protocol import PresentedIdentifier
from sync.runtime.sqlite_file import Connection


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
        "ON CONFLICT DO NOTHING",
        [
            (entry.id, entry.identifier.scheme, entry.identifier.value, terminal_id, int(now.timestamp() * 1000))
            for entry in presented
            if entry.id not in known and entry.id not in closed
        ],
    )
    return known


def _closed_ids(connection: Connection, presented: Sequence[PresentedIdentifier]) -> set[str]:
    rows = connection.execute(
        "SELECT id FROM erased_identifiers WHERE is_closed AND id IN (SELECT value FROM json_each(?))",
        (json.dumps([entry.id for entry in presented]),),
    )
    return {row[0] for row in rows}
