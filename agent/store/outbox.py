"""The outbox for people: how much waits, what was set aside and why, and the events themselves to take away.

Nothing here changes anything. Lists come in pages by position, so that a page costs what it shows.
"""

import json
from enum import StrEnum

from pydantic import AwareDatetime

from agent.store.files import moment
from agent.store.journal import read_waiting
from sync.contract.customers import Value
from sync.runtime.database import Reader
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection

PAGE_ROWS_MAX = 200


class EntryState(StrEnum):
    """Where an event is that the hub has not simply applied."""

    WAITING = "waiting"
    REJECTED = "rejected"
    PARKED = "parked"
    WITHHELD = "withheld"


class OutboxFigures(Value):
    """How many events wait for the hub and since when, and how many a person should look at."""

    waiting: int
    oldest_at: AwareDatetime | None
    rejected: int
    parked: int
    withheld: int


class OutboxRow(Value):
    """One event that is not settled, or was set aside. It names no customer; a sale has its amount."""

    position: int
    inc: str
    seq: int
    type: str
    state: EntryState
    reason: str | None
    recorded_at: AwareDatetime
    points: int
    sale_id: str | None
    reversal_id: str | None
    redemption_id: str | None = None
    net_minor: int | None = None
    currency: str | None = None


class OutboxPage(Value):
    """Rows in the order of the journal. `next_after` continues the list; None is its end."""

    rows: tuple[OutboxRow, ...]
    next_after: int | None


class ExportPage(Value):
    """Events in their canonical JSON, as they are or would be sent. `next_after` continues; None is the end."""

    events: tuple[str, ...]
    next_after: int | None


class Outbox:
    """Reads the outbox."""

    def __init__(self, near: NearReader, reader: Reader) -> None:
        """Take the till's readers."""
        self._near = near
        self._reader = reader

    def figures(self) -> OutboxFigures:
        """Return what the indicator shows; cheap, however much waits."""
        return self._near.read(_figures)

    async def rows(self, state: EntryState | None = None, *, after: int = 0, limit: int = PAGE_ROWS_MAX) -> OutboxPage:
        """Return a page of the events in this state, or in any, that stand behind position `after`."""

        def read(connection: Connection) -> OutboxPage:
            entries = _entries(connection, state, after, limit)
            return OutboxPage(rows=tuple(_row(entry) for entry in entries), next_after=_next(entries, limit))

        return await self._reader.read(read)

    async def export(self, *, after: int = 0, limit: int = PAGE_ROWS_MAX) -> ExportPage:
        """Return a page of the events behind position `after` that the hub may be without."""

        def read(connection: Connection) -> ExportPage:
            entries = _entries(connection, None, after, limit)
            return ExportPage(events=tuple(entry[-1] for entry in entries), next_after=_next(entries, limit))

        return await self._reader.read(read)


_Entry = tuple[int, str, int, str, str | None, int, int, str]


def _figures(connection: Connection) -> OutboxFigures:
    waiting = read_waiting(connection)
    counts: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM set_aside GROUP BY state").fetchall())
    return OutboxFigures(
        waiting=waiting.count,
        oldest_at=waiting.oldest_recorded_at,
        rejected=counts.get("rejected", 0),
        parked=counts.get("parked", 0),
        withheld=counts.get("withheld", 0),
    )


def _entries(connection: Connection, state: EntryState | None, after: int, limit: int) -> list[_Entry]:
    """Return position, inc, seq, state, reason, recorded_at, points, event of each entry, at most `limit`."""
    limit = max(1, min(limit, PAGE_ROWS_MAX))
    entries: list[_Entry] = []
    if state is not EntryState.WAITING:
        entries += connection.execute(
            "SELECT a.position, i.inc, a.position - i.first_position + 1, a.state, a.reason, j.recorded_at, j.points,"
            " j.event FROM set_aside a JOIN journal j ON j.position = a.position"
            " JOIN incarnations i ON i.number = (SELECT number FROM incarnations WHERE first_position <= a.position"
            " ORDER BY first_position DESC LIMIT 1)"
            " WHERE a.position > ? AND a.state <> 'final' AND (? IS NULL OR a.state = ?) ORDER BY a.position LIMIT ?",
            (after, state, state, limit),
        ).fetchall()
    if state in (None, EntryState.WAITING):
        entries += connection.execute(
            "SELECT j.position, i.inc, j.position - i.first_position + 1, 'waiting', NULL, j.recorded_at, j.points,"
            " j.event FROM streams i JOIN journal j ON j.position >= max(i.first_position + i.acked_through, ?)"
            " AND j.position < i.first_position + i.length LEFT JOIN set_aside a ON a.position = j.position"
            " WHERE i.acked_at IS NULL AND i.acked_through < i.length AND (a.state IS NULL OR a.state = 'final')"
            " ORDER BY i.number, j.position LIMIT ?",
            (after + 1, limit),
        ).fetchall()
    return sorted(entries)[:limit]


def _next(entries: list[_Entry], limit: int) -> int | None:
    return entries[-1][0] if len(entries) >= max(1, min(limit, PAGE_ROWS_MAX)) else None


def _row(entry: _Entry) -> OutboxRow:
    position, inc, seq, state, reason, recorded_at, points, text = entry
    event = json.loads(text)
    data = event["data"]
    return OutboxRow(
        position=position,
        inc=inc,
        seq=seq,
        type=event["type"],
        state=EntryState(state),
        reason=reason,
        recorded_at=moment(recorded_at),
        points=points,
        sale_id=data.get("sale_id"),
        reversal_id=data.get("reversal_id"),
        redemption_id=data.get("redemption_id"),
        net_minor=data.get("net_minor"),
        currency=data.get("currency"),
    )
