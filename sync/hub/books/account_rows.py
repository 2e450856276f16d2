"""The accounts in the books: balances, what waits on identifiers, what is reserved of it, and what is owed."""

import json
from dataclasses import dataclass, field

from sync.hub.judging.posting import Known
from sync.runtime.sqlite_file import Connection


@dataclass(slots=True)
class Touched:
    """The accounts that events lead to: identifiers, and customers whose points are reserved."""

    identifiers: set[str | None] = field(default_factory=set)
    customers: set[str] = field(default_factory=set)


def load_accounts(connection: Connection, known: Known, touched: Touched) -> None:
    """Read the balances, tallies, owners and debts of the accounts that a run of events touches."""
    ids = json.dumps(sorted(identifier for identifier in touched.identifiers if identifier is not None))
    known.owners = _owners(connection, ids)
    known.closed = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM erased_identifiers WHERE is_closed AND id IN (SELECT value FROM json_each(?))", (ids,)
        )
    }
    tallies = connection.execute(
        "SELECT identifier, points, debt FROM tallies WHERE identifier IN (SELECT value FROM json_each(?))", (ids,)
    ).fetchall()
    known.tallies = {identifier: points for identifier, points, _ in tallies}
    known.debts = {identifier: debt for identifier, _, debt in tallies if debt}
    balances = connection.execute(
        "SELECT customer_id, points, reserved, debt FROM balances "
        "WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(touched.customers.union(known.owners.values()))),),
    ).fetchall()
    known.balances = {customer_id: points for customer_id, points, _, _ in balances}
    known.reserved = {customer_id: reserved for customer_id, _, reserved, _ in balances if reserved}
    if owing := [customer_id for customer_id, _, _, debt in balances if debt]:
        _load_debts(connection, known, owing)


def write_accounts(connection: Connection, known: Known) -> None:
    """Write what the accounts hold and owe now."""
    connection.executemany(
        "INSERT INTO tallies (identifier, points, debt) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET points = excluded.points, debt = excluded.debt",
        [
            (identifier, known.tallies[identifier], known.debts.get(identifier, 0))
            for identifier in sorted(known.touched_identifiers)
        ],
    )
    owed: dict[str, int] = {}
    for identifier, debt in known.debts.items():
        if identifier in known.owners:
            owed[known.owners[identifier]] = owed.get(known.owners[identifier], 0) + debt
    connection.executemany(
        "UPDATE balances SET points = ?, reserved = ?, debt = ? WHERE customer_id = ?",
        [
            (known.balances[customer_id], known.reserved.get(customer_id, 0), owed.get(customer_id, 0), customer_id)
            for customer_id in sorted(known.touched_customers)
        ],
    )


def _owners(connection: Connection, ids: str) -> dict[str, str]:
    """Return, of a JSON list of identifiers, whom each leads to that leads to exactly one customer."""
    rows = connection.execute(
        "SELECT id, min(customer_id) FROM identifiers WHERE id IN (SELECT value FROM json_each(?)) "
        "GROUP BY id HAVING count(*) = 1",
        (ids,),
    )
    return dict(rows.fetchall())


def _load_debts(connection: Connection, known: Known, customer_ids: list[str]) -> None:
    """Read all that these customers owe, on whichever of their identifiers."""
    rows = connection.execute(
        "SELECT tallies.identifier, tallies.points, tallies.debt FROM customers, json_each(customers.refs) AS ref "
        "JOIN tallies ON tallies.identifier = json_extract(ref.value, '$.id') "
        "WHERE customers.customer_id IN (SELECT value FROM json_each(?)) AND tallies.debt > 0",
        (json.dumps(customer_ids),),
    ).fetchall()
    known.owners |= _owners(connection, json.dumps(sorted({row[0] for row in rows})))
    for identifier, points, debt in rows:
        known.tallies[identifier] = points
        known.debts[identifier] = debt
