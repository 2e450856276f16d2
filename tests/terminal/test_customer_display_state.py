"""The customer display's own state: who comes, who leaves and when, by a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.display import DISPLAYED_S, CustomerDisplay, Display
from agent.screen import CUSTOMER_SHOWN_S, HubShown, Screen, Shown
from agent.shift import Act, ActState
from agent.views import OtherView
from tests.support.clock import FakeClock
from tests.support.displays import act, balance, customer


@dataclass
class Rig:
    screen: Screen
    display: CustomerDisplay
    clock: FakeClock
    seen: list[Display] = field(default_factory=list)

    def scan(self, name: str = "Marie", sale: Act | None = None) -> None:
        """Show a customer, after a sale or without."""
        customer_id = f"c-{name}"
        shown = Shown(
            customer(customer_id=customer_id, name=name),
            frozenset({customer_id}),
            act=None if sale is None else lambda: sale.model_copy(update={"customer_id": customer_id}),
        )
        self.screen.show(shown)

    def now(self) -> tuple[str, str | None, int | None]:
        shown = self.display.state
        return shown.kind, shown.name, shown.earned


IDLE = ("idle", None, None)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    clock = FakeClock()
    screen = Screen(clock, demo=False, language="en")
    rig = Rig(screen, CustomerDisplay(screen, clock), clock)

    async def watch() -> None:
        seq = 0
        while True:
            rig.seen.append(await rig.display.beyond(seq))
            seq = rig.seen[-1].seq

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run) for run in (screen.run(), rig.display.run(), watch())]
        await clock.settle()
        yield rig
        for task in tasks:
            task.cancel()


async def test_a_customer_leaves_after_twenty_seconds_and_is_still_on_the_staffs_screen() -> None:
    assert DISPLAYED_S == 20
    async with running() as rig:
        rig.scan()
        await rig.clock.advance(DISPLAYED_S - 0.001)
        assert rig.now() == ("welcome", "Marie", None)
        await rig.clock.advance(0.001)
        assert rig.now() == IDLE
        assert rig.screen.state.view.kind == "customer"
        assert DISPLAYED_S < CUSTOMER_SHOWN_S
        assert [shown.kind for shown in rig.seen] == ["idle", "welcome", "idle"]


async def test_clear_lock_and_any_other_scan_take_the_customer_away_at_once() -> None:
    async with running() as rig:
        for take_away in (
            rig.screen.clear,
            rig.screen.lock,
            lambda: rig.screen.show(Shown(OtherView(meaning={"kind": "product"}))),
        ):
            rig.screen.unlock()
            rig.scan()
            assert rig.now() == ("welcome", "Marie", None)
            take_away()
            assert rig.now() == IDLE
            await rig.clock.settle()
            assert rig.seen[-1].kind == "idle"


async def test_the_next_customer_replaces_the_one_before_and_has_their_own_twenty_seconds() -> None:
    async with running() as rig:
        rig.scan("Marie")
        await rig.clock.advance(DISPLAYED_S - 1)
        rig.scan("Priya")
        await rig.clock.advance(DISPLAYED_S - 1)
        assert rig.now() == ("welcome", "Priya", None)
        await rig.clock.advance(1)
        assert rig.now() == IDLE


async def test_what_was_earned_now_is_told_and_begins_the_time_anew() -> None:
    async with running() as rig:
        rig.scan()
        await rig.clock.advance(DISPLAYED_S - 1)
        rig.scan(sale=act(position=4))
        assert rig.now() == ("earned", "Marie", 15)
        await rig.clock.advance(DISPLAYED_S - 1)
        assert rig.now() == ("earned", "Marie", 15)
        await rig.clock.advance(1)
        assert rig.now() == IDLE


async def test_a_sale_after_the_display_was_cleared_shows_the_customer_again() -> None:
    async with running() as rig:
        rig.scan()
        await rig.clock.advance(DISPLAYED_S)
        rig.scan(sale=act(position=4))
        assert rig.now() == ("earned", "Marie", 15)


async def test_an_earlier_sale_is_not_told_again_at_the_next_scan() -> None:
    async with running() as rig:
        rig.scan(sale=act(position=4))
        rig.scan("Priya")
        assert rig.screen.state.act is not None
        assert rig.now() == ("welcome", "Priya", None)
        rig.scan("Marie")
        assert rig.now() == ("welcome", "Marie", None)


async def test_the_same_card_again_welcomes_again() -> None:
    async with running() as rig:
        rig.scan()
        await rig.clock.advance(DISPLAYED_S)
        rig.scan()
        assert rig.now() == ("welcome", "Marie", None)


async def test_a_sale_that_is_undone_is_not_earned_any_more() -> None:
    async with running() as rig:
        rig.scan(sale=act(position=4))
        rig.scan(sale=act(position=4, state=ActState.TAKEN_BACK))
        assert rig.now() == ("welcome", "Marie", None)


async def test_a_balance_that_is_read_again_shows_at_once_and_keeps_nobody() -> None:
    async with running() as rig:
        later = customer(balance=balance(posted=1_255, pending=0))

        async def again() -> Shown:
            return Shown(later, frozenset({"c-1"}), again)

        rig.screen.show(Shown(customer(), frozenset({"c-1"}), again))
        await rig.clock.advance(DISPLAYED_S - 1)
        rig.screen.touched(frozenset({"c-1"}))
        await rig.clock.settle()
        assert (rig.display.state.points, rig.display.state.pending) == (1_255, 0)
        await rig.clock.advance(1)
        assert rig.now() == IDLE


async def test_whoever_left_does_not_come_back_with_a_new_balance() -> None:
    async with running() as rig:
        views = iter([customer(balance=balance(posted=1_255))])

        async def again() -> Shown:
            return Shown(next(views), frozenset({"c-1"}))

        rig.screen.show(Shown(customer(), frozenset({"c-1"}), again))
        await rig.clock.advance(DISPLAYED_S)
        rig.screen.touched(None)
        await rig.clock.settle()
        assert next(views, None) is None
        assert rig.now() == IDLE


async def test_what_is_not_the_customers_business_is_not_even_noticed() -> None:
    async with running() as rig:
        rig.scan()
        before = rig.display.state
        rig.screen.put_hub(HubShown(is_reachable=True, since=rig.clock.now(), fault=None, is_loading_snapshot=False))
        rig.screen.put_currency("CAD")
        await rig.clock.settle()
        assert rig.display.state == before
        assert len(rig.seen) == 2


async def test_each_change_has_the_next_number() -> None:
    async with running() as rig:
        for name in ("Marie", "Priya", "Marie"):
            rig.scan(name)
            await rig.clock.settle()
        await rig.clock.advance(DISPLAYED_S)
        assert [shown.seq for shown in rig.seen] == [1, 2, 3, 4, 5]


async def test_a_till_that_starts_shows_nobody() -> None:
    clock = FakeClock()
    screen = Screen(clock, demo=True, language="fr")
    any_display: dict[str, Any] = CustomerDisplay(screen, clock).state.model_dump()
    assert any_display == {
        "seq": 1,
        "kind": "idle",
        "name": None,
        "points": None,
        "pending": None,
        "earned": None,
        "language": "fr",
        "demo": True,
        "shop": None,
    }
