import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from agent.screen import CUSTOMER_SHOWN_S, HubShown, Screen, Shown
from agent.store.outbox import OutboxFigures
from agent.views import BalanceShown, Freshness, UnknownCardView
from tests.support.clock import FakeClock

CARD_ID = "0f" * 16


def _view(points: int) -> UnknownCardView:
    balance = BalanceShown(posted=points, pending=0, shown=points, as_of=None, freshness=Freshness.NEVER)
    return UnknownCardView(card_id=CARD_ID, hint="•• 0011", balance=balance, points_max=500, asked="waiting")


def _kind(screen: Screen) -> str:
    return screen.state.view.kind


@asynccontextmanager
async def _running() -> AsyncIterator[tuple[Screen, FakeClock]]:
    clock = FakeClock()
    screen = Screen(clock, demo=False, language="fr")
    async with asyncio.TaskGroup() as group:
        run = group.create_task(screen.run())
        yield screen, clock
        run.cancel()


async def test_the_newest_view_wins_and_each_change_has_the_next_number() -> None:
    async with _running() as (screen, _):
        first = screen.state.seq
        screen.show(Shown(_view(1)))
        screen.show(Shown(_view(2)))
        assert (screen.state.seq, screen.state.view) == (first + 2, _view(2))


async def test_a_watcher_hears_of_a_change_and_a_slow_one_holds_nobody_up() -> None:
    async with _running() as (screen, clock):
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(screen.beyond(screen.state.seq))
            await clock.settle()
            for points in range(50):
                screen.show(Shown(_view(points)))
        assert heard.result().view == _view(49)


async def test_of_many_sales_in_a_moment_the_last_is_looked_at_and_no_scan_is_covered() -> None:
    async with _running() as (screen, clock):
        looked: list[int] = []

        def look(points: int) -> Shown:
            looked.append(points)
            return Shown(_view(points))

        for points in range(100):
            screen.show_soon(lambda points=points: look(points))  # type: ignore[misc]
        await clock.settle()
        assert (looked, screen.state.view) == ([99], _view(99))
        screen.show_soon(lambda: look(100))
        screen.show(Shown(_view(7)))  # somebody scans before the screen gets to it
        await clock.advance(1)
        assert (looked, screen.state.view) == ([99], _view(7))


async def test_customer_data_leaves_a_minute_after_the_last_act() -> None:
    async with _running() as (screen, clock):
        screen.show(Shown(_view(1)))
        await clock.advance(CUSTOMER_SHOWN_S - 1)
        assert screen.state.view == _view(1)
        screen.show(Shown(_view(2)))
        await clock.advance(CUSTOMER_SHOWN_S - 1)
        assert screen.state.view == _view(2)
        await clock.advance(1)
        assert _kind(screen) == "nothing"


async def test_a_change_at_the_hub_is_read_again_and_keeps_nobody_longer() -> None:
    async with _running() as (screen, clock):

        async def again() -> Shown:
            return Shown(_view(7), frozenset({"c1"}), again)

        screen.show(Shown(_view(1), frozenset({"c1"}), again))
        await clock.advance(CUSTOMER_SHOWN_S / 2)
        screen.touched(frozenset({"c2"}))
        await clock.settle()
        assert screen.state.view == _view(1)
        screen.touched(frozenset({"c1", "c3"}))
        await clock.settle()
        assert screen.state.view == _view(7)
        await clock.advance(CUSTOMER_SHOWN_S / 2)
        assert _kind(screen) == "nothing"


async def test_after_a_snapshot_the_shown_one_is_read_again_whoever_it_is() -> None:
    async with _running() as (screen, clock):

        async def again() -> Shown:
            return Shown(_view(9))

        screen.show(Shown(_view(1), frozenset({"c1"}), again))
        await clock.settle()
        screen.touched(None)
        await clock.settle()
        assert screen.state.view == _view(9)


async def test_a_late_second_read_does_not_cover_the_next_customer() -> None:
    async with _running() as (screen, clock):
        gate = asyncio.Event()

        async def again() -> Shown:
            await gate.wait()
            return Shown(_view(1))

        screen.show(Shown(_view(1), frozenset({"c1"}), again))
        screen.touched(frozenset({"c1"}))
        await clock.settle()
        screen.show(Shown(_view(2)))
        gate.set()
        await clock.settle()
        assert screen.state.view == _view(2)


async def test_figures_that_did_not_change_make_no_noise() -> None:
    async with _running() as (screen, clock):
        before = screen.state
        screen.put_outbox(before.outbox)
        screen.put_hub(before.hub)
        assert screen.state.seq == before.seq
        screen.put_outbox(OutboxFigures(waiting=3, oldest_at=clock.now(), rejected=0, parked=0, withheld=0))
        hub = HubShown(is_reachable=True, since=datetime(2026, 3, 9, tzinfo=UTC), fault=None, is_loading_snapshot=False)
        screen.put_hub(hub)
        assert (screen.state.seq, screen.state.outbox.waiting, screen.state.hub) == (before.seq + 2, 3, hub)
