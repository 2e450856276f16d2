"""The part of the books that takes things back: sales and redemptions alike, whose tables differ by their names only.

A reversal that came before what it takes back waits for it, and is read with it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple

from sync.contract.events import PointsReversed, RedemptionReversed
from sync.hub.judging.posting import Origin, Parked, R
from sync.hub.uploads.batch import read_item
from sync.runtime.sqlite_file import Connection


class Tables(NamedTuple, Generic[R]):
    """Where the reversals of one kind of thing stand: those that were judged, those that wait, and what they name."""

    judged: str
    waiting: str
    thing: str
    fact: type[R]


OF_SALES: Tables[PointsReversed] = Tables("reversals", "waiting", "sale_id", PointsReversed)
OF_REDEMPTIONS: Tables[RedemptionReversed] = Tables("undoings", "undoings_waiting", "redemption_id", RedemptionReversed)


def load_waiting(
    connection: Connection, of: Tables[R], store_id: str, things: Iterable[str]
) -> dict[str, list[Parked[R]]]:
    """Return the reversals that wait for these things of a store, in the order they came in."""
    rows = connection.execute(
        f"SELECT w.{of.thing}, events.number, events.stream, streams.terminal_id, streams.inc, events.seq, events.raw "
        f"FROM {of.waiting} w "
        "JOIN events ON events.number = w.event "
        "JOIN streams ON streams.stream = events.stream "
        f"WHERE w.store_id = ? AND w.{of.thing} IN (SELECT value FROM json_each(?)) ORDER BY events.pos, events.number",
        (store_id, json.dumps(list(things))),
    )
    waiting: dict[str, list[Parked[R]]] = {}
    for thing, number, stream, terminal_id, inc, seq, raw in rows:
        fact = read_item(raw, store_id, terminal_id, seq).fact
        if isinstance(fact, of.fact):
            waiting.setdefault(thing, []).append(Parked(number, Origin(stream, terminal_id, inc), seq, fact))
    return waiting


def load_judged(
    connection: Connection, of: Tables[R], store_id: str, asked: Iterable[str], waiting: Mapping[str, list[Parked[R]]]
) -> dict[str, str]:
    """Return what the reversals with these ids, and those that wait, took back: by their id."""
    ids = {*asked, *(parked.fact.reversal_id for several in waiting.values() for parked in several)}
    rows = connection.execute(
        f"SELECT reversal_id, {of.thing} FROM {of.judged} "
        "WHERE store_id = ? AND reversal_id IN (SELECT value FROM json_each(?))",
        (store_id, json.dumps(sorted(ids))),
    )
    return dict(rows.fetchall())


def write_judged(connection: Connection, of: Tables[R], store_id: str, judged: Iterable[tuple[str, str]]) -> None:
    """Write what new reversals take back, as (reversal id, thing)."""
    connection.executemany(
        f"INSERT INTO {of.judged} (store_id, reversal_id, {of.thing}) VALUES (?, ?, ?)",
        [(store_id, reversal_id, thing) for reversal_id, thing in judged],
    )


def write_waiting(
    connection: Connection,
    of: Tables[R],
    store_id: str,
    begun: Iterable[tuple[str, int]],
    over: Iterable[tuple[str, int]],
) -> None:
    """Write which events wait for a thing from now on, and which do no more, as (thing, event)."""
    connection.executemany(
        f"INSERT INTO {of.waiting} (store_id, {of.thing}, event) VALUES (?, ?, ?)",
        [(store_id, thing, event) for thing, event in begun],
    )
    connection.executemany(
        f"DELETE FROM {of.waiting} WHERE store_id = ? AND {of.thing} = ? AND event = ?",
        [(store_id, thing, event) for thing, event in over],
    )
