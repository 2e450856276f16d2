"""The feed as a terminal reads it: pages of changes, with the coverage as of each page's end.

A page is the log's rows after the cursor, folded to the newest per account. Its points come from the log, so they are
those of the page's last position P and not of the moment it is read; and so are the identifiers of a customer, because
they decide which account a pending event counts to. The rest of a profile is as it stands: newer is harmless there.

Texts are kept ready for the wire, so a page is a join of texts.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.protocol import FEED_CHANGES_MAX, OutcomePut
from sync.hub.books.event_rows import verdict_of
from sync.hub.feed.feed_log import floor, last_pos
from sync.hub.judging.posting import event_number
from sync.hub.uploads.streams import named
from sync.runtime.sqlite_file import Connection, Row

# Rows of the log behind one page: many changes of few accounts fold well, but a page must stay quick to read.
PAGE_ROWS_MAX = 5_000
_NEVER = (1 << 63) - 1

_OF_CUSTOMER = ("customer", "balance", "erased", "out_of_scope")


class Resync(Exception):
    """The feed does not go on from this position: the terminal needs a snapshot."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: changes as JSON texts, coverage of the asking terminal, where it ends, and whether more follow."""

    changes: tuple[str, ...]
    covered: dict[str, int]
    pos: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """The newest row of a key within a page; `whole` where the customer itself changed anywhere in it."""

    kind: str
    key: str
    points: int | None
    whole: bool


def read_page(connection: Connection, terminal_id: str, after: int, limit: int, until: int | None = None) -> Page:
    """Return at most `limit` changes that follow position `after`, none of them behind `until`.

    Raises:
        Resync: `after` lies below what is kept, or beyond what this hub ever reached.
    """
    head = last_pos(connection)
    if not floor(connection) <= after <= head:
        raise Resync
    if after == head:  # as nearly every poll begins
        return Page((), {}, head, more=False)
    entries, pos = _whole(connection, after, limit, _NEVER if until is None else until)
    return Page(
        tuple(_texts(connection, entries, terminal_id, pos)),
        covered(connection, terminal_id, pos, after),
        pos,
        pos < head,
    )


def page_text(page: Page, epoch: str, now: datetime) -> str:
    """Return a page as the JSON of a `FeedPage`."""
    return (
        f'{{"hub_epoch":"{epoch}","changes":[{",".join(page.changes)}],"covered":{json.dumps(page.covered)},'
        f'"cursor":"{write_cursor(FeedCursor(epoch, page.pos))}","more":{"true" if page.more else "false"},'
        f'"as_of":"{now.isoformat()}"}}'
    )


def covered(connection: Connection, terminal_id: str, pos: int, after: int = -1) -> dict[str, int]:
    """Return, per incarnation of a terminal, the last seq whose effects all stand at `pos` or before.

    Only incarnations with events after position `after`; by default all. Where two histories of one met, both ask
    under one name, and the one that reaches further counts: what the other one sends later is covered when it comes.
    """
    streams = connection.execute(
        "WITH moved (inc) AS"
        " (SELECT DISTINCT coalesce(fork_of, inc) FROM streams WHERE terminal_id = ?1 AND last_pos > ?2)"
        " SELECT moved.inc, stream, 1, through, last_pos FROM moved"
        " JOIN streams ON streams.terminal_id = ?1 AND streams.inc = moved.inc"
        " UNION ALL SELECT fork_of, stream, fork_at, through, last_pos FROM moved"
        " JOIN streams ON streams.terminal_id = ?1 AND fork_of = moved.inc",
        (terminal_id, after),
    ).fetchall()
    seqs: dict[str, int] = {}
    for inc, stream, first, through, newest in streams:
        seq = through if newest <= pos else _last_seq_at(connection, stream, first, through, pos)
        seqs[inc] = max(seqs.get(inc, 0), seq)
    return {inc: seq for inc, seq in seqs.items() if seq}


def _last_seq_at(connection: Connection, stream: int, first: int, through: int, pos: int) -> int:
    """Return the last seq of a stream, which begins at `first`, whose position is at most `pos`, 0 for none.

    By halving: positions never fall with seq.
    """
    low, high = first - 1, through
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute("SELECT pos FROM events WHERE number = ?", (event_number(stream, middle),)).fetchone()
        if row is not None and row[0] <= pos:
            low = middle
        else:
            high = middle - 1
    return low if low >= first else 0


def _whole(connection: Connection, after: int, limit: int, until: int) -> tuple[list[_Entry], int]:
    """Return a page's rows; it ends before rows that belong together, or where it begins with them, behind them."""
    entries, end = _fold(connection, after, limit, until)
    cut = connection.execute(
        "SELECT first, last FROM together WHERE first <= ? ORDER BY first DESC LIMIT 1", (end,)
    ).fetchone()
    if cut is None or cut[1] <= end:
        return entries, end
    first, last = cut
    if first - 1 > after:
        return _fold(connection, after, limit, first - 1)
    return _fold(connection, after, max(limit, FEED_CHANGES_MAX), last)


