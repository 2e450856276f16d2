"""The feed's log: the one place that appends to it, numbers it and prunes it.

One writer per file, so positions are in the order of the commits: a reader that has seen position P has seen every
commit before it.
"""

from collections.abc import Iterable

from sync.hub.judging.posting import FeedRow
from sync.runtime.sqlite_file import Connection

# Rows deleted per transaction: a tenth of a second at most, so that no upload waits long.
PRUNE_ROWS = 20_000


def last_pos(connection: Connection) -> int:
    """Return the newest position, also where everything below was pruned."""
    row = connection.execute("SELECT coalesce((SELECT max(pos) FROM feed), feed_floor) FROM hub").fetchone()
    return int(row[0]) if row else 0


def floor(connection: Connection) -> int:
    """Return the oldest position that a cursor may stand at."""
    row = connection.execute("SELECT feed_floor FROM hub").fetchone()
    return int(row[0]) if row else 0


def append(connection: Connection, rows: Iterable[FeedRow]) -> None:
    """Append rows whose positions continue the log."""
    connection.executemany(
        "INSERT INTO feed (pos, kind, key, points) VALUES (?, ?, ?, ?)",
        [(row.pos, row.kind, row.key, row.points) for row in rows],
    )


def keep_together(connection: Connection, after: int) -> None:
    """Let one page hold all rows that this transaction appended beyond a position."""
    newest = last_pos(connection)
    if newest > after:
        connection.execute("INSERT INTO together (first, last) VALUES (?, ?)", (after + 1, newest))


def prune(connection: Connection, rows_kept: int) -> bool:
    """Delete some of the oldest rows beyond the newest `rows_kept`; tell whether more are left to delete.

    A terminal whose cursor is older than what is left loads a snapshot.
    """
    oldest = floor(connection)
    wanted = last_pos(connection) - rows_kept
    new_floor = min(wanted, oldest + PRUNE_ROWS)
    if new_floor <= oldest:
        return False
    connection.execute("DELETE FROM feed WHERE pos <= ?", (new_floor,))
    connection.execute("DELETE FROM together WHERE last <= ?", (new_floor,))
    connection.execute("UPDATE hub SET feed_floor = ?", (new_floor,))
    return new_floor < wanted
