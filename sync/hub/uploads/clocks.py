"""Clocks: what each hello said of a terminal's clocks, kept for the events that come after it.

What no event can need any more is forgotten, so that a terminal that is started anew each day keeps some 60 rows and
not one for each day of its life: an incarnation that a hello no longer names, because the hub has all of it and will
not ask again; and a boot that ended 60 days ago, where the terminal has nothing left to send. Should such an event come
all the same, from a copy of a disk, its time is an estimate.
"""

import json
from collections.abc import Collection
from datetime import datetime, timedelta

from sync.contract.protocol import INCARNATIONS_PER_HELLO_MAX, HelloRequest
from sync.hub.judging.times import BusinessDay, Timekeeper
from sync.runtime.sqlite_file import Connection

# Longer than a hello may be late, and than tills keep events for a hub that comes back from a backup.
KEPT = timedelta(days=60)


class LastHellos:
    """What the last hello of each terminal said of its clock, as far as this process heard them.

    A hello arrives late or at once, never early, so the smaller offset is the truer one. Of the last two, not of all:
    where the hub's own clock was set ahead, or the terminal's runs slow, the true offset has grown, and the second
    hello after that says so, an hour later at most. Where the hub's clock was set back, the first one does.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, int]] = {}

    def offset_ms(self, terminal_id: str, hello: HelloRequest, now: datetime) -> int:
        """Return the hub's time less the monotonic one of the terminal's boot, by this hello and the one before."""
        told = int(now.timestamp() * 1000) - hello.monoms
        boot_id, before = self._last.get(terminal_id, ("", told))
        self._last[terminal_id] = (hello.bootid, told)
        return min(told, before) if boot_id == hello.bootid else told


def note_clocks(connection: Connection, terminal_id: str, hello: HelloRequest, now: datetime, offset_ms: int) -> None:
    """Write down how the terminal's monotonic clock stands to the hub's, and which incarnations are new since before.

    Called before the hello itself is noted: what it names for the first time was made after the one before.
    """
    _forget(connection, terminal_id, hello, int((now - KEPT).timestamp() * 1000))
    connection.execute(
        "INSERT INTO clocks (terminal_id, boot_id, offset_ms) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET offset_ms = excluded.offset_ms",
        (terminal_id, hello.bootid, offset_ms),
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


def _forget(connection: Connection, terminal_id: str, hello: HelloRequest, before_ms: int) -> None:
    """Forget what is older than `before_ms` and of no use to the terminal of this hello."""
    if len(hello.incarnations) < INCARNATIONS_PER_HELLO_MAX:  # in a full list some are missing
        connection.execute(
            "DELETE FROM spans WHERE terminal_id = ? AND after_ms < ? AND inc NOT IN (SELECT value FROM json_each(?))",
            (terminal_id, before_ms, json.dumps([told.inc for told in hello.incarnations])),
        )
    if hello.waiting == 0:
        # The offset is when the boot began, by the hub's clock; it had ended when the next one began.
        connection.execute(
            "DELETE FROM clocks WHERE terminal_id = ?1 AND offset_ms < "
            "(SELECT max(offset_ms) FROM clocks WHERE terminal_id = ?1 AND offset_ms < ?2)",
            (terminal_id, before_ms),
        )