def _fold(connection: Connection, after: int, limit: int, until: int) -> tuple[list[_Entry], int]:
    """Return the newest row per key up to a position, and the position where the page ends."""
    rows = connection.execute(
        "SELECT pos, kind, key, points FROM feed WHERE pos > ? AND pos <= ? ORDER BY pos LIMIT ?",
        (after, until, PAGE_ROWS_MAX),
    )
    entries: dict[tuple[str, str], _Entry] = {}
    end = after
    for pos, kind, key, points in rows:
        account = ("customer" if kind in _OF_CUSTOMER else kind, "" if kind == "program" else key)
        earlier = entries.pop(account, None)
        if earlier is None and len(entries) == limit:
            break
        whole = kind == "customer" or (kind == "balance" and earlier is not None and earlier.whole)
        entries[account] = _Entry(kind, key, points, whole)
        end = pos
    return list(entries.values()), end


def _texts(connection: Connection, entries: list[_Entry], terminal_id: str, pos: int) -> list[str]:
    customers = _customers(connection, [entry.key for entry in entries if entry.whole], pos)
    texts = (_text(connection, entry, customers, terminal_id) for entry in entries)
    return [text for text in texts if text is not None]


def _text(connection: Connection, entry: _Entry, customers: dict[str, tuple[str, str]], terminal_id: str) -> str | None:
    """Return a change as JSON, or None where it is not for this terminal."""
    if entry.whole:
        if entry.key not in customers:
            return gone_text(entry.key, "erased")  # it left after this page; sooner is better
        return customer_text(*customers[entry.key], entry.points or 0)
    text: str | None = None
    match entry.kind:
        case "balance":
            text = f'{{"op":"balance","customer_id":{json.dumps(entry.key)},"points":{entry.points}}}'
        case "card":
            text = card_text(entry.key, entry.points or 0)
        case "erased" | "out_of_scope":
            text = gone_text(entry.key, entry.kind, _shown_as(connection, entry.key))
        case "program":
            text = _program_text(connection, int(entry.key))
        case "outcome":
            text = _outcome_text(connection, entry.key, terminal_id)
        case "allowances" if entry.key == terminal_id:
            text = '{"op":"allowances"}'
    return text


def customer_text(wire: str, refs: str, points: int) -> str:
    """Return a whole customer as a `CustomerPut`."""
    return f'{{"op":"customer","customer":{wire},"identifiers":{refs},"points":{points}}}'


def card_text(identifier: str, points: int) -> str:
    """Return the points that wait on an identifier as a `CardPut`."""
    return f'{{"op":"card","identifier":"{identifier}","points":{points}}}'


def gone_text(customer_id: str, reason: str, merged_into: str | None = None) -> str:
    """Return a `CustomerGone`."""
    into = f',"merged_into":{json.dumps(merged_into)}' if merged_into is not None else ""
    return f'{{"op":"gone","customer_id":{json.dumps(customer_id)},"reason":"{reason}"{into}}}'


def _program_text(connection: Connection, version: int) -> str | None:
    row = connection.execute("SELECT document FROM programs WHERE version = ?", (version,)).fetchone()
    return f'{{"op":"program","program":{row[0]}}}' if row else None


def _outcome_text(connection: Connection, event: str, terminal_id: str) -> str | None:
    owner, inc, seq = event.rsplit("/", 2)
    if owner != terminal_id:
        return None
    verdict = verdict_of(connection, owner, inc, int(seq))
    return OutcomePut(inc=named(connection, owner, inc), verdict=verdict).model_dump_json() if verdict else None


def _customers(connection: Connection, customer_ids: list[str], pos: int) -> dict[str, tuple[str, str]]:
    """Return each customer's profile and identifiers; the latter as they were at `pos`."""
    if not customer_ids:
        return {}
    rows = connection.execute(
        "SELECT customer_id, wire, refs, pos FROM customers WHERE customer_id IN (SELECT value FROM json_each(?))",
        (json.dumps(customer_ids),),
    ).fetchall()
    held = {row[0] for row in rows}
    rows += _merged_later(connection, [customer_id for customer_id in customer_ids if customer_id not in held])
    return {
        customer_id: (wire, refs if changed <= pos else _refs_at(connection, customer_id, refs, pos))
        for customer_id, wire, refs, changed in rows
    }


def _merged_later(connection: Connection, customer_ids: list[str]) -> list[Row]:
    """Return how customers were shown who were merged into others after the page."""
    if not customer_ids:
        return []
    return connection.execute(
        "SELECT loser, wire, refs, pos + 1 FROM merges "
        "WHERE undone_ms IS NULL AND loser IN (SELECT value FROM json_each(?))",
        (json.dumps(customer_ids),),
    ).fetchall()


def _shown_as(connection: Connection, customer_id: str) -> str | None:
    """Return whom a customer is shown as now who was merged into another."""
    row = connection.execute(
        "SELECT root FROM origins WHERE customer_id = ?1 AND root <> ?1", (customer_id,)
    ).fetchone()
    return row[0] if row else None


def _refs_at(connection: Connection, customer_id: str, refs: str, pos: int) -> str:
    earlier = connection.execute(
        "SELECT refs_before FROM feed WHERE key = ? AND pos > ? AND refs_before IS NOT NULL ORDER BY pos LIMIT 1",
        (customer_id, pos),
    ).fetchone()
    return earlier[0] if earlier else refs
