"""Books: the hub's ledger of record, and all of its SQL.

`load` reads what the books say of everything a run of events touches, `write` writes what the posting made of it; both
in the caller's one transaction. Sets go in as one JSON array each, so a batch of 500 is a handful of statements.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sync.contract.events import (
    AllowanceReturned,
    Flag,
    PointsEarned,
    PointsRedeemed,
    PointsReversed,
    RedemptionReversed,
)
from sync.contract.program import Program
from sync.contract.protocol import Reason, Verdict
from sync.hub.batch import Item, read_item
from sync.hub.feed_log import append, last_pos
from sync.hub.posting import FeedRow, Kept, Known, Origin, Parked, Posting
from sync.hub.redemption_books import Touched, is_recovering, load_redemptions, write_debts, write_redemptions
from sync.hub.times import Timekeeper
from sync.hub.verdicts import Sale
from sync.runtime.sqlite_file import Connection, Row


def load(connection: Connection, store_id: str, items: Iterable[Item]) -> Known:
    """Return what the books say of everything that these events of one store touch."""
    sale_ids, reversal_ids, identifiers, versions = set(), set(), set(), set()
    redeeming = []
    for item in items:
        if isinstance(item.fact, PointsEarned):
            versions.add(item.fact.program_version)
            sale_ids.add(item.fact.sale_id)
            identifiers.add(item.subject)
        elif isinstance(item.fact, PointsReversed):
            sale_ids.add(item.fact.sale_id)
            reversal_ids.add(item.fact.reversal_id)
        elif isinstance(item.fact, PointsRedeemed | RedemptionReversed | AllowanceReturned):
            redeeming.append(item)
    known = Known(
        last_pos(connection), programs=_programs(connection, versions), is_recovering=is_recovering(connection)
    )
    known.sales = _sales(connection, store_id, sale_ids)
    known.waiting = _waiting(connection, store_id, sale_ids)
    for parked in (parked for waiting in known.waiting.values() for parked in waiting):
        reversal_ids.add(parked.fact.reversal_id)
    known.reversals = _reversals(connection, store_id, reversal_ids)
    touched = load_redemptions(connection, store_id, known, redeeming) if redeeming else Touched()
    touched.identifiers |= identifiers | {sale.identifier for sale in known.sales.values()}
    _load_accounts(connection, known, touched)
    return known


def write(
    connection: Connection, store_id: str, posting: Posting, now_ms: int, times: Timekeeper | None = None
) -> None:
    """Write all that a posting made; `times` says when new events happened."""
    known = posting.known
    connection.executemany(
        "INSERT INTO events (number, type, identifier, points, outcome, reason, pos, received_ms, raw, occurred_ms, "
        "time_quality, is_late) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_event_row(kept, now_ms, times) for kept in posting.fresh],
    )
    connection.executemany(
        "UPDATE events SET outcome = ?, reason = ?, identifier = ?, points = ? WHERE number = ?",
        [
            (kept.decision.outcome, kept.decision.reason, kept.identifier, kept.decision.points, kept.number)
            for kept in posting.settled
        ],
    )
    sales = ((sale_id, known.sales[sale_id]) for sale_id in posting.sales)
    connection.executemany(
        "INSERT INTO sales (store_id, sale_id, event, identifier, points, taken_back) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET taken_back = excluded.taken_back",
        [(store_id, sale_id, sale.event, sale.identifier, sale.points, sale.taken_back) for sale_id, sale in sales],
    )
    connection.executemany(
        "INSERT INTO reversals (store_id, reversal_id, sale_id) VALUES (?, ?, ?)",
        [(store_id, reversal_id, known.reversals[reversal_id]) for reversal_id in posting.reversals],
    )
    connection.executemany(
        "INSERT INTO waiting (store_id, sale_id, event) VALUES (?, ?, ?)",
        [(store_id, sale_id, event) for sale_id, event in posting.waits],
    )
    connection.executemany(
        "DELETE FROM waiting WHERE store_id = ? AND sale_id = ? AND event = ?",
        [(store_id, sale_id, event) for sale_id, event in posting.waits_over],
    )
    if posting.redemptions or posting.undoings or posting.undoing_waits or posting.reserves or known.entries:
        write_redemptions(connection, store_id, posting, now_ms)
    _write_accounts(connection, known)
    append(connection, posting.feed)


def pay_what_is_owed(connection: Connection, now_ms: int) -> int:
    """Let free points pay the debts of their owners; return the feed's position. While the hub recovers none are."""
    owing: dict[str, int] = dict(
        connection.execute(
            "SELECT identifier, max(event) FROM entries WHERE identifier IN "
            "(SELECT identifier FROM tallies WHERE debt > 0) AND kind = 'debt' GROUP BY identifier"
        ).fetchall()
    )
    known = Known(last_pos(connection), is_recovering=is_recovering(connection))
    _load_accounts(connection, known, Touched(identifiers=set(owing)))
    feed = []
    for account in sorted({known.account(one) for one in owing if not known.is_nobodys(one)}):
        event = max(number for one, number in owing.items() if known.account(one) == account)
        if known.pay_debts(event, account, known.free(account)):
            known.last_pos += 1
            kind = "balance" if account in known.balances else "card"
            feed.append(FeedRow(known.last_pos, kind, account, known.posted(account)))
    write_debts(connection, known, now_ms)
    _write_accounts(connection, known)
    append(connection, feed)
    return known.last_pos


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that could not be judged when it came."""

    store_id: str
    origin: Origin
    item: Item


def parked_events(
    connection: Connection, types: Sequence[str], reason: Reason = Reason.UNKNOWN_TYPE
) -> list[ParkedEvent]:
    """Return the events of these types that are parked for this reason, in the order they came in."""
    rows = connection.execute(
        "SELECT terminals.store_id, events.stream, streams.terminal_id, streams.inc, events.seq, events.raw "
        "FROM events "
        "JOIN streams ON streams.stream = events.stream "
        "JOIN terminals ON terminals.terminal_id = streams.terminal_id "
        "WHERE events.outcome = 'parked' AND events.reason = ? "
        "AND events.type IN (SELECT value FROM json_each(?)) ORDER BY events.pos, events.number",
        (reason, json.dumps(types)),
    )
    return [
        ParkedEvent(store_id, Origin(stream, terminal_id, inc), read_item(raw, store_id, terminal_id, seq))
        for store_id, stream, terminal_id, inc, seq, raw in rows
    ]


def verdict_of(connection: Connection, terminal_id: str, inc: str, seq: int) -> Verdict | None:
    """Return the verdict that the books hold for an event now."""
    row = connection.execute(
        "SELECT outcome, reason FROM events WHERE number = "
        "(SELECT stream << 32 | ? FROM streams WHERE terminal_id = ? AND inc = ?)",
        (seq, terminal_id, inc),
    ).fetchone()
    return Verdict(seq=seq, outcome=row[0], reason=row[1]) if row else None


def _event_row(kept: Kept, now_ms: int, times: Timekeeper | None) -> Row:
    decision, item = kept.decision, kept.item
    identifier = kept.identifier if decision.points else None
    verdict = (identifier, decision.points, decision.outcome, decision.reason)
    return (kept.number, item.type, *verdict, kept.pos, now_ms, item.raw, *_occurred(item, times))


def _occurred(item: Item, times: Timekeeper | None) -> tuple[int | None, str | None, bool | None]:
    if item.claim is None or times is None:
        return (None, None, None)
    is_doubted = item.fact is not None and Flag.TIME_UNTRUSTED in getattr(item.fact, "flags", ())
    return times.occurred(item.claim, is_doubted=is_doubted)


def _programs(connection: Connection, versions: set[int]) -> dict[int, Program]:
    rows = connection.execute(
        "SELECT version, document FROM programs WHERE version IN (SELECT value FROM json_each(?))",
        (json.dumps(list(versions)),),
    )
    return {version: Program.model_validate_json(document) for version, document in rows}


def _sales(connection: Connection, store_id: str, sale_ids: set[str]) -> dict[str, Sale]:
    rows = connection.execute(
        "SELECT sale_id, event, identifier, points, taken_back FROM sales "
        "WHERE store_id = ? AND sale_id IN (SELECT value FROM json_each(?))",
        (store_id, json.dumps(list(sale_ids))),
    )
    return {sale_id: Sale(*rest) for sale_id, *rest in rows}


def _reversals(connection: Connection, store_id: str, reversal_ids: set[str]) -> dict[str, str]:
    rows = connection.execute(
        "SELECT reversal_id, sale_id FROM reversals "
        "WHERE store_id = ? AND reversal_id IN (SELECT value FROM json_each(?))",
        (store_id, json.dumps(list(reversal_ids))),
    )
    return dict(rows.fetchall())


def _waiting(connection: Connection, store_id: str, sale_ids: set[str]) -> dict[str, list[Parked]]:
    rows = connection.execute(
        "SELECT waiting.sale_id, events.number, events.stream, streams.terminal_id, streams.inc, events.seq, "
        "events.raw FROM waiting "
        "JOIN events ON events.number = waiting.event "
        "JOIN streams ON streams.stream = events.stream "
        "WHERE waiting.store_id = ? AND waiting.sale_id IN (SELECT value FROM json_each(?)) ORDER BY events.pos",
        (store_id, json.dumps(list(sale_ids))),
    )
    waiting: dict[str, list[Parked]] = {}
    for sale_id, number, stream, terminal_id, inc, seq, raw in rows:
        fact = read_item(raw, store_id, terminal_id, seq).fact
        if isinstance(fact, PointsReversed):
            parked = Parked(number, Origin(stream, terminal_id, inc), seq, fact)
            waiting.setdefault(sale_id, []).append(parked)
    return waiting


def _load_accounts(connection: Connection, known: Known, touched: Touched) -> None:
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


def _write_accounts(connection: Connection, known: Known) -> None:
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
