"""Allowances in the books: what each terminal holds of whose points, and how that follows the customers.

The sum that open allowances of a customer still hold is in `balances.reserved`, moved in the transaction that moves an
allowance. Merges and unmerges move whole allowances from account to account, and the terminal goes on spending them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sync.contract.allowance import ALLOWANCES_PER_TERMINAL_MAX, Allowance, AllowancesWord, HeldAllowance, NotGranted
from sync.contract.events import ALLOWANCE_RETURNED, REDEEMED, AllowanceReturned, PointsRedeemed
from sync.contract.protocol import INCARNATIONS_PER_HELLO_MAX
from sync.hub.escrow.grants import Purse
from sync.hub.feed.feed_log import append, last_pos
from sync.hub.judging.posting import FeedRow
from sync.hub.uploads.batch import read_item
from sync.hub.uploads.fences import is_quarantined
from sync.runtime.sqlite_file import Connection

# A closed allowance is of no use; it is kept for a while for whoever asks what became of it.
CLOSED_KEPT = timedelta(days=60)
# Rows deleted per transaction: some milliseconds.
PRUNE_ROWS = 5_000

_OPEN = "closed_ms IS NULL"


@dataclass(frozen=True, slots=True)
class Asker:
    """The terminal that asks, and how the hub is called."""

    terminal_id: str
    store_id: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list of allowances shows of one."""

    allowance_id: str
    terminal_id: str
    customer_id: str
    rest: int
    amount: int
    granted_at: datetime
    expires_at: datetime
    is_recalled: bool


def word_for(connection: Connection, asker: Asker, now: datetime, refused: Sequence[NotGranted] = ()) -> AllowancesWord:
    """Return all open allowances of a terminal, and how far its spends are contained in them.

    One in quarantine is told of none, and spends nothing; what it holds stays reserved. One whose return is parked the
    terminal has given up: it would spend it behind its return.
    """
    rows = connection.execute(
        "SELECT allowance_id, account, amount, spent, expires_ms, recalled_ms IS NOT NULL FROM allowances "
        f"WHERE terminal_id = ? AND {_OPEN} ORDER BY expires_ms, allowance_id LIMIT ?",
        (asker.terminal_id, ALLOWANCES_PER_TERMINAL_MAX),
    ).fetchall()
    now_ms = _ms(now)
    if is_quarantined(connection, asker.terminal_id):
        rows = []
    parked, given_up = _of_parked(connection, asker) if rows else ({}, set())
    applied = connection.execute(
        "SELECT inc, through FROM streams WHERE terminal_id = ? AND fork_of IS NULL ORDER BY stream DESC LIMIT ?",
        (asker.terminal_id, INCARNATIONS_PER_HELLO_MAX),
    ).fetchall()
    return AllowancesWord(
        hub_epoch=asker.epoch,
        allowances=tuple(
            Allowance(
                allowance_id=allowance_id,
                customer_id=account,
                amount=amount,
                spent=min(spent + parked.get(allowance_id, 0), amount),
                ttl_s=max(expires_ms - now_ms, 0) // 1000,
                recalled=bool(is_recalled),
            )
            for allowance_id, account, amount, spent, expires_ms, is_recalled in rows
            if allowance_id not in given_up
        ),
        applied=dict(applied),
        refused=tuple(refused),
    )


