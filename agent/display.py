"""The customer's display: the name to call them by, points, what was earned just now; nothing else of anybody.

It is derived from the screen's state and has a number of its own, so that whatever else changes on the staff's screen
is not even noticed here. Who is shown leaves 20 s after the last act, and at once when staff clear or lock the screen
or anything else is scanned. A balance that is read again is no act: it changes the figures and keeps nobody there.
"""

import asyncio
from typing import Literal

from agent.screen import Screen, ScreenState
from agent.shift import Act, ActState, Held
from agent.views import CustomerView, Freshness, UnknownCardView
from sync.contract.customers import Language, Value
from sync.runtime.clock import Clock

# Time to read a name and two figures; the next in the queue stands there already.
DISPLAYED_S = 20.0


class Display(Value):
    """All that the customer's display shows. `seq` grows by one with each change.

    `points` are those the hub has posted, None where it never told; `pending` wait on this till. `earned` belongs to
    the kind `earned`: the sale that was credited just now.
    """

    seq: int
    kind: Literal["idle", "welcome", "earned"]
    name: str | None
    points: int | None
    pending: int | None
    earned: int | None
    language: Language
    demo: bool
    shop: str | None


def displayed(state: ScreenState, act: Act | None, *, seq: int) -> Display:
    """Return what a customer may see of the screen: of `act`, the sale of this very showing, where there is one."""
    view = state.view
    if state.locked or not isinstance(view, CustomerView | UnknownCardView):
        return idle(state, seq=seq)
    customer = view if isinstance(view, CustomerView) else None
    earned = _earned(act) if act is not None else 0
    return Display(
        seq=seq,
        kind="earned" if earned else "welcome",
        name=customer.name if customer else None,
        points=None if view.balance.freshness is Freshness.NEVER else view.balance.posted,
        pending=view.balance.pending,
        earned=earned or None,
        language=customer.language if customer else state.language,
        demo=state.demo,
        shop=state.shop.name,
    )


def idle(state: ScreenState, *, seq: int) -> Display:
    """Return a display that shows nobody, in the till's own language."""
    return Display(
        seq=seq,
        kind="idle",
        name=None,
        points=None,
        pending=None,
        earned=None,
        language=state.language,
        demo=state.demo,
        shop=state.shop.name,
    )


def is_of(act: Act, state: ScreenState) -> bool:
    """Tell whether a sale is that of whoever the screen shows."""
    if isinstance(state.view, CustomerView):
        return act.customer_id == state.view.customer_id
    if isinstance(state.view, UnknownCardView):
        return act.customer_id is None and act.hint == state.view.hint
    return False


class CustomerDisplay:
    """The one customer display of a till, however many windows show it. Used on the event loop."""

    def __init__(self, screen: Screen, clock: Clock) -> None:
        self._screen = screen
        self._clock = clock
        self._showing = screen.showing
        self._newest_act = _position(screen.state.act)
        self._act_of_showing: int | None = None
        self._leaves_at_s = 0.0
        self._is_over = True
        self._state = idle(screen.state, seq=1)
        self._moved = asyncio.Event()
        self._shows_somebody = asyncio.Event()

    @property
    def state(self) -> Display:
        """The newest state."""
        self._follow()
        return self._state

    async def beyond(self, seq: int) -> Display:
        """Return the newest state once it is newer than `seq`."""
        while self.state.seq <= seq:
            await self._moved.wait()
        return self._state

    async def run(self) -> None:
        """Follow the screen, and let who is shown leave in time; never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_following())
            group.create_task(self._let_leave())

    async def _keep_following(self) -> None:
        while True:
            self._follow()
            await self._screen.beyond(self._screen.state.seq)

    async def _let_leave(self) -> None:
        while True:
            await self._shows_somebody.wait()
            wait_s = self._leaves_at_s - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            else:
                self._is_over = True
                self._follow()

    def _follow(self) -> None:
        state = self._screen.state
        if self._screen.showing != self._showing:
            self._showing = self._screen.showing
            self._leaves_at_s = self._clock.monotonic() + DISPLAYED_S
            self._is_over = False
            is_new = state.act is not None and state.act.position > self._newest_act and is_of(state.act, state)
            self._act_of_showing = _position(state.act) if is_new else None
            self._newest_act = max(self._newest_act, _position(state.act))
        seq = self._state.seq
        if self._is_over:
            next_state = idle(state, seq=seq)
        else:
            act = state.act if _position(state.act) == self._act_of_showing else None
            next_state = displayed(state, act, seq=seq)
        if next_state != self._state:
            self._change(next_state)

    def _change(self, state: Display) -> None:
        self._state = state.model_copy(update={"seq": state.seq + 1})
        if state.kind == "idle":
            self._shows_somebody.clear()
        else:
            self._shows_somebody.set()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _earned(act: Act) -> int:
    if act.kind != "sale":
        return 0
    return 0 if act.state is ActState.TAKEN_BACK or act.held is Held.REJECTED else act.points


def _position(act: Act | None) -> int:
    return act.position if act is not None else 0
