"""The screen: what the cashier sees now, and who watches it.

There is one state, numbered, and the newest wins: a watcher that was slow skips numbers and never holds anybody up.
Customer data leaves the state 60 s after the last act, so that it leaves every watcher too. When the hub tells of a
change to the one who is shown, the same view is read again; that is no act, and does not keep the customer there.

The lock is the till's, not a window's: while it is on, nothing of a customer enters the state, whatever is scanned or
sold meanwhile. It turns itself on when nobody has acted for some minutes.
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
from sync.contract.protocol import ProblemCode
from sync.hub_errors import NOT_UNDERSTOOD
from sync.runtime.clock import Clock

# Long enough for a sale, short enough that the next person in the queue reads nobody's name.
CUSTOMER_SHOWN_S = 60.0
LEAVING_LOOK_S = 1.0
LOCK_AFTER_S = 5 * 60.0
# Sales are shown at most this often: faster than anybody reads.
LOOK_EVERY_S = 0.05


# The word for every fault that only a newer version of this program ends, and those faults.
UPDATE_NEEDED = "update_needed"
ASKS_FOR_UPDATE = frozenset({ProblemCode.PROTOCOL_UNKNOWN, ProblemCode.UPGRADE_REQUIRED, NOT_UNDERSTOOD})


class HubShown(Value):
    """How things stand with the hub, for people."""

    is_reachable: bool
    since: AwareDatetime
    fault: str | None
    is_loading_snapshot: bool


def fault_shown(upload: str | None, download: str | None) -> str | None:
    """Return what people are told of the faults of the line's two directions."""
    fault = upload or download
    return UPDATE_NEEDED if fault in ASKS_FOR_UPDATE else fault


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


