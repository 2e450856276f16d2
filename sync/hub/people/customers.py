"""Customers as the hub keeps them: whole rows in, the feed and the accounts kept true in the same transaction.

A row is the whole truth about its customer: profile and identifiers. The same row again changes nothing, not even the
feed. Sets go in and out as JSON arrays, because a bulk import must not pay for a statement per identifier.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sync.hub.escrow.allowances import follow_moves, leave, tell
from sync.hub.feed.feed_log import last_pos
from sync.hub.people.accounts import Leads, Moves, move_points
from sync.hub.people.classes import Plan, end_edges, keep_origin, members, merged_among, own_points, replan
from sync.hub.people.customer_rows import CustomerRow, Leaving
from sync.hub.people.erasures import close, note, reopen
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
    """Bring customers to what the rows say; each customer stands in one row at most.

    A customer of a merge is kept by itself, and what is shown of the merge follows. One of them who leaves takes its
    merges along, and one who is erased takes all along: they are the same person.
    """
    put = Put()
    plan, others = _regroup(connection, rows, put, now_ms)
    held = _held(connection, [row.customer_id for row in others])
    new: list[CustomerRow] = []
    for row in others:
        before = held.get(row.customer_id)
        if isinstance(row, Leaving):
            if before is not None:
                put.gone += 1
                plan.leaving.append(row)
            else:
                put.same += 1
        elif before is None:
            put.new += 1
            new.append(row)
        else:
            if row.points is not None and row.points not in (before.opening, before.balance):
                put.points_differ.append(row.customer_id)
            if (row.wire, row.refs) == (before.wire, before.refs):
                put.same += 1
            else:
                put.changed += 1
                plan.rows.append(row)
    plan.rows[:0] = new
    put.pos = show(connection, plan, now_ms)
    return put


def show(connection: Connection, plan: Plan, now_ms: int) -> int:
    """Write what is to be shown of customers, and return the feed's position after it."""
    named = [row.customer_id for row in plan.rows] + [row.customer_id for row in plan.leaving]
    held = _held(connection, named)
    new = [row for row in plan.rows if row.customer_id not in held]
    changed = [
        row
        for row in plan.rows
        if (before := held.get(row.customer_id)) is not None
        and ((row.wire, row.refs) != (before.wire, before.refs) or row.customer_id in plan.openings)
    ]
    leaving = [row for row in plan.leaving if row.customer_id in held]
    _forget([row for row in plan.leaving if row.reason != "merged"], connection)
    if new or changed or leaving or plan.openings:
        _Batch(connection, held, plan, new, changed, leaving).write(now_ms)
    concerned = follow_moves(connection, plan.moved)
    erased = [row.customer_id for row in plan.leaving if row.reason == "erased"]
    concerned |= leave(connection, erased, [row.customer_id for row in leaving if row.reason == "out_of_scope"], now_ms)
    return tell(connection, concerned)


def _regroup(
    connection: Connection, rows: Sequence[CustomerRow | Leaving], put: Put, now_ms: int
) -> tuple[Plan, list[CustomerRow | Leaving]]:
    """Keep the rows of customers of a merge; return how what is shown of these follows, and the other rows."""
    joined = merged_among(connection, [row.customer_id for row in rows])
    if not joined:
        return Plan(), list(rows)
    classes = members(connection, joined)
    points = own_points(connection, joined)
    going: dict[str, Leaving] = {}
    for row in rows:
        origin = joined.get(row.customer_id)
        if origin is None:
            continue
        if isinstance(row, Leaving):
            put.gone += 1
            together = members(connection, [row.customer_id]) if row.reason == "erased" else {row.customer_id}
            going |= {customer_id: Leaving(customer_id, row.reason) for customer_id in together}
            continue
        if row.points is not None and row.points not in points[row.customer_id]:
            put.points_differ.append(row.customer_id)
        if (row.wire, row.refs) == (origin.row.wire, origin.row.refs):
            put.same += 1
        else:
            put.changed += 1
            keep_origin(connection, row, origin.root)
    came_back = end_edges(connection, going, now_ms) if going else {}
    plan = replan(connection, classes, came_back)
    plan.rows = [row for row in plan.rows if row.customer_id not in going]
    plan.leaving += going.values()
    return plan, [row for row in rows if row.customer_id not in joined]


def _forget(leaving: Sequence[Leaving], connection: Connection) -> None:
    """Take out of the log the older identifiers of those who left: they carry hints to the person."""
    connection.executemany(
        "UPDATE feed SET refs_before = NULL WHERE key = ? AND refs_before IS NOT NULL",
        [(row.customer_id,) for row in leaving],
    )


