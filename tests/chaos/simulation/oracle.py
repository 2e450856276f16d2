"""What the hub had posted at each position of each of its epochs, as far as anybody ever saw it.

It only adds up rows of the hub's log and of its events. Whether those are right, the model in `checks` says; the oracle
is there to say what a till that stands at a position must show.
"""

import bisect
from dataclasses import dataclass, field

from tests.chaos.simulation.hub_side import HubSide

Identity = tuple[str, str, int]
# A restored hub's whole history counts as its new epoch's.
_POSTED = "SELECT pos, key, points FROM feed WHERE points IS NOT NULL AND pos > ? ORDER BY pos"
_EVENTS = "SELECT terminal_id, inc, seq, pos FROM events JOIN streams USING (stream) WHERE pos > ?"


@dataclass
class Epoch:
    """One history of the hub."""

    last_pos: int = 0
    posted: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    events: dict[Identity, int] = field(default_factory=dict)

    def points(self, account: str, pos: int) -> int:
        """Return the balance of an account as of a position."""
        rows = self.posted.get(account, [])
        place = bisect.bisect_right(rows, (pos, 1 << 60))
        return rows[place - 1][1] if place else 0

    def holds(self, identity: Identity, pos: int) -> bool:
        """Tell whether an event stands at a position or before."""
        return identity in self.events and self.events[identity] <= pos


class Oracle:
    """All epochs of one simulation."""

    def __init__(self) -> None:
        self.epochs: dict[str, Epoch] = {}

    def refresh(self, hub: HubSide) -> None:
        """Read what is new at the hub; nothing where it is down."""
        if hub.door is None or hub.peek is None:
            return
        epoch = self.epochs.get(hub.door.epoch)
        if epoch is None:
            # A restored hub may have forgotten the rows of its feed that led here.
            pos, balances = hub.began
            epoch = Epoch(posted={account: [(pos, points)] for account, points in balances.items()})
            self.epochs[hub.door.epoch] = epoch
            self._read(hub, epoch, pos)
        elif hub.rows("SELECT max(pos) FROM feed")[0][0] != epoch.last_pos:
            self._read(hub, epoch, epoch.last_pos)

    def _read(self, hub: HubSide, epoch: Epoch, posted_until: int) -> None:
        for pos, key, points in hub.rows(_POSTED, posted_until):
            epoch.posted.setdefault(key, []).append((pos, points))
        newest = epoch.last_pos
        for terminal_id, inc, seq, pos in hub.rows(_EVENTS, epoch.last_pos):
            epoch.events[(terminal_id, inc, seq)] = pos
            newest = max(newest, pos)
        (top,) = hub.rows("SELECT coalesce(max(pos), 0) FROM feed")[0]
        epoch.last_pos = max(newest, top)
