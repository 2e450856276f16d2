"""The part of the books that redemptions touch: allowances, redemptions, the store's risks, the hub's own entries.

What `load_redemptions` reads, a posting changes, and `write_redemptions` writes; both in the caller's one transaction.
Batches without redemptions pay nothing for them.
"""

import json
from collections.abc import Sequence

from pydantic import ValidationError

from sync.contract.events import (
    REDEEMED,
    AllowanceReturned,
    Event,
    PointsRedeemed,
    RedemptionReversed,
    UnknownEventType,
    read_fact,
)
from sync.contract.protocol import Reason
from sync.hub.books.account_rows import Touched
from sync.hub.books.reversal_rows import OF_REDEMPTIONS, load_judged, load_waiting, write_judged, write_waiting
from sync.hub.judging.posting import Known, Posting
from sync.hub.judging.redemptions import Redemption, Reserve
from sync.hub.uploads.batch import Item
from sync.runtime.sqlite_file import Connection

_RESERVES = "SELECT allowance_id, terminal_id, account, amount, spent, closed_ms IS NULL FROM allowances WHERE "


def load_redemptions(connection: Connection, store_id: str, known: Known, items: Sequence[Item]) -> Touched:
    """Read into `known` what these events of one store touch, but for the accounts, which are returned."""
    redemption_ids, undoing_ids, allowance_ids = set(), set(), set()
    touched = Touched()
    for item in items:
        if isinstance(item.fact, PointsRedeemed):
            redemption_ids.add(item.fact.redemption_id)
            allowance_ids |= {share.allowance_id for share in item.fact.shares}
            touched.identifiers.add(item.subject)
        elif isinstance(item.fact, RedemptionReversed):
            redemption_ids.add(item.fact.redemption_id)
            undoing_ids.add(item.fact.reversal_id)
        elif isinstance(item.fact, AllowanceReturned):
            allowance_ids.add(item.fact.allowance_id)
    known.redemptions = _redemptions(connection, store_id, redemption_ids)
    known.undoings_waiting = load_waiting(connection, OF_REDEMPTIONS, store_id, redemption_ids)
    known.undoings = load_judged(connection, OF_REDEMPTIONS, store_id, undoing_ids, known.undoings_waiting)
    for redemption in known.redemptions.values():
        touched.identifiers.add(redemption.identifier)
        allowance_ids |= redemption.covered.keys()
    known.reserves = _reserves(connection, allowance_ids)
    known.held_spends = _held_spends(connection, known, items)
    touched.customers = {reserve.account for reserve in known.reserves.values()}
    return touched


def is_recovering(connection: Connection) -> bool:
    """Tell whether the hub waits for terminals after it was brought back from a backup."""
    row = connection.execute("SELECT recovery_until_ms IS NOT NULL FROM hub").fetchone()
    return bool(row and row[0])


def write_redemptions(connection: Connection, store_id: str, posting: Posting, now_ms: int) -> None:
    """Write what a posting made of allowances, redemptions, risks and debts."""
    known = posting.known
    redemptions = ((redemption_id, known.redemptions[redemption_id]) for redemption_id in posting.redemptions)
    connection.executemany(
        "INSERT INTO redemptions (store_id, redemption_id, event, terminal_id, identifier, points, reward_id, booked, "
        "goodwill, risk, covered, is_reversed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET is_reversed = excluded.is_reversed",
        [
            (
                *(store_id, redemption_id, one.event, one.terminal_id, one.identifier, one.points, one.reward_id),
                *(one.booked, one.goodwill, one.risk, json.dumps(one.covered), one.is_reversed),
            )
            for redemption_id, one in redemptions
        ],
    )
    write_judged(connection, OF_REDEMPTIONS, store_id, ((one, known.undoings[one]) for one in sorted(posting.undoings)))
    write_waiting(connection, OF_REDEMPTIONS, store_id, posting.undoing_waits, posting.undoing_waits_over)
    reserves = ((allowance_id, known.reserves[allowance_id]) for allowance_id in sorted(posting.reserves))
    connection.executemany(
        "UPDATE allowances SET spent = ?2, closed_ms = CASE WHEN ?3 THEN NULL ELSE ?4 END, "
        "closed_by = CASE WHEN ?3 THEN NULL ELSE 'returned' END WHERE allowance_id = ?1",
        [(allowance_id, reserve.spent, reserve.is_open, now_ms) for allowance_id, reserve in reserves],
    )
    connection.executemany(
        "INSERT INTO risks (event, store_id, kind, points, at_ms) VALUES (?, ?, ?, ?, ?)",
        [(event, store_id, kind, points, now_ms) for event, kind, points in posting.risks],
    )
    write_debts(connection, known, now_ms)


