"""Recovery: the time after the hub was brought back from a backup, until it knows again what was promised.

Terminals may hold allowances that the backup does not know, and have spent of them what it never saw. So nothing is
granted until each terminal has said a hello that names the new epoch and what it holds, and has sent all that it had
recorded by then. A hello that names another epoch, or none, may have been on its way since before the restore. A
terminal that does not come is waited for as long as an allowance may live; a person may end the wait. Redemptions that
no known allowance covers wait too, and are judged at the end.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sync.runtime.sqlite_file import Connection


@dataclass(frozen=True, slots=True)
class Waiting:
    """Until when the hub waits, and for which terminals: id, name, and whether it has said hello."""

    until: datetime
    terminals: tuple[tuple[str, str, bool], ...]


def begin(connection: Connection, now: datetime, hours: int) -> None:
    """Wait for every terminal that is not revoked, for at most so many hours."""
    connection.execute("DELETE FROM recovering")
    connection.execute(
        "INSERT INTO recovering (terminal_id) SELECT terminal_id FROM terminals WHERE revoked_ms IS NULL"
    )
    until = now + timedelta(hours=hours)
    connection.execute("UPDATE hub SET recovery_until_ms = ?", (int(until.timestamp() * 1000),))


def note_declared(connection: Connection, terminal_id: str, lengths: Mapping[str, int]) -> None:
    """Note what a terminal that knows of the restore has recorded: it is waited for until the hub holds as much.

    Of two hellos the later one may come first; the other says less.
    """
    row = connection.execute("SELECT declared FROM recovering WHERE terminal_id = ?", (terminal_id,)).fetchone()
    if row is not None:
        before: dict[str, int] = json.loads(row[0] or "{}")
        declared = before | {inc: max(length, before.get(inc, 0)) for inc, length in lengths.items()}
        connection.execute(
            "UPDATE recovering SET declared = ? WHERE terminal_id = ?", (json.dumps(declared), terminal_id)
        )


def is_complete(connection: Connection, now: datetime) -> bool:
    """Strike off the terminals that have sent all; tell whether nothing is waited for any more, or nothing was."""
    waiting = shown(connection)
    if waiting is None:
        return True
    rows = connection.execute("SELECT terminal_id, declared FROM recovering WHERE declared IS NOT NULL").fetchall()
    left = len(waiting.terminals)
    for terminal_id, text in rows:
        declared: dict[str, int] = json.loads(text)
        held: dict[str, int] = dict(
            connection.execute("SELECT inc, through FROM streams WHERE terminal_id = ?", (terminal_id,)).fetchall()
        )
        if all(held.get(inc, 0) >= length for inc, length in declared.items()):
            connection.execute("DELETE FROM recovering WHERE terminal_id = ?", (terminal_id,))
            left -= 1
    return not left or now >= waiting.until


def end(connection: Connection) -> None:
    """Wait no longer."""
    connection.execute("DELETE FROM recovering")
    connection.execute("UPDATE hub SET recovery_until_ms = NULL")


def shown(connection: Connection) -> Waiting | None:
    """Return whom the hub waits for, or None where it does not."""
    row = connection.execute("SELECT recovery_until_ms FROM hub").fetchone()
    if row is None or row[0] is None:
        return None
    rows = connection.execute(
        "SELECT recovering.terminal_id, coalesce(name, ''), declared IS NOT NULL FROM recovering "
        "LEFT JOIN terminals ON terminals.terminal_id = recovering.terminal_id ORDER BY recovering.terminal_id"
    ).fetchall()
    return Waiting(
        datetime.fromtimestamp(row[0] / 1000, UTC),
        tuple((terminal_id, name, bool(has_spoken)) for terminal_id, name, has_spoken in rows),
    )
