"""Customers as the hub keeps them: whole rows in, the feed and the accounts kept true in the same transaction.

A row is the whole truth about its customer: profile and identifiers. The same row again changes nothing, not even the
feed. Sets go in and out as JSON arrays, because a bulk import must not pay for a statement per identifier.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sync.hub.accounts import Moves, move_points
from sync.hub.customer_rows import CustomerRow, Leaving
from sync.hub.feed_log import last_pos
from sync.runtime.sqlite_file import Connection


@dataclass(slots=True)
class Put:
    """What a batch did: customers by what became of their row, and those whose given points are not booked again."""

    new: int = 0
    changed: int = 0
    same: int = 0
    gone: int = 0
    pos: int = 0
    points_differ: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Held:
    """What the books hold of a customer before the batch."""

    wire: str
    refs: str
    balance: int
    opening: int


def put_customers(connection: Connection, rows: Sequence[CustomerRow | Leaving], now_ms: int) -> Put:
    """Bring customers to what the rows say; each customer stands in one row at most."""
    held = _held(connection, [row.customer_id for row in rows])
    put = Put()
    new: list[CustomerRow] = []
    changed: list[CustomerRow] = []
    leaving: list[Leaving] = []
    for row in rows:
        before = held.get(row.customer_id)
        if isinstance(row, Leaving):
            if before is not None:
                leaving.append(row)
            else:
                put.same += 1
        elif before is None:
            new.append(row)
        else:
            if row.points is not None and row.points not in (before.opening, before.balance):
                put.points_differ.append(row.customer_id)
            if (row.wire, row.refs) == (before.wire, before.refs):
                put.same += 1
            else:
                changed.append(row)
    put.new, put.changed, put.gone = len(new), len(changed), len(leaving)
    if new or changed or leaving:
        _Batch(connection, held, new, changed, leaving).write(now_ms)
    put.pos = last_pos(connection)
    return put


class _Batch:
    """One batch of rows that do change something."""

    def __init__(
        self,
        connection: Connection,
        held: Mapping[str, _Held],
        new: list[CustomerRow],
        changed: list[CustomerRow],
        leaving: list[Leaving],
    ) -> None:
        self._connection = connection
        self._held = held
        self._new = new
        self._changed = changed
        self._leaving = leaving
        self._stay = (*new, *changed)
        self._pos = last_pos(connection)

    def write(self, now_ms: int) -> None:
        """Write profiles, identifiers, balances and the feed."""
        opened = self._open_accounts(now_ms)
        moves = self._move_identifiers()
        self._write_balances(opened, moves)
        put_whole = {row.customer_id for row in self._stay}
        balances = _balances(self._connection, put_whole | set(moves.customers))
        self._write_customers(balances)
        others = sorted(set(moves.customers) - put_whole - {row.customer_id for row in self._leaving})
        self._append("balance", [(customer_id, balances[customer_id]) for customer_id in others])
        self._append("card", sorted(moves.cards.items()))

    def _open_accounts(self, now_ms: int) -> dict[str, int]:
        """Give each new customer a balance of 0 and note what it opens with; a returning one keeps its account."""
        connection = self._connection
        connection.executemany(
            "INSERT INTO balances (customer_id, points) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(row.customer_id, 0) for row in self._new],
        )
        opening = {row.customer_id: row.points for row in self._new if row.points}
        known = {
            row[0]
            for row in connection.execute(
                "SELECT customer_id FROM openings WHERE customer_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(opening)),),
            )
        }
        opened = {customer_id: points for customer_id, points in opening.items() if customer_id not in known}
        connection.executemany(
            "INSERT INTO openings (customer_id, points, pos, imported_ms) VALUES (?, ?, ?, ?)",
            [(customer_id, points, self._pos, now_ms) for customer_id, points in opened.items()],
        )
        return opened

    def _move_identifiers(self) -> Moves:
        """Write which identifiers lead to whom now, and return which points move with them."""
        connection = self._connection
        changed = [row for row in self._changed if row.refs != self._held[row.customer_id].refs]
        wanted = sorted(
            (identifier.id, row.customer_id, identifier.scheme, identifier.value)
            for row in (*self._new, *changed)
            for identifier in row.identifiers
        )
        losers = [row.customer_id for row in changed] + [row.customer_id for row in self._leaving]
        gone_ids = [
            (ref["id"], customer_id) for customer_id in losers for ref in json.loads(self._held[customer_id].refs)
        ]
        ids = sorted({row[0] for row in wanted} | {identifier for identifier, _ in gone_ids})
        before = _leads(connection, ids)
        tallies = _tallies(connection, ids)
        after = {identifier: set(before.get(identifier, ())) for identifier in ids}
        for identifier, customer_id in gone_ids:
            after[identifier].discard(customer_id)
        for identifier, customer_id, _, _ in wanted:
            after[identifier].add(customer_id)
        connection.executemany("DELETE FROM identifiers WHERE id = ? AND customer_id = ?", gone_ids)
        connection.executemany("INSERT INTO identifiers (id, customer_id, scheme, value) VALUES (?, ?, ?, ?)", wanted)
        connection.execute("DELETE FROM presented WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
        return move_points(before, after, tallies)

    def _write_balances(self, opened: Mapping[str, int], moves: Moves) -> None:
        """Add what accounts opened with and what moved to them. Here alone points enter without an event."""
        added = dict(opened)
        for customer_id, points in moves.customers.items():
            added[customer_id] = added.get(customer_id, 0) + points
        self._connection.executemany(
            "UPDATE balances SET points = points + ? WHERE customer_id = ?",
            [(points, customer_id) for customer_id, points in sorted(added.items()) if points],
        )

    def _write_customers(self, balances: Mapping[str, int]) -> None:
        connection = self._connection
        first = self._pos
        numbered = list(enumerate(self._stay, start=first + 1))
        connection.executemany(
            "INSERT INTO customers (customer_id, wire, refs, pos) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (customer_id) DO UPDATE SET wire = excluded.wire, refs = excluded.refs, pos = excluded.pos",
            [(row.customer_id, row.wire, row.refs, pos) for pos, row in numbered],
        )
        connection.executemany(
            "INSERT INTO feed (pos, kind, key, points, refs_before) VALUES (?, 'customer', ?, ?, ?)",
            [(pos, row.customer_id, balances[row.customer_id], self._refs_before(row)) for pos, row in numbered],
        )
        self._pos += len(self._stay)
        leavers = [(row.customer_id,) for row in self._leaving]
        connection.executemany("DELETE FROM customers WHERE customer_id = ?", leavers)
        # The older identifiers carry hints to the person; nothing of one who left stays behind.
        connection.executemany("UPDATE feed SET refs_before = NULL WHERE key = ? AND refs_before IS NOT NULL", leavers)
        for row in self._leaving:
            self._append(row.reason, [(row.customer_id, None)])

    def _refs_before(self, row: CustomerRow) -> str | None:
        before = self._held.get(row.customer_id)
        return before.refs if before is not None and before.refs != row.refs else None

    def _append(self, kind: str, rows: Iterable[tuple[str, int | None]]) -> None:
        numbered = [(pos, kind, *row) for pos, row in enumerate(rows, start=self._pos + 1)]
        self._connection.executemany("INSERT INTO feed (pos, kind, key, points) VALUES (?, ?, ?, ?)", numbered)
        self._pos += len(numbered)


def _held(connection: Connection, customer_ids: Sequence[str]) -> dict[str, _Held]:
    rows = connection.execute(
        "SELECT customers.customer_id, wire, refs, balances.points, coalesce(openings.points, 0) FROM customers "
        "JOIN balances ON balances.customer_id = customers.customer_id "
        "LEFT JOIN openings ON openings.customer_id = customers.customer_id "
        "WHERE customers.customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(customer_ids),),
    )
    return {customer_id: _Held(*rest) for customer_id, *rest in rows}


def _leads(connection: Connection, ids: Sequence[str]) -> dict[str, set[str]]:
    rows = connection.execute(
        "SELECT id, customer_id FROM identifiers WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
    )
    leads: dict[str, set[str]] = {}
    for identifier, customer_id in rows:
        leads.setdefault(identifier, set()).add(customer_id)
    return leads


def _tallies(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT identifier, points FROM tallies WHERE identifier IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    return dict(rows.fetchall())


def _balances(connection: Connection, customer_ids: Collection[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT customer_id, points FROM balances WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(customer_ids)),),
    )
    return dict(rows.fetchall())
