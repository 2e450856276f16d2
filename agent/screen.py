"""The screen: what the cashier sees now, and who watches it.

There is one state, numbered, and the newest wins: a watcher that was slow skips numbers and never holds anybody up.
Customer data leaves the state 60 s after the last act, so that it leaves every watcher too. When the hub tells of a
change to the one who is shown, the same view is read again; that is no act, and does not keep the customer there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import AwareDatetime

from agent.shift import Act
from agent.store.outbox import OutboxFigures
from agent.views import NothingView, View
from agent.wedge import Scanner
from sync.contract.customers import Currency, Language, Value
from sync.runtime.clock import Clock

# Long enough for a sale, short enough that the next person in the queue reads nobody's name.
CUSTOMER_SHOWN_S = 60.0
LEAVING_LOOK_S = 1.0
# Sales are shown at most this often: faster than anybody reads.
LOOK_EVERY_S = 0.05


class HubShown(Value):
    """How things stand with the hub, for people."""

    is_reachable: bool
    since: AwareDatetime
    fault: str | None
    is_loading_snapshot: bool


class ShopShown(Value):
    """The shop's and the till's name as the settings have them, and the currency that points are counted in."""

    name: str | None = None
    till: str | None = None
    currency: Currency | None = None


class ScreenState(Value):
    """All that a page shows. `seq` grows by one with each change.

    `act` is the last sale of this process, also when somebody else is shown meanwhile. While the screen is `locked`
    nothing of a customer stands here.
    """

    seq: int
    view: View
    outbox: OutboxFigures
    hub: HubShown
    demo: bool
    language: Language
    locked: bool = False
    act: Act | None = None
    shop: ShopShown = ShopShown()
    scanner: Scanner = Scanner()
    sounds: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A view, the accounts (customer and identifier ids) it tells of, and how it is read again; None: never."""

    view: View
    accounts: frozenset[str] = frozenset()
    again: Callable[[], Awaitable["Shown"]] | None = None


_NOTHING = Shown(NothingView())


class Screen:
    """The one screen state of a till. Used on the event loop."""

    def __init__(self, clock: Clock, *, demo: bool, language: Language) -> None:
        self._clock = clock
        self._shown = _NOTHING
        self._leaves_at_s = 0.0
        self._look: Callable[[], Shown] | None = None
        self._looked_at_s = float("-inf")
        self._state = ScreenState(
            seq=1,
            view=_NOTHING.view,
            outbox=OutboxFigures(waiting=0, oldest_at=None, rejected=0, parked=0, withheld=0),
            hub=HubShown(is_reachable=False, since=clock.now(), fault=None, is_loading_snapshot=False),
            demo=demo,
            language=language,
        )
        self._moved = asyncio.Event()
        self._touched: set[str] | None = set()
        self._wake = asyncio.Event()

    @property
    def state(self) -> ScreenState:
        """The newest state."""
        return self._state

    async def beyond(self, seq: int) -> ScreenState:
        """Return the newest state once it is newer than `seq`."""
        while self._state.seq <= seq:
            await self._moved.wait()
        return self._state

    def show(self, shown: Shown) -> None:
        """Show this from now on: somebody acted."""
        self._look = None
        self._shown = shown
        self._leaves_at_s = self._clock.monotonic() + CUSTOMER_SHOWN_S
        self._change(view=shown.view)

    def show_soon(self, look: Callable[[], Shown]) -> None:
        """Show what `look` finds as soon as the screen gets to it; of many in a moment, only the last is looked at.

        Sales can come faster than anybody reads: a hundred of them must not be read and shown a hundred times.
        """
        self._look = look
        self._wake.set()

    def clear(self) -> None:
        """Show nothing."""
        self.show(_NOTHING)

    def put_outbox(self, outbox: OutboxFigures) -> None:
        """Take new figures of the outbox."""
        if outbox != self._state.outbox:
            self._change(outbox=outbox)

    def put_hub(self, hub: HubShown) -> None:
        """Take a new state of the hub."""
        if hub != self._state.hub:
            self._change(hub=hub)

    def touched(self, accounts: frozenset[str] | None) -> None:
        """Note that these accounts changed, or that any may have: None."""
        if accounts is None:
            self._touched = None
        elif self._touched is not None:
            self._touched |= accounts
        self._wake.set()

    async def run(self) -> None:
        """Keep the shown view true and let it leave in time; never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._let_leave())
            group.create_task(self._keep_true())

    async def _let_leave(self) -> None:
        """Look every second, so that an act costs no timer of its own."""
        while True:
            if self._shown is not _NOTHING and self._clock.monotonic() >= self._leaves_at_s:
                self.clear()
            await self._clock.sleep(LEAVING_LOOK_S)

    async def _keep_true(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._look is not None:
                await self._show_what_was_looked_for()
            touched, self._touched = self._touched, set()
            if touched is None or touched & self._shown.accounts:
                await self._read_again()

    async def _show_what_was_looked_for(self) -> None:
        wait_s = self._looked_at_s + LOOK_EVERY_S - self._clock.monotonic()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        if self._look is not None:  # no scan came meanwhile
            self._looked_at_s = self._clock.monotonic()
            self.show(self._look())

    async def _read_again(self) -> None:
        shown = self._shown
        if shown.again is None:
            return
        again = await shown.again()
        if self._shown is shown:  # nobody was scanned meanwhile
            self._shown = again
            if again.view != shown.view:
                self._change(view=again.view)

    def _change(self, **changed: object) -> None:
        self._state = self._state.model_copy(update={**changed, "seq": self._state.seq + 1})
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
