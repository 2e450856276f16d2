"""Merging: two customers turn out to be one person, or not to have been.

A merge writes an edge, an unmerge ends it; neither touches the ledger. So points of a purchase after the merge go,
at an unmerge, where the card that was scanned belongs.
"""

import json
from dataclasses import dataclass

from sync.hub.feed.feed_log import keep_together, last_pos
from sync.hub.people.classes import keep_origin, members, merged_among, replan, winners
from sync.hub.people.customer_rows import IDENTIFIERS_MAX, CustomerRow, KeptIdentifier
from sync.hub.people.customers import show
from sync.hub.people.erasures import erased_on
from sync.runtime.sqlite_file import Connection


class MergeRefused(Exception):
    """This merge or unmerge cannot be; the message says why and what can. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge that stands: its id, under whom all are shown now, the feed's position, and whether it is new."""

    merge_id: int
    shown_as: str
    pos: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A merge that was ended: its id, its two customers, and the feed's position."""

    merge_id: int
    loser: str
    winner: str
    pos: int


def merge(connection: Connection, loser: str, winner: str, now_ms: int) -> Merged:
    """Merge one customer into another, in the caller's transaction. A second time changes nothing.

    Raises:
        MergeRefused: one of them is not there, or the edges would branch or go in a circle.
    """
    if loser == winner:
        raise MergeRefused(f"{loser} cannot be merged into itself")
    up = winners(connection, loser)
    if winner in up:
        return Merged(_standing(connection, loser), up[-1], last_pos(connection), is_new=False)
    if up:
        raise MergeRefused(f"{loser} is merged into {up[0]} already; merge {up[-1]} instead, or unmerge {loser} first")
    if loser in winners(connection, winner):
        raise MergeRefused(f"{winner} is merged into {loser} already; unmerge it first")
    joined = merged_among(connection, members(connection, [loser, winner]))
    for customer_id in (loser, winner):
        if customer_id not in joined:
            keep_origin(connection, _by_itself(connection, customer_id), customer_id)
    together = members(connection, [loser, winner])
    origins = merged_among(connection, together)
    identifiers = {one.id for origin in origins.values() for one in origin.row.identifiers}
    if len(identifiers) > IDENTIFIERS_MAX:
        raise MergeRefused(f"together they have {len(identifiers)} identifiers; a till holds {IDENTIFIERS_MAX} of one")
    connection.execute(
        "INSERT INTO merges (loser, winner, at_ms, pos, wire, refs) "
        "SELECT customer_id, ?, ?, ?, wire, refs FROM customers WHERE customer_id = ?",
        (winner, now_ms, last_pos(connection), loser),
    )
    before = last_pos(connection)
    pos = show(connection, replan(connection, together, {}), now_ms)
    keep_together(connection, before)
    return Merged(_standing(connection, loser), [winner, *winners(connection, winner)][-1], pos, is_new=True)


def unmerge(connection: Connection, named: str, now_ms: int) -> Unmerged:
    """End a merge, named by its loser or by its id, in the caller's transaction.

    Raises:
        MergeRefused: no such merge stands.
    """
    row = connection.execute(
        "SELECT merge_id, loser, winner, refs FROM merges "
        "WHERE undone_ms IS NULL AND (loser = ?1 OR CAST(merge_id AS TEXT) = ?1) ORDER BY loser <> ?1",
        (named,),
    ).fetchone()
    if row is None:
        raise MergeRefused(f"{named} is merged into nobody")
    merge_id, loser, winner, refs = row
    together = members(connection, [loser])
    _end(connection, merge_id, now_ms)
    before = last_pos(connection)
    pos = show(connection, replan(connection, together, {loser: refs}), now_ms)
    keep_together(connection, before)
    return Unmerged(merge_id, loser, winner, pos)


def _end(connection: Connection, merge_id: int, now_ms: int) -> None:
    """Note that a merge stands no longer."""
    connection.execute(
        "UPDATE merges SET undone_ms = ?, wire = NULL, refs = NULL WHERE merge_id = ?", (now_ms, merge_id)
    )


def _standing(connection: Connection, loser: str) -> int:
    row = connection.execute("SELECT merge_id FROM merges WHERE loser = ? AND undone_ms IS NULL", (loser,)).fetchone()
    return int(row[0]) if row else 0


def _by_itself(connection: Connection, customer_id: str) -> CustomerRow:
    row = connection.execute("SELECT wire, refs FROM customers WHERE customer_id = ?", (customer_id,)).fetchone()
    if row is None:
        erased = erased_on(connection, customer_id)
        raise MergeRefused(
            f"{customer_id} was erased on {erased:%Y-%m-%d}" if erased else f"{customer_id}: no such customer"
        )
    by_id = {
        identifier: KeptIdentifier(identifier, scheme, value)
        for identifier, scheme, value in connection.execute(
            "SELECT id, scheme, value FROM identifiers WHERE customer_id = ?", (customer_id,)
        )
    }
    identifiers = tuple(by_id[ref["id"]] for ref in json.loads(row[1]))
    return CustomerRow(customer_id, row[0], row[1], identifiers)
