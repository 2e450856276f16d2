"""Ahead: terminals that were told more than this hub knows: its database came back from a backup, and nobody said so.

The marker beside hub.db tells that before a start, but where the whole folder came back. What a terminal says may also
be a fault of that terminal. So one that is ahead is granted nothing itself, and only where two are, nobody is granted
anything, until the hub is started again: points that it has forgotten to have reserved are not reserved twice.
"""

import json
import logging
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sync.contract.allowance import HeldAllowance
from sync.contract.cursors import FeedCursor
from sync.hub.escrow.allowances import CLOSED_KEPT
from sync.hub.feed.feed_log import last_pos
from sync.runtime.metrics import Metrics
from sync.runtime.sqlite_file import Connection

_MS_PLACE = 80  # bits of a UUIDv7 behind its milliseconds

_log = logging.getLogger(__name__)


class Ahead:
    """The terminals that were ahead since this start."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._terminals: set[str] = set()
        if metrics is not None:
            metrics.gauge_of(
                "hub_terminals_ahead",
                "Terminals that were told more than this hub knows: did hub.db come back from a backup?",
                lambda: float(len(self._terminals)),
            )

    def note(self, terminal_id: str, what: str) -> None:
        """Note that a terminal is ahead; it is said once."""
        if terminal_id not in self._terminals:
            self._terminals.add(terminal_id)
            _log.error(
                "a terminal was told more than this hub knows: terminal=%s %s. If hub.db came back from a backup, stop "
                "the hub and start it once with: loyalty-hub run --restored. Until a start %s is granted no points",
                terminal_id,
                what,
                "this terminal" if len(self._terminals) == 1 else "no terminal",
            )

    def stops(self, terminal_id: str) -> bool:
        """Tell whether a terminal is granted nothing now."""
        return terminal_id in self._terminals or len(self._terminals) > 1


def is_ahead(
    connection: Connection, place: FeedCursor | None, held: Iterable[HeldAllowance], epoch: str, now: datetime
) -> str | None:
    """Return what a terminal names in a hello that only a hub of this epoch can have said, and this one does not know.

    What it names under another epoch, or without one, it was told before a restore that was said.
    """
    if place is None or place.hub_epoch != epoch:
        return None
    head = last_pos(connection)
    if place.position > head:
        return f"position={place.position} head={head}"
    since_ms = int((now - CLOSED_KEPT / 2).timestamp() * 1000)
    named = sorted(one.allowance_id for one in held if _made_ms(one.allowance_id) > since_ms)
    row = connection.execute(
        "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT allowance_id FROM allowances)",
        (json.dumps(named),),
    ).fetchone()
    return f"unknown_allowances={row[0]}" if row is not None and row[0] else None


def _made_ms(allowance_id: str) -> int:
    """Return when an allowance was made; 0 for an id that is none of ours. The books forget those closed long ago."""
    try:
        return UUID(allowance_id).int >> _MS_PLACE
    except ValueError:
        return 0
