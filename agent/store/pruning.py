"""Pruning: the texts of events leave the journal long after the hub has them; what a sale still needs stays.

An event is pruned when the hub has it, its balance contains it, nobody set it aside, and the hub's own clock says that
all this was so for the whole keeping time. This machine's clock decides nothing: set wrong, it would throw away what a
hub that comes back from a backup asks for. A till that never hears from the hub prunes nothing.

Positions never move. The newest row of the journal always stays, because the next position is counted from it, and a
hub that asks for a pruned event all the same gets a marker in its place, so that the line moves on.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NoReturn

from agent.store.allowances import forget_spends
from agent.store.files import milliseconds
from agent.store.settling import sweep
from sync.contract.chain import GONE, digest
from sync.contract.events import canonical_json, event_id, event_source
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection

# A commit of so many rows takes some milliseconds; a credit waits no longer behind it.
ROWS_PER_STEP = 100
STEP_PAUSE_S = 0.25
LOOK_S = 3600.0
# One mark a day and incarnation is precise enough, and few enough.
_MARK_EVERY_MS = 24 * 3600 * 1000

_log = logging.getLogger(__name__)


class Pruner:
    """Prunes the journal in small steps. Supervise its `run`."""

    def __init__(self, writer: Writer, covered: Callable[[], Mapping[str, int]]) -> None:
        """Take the till's writer; `covered` tells how far the live cache contains each incarnation."""
        self._writer = writer
        self._covered = covered

    async def run(self, keep: timedelta, hub_now: Callable[[], datetime | None], clock: Clock) -> NoReturn:
        """Prune for ever: a look each hour, and small steps while there is something to prune."""
        while True:
            now = hub_now()
            pruned = 0
            while now is not None and (step := await self.step(keep, now)):
                pruned += step
                await clock.sleep(STEP_PAUSE_S)
            if pruned:
                _log.info("journal pruned: events=%d", pruned)
            await clock.sleep(LOOK_S)

    async def step(self, keep: timedelta, hub_now: datetime) -> int:
        """Prune at most one step's rows, in one transaction; return how many events were looked at, 0 at the end."""
        now_ms = milliseconds(hub_now)
        before_ms = milliseconds(hub_now - keep)

        def write(connection: Connection) -> int:
            sweep(connection, self._covered())
            _mark(connection, now_ms)
            return _prune(connection, before_ms)

        return await self._writer.write(write)


def forget_marks(connection: Connection, inc: str, through: int) -> None:
    """Take back that the hub had more of an incarnation than this."""
    connection.execute(
        "DELETE FROM ack_marks WHERE through > ? AND number = (SELECT number FROM incarnations WHERE inc = ?)",
        (through, inc),
    )


def pruned_between(connection: Connection, inc: str, held_through: int) -> int:
    """Return how many events behind seq `held_through` of an incarnation are not kept here any more."""
    row = connection.execute(
        "SELECT count(*) FROM incarnations i JOIN bygone b ON b.position >= i.first_position + ?"
        " AND b.position < i.first_position + i.pruned_through WHERE i.inc = ?",
        (held_through, inc),
    ).fetchone()
    return int(row[0]) if row else 0


def gone_marker(terminal_id: str, store_id: str, inc: str, seq: int, recorded_at: datetime, known: bytes | None) -> str:
    """Return what goes in place of an event that is not kept any more: its identity, its time, its digest if `known`.

    It is the same text each time, because the chain may rest on it.
    """
    return canonical_json(
        {
            "specversion": "1.0",
            "id": event_id(terminal_id, inc, seq),
            "source": event_source(store_id, terminal_id),
            "type": GONE,
            "time": recorded_at.isoformat(),
            "datacontenttype": "application/json",
            "inc": inc,
            "seq": seq,
            "bootid": "",
            "monoms": 0,
            "data": {"digest": known.hex()} if known is not None else {},
        }
    )


def _mark(connection: Connection, now_ms: int) -> None:
    """Note how far each incarnation is settled and in the hub's balance now, at most once a day."""
    connection.execute(
        "INSERT INTO ack_marks (number, at, through) SELECT number, ?1, swept_through FROM incarnations i"
        " WHERE swept_through > coalesce((SELECT max(through) FROM ack_marks m WHERE m.number = i.number),"
        " pruned_through) AND NOT EXISTS"
        " (SELECT 1 FROM ack_marks m WHERE m.number = i.number AND m.at > ?1 - ?2 AND m.at <= ?1)",
        (now_ms, _MARK_EVERY_MS),
    )


def _prune(connection: Connection, before_ms: int) -> int:
    """Prune the oldest rows whose mark is older than this; return how many places were gone over."""
    row = connection.execute(
        "SELECT i.number, i.first_position + i.pruned_through, i.first_position + max(m.through)"
        " FROM ack_marks m JOIN incarnations i USING (number) WHERE m.at <= ? AND m.through <= i.swept_through"
        " AND m.through > i.pruned_through GROUP BY i.number ORDER BY i.number LIMIT 1",
        (before_ms,),
    ).fetchone()
    if row is None:
        return 0
    number, first, end = row
    (newest,) = connection.execute("SELECT max(position) FROM journal").fetchone() or (0,)
    end = min(end, first + ROWS_PER_STEP, newest)
    if end <= first:
        return 0
    gone = "position >= ? AND position < ? AND position NOT IN (SELECT position FROM set_aside)"
    connection.execute(
        "INSERT OR IGNORE INTO bygone (position, recorded_at, subject, points, net_minor, currency)"
        " SELECT position, recorded_at, subject, points, event ->> '$.data.net_minor', event ->> '$.data.currency'"
        f" FROM journal WHERE {gone}",
        (first, end),
    )
    texts = connection.execute(f"SELECT event, position FROM journal WHERE {gone}", (first, end)).fetchall()
    connection.executemany(
        "UPDATE bygone SET digest = ? WHERE position = ?", [(digest(event), position) for event, position in texts]
    )
    connection.execute(f"DELETE FROM journal WHERE {gone}", (first, end))
    connection.execute("UPDATE incarnations SET pruned_through = ? - first_position WHERE number = ?", (end, number))
    forget_spends(connection, number)
    connection.execute(
        "DELETE FROM ack_marks WHERE number = ?1"
        " AND through <= (SELECT pruned_through FROM incarnations WHERE number = ?1)",
        (number,),
    )
    return int(end - first)
