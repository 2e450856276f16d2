"""Erasures: who was erased, which tills have heard, and the identifiers that are left without a person.

The ledger keeps its rows under the identifiers' ids, which say nothing without the hub's key and a value to try. The
points on them are in no account that anybody is shown.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sync.runtime.sqlite_file import Connection


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure, and the tills (id, name) that may still hold the person."""

    customer_id: str
    pos: int
    at: datetime
    behind: tuple[tuple[str, str], ...]


def note(connection: Connection, customer_ids: Iterable[str], pos: int, now_ms: int) -> None:
    """Write down who was erased; a till that asks for what follows `pos` has heard."""
    connection.executemany(
        "INSERT INTO erasures (customer_id, pos, at_ms) VALUES (?, ?, ?)",
        [(customer_id, pos, now_ms) for customer_id in sorted(customer_ids)],
    )


def newest_pos(connection: Connection) -> int:
    """Return the position of the newest erasure: a snapshot from before it is not given out; 0 for none."""
    row = connection.execute("SELECT coalesce(max(pos), 0) FROM erasures").fetchone()
    return int(row[0]) if row else 0


def is_news(connection: Connection, terminal_id: str, pos: int) -> bool:
    """Tell whether a till that stands at `pos` has passed an erasure that it was not known to have passed."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM erasures WHERE pos <= ?1 AND pos > "
        "coalesce((SELECT pos FROM passed WHERE terminal_id = ?2), 0))",
        (pos, terminal_id),
    ).fetchone()
    return bool(row and row[0])


def note_passed(connection: Connection, terminal_id: str, pos: int) -> None:
    """Note that a till holds everything up to `pos`."""
    connection.execute(
        "INSERT INTO passed (terminal_id, pos) VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET pos = max(passed.pos, excluded.pos)",
        (terminal_id, pos),
    )


def listed(connection: Connection) -> list[Erasure]:
    """Return all erasures, the newest first, each with the tills that were there then and have not passed it."""
    found = []
    for customer_id, pos, at_ms in connection.execute(
        "SELECT customer_id, pos, at_ms FROM erasures ORDER BY pos DESC, customer_id"
    ).fetchall():
        behind = connection.execute(
            "SELECT terminals.terminal_id, name FROM terminals "
            "LEFT JOIN passed ON passed.terminal_id = terminals.terminal_id "
            "WHERE enrolled_ms <= ? AND coalesce(passed.pos, 0) < ? ORDER BY terminals.terminal_id",
            (at_ms, pos),
        ).fetchall()
        found.append(Erasure(customer_id, pos, datetime.fromtimestamp(at_ms / 1000, UTC), tuple(behind)))
    return found


def erased_on(connection: Connection, customer_id: str) -> datetime | None:
    """Return when a customer was erased last, or None."""
    row = connection.execute("SELECT max(at_ms) FROM erasures WHERE customer_id = ?", (customer_id,)).fetchone()
    return datetime.fromtimestamp(row[0] / 1000, UTC) if row and row[0] is not None else None


def close(connection: Connection, identifiers: Collection[str]) -> None:
    """Show the points on these identifiers nowhere, until they are given to a customer."""
    connection.executemany(
        "INSERT INTO erased_identifiers (id, is_closed) VALUES (?, 1) ON CONFLICT DO UPDATE SET is_closed = 1",
        [(identifier,) for identifier in sorted(identifiers)],
    )


def reopen(connection: Connection, identifiers: Collection[str]) -> set[str]:
    """Let those of the identifiers that are closed begin anew at 0 points, and return them.

    A sale or a redemption from before that is taken back later is booked on a pseudonym that stays closed, and costs
    nobody points. Finding them reads all of them: a card that is given out again is rare.
    """
    rows = connection.execute(
        "SELECT id FROM erased_identifiers WHERE is_closed AND id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(identifiers)),),
    )
    closed = {row[0] for row in rows}
    for identifier in sorted(closed):
        connection.execute(
            "UPDATE erased_identifiers SET is_closed = 0, "
            "buried = buried + coalesce((SELECT points FROM tallies WHERE identifier = id), 0) WHERE id = ?",
            (identifier,),
        )
        connection.execute("UPDATE tallies SET points = 0, debt = 0 WHERE identifier = ?", (identifier,))
        pseudonym = hashlib.sha256(f"erased/{identifier}".encode()).hexdigest()[:32]
        connection.execute("UPDATE sales SET identifier = ? WHERE identifier = ?", (pseudonym, identifier))
        connection.execute("UPDATE redemptions SET identifier = ? WHERE identifier = ?", (pseudonym, identifier))
        close(connection, [pseudonym])
    return closed
