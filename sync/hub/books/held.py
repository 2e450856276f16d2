"""Held events: what became of events that a terminal still shows as parked.

A final verdict is said on the feed, to whoever reads on from before it. A terminal that jumped over it by a snapshot
names what it holds at its next hello, and is told then. What stands behind its cursor is left to the feed, so that an
event leaves the held ones with the page that brings its effect.
"""

from collections.abc import Sequence

from sync.contract.cursors import read_cursor
from sync.contract.events import event_id
from sync.contract.protocol import HeldEvent, Outcome, OutcomePut
from sync.hub.books.event_rows import verdict_of
from sync.hub.feed.feed_log import floor
from sync.hub.uploads.streams import holder
from sync.runtime.sqlite_file import Connection


def final_outcomes(
    connection: Connection, terminal_id: str, held: Sequence[HeldEvent], cursor: str | None, epoch: str
) -> tuple[OutcomePut, ...]:
    """Return the final verdicts on these events of a terminal, whose effects a cache at this cursor contains."""
    place = read_cursor(cursor) if cursor is not None else None
    if place is None or place.hub_epoch != epoch or place.position < floor(connection):
        return ()  # it loads a snapshot first, and says hello after that
    outcomes = []
    for one in held:
        inc = holder(connection, terminal_id, one.inc, one.seq)
        verdict = verdict_of(connection, terminal_id, inc, one.seq)
        is_final = verdict is not None and verdict.outcome is not Outcome.PARKED
        if (
            verdict is not None
            and is_final
            and not _is_ahead(connection, event_id(terminal_id, inc, one.seq), place.position)
        ):
            outcomes.append(OutcomePut(inc=one.inc, verdict=verdict))
    return tuple(outcomes)


def _is_ahead(connection: Connection, event: str, pos: int) -> bool:
    """Tell whether the feed says the verdict behind this position."""
    row = connection.execute(
        "SELECT 1 FROM feed WHERE kind = 'outcome' AND key = ? AND pos > ?",
        (event, pos),
    ).fetchone()
    return row is not None
