"""Acts: the sales and redemptions of this till as staff see them again, and since when the shift goes.

The list goes backwards through the journal and stops when it is full, so it costs what it shows, however much the till
has sold. A hint comes from the customer's row, or from a number that the hub was not asked about yet.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from agent.shift import SHIFT_MAX, Act, ActState, Held, shift_since
from agent.store.files import milliseconds, moment
from sync.contract.identifiers import Scheme, hint
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Writer
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection, Row

ACTS_ROWS_MAX = 200

_COLUMNS = """
SELECT j.position, j.recorded_at, j.points, lower(hex(j.subject)), s.sale_id,
  s.result ->> '$.customer_id', s.result ->> '$.state',
  {net_minor}, {currency},
  EXISTS (SELECT 1 FROM main.reversals r WHERE r.sale_id = s.sale_id),
  (SELECT a.state FROM main.set_aside a WHERE a.position = j.position AND a.state <> 'final'),
  (SELECT one.value ->> '$.hint' FROM cache.identifiers i JOIN cache.customers c ON c.number = i.customer,
    json_each(c.put, '$.identifiers') one
    WHERE i.id = j.subject AND one.value ->> '$.id' = lower(hex(j.subject)) LIMIT 1),
  p.scheme, p.value
"""
_COLUMNS_OF_EVENT = _COLUMNS.format(
    net_minor="j.event ->> '$.data.net_minor'", currency="j.event ->> '$.data.currency'"
)
_OF_SALE = f"""{_COLUMNS_OF_EVENT}
FROM main.sales s JOIN main.journal j ON j.position = s.position LEFT JOIN main.presented p ON p.id = j.subject
WHERE s.sale_id = ?
"""
_OF_REDEMPTION = """
SELECT j.position, j.recorded_at, lower(hex(j.subject)), r.redemption_id, r.result, r.is_reversed,
  (SELECT a.state FROM main.set_aside a WHERE a.position = j.position AND a.state <> 'final'),
  (SELECT one.value ->> '$.hint' FROM cache.identifiers i JOIN cache.customers c ON c.number = i.customer,
    json_each(c.put, '$.identifiers') one
    WHERE i.id = j.subject AND one.value ->> '$.id' = lower(hex(j.subject)) LIMIT 1)
FROM main.redemptions r JOIN main.journal j ON j.position = r.position WHERE r.redemption_id = ?
"""
# A sale whose event was pruned; too old for any shift.
_OF_BYGONE_SALE = f"""{_COLUMNS.format(net_minor="j.net_minor", currency="j.currency")}
FROM main.sales s JOIN main.bygone j ON j.position = s.position LEFT JOIN main.presented p ON p.id = j.subject
WHERE s.sale_id = ? AND j.net_minor IS NOT NULL
"""
# A reversal names its act too, but stands at another position.
_NEWEST = """
SELECT j.recorded_at, s.sale_id, r.redemption_id
FROM main.journal j
LEFT JOIN main.sales s ON s.sale_id = j.event ->> '$.data.sale_id' AND s.position = j.position
LEFT JOIN main.redemptions r ON r.redemption_id = j.event ->> '$.data.redemption_id' AND r.position = j.position
WHERE j.position > ? AND (s.sale_id IS NOT NULL OR r.redemption_id IS NOT NULL) ORDER BY j.position DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class KeptAct:
    """An act as the files hold it, and the identifier id that it counts to."""

    act: Act
    subject: str


@dataclass(frozen=True, slots=True)
class KeptActs:
    """The newest acts of the shift that goes since `since`; `more` says there are others."""

    since: datetime
    rows: tuple[KeptAct, ...]
    more: bool


class ActHistory:
    """Reads acts, and begins shifts."""

    def __init__(self, near: NearReader, reader: Reader, writer: Writer, clock: Clock) -> None:
        """Take the till's connections; the readers have the live cache attached."""
        self._near = near
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def of_sale(self, sale_id: str) -> KeptAct | None:
        """Return a sale of this till as an act, or None where this till recorded none of that id."""
        rows = self._near.glance(_OF_SALE, (sale_id,)) or self._near.glance(_OF_BYGONE_SALE, (sale_id,))
        return _kept(rows[0]) if rows else None

    def of_redemption(self, redemption_id: str) -> KeptAct | None:
        """Return a redemption of this till as an act; None for one of no till's, or too old for any shift."""
        rows = self._near.glance(_OF_REDEMPTION, (redemption_id,))
        return _redeemed(rows[0]) if rows else None

    async def newest(self, limit: int) -> KeptActs:
        """Return the newest acts of this shift, at most `limit` and at most 200 of them."""
        now = self._clock.now()
        earliest_ms = milliseconds(now - SHIFT_MAX)
        limit = max(1, min(limit, ACTS_ROWS_MAX))

        def read(connection: Connection) -> KeptActs:
            began_at, after = _shift(connection)
            newest = connection.execute(_NEWEST, (after, limit + 1)).fetchall()
            rows = [_read(connection, *ids) for recorded_at, *ids in newest if recorded_at >= earliest_ms]
            return KeptActs(shift_since(began_at, now), tuple(rows[:limit]), more=len(rows) > limit)

        return await self._reader.read(read)

    async def begin_shift(self) -> None:
        """Let the shift begin behind the newest event; durable on return.

        Raises:
            DatabaseError: the shift before goes on.
        """
        now_ms = milliseconds(self._clock.now())
        await self._writer.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO shift (id, began_at, after_position)"
                " VALUES (1, ?, (SELECT coalesce(max(position), 0) FROM journal))",
                (now_ms,),
            )
        )


def _shift(connection: Connection) -> tuple[datetime | None, int]:
    """Return when the shift began and behind which position, as far as staff have said."""
    row = connection.execute("SELECT began_at, after_position FROM main.shift").fetchone()
    return (moment(row[0]), row[1]) if row is not None else (None, 0)


def _read(connection: Connection, sale_id: str | None, redemption_id: str | None) -> KeptAct:
    sql, key, kept = (_OF_SALE, sale_id, _kept) if sale_id is not None else (_OF_REDEMPTION, redemption_id, _redeemed)
    return kept(connection.execute(sql, (key,)).fetchall()[0])


def _redeemed(row: Row) -> KeptAct:
    position, recorded_at, subject, redemption_id, result, is_reversed, held, known_hint = row
    answered = json.loads(result)
    act = Act(
        kind="redemption",
        position=position,
        redemption_id=redemption_id,
        reward_id=answered["reward_id"],
        customer_id=answered["customer_id"],
        hint=known_hint,
        points=answered["points"],
        state=ActState.GIVEN_BACK if is_reversed else ActState.REDEEMED,
        held=Held(held) if held is not None else None,
        recorded_at=moment(recorded_at),
    )
    return KeptAct(act, subject)


def _kept(row: Row) -> KeptAct:
    position, recorded_at, points, subject, sale_id, customer_id, state, net_minor, currency = row[:9]
    was_taken_back, held, known_hint, scheme, value = row[9:]
    act = Act(
        position=position,
        sale_id=sale_id,
        customer_id=customer_id,
        hint=hint(Scheme(scheme), value) if known_hint is None and value is not None else known_hint,
        net_minor=net_minor,
        currency=currency,
        points=points,
        state=ActState.TAKEN_BACK if was_taken_back else ActState(state),
        held=Held(held) if held is not None else None,
        recorded_at=moment(recorded_at),
    )
    return KeptAct(act, subject)