# How a sale is read again as an act: it may be taken back, or refused by the hub, while it is shown.
ReadAct = Callable[[], Act | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A view, the accounts (customer and identifier ids) it tells of, and how it is read again; None: never.

    `act` reads the sale that led here; None where none did.
    """

    view: View
    accounts: frozenset[str] = frozenset()
    again: Callable[[], Awaitable["Shown"]] | None = None
    act: ReadAct | None = None


_NOTHING = Shown(NothingView())


class Screen:
    """The one screen state of a till. Used on the event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        demo: bool,
        language: Language,
        shop: ShopShown | None = None,
        sounds: bool = True,
        lock_after_s: float = LOCK_AFTER_S,
    ) -> None:
        self._clock = clock
        self._lock_after_s = lock_after_s
        self._acted_at_s = clock.monotonic()
        self._shown = _NOTHING
        self._showing = 0
        self._read_act: ReadAct | None = None
        self._look: Callable[[], Shown] | None = None
        self._act_soon: ReadAct | None = None
        self._looked_at_s = float("-inf")
        self._state = ScreenState(
            seq=1,
            view=_NOTHING.view,
            outbox=OutboxFigures(waiting=0, oldest_at=None, rejected=0, parked=0, withheld=0),
            hub=HubShown(is_reachable=False, since=clock.now(), fault=None, is_loading_snapshot=False),
            demo=demo,
            language=language,
            shop=shop or ShopShown(),
            sounds=sounds,
        )
        self._moved = asyncio.Event()
        self._touched: set[str] | None = set()
        self._wake = asyncio.Event()

    @property
    def state(self) -> ScreenState:
        """The newest state."""
        return self._state

    @property
    def showing(self) -> int:
        """A number that grows with each showing, also of the same again; a view that is only read again keeps it."""
        return self._showing

    async def beyond(self, seq: int) -> ScreenState:
        """Return the newest state once it is newer than `seq`."""
        while self._state.seq <= seq:
            await self._moved.wait()
        return self._state

    def show(self, shown: Shown) -> None:
        """Show this from now on: somebody acted. While the screen is locked nothing happens."""
        if self._state.locked:
            return
        self._acted_at_s = self._clock.monotonic()
        act = shown.act or self._act_soon
        self._look = self._act_soon = None
        if act is None:
            self._put(shown)
        else:
            self._read_act = act
            self._put(shown, act=act())

    def show_soon(self, look: Callable[[], Shown], act: ReadAct | None = None) -> None:
        """Show what `look` finds as soon as the screen gets to it; of many in a moment, only the last is looked at.

        Sales can come faster than anybody reads: a hundred of them must not be read and shown a hundred times. Where
        somebody else is scanned before the screen gets to it, they are shown, and `act` all the same: it can be undone.
        """
        if not self._state.locked:
            self._look, self._act_soon = look, act
            self._wake.set()

    def clear(self) -> None:
        """Show nothing: staff are done with this customer. The last act stays, so that it can still be undone."""
        self.show(_NOTHING)

    def lock(self) -> None:
        """Show nothing of any customer, until somebody unlocks."""
        if not self._state.locked:
            self._look = self._act_soon = self._read_act = None
            self._put(_NOTHING, act=None, locked=True)

    def unlock(self) -> None:
        """Show again what is scanned and sold from now on."""
        self._acted_at_s = self._clock.monotonic()
        if self._state.locked:
            self._change(locked=False)

    def forget_act(self) -> None:
        """Let the last act go: a new shift begins, and what was done before it is not undone any more."""
        self._read_act = self._act_soon = None
        if self._state.act is not None:
            self._change(act=None)

    def put_outbox(self, outbox: OutboxFigures) -> None:
        """Take new figures of the outbox. An event that was set aside or released may be of the one who is shown."""
        if outbox == self._state.outbox:
            return
        if _set_aside(outbox) != _set_aside(self._state.outbox):
            self.touched(None)
        self._change(outbox=outbox)

    def put_hub(self, hub: HubShown) -> None:
        """Take a new state of the hub."""
        if hub != self._state.hub:
            self._change(hub=hub)

    def put_currency(self, currency: Currency | None) -> None:
        """Take the currency that points are counted in; None before the hub gave any rules."""
        if currency != self._state.shop.currency:
            self._change(shop=self._state.shop.model_copy(update={"currency": currency}))

    def put_scanner(self, scanner: Scanner) -> None:
        """Take how the page tells a scanner from a person."""
        if scanner != self._state.scanner:
            self._change(scanner=scanner)

    def touched(self, accounts: frozenset[str] | None) -> None:
        """Note that these accounts changed, or that any may have: None."""
        if accounts is None:
            self._touched = None
        elif self._touched is not None:
            self._touched |= accounts
        self._wake.set()

    async def run(self) -> None:
        """Keep the shown view true, let it leave and lock in time; never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._let_leave())
            group.create_task(self._keep_true())

    async def _let_leave(self) -> None:
        """Look every second, so that an act costs no timer of its own."""
        while True:
            idle_s = self._clock.monotonic() - self._acted_at_s
            if idle_s >= self._lock_after_s:
                self.lock()
            elif self._shown is not _NOTHING and idle_s >= CUSTOMER_SHOWN_S:
                self._put(_NOTHING)
            await self._clock.sleep(LEAVING_LOOK_S)

    async def _keep_true(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._look is not None:
                await self._show_what_was_looked_for()
            touched, self._touched = self._touched, set()
            if touched is None or touched:
                await self._read_again(touched)

    async def _show_what_was_looked_for(self) -> None:
        wait_s = self._looked_at_s + LOOK_EVERY_S - self._clock.monotonic()
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        if self._look is not None:  # no scan came meanwhile
            self._looked_at_s = self._clock.monotonic()
            self.show(self._look())

    async def _read_again(self, touched: set[str] | None) -> None:
        """Read the shown view and the last act again, and show both in one change where either is another now."""
        changed: dict[str, object] = {}
        shown = self._shown
        if shown.again is not None and (touched is None or touched & shown.accounts):
            again = await shown.again()
            if self._shown is shown:  # nobody was scanned meanwhile
                self._shown = again
                if again.view != shown.view:
                    changed["view"] = again.view
        act = self._read_act() if self._read_act is not None else None
        if act != self._state.act:
            changed["act"] = act
        if changed:
            self._change(**changed)

    def _put(self, shown: Shown, **changed: object) -> None:
        self._shown = shown
        self._showing += 1
        self._change(view=shown.view, **changed)

    def _change(self, **changed: object) -> None:
        self._state = self._state.model_copy(update={**changed, "seq": self._state.seq + 1})
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _set_aside(outbox: OutboxFigures) -> tuple[int, int, int]:
    return outbox.rejected, outbox.parked, outbox.withheld