class _Batch:
    """One batch of rows that do change something."""

    def __init__(
        self,
        connection: Connection,
        held: Mapping[str, _Held],
        plan: Plan,
        new: list[CustomerRow],
        changed: list[CustomerRow],
        leaving: list[Leaving],
    ) -> None:
        self._connection = connection
        self._held = held
        self._plan = plan
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
        self._make_good(moves, now_ms)
        put_whole = {row.customer_id for row in self._stay}
        balances = _balances(self._connection, put_whole | set(moves.customers))
        self._write_customers(balances, now_ms)
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
        reopened = reopen(connection, {row[0] for row in wanted})
        moves = move_points(before, after, {**tallies, **dict.fromkeys(reopened, 0)})
        self._move_debts(move_points(before, after, _debts(connection, ids)))
        self._close_identifiers(before, after, tallies, moves)
        return moves

    def _close_identifiers(self, before: Leads, after: Leads, tallies: Mapping[str, int], moves: Moves) -> None:
        """Close what led to people who are erased and leads to nobody now: its points are shown nowhere."""
        erased = {row.customer_id for row in self._leaving if row.reason == "erased"}
        closed = {
            identifier for identifier in after if not after[identifier] and before.get(identifier, set()) & erased
        }
        close(self._connection, closed)
        for identifier in closed:
            moves.cards.pop(identifier, None)
            if tallies.get(identifier) and len(before[identifier]) > 1:
                moves.cards[identifier] = 0  # its points waited on the card for all to see

    def _write_balances(self, opened: Mapping[str, int], moves: Moves) -> None:
        """Add what accounts opened with and what moved to them. Here alone points enter without an event."""
        added = dict(opened)
        for customer_id, points in (*moves.customers.items(), *self._plan.openings.items()):
            added[customer_id] = added.get(customer_id, 0) + points
        self._connection.executemany(
            "UPDATE balances SET points = points + ? WHERE customer_id = ?",
            [(points, customer_id) for customer_id, points in sorted(added.items()) if points],
        )

    def _move_debts(self, moves: Moves) -> None:
        """Let debts follow the identifiers that they stand on."""
        self._connection.executemany(
            "UPDATE balances SET debt = debt + ? WHERE customer_id = ?",
            [(points, customer_id) for customer_id, points in sorted(moves.customers.items())],
        )

    def _make_good(self, moves: Moves, now_ms: int) -> None:
        """Bring to 0 what would stand below: the hub gives what an account had spent of another's points."""
        connection = self._connection
        short = connection.execute(
            "SELECT customer_id, points FROM balances WHERE points < 0 "
            "AND customer_id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(moves.customers.keys() | self._plan.openings.keys())),),
        ).fetchall()
        given = {identifier: -points for identifier, points in moves.cards.items() if points < 0}
        moves.cards |= dict.fromkeys(given, 0)
        for customer_id, points in short:
            given |= self._given(customer_id, -points)
            connection.execute("UPDATE balances SET points = 0 WHERE customer_id = ?", (customer_id,))
        connection.executemany(
            "INSERT INTO entries (kind, identifier, points, at_ms) VALUES ('adjustment', ?, ?, ?)",
            [(identifier, points, now_ms) for identifier, points in sorted(given.items())],
        )
        connection.executemany(
            "UPDATE tallies SET points = points + ? WHERE identifier = ?",
            [(points, identifier) for identifier, points in sorted(given.items())],
        )

    def _given(self, customer_id: str, missing: int) -> dict[str, int]:
        """Return on which identifiers of a customer the hub gives what is missing: those that stand below 0."""
        rows = self._connection.execute(
            "SELECT tallies.identifier, tallies.points FROM identifiers "
            "JOIN tallies ON tallies.identifier = identifiers.id WHERE customer_id = ? AND tallies.points < 0 "
            "AND (SELECT count(*) FROM identifiers AS leads WHERE leads.id = identifiers.id) = 1 ORDER BY 1",
            (customer_id,),
        ).fetchall()
        given = {}
        for identifier, points in rows:
            part = min(-points, missing)
            if part:
                given[identifier] = part
                missing -= part
        return given

    def _write_customers(self, balances: Mapping[str, int], now_ms: int) -> None:
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
        for row in self._leaving:
            self._append("erased" if row.reason == "erased" else "out_of_scope", [(row.customer_id, None)])
        erased = [row.customer_id for row in self._plan.leaving if row.reason == "erased"]
        if erased:
            note(connection, erased, self._pos, now_ms)

    def _refs_before(self, row: CustomerRow) -> str | None:
        before = self._held.get(row.customer_id)
        if before is None:
            return self._plan.refs_before.get(row.customer_id)
        return before.refs if before.refs != row.refs else None

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


def _debts(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT identifier, debt FROM tallies WHERE debt > 0 AND identifier IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    return dict(rows.fetchall())


def _balances(connection: Connection, customer_ids: Collection[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT customer_id, points FROM balances WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(customer_ids)),),
    )
    return dict(rows.fetchall())
