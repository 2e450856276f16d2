"""Clocks: what each hello said of a terminal's clocks, kept for the events that come after it."""

import json
from collections.abc import Collection
from datetime import datetime

from sync.contract.protocol import HelloRequest
from sync.hub.judging.times import BusinessDay, Timekeeper
from sync.runtime.sqlite_file import Connection


def note_clocks(connection: Connection, terminal_id: str, hello: HelloRequest, now: datetime) -> None:
    """Write down how the terminal's monotonic clock stands to the hub's, and which incarnations are new since before.

    Called before the hello itself is noted: what it names for the first time was made after the one before.
    """
    now_ms = int(now.timestamp() * 1000)
    connection.execute(
        "INSERT INTO clocks (terminal_id, boot_id, offset_ms) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET offset_ms = excluded.offset_ms",
        (terminal_id, hello.bootid, now_ms - hello.monoms),
    )
    connection.execute(
        "INSERT INTO spans (terminal_id, inc, after_ms) "
        "SELECT terminal_id, told.value, coalesce(hello_ms, enrolled_ms) FROM terminals, json_each(?) AS told "
        "WHERE terminal_id = ? ON CONFLICT DO NOTHING",
        (json.dumps([told.inc for told in hello.incarnations]), terminal_id),
    )


def timekeeper(
    connection: Connection, terminal_id: str, inc: str, boots: Collection[str], now: datetime, day: BusinessDay
) -> Timekeeper:
    """Return what is known of the clocks behind the events of one incarnation, which were made in these boots."""
    offsets: dict[str, int] = dict(
        connection.execute(
            "SELECT boot_id, offset_ms FROM clocks "
            "WHERE terminal_id = ? AND boot_id IN (SELECT value FROM json_each(?))",
            (terminal_id, json.dumps(sorted(boots))),
        ).fetchall()
    )
    span = connection.execute(
        "SELECT coalesce((SELECT after_ms FROM spans WHERE terminal_id = ?1 AND inc = ?2), enrolled_ms) "
        "FROM terminals WHERE terminal_id = ?1",
        (terminal_id, inc),
    ).fetchone()
    began_ms = int(day.began_at(now).timestamp() * 1000)
    return Timekeeper(int(now.timestamp() * 1000), began_ms, offsets, span[0] if span else 0)
