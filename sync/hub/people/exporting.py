"""Exporting what the hub holds as of one moment: its customers, or the events of its ledger.

Customers go out in a form that an import reads back as the same: the balance of the moment becomes the opening
balance of whoever imports the file. Those of a merge go out each by itself, because merges are no rows of a file.
Points that wait on cards which lead to nobody are no customer's, and are not in it.
Events go out with what became of them, so that anybody can add up the ledger; they hold no personal data.
"""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from sync.hub.people.columns import NAMES, to_cells
from sync.runtime.sqlite_file import Connection, Row

Format = Literal["ndjson", "csv"]

_ROWS_AT_ONCE = 1_000


def export_customers(connection: Connection, out: TextIO, form: Format) -> int:
    """Write every customer to `out` and return how many; run whole within one read."""
    header = [name for name in NAMES if name != "gone"]
    table = csv.DictWriter(out, header, lineterminator="\n")
    if form == "csv":
        table.writeheader()
    number = 0
    for fields in _customers(connection):
        number += 1
        if form == "csv":
            table.writerow(to_cells(fields))
        else:
            out.write(json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n")
    return number


def export_events(connection: Connection, out: TextIO) -> int:
    """Write every event the hub received as NDJSON, in the order of its streams, and return how many."""
    cursor = connection.execute(
        "SELECT streams.terminal_id, coalesce(fork_of, inc), iif(fork_of IS NULL, NULL, inc), seq, outcome, reason, "
        "points, received_ms, occurred_ms, time_quality, is_late, raw FROM events "
        "JOIN streams ON streams.stream = events.stream ORDER BY events.number"
    )
    number = 0
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        for row in rows:
            terminal_id, inc, fork, seq, outcome, reason, points, received_ms, occurred_ms, quality, is_late, raw = row
            number += 1
            fields = {
                "terminal_id": terminal_id,
                "inc": inc,
                "seq": seq,
                "fork": fork,
                "outcome": outcome,
                "reason": reason,
                "points": points,
                "received_at": _moment(received_ms),
                "occurred_at": _moment(occurred_ms) if occurred_ms is not None else None,
                "time_quality": quality,
                "late": bool(is_late),
                "event": json.loads(raw),
            }
            out.write(json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n")
    return number


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _customers(connection: Connection) -> Iterator[dict[str, Any]]:
    cursor = connection.execute(
        "SELECT wire, refs, balances.points FROM customers "
        "JOIN balances ON balances.customer_id = customers.customer_id "
        "WHERE NOT EXISTS (SELECT 1 FROM origins WHERE origins.customer_id = customers.customer_id) "
        "ORDER BY customers.customer_id"
    )
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        values = _values(connection, rows)
        for wire, refs, points in rows:
            identifiers = [{"scheme": ref["scheme"], "value": values[ref["id"]]} for ref in json.loads(refs)]
            yield {**json.loads(wire), "identifiers": identifiers, "points": points}
    yield from _merged(connection)


def _merged(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the customers of merges, each by itself with its own points; what they share is the winner's."""
    rest: dict[str, int] = dict(
        connection.execute(
            "SELECT balances.customer_id, points FROM balances WHERE balances.customer_id IN (SELECT root FROM origins)"
        ).fetchall()
    )
    rows = connection.execute(
        "SELECT wire, identifiers, customer_id, root, "
        "coalesce((SELECT points FROM openings WHERE openings.customer_id = origins.customer_id), 0) + coalesce(("
        "SELECT sum(tallies.points) FROM json_each(origins.identifiers) AS own "
        "JOIN tallies ON tallies.identifier = own.value ->> 0 "
        "WHERE (SELECT group_concat(leads.customer_id) FROM identifiers AS leads "
        "WHERE leads.id = own.value ->> 0) = origins.root "
        "AND (SELECT count(*) FROM origins AS other, json_each(other.identifiers) AS theirs "
        "WHERE other.root = origins.root AND theirs.value ->> 0 = own.value ->> 0) = 1), 0) "
        "FROM origins ORDER BY customer_id = root, customer_id"
    ).fetchall()
    for wire, identifiers, customer_id, root, own in rows:
        points = rest[root] if customer_id == root else own
        rest[root] -= own
        values = [{"scheme": scheme, "value": value} for _, scheme, value in json.loads(identifiers)]
        yield {**json.loads(wire), "identifiers": values, "points": points}


def _values(connection: Connection, rows: list[Row]) -> dict[str, str]:
    """Return the value of each identifier of these customers."""
    ids = [ref["id"] for _, refs, _ in rows for ref in json.loads(refs)]
    found = connection.execute(
        "SELECT DISTINCT id, value FROM identifiers WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
    )
    return dict(found.fetchall())