def count_open(connection: Connection, terminal_id: str) -> int:
    """Return how many allowances a terminal holds."""
    row = connection.execute(
        f"SELECT count(*) FROM allowances WHERE terminal_id = ? AND {_OPEN}", (terminal_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def add(connection: Connection, terminal_id: str, new: HeldAllowance, now: datetime, ttl_s: int) -> None:
    """Reserve points for a terminal. The caller has seen that they are free."""
    account = account_of(connection, new.customer_id)
    connection.execute(
        "INSERT INTO allowances (allowance_id, terminal_id, customer_id, account, amount, spent, granted_ms, "
        "expires_ms) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        (new.allowance_id, terminal_id, account, account, new.amount, _ms(now), _ms(now) + ttl_s * 1000),
    )
    connection.execute("UPDATE balances SET reserved = reserved + ? WHERE customer_id = ?", (new.amount, account))


def adopt(
    connection: Connection, terminal_id: str, held: Iterable[HeldAllowance], now: datetime, ttl_s: int
) -> list[str]:
    """Take up what a terminal holds and the books, brought back from a backup, do not know; return the ids.

    What was spent of it the terminal sends again, so it begins unspent.
    """
    wanted = {one.allowance_id: one for one in held}
    rows = connection.execute(
        "SELECT allowance_id FROM allowances WHERE allowance_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(wanted)),),
    )
    unknown = sorted(wanted.keys() - {row[0] for row in rows})
    for allowance_id in unknown:
        account = account_of(connection, wanted[allowance_id].customer_id)
        connection.execute(
            "INSERT INTO balances (customer_id, points) VALUES (?, 0) ON CONFLICT DO NOTHING", (account,)
        )
        add(connection, terminal_id, wanted[allowance_id], now, ttl_s)
    return unknown


def account_of(connection: Connection, customer_id: str) -> str:
    """Return whom a customer is shown as now: itself, or whoever it is merged into."""
    row = connection.execute("SELECT root FROM origins WHERE customer_id = ?", (customer_id,)).fetchone()
    return str(row[0]) if row else customer_id


def tell(connection: Connection, terminal_ids: Iterable[str]) -> int:
    """Call terminals to ask again what they hold, and return the feed's position after it."""
    pos = last_pos(connection)
    rows = [FeedRow(number, "allowances", one) for number, one in enumerate(sorted(set(terminal_ids)), start=pos + 1)]
    append(connection, rows)
    return pos + len(rows)


def purse_of(connection: Connection, asker: Asker, customer_id: str, now: datetime) -> Purse | None:
    """Return the points of a customer and what is held of them, or None where there is no such customer."""
    row = connection.execute(
        "SELECT points, reserved FROM customers JOIN balances ON balances.customer_id = customers.customer_id "
        "WHERE customers.customer_id = ?",
        (customer_id,),
    ).fetchone()
    if row is None:
        return None
    held = connection.execute(
        "SELECT coalesce(sum(amount - spent) FILTER (WHERE allowances.terminal_id = ?1), 0), "
        "coalesce(sum(amount - spent) FILTER (WHERE store_id = ?2), 0) FROM allowances "
        "LEFT JOIN terminals ON terminals.terminal_id = allowances.terminal_id "
        f"WHERE account = ?3 AND {_OPEN} AND recalled_ms IS NULL AND expires_ms > ?4",
        (asker.terminal_id, asker.store_id, customer_id, _ms(now)),
    ).fetchone()
    return Purse(row[0], row[1], *(held or (0, 0)))


def elsewhere(connection: Connection, account: str, terminal_id: str) -> list[tuple[str, str, int, bool]]:
    """Return what other terminals hold of a customer: allowance, terminal, points, and whether it was recalled.

    What was recalled before comes first, then the oldest.
    """
    rows = connection.execute(
        "SELECT allowance_id, terminal_id, amount - spent, recalled_ms IS NOT NULL FROM allowances "
        f"WHERE account = ? AND terminal_id <> ? AND {_OPEN} AND amount > spent "
        "ORDER BY recalled_ms IS NULL, allowance_id",
        (account, terminal_id),
    )
    return [(*row[:3], bool(row[3])) for row in rows]


def recall(connection: Connection, allowance_ids: Iterable[str], now_ms: int) -> None:
    """Ask for allowances back; a terminal returns what it did not use when it hears of it."""
    connection.executemany(
        "UPDATE allowances SET recalled_ms = ? WHERE allowance_id = ? AND recalled_ms IS NULL",
        [(now_ms, allowance_id) for allowance_id in allowance_ids],
    )


def follow_moves(connection: Connection, moved: Iterable[tuple[str, str, str]]) -> set[str]:
    """Move the allowances of customers (id, account before, account now) and return the terminals that hold them."""
    terminals: set[str] = set()
    touched: set[str] = set()
    for customer_id, before, now in moved:
        rows = connection.execute(
            f"UPDATE allowances SET account = ? WHERE account = ? AND customer_id = ? AND {_OPEN} "
            "RETURNING terminal_id",
            (now, before, customer_id),
        ).fetchall()
        if rows:
            terminals |= {row[0] for row in rows}
            touched |= {before, now}
    _sum_up(connection, touched)
    return terminals


def leave(connection: Connection, erased: Iterable[str], others: Iterable[str], now_ms: int) -> set[str]:
    """Let customers go who leave: allowances of erased ones end, the others' are recalled; return the terminals."""
    terminals: set[str] = set()
    gone = set(erased)
    for account in sorted(gone):
        rows = connection.execute(
            f"UPDATE allowances SET closed_ms = ?, closed_by = 'erased' WHERE account = ? AND {_OPEN} "
            "RETURNING terminal_id",
            (now_ms, account),
        ).fetchall()
        terminals |= {row[0] for row in rows}
    _sum_up(connection, gone)
    for account in sorted(set(others)):
        left = elsewhere(connection, account, "")
        recall(connection, [one[0] for one in left], now_ms)
        terminals |= {one[1] for one in left}
    return terminals


def release(connection: Connection, terminal_id: str, now_ms: int) -> tuple[int, int]:
    """Let the points go that a terminal still holds; return the number of allowances and of points.

    What it spends of them later is paid by points that are free then, and else at the store's risk.
    """
    rows = connection.execute(
        f"UPDATE allowances SET closed_ms = ?, closed_by = 'released' WHERE terminal_id = ? AND {_OPEN} "
        "RETURNING account, amount - spent",
        (now_ms, terminal_id),
    ).fetchall()
    _sum_up(connection, {account for account, _ in rows})
    return len(rows), sum(rest for _, rest in rows)


def prune_closed(connection: Connection, now: datetime) -> bool:
    """Delete some allowances that were closed long ago; tell whether there may be more."""
    connection.execute(
        "DELETE FROM allowances WHERE allowance_id IN "
        "(SELECT allowance_id FROM allowances WHERE closed_ms IS NOT NULL AND closed_ms < ? LIMIT ?)",
        (_ms(now - CLOSED_KEPT), PRUNE_ROWS),
    )
    row = connection.execute("SELECT changes()").fetchone()
    return bool(row and row[0] == PRUNE_ROWS)


def listed(connection: Connection) -> list[Listed]:
    """Return all open allowances, by terminal."""
    rows = connection.execute(
        "SELECT allowance_id, terminal_id, account, amount - spent, amount, granted_ms, expires_ms, "
        f"recalled_ms IS NOT NULL FROM allowances WHERE {_OPEN} ORDER BY terminal_id, allowance_id"
    )
    return [
        Listed(allowance_id, terminal_id, account, rest, amount, _at(granted), _at(expires), bool(is_recalled))
        for allowance_id, terminal_id, account, rest, amount, granted, expires, is_recalled in rows
    ]


def _sum_up(connection: Connection, accounts: Iterable[str]) -> None:
    connection.executemany(
        "UPDATE balances SET reserved = (SELECT coalesce(sum(amount - spent), 0) FROM allowances "
        f"WHERE account = balances.customer_id AND {_OPEN}) WHERE customer_id = ?",
        [(account,) for account in sorted(accounts)],
    )


def _of_parked(connection: Connection, asker: Asker) -> tuple[dict[str, int], set[str]]:
    """Return what parked events spent, and which allowances they give back: held here, and gone at the terminal."""
    rows = connection.execute(
        "SELECT events.raw, events.seq FROM events JOIN streams ON streams.stream = events.stream "
        "WHERE events.outcome = 'parked' AND events.type IN (?, ?) AND streams.terminal_id = ?",
        (REDEEMED, ALLOWANCE_RETURNED, asker.terminal_id),
    )
    spent: dict[str, int] = {}
    given_up: set[str] = set()
    for raw, seq in rows:
        fact = read_item(raw, asker.store_id, asker.terminal_id, seq).fact
        if isinstance(fact, PointsRedeemed):
            for share in fact.shares:
                spent[share.allowance_id] = spent.get(share.allowance_id, 0) + share.points
        elif isinstance(fact, AllowanceReturned):
            given_up.add(fact.allowance_id)
    return spent, given_up


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
