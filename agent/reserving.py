"""Builds what keeps this till's allowances up with the hub, and what the counter may ask of it."""

from agent.redeeming import HubAsked
from agent.screen import Screen
from agent.store import Store
from sync.hub_client import HubClient
from sync.hub_line import Timeouts
from sync.pump.allowances import Reservations
from sync.pump.line import NO_HELLO_YET, Line
from sync.runtime.clock import Clock

# A customer stands at the counter: what is not answered in this time is answered without the hub.
TIMEOUTS = Timeouts(connect_s=1.0, read_s=2.0, total_s=2.5)


def reservations(store: Store, hub: HubClient, line: Line, screen: Screen, clock: Clock) -> Reservations:
    """Return the loop over a hub client with `TIMEOUTS`; the screen hears whose allowances changed."""
    store.allowances.tell(screen.touched)

    async def give_back() -> None:
        due = await store.allowances.due_back()
        if due:
            await store.redeemer.return_allowances(due)

    return Reservations(store.allowances, hub, line, give_back, clock)


def hub_asked(keeper: Reservations, line: Line) -> HubAsked:
    """Return the hub as redeeming sees it."""

    def is_there() -> bool:
        # A hello that was just answered is known by its epoch first.
        return line.epoch is not None and line.state.upload_fault in (None, NO_HELLO_YET)

    return HubAsked(is_there, keeper.ask)