def write_debts(connection: Connection, known: Known, now_ms: int) -> None:
    """Write what became owed and what was paid of it."""
    connection.executemany(
        "INSERT INTO entries (kind, identifier, points, event, at_ms) VALUES ('debt', ?, ?, ?, ?)",
        [(entry.identifier, entry.points, entry.event, now_ms) for entry in known.entries],
    )


def listed_risks(connection: Connection) -> list[tuple[str, str, int]]:
    """Return what each store gave beyond what customers had, by kind, less what was taken back."""
    rows = connection.execute(
        "SELECT store_id, kind, sum(points) FROM risks GROUP BY store_id, kind HAVING sum(points) <> 0 ORDER BY 1, 2"
    )
    return [(store_id, kind, points) for store_id, kind, points in rows]


def _reserves(connection: Connection, allowance_ids: set[str]) -> dict[str, Reserve]:
    rows = connection.execute(
        f"{_RESERVES} allowance_id IN (SELECT value FROM json_each(?))", (json.dumps(sorted(allowance_ids)),)
    )
    return {
        allowance_id: Reserve(terminal_id, account, amount, spent, bool(is_open))
        for allowance_id, terminal_id, account, amount, spent, is_open in rows
    }


def _held_spends(connection: Connection, known: Known, items: Sequence[Item]) -> set[str]:
    """Return the allowances given back here that a redemption spends of which the hub fell over, here or before.

    No other reason needs it. Of a terminal in quarantine everything is parked, and judged in the order in which it
    came; and while the hub recovers nothing is granted, so what comes back stays free for whoever waits for the end.
    """
    returned = {item.fact.allowance_id for item in items if isinstance(item.fact, AllowanceReturned)}
    holders = {one: known.reserves[one].terminal_id for one in returned & known.reserves.keys()}
    if not holders:
        return set()
    rows = connection.execute(
        "SELECT streams.terminal_id, events.raw FROM events JOIN streams ON streams.stream = events.stream "
        "WHERE events.outcome = 'parked' AND events.type = ? AND events.reason = ? "
        "AND streams.terminal_id IN (SELECT value FROM json_each(?)) "
        "AND EXISTS (SELECT 1 FROM json_each(?) WHERE instr(events.raw, value) > 0)",
        (REDEEMED, Reason.HUB_FAULT, json.dumps(sorted(set(holders.values()))), json.dumps(sorted(holders))),
    ).fetchall()
    held = {one for terminal_id, raw in rows for one in _spent_of(raw) if holders.get(one) == terminal_id}
    faulty = [item for item in items if item.type == REDEEMED and item.fault is Reason.HUB_FAULT]
    return held | (holders.keys() & {one for item in faulty for one in _spent_of(item.raw)})


def _spent_of(raw: str) -> set[str]:
    """Return the allowances that a kept redemption spends of; none where it will be refused as no redemption."""
    try:
        fact = read_fact(Event.model_validate(json.loads(raw)))
    except (ValidationError, UnknownEventType):
        return set()
    return {share.allowance_id for share in fact.shares} if isinstance(fact, PointsRedeemed) else set()


def _redemptions(connection: Connection, store_id: str, redemption_ids: set[str]) -> dict[str, Redemption]:
    rows = connection.execute(
        "SELECT redemption_id, event, terminal_id, identifier, points, reward_id, booked, goodwill, risk, covered, "
        "is_reversed FROM redemptions WHERE store_id = ? AND redemption_id IN (SELECT value FROM json_each(?))",
        (store_id, json.dumps(sorted(redemption_ids))),
    )
    redemptions = {}
    for redemption_id, *whose, reward_id, booked, goodwill, risk, covered, is_reversed in rows:
        event, terminal_id, identifier, points = whose
        redemptions[redemption_id] = Redemption(
            event=event,
            terminal_id=terminal_id,
            identifier=identifier,
            points=points,
            reward_id=reward_id,
            booked=booked,
            goodwill=goodwill,
            risk=risk,
            covered=json.loads(covered),
            is_reversed=bool(is_reversed),
        )
    return redemptions
