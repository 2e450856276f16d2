"""Ledger: the hub's books of record. What of them a run of events touches is read, judged and written as one.

`load` reads what the books say of everything the events touch, `write` writes what the posting made of it; both in the
caller's one transaction. Sets go in as one JSON array each, so a batch of 500 is a handful of statements.
"""

import json
from collections.abc import Iterable

from sync.contract.events import (
    REDEEMED,
    AllowanceReturned,
    PointsEarned,
    PointsRedeemed,
    PointsReversed,
    RedemptionReversed,
)
from sync.contract.program import Program
from sync.contract.protocol import Reason
from sync.hub.books.account_rows import Touched, load_accounts, write_accounts
from sync.hub.books.event_rows import write_fresh, write_settled
from sync.hub.books.redemption_rows import is_recovering, load_redemptions, write_debts, write_redemptions
from sync.hub.books.reversal_rows import OF_SALES, load_judged, load_waiting, write_judged, write_waiting
from sync.hub.feed.feed_log import append, last_pos
from sync.hub.judging.posting import FeedRow, Known, Posting
from sync.hub.judging.times import Timekeeper
from sync.hub.judging.verdicts import Sale
from sync.hub.uploads.batch import Item
from sync.runtime.sqlite_file import Connection

_REDEEMING = (PointsRedeemed, RedemptionReversed, AllowanceReturned)


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
        elif isinstance(item.fact, _REDEEMING) or (item.type == REDEEMED and item.fault is Reason.HUB_FAULT):
            redeeming.append(item)
    recovers = is_recovering(connection)
    known = Known(
        last_pos(connection),
        programs=_programs(connection, versions),
        is_recovering=recovers,
        grows_back=not recovers,
    )
    known.sales = _sales(connection, store_id, sale_ids)
    known.waiting = load_waiting(connection, OF_SALES, store_id, sale_ids)
    known.reversals = load_judged(connection, OF_SALES, store_id, reversal_ids, known.waiting)
    touched = load_redemptions(connection, store_id, known, redeeming) if redeeming else Touched()
    touched.identifiers |= identifiers | {sale.identifier for sale in known.sales.values()}
    load_accounts(connection, known, touched)
    return known


def write(
    connection: Connection, store_id: str, posting: Posting, now_ms: int, times: Timekeeper | None = None
) -> None:
    """Write all that a posting made; `times` says when new events happened."""
    known = posting.known
    write_fresh(connection, posting.fresh, now_ms, times)
    write_settled(connection, posting.settled)
    _write_sales(connection, store_id, ((sale_id, known.sales[sale_id]) for sale_id in posting.sales))
    write_judged(connection, OF_SALES, store_id, ((one, known.reversals[one]) for one in posting.reversals))
    write_waiting(connection, OF_SALES, store_id, posting.waits, posting.waits_over)
    if posting.redemptions or posting.undoings or posting.undoing_waits or posting.reserves or known.entries:
        write_redemptions(connection, store_id, posting, now_ms)
    write_accounts(connection, known)
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
    load_accounts(connection, known, Touched(identifiers=set(owing)))
    feed = []
    for account in sorted({known.account(one) for one in owing if not known.is_nobodys(one)}):
        event = max(number for one, number in owing.items() if known.account(one) == account)
        if known.pay_debts(event, account, known.free(account)):
            known.last_pos += 1
            kind = "balance" if account in known.balances else "card"
            feed.append(FeedRow(known.last_pos, kind, account, known.posted(account)))
    write_debts(connection, known, now_ms)
    write_accounts(connection, known)
    append(connection, feed)
    return known.last_pos


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


def _write_sales(connection: Connection, store_id: str, sales: Iterable[tuple[str, Sale]]) -> None:
    connection.executemany(
        "INSERT INTO sales (store_id, sale_id, event, identifier, points, taken_back) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET taken_back = excluded.taken_back",
        [(store_id, sale_id, sale.event, sale.identifier, sale.points, sale.taken_back) for sale_id, sale in sales],
    )
