"""Classes: customers who are one person, joined by merges. What each is by itself, and what is shown of all.

A merge is an edge from a loser to a winner. Where the edges end is the root of the class; `customers`, `identifiers`
and `balances` hold one row for the class, under the root's id, so that whoever books, reads a page or makes a
snapshot need not know of merges. What each one is by itself stands in `origins`, as imported, so that an unmerge
gives it back. The ledger is never touched: a booking keeps its identifier, an opening balance its customer.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sync.hub.people.customer_rows import CustomerRow, KeptIdentifier, Leaving
from sync.hub.people.merged_rows import compose
from sync.runtime.sqlite_file import Connection


@dataclass(slots=True)
class Plan:
    """How what is shown must change.

    `rows` stand from now on; `leaving` no longer by themselves. `openings` has what the opening balances add to (or
    take from) each balance; `refs_before` the identifiers that customers who come back had when they went; `moved` each
    customer whose class is another now, with the account of before and of now.
    """

    rows: list[CustomerRow] = field(default_factory=list)
    leaving: list[Leaving] = field(default_factory=list)
    openings: dict[str, int] = field(default_factory=dict)
    refs_before: dict[str, str] = field(default_factory=dict)
    moved: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Origin:
    """A customer of a class: its row by itself, and the id that the class was last shown under."""

    row: CustomerRow
    root: str


def winners(connection: Connection, customer_id: str) -> list[str]:
    """Return whom a customer is merged into, the nearest first; nobody for one that stands by itself."""
    rows = connection.execute(
        "WITH RECURSIVE up (id, depth) AS ("
        "SELECT winner, 1 FROM merges WHERE loser = ? AND undone_ms IS NULL UNION ALL "
        "SELECT winner, depth + 1 FROM merges JOIN up ON loser = up.id AND undone_ms IS NULL) "
        "SELECT id FROM up ORDER BY depth",
        (customer_id,),
    )
    return [row[0] for row in rows]


def members(connection: Connection, customer_ids: Iterable[str]) -> set[str]:
    """Return these customers and all who were last shown together with one of them."""
    asked = set(customer_ids)
    rows = connection.execute(
        "SELECT customer_id FROM origins WHERE root IN "
        "(SELECT root FROM origins WHERE customer_id IN (SELECT value FROM json_each(?)))",
        (json.dumps(sorted(asked)),),
    )
    return asked | {row[0] for row in rows}


def merged_among(connection: Connection, customer_ids: Collection[str]) -> dict[str, Origin]:
    """Return those of the customers that belong to a class."""
    rows = connection.execute(
        "SELECT customer_id, root, wire, refs, identifiers FROM origins "
        "WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(customer_ids)),),
    )
    return {
        customer_id: Origin(CustomerRow(customer_id, wire, refs, _identifiers(identifiers)), root)
        for customer_id, root, wire, refs, identifiers in rows
    }


def own_points(connection: Connection, customer_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return for customers of a class what each opened with, and the balance of the class."""
    rows = connection.execute(
        "SELECT origins.customer_id, coalesce(openings.points, 0), balances.points FROM origins "
        "JOIN balances ON balances.customer_id = origins.root "
        "LEFT JOIN openings ON openings.customer_id = origins.customer_id "
        "WHERE origins.customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(customer_ids)),),
    )
    return {customer_id: (opening, balance) for customer_id, opening, balance in rows}


def keep_origin(connection: Connection, row: CustomerRow, root: str) -> None:
    """Write down what a customer of a class is by itself."""
    identifiers = json.dumps([(one.id, one.scheme, one.value) for one in row.identifiers], ensure_ascii=False)
    connection.execute(
        "INSERT INTO origins (customer_id, root, wire, refs, identifiers) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET root = excluded.root, wire = excluded.wire, refs = excluded.refs, "
        "identifiers = excluded.identifiers",
        (row.customer_id, root, row.wire, row.refs, identifiers),
    )


def end_edges(connection: Connection, customer_ids: Iterable[str], now_ms: int) -> dict[str, str]:
    """End every merge into or out of these customers; return the losers' identifiers as shown when they went."""
    named = json.dumps(sorted(customer_ids))
    touching = (
        "undone_ms IS NULL AND (loser IN (SELECT value FROM json_each(?1)) "
        "OR winner IN (SELECT value FROM json_each(?1)))"
    )
    rows = connection.execute(f"SELECT loser, refs FROM merges WHERE {touching}", (named,)).fetchall()
    connection.execute(f"UPDATE merges SET undone_ms = ?2, wire = NULL, refs = NULL WHERE {touching}", (named, now_ms))
    return dict(rows)


def forget_origins(connection: Connection, customer_ids: Iterable[str]) -> None:
    """Let customers stand by themselves."""
    connection.executemany("DELETE FROM origins WHERE customer_id = ?", [(one,) for one in customer_ids])


def replan(connection: Connection, customer_ids: Collection[str], came_back: Mapping[str, str]) -> Plan:
    """Return what to show of classes whose edges or rows changed, and note the new roots.

    Args:
        connection: in a transaction that writes the plan too.
        customer_ids: all members of these classes, as they were and as they are.
        came_back: the identifiers of losers whose edge ended, as shown when they went.
    """
    origins = merged_among(connection, customer_ids)
    classes: dict[str, list[Origin]] = {}
    for customer_id, origin in origins.items():
        root = [customer_id, *winners(connection, customer_id)][-1]
        classes.setdefault(root, []).append(origin)
    plan = Plan()
    openings = _openings(connection, origins)
    alone = []
    for root, joined in sorted(classes.items()):
        others = sorted((one.row for one in joined if one.row.customer_id != root), key=lambda row: row.customer_id)
        plan.rows.append(compose(origins[root].row, others))
        if origins[root].root != root and root in came_back:
            plan.refs_before[root] = came_back[root]
        if not others:
            alone.append(root)
        for one in joined:
            customer_id, points = one.row.customer_id, openings.get(one.row.customer_id, 0)
            if one.root == customer_id != root:
                plan.leaving.append(Leaving(customer_id, "merged"))
            if one.root != root:
                plan.openings[one.root] = plan.openings.get(one.root, 0) - points
                plan.openings[root] = plan.openings.get(root, 0) + points
                plan.moved.append((customer_id, one.root, root))
                connection.execute("UPDATE origins SET root = ? WHERE customer_id = ?", (root, customer_id))
    forget_origins(connection, alone)
    return plan


def _openings(connection: Connection, customer_ids: Iterable[str]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT customer_id, points FROM openings WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(customer_ids)),),
    )
    return dict(rows.fetchall())


def _identifiers(text: str) -> tuple[KeptIdentifier, ...]:
    rows: Sequence[Sequence[str]] = json.loads(text)
    return tuple(KeptIdentifier(*row) for row in rows)
