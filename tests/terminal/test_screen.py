import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from agent.screen import CUSTOMER_SHOWN_S, HubShown, Screen, ShopShown, Shown
from agent.shift import Act, ActState
from agent.store.outbox import OutboxFigures
from agent.views import BalanceShown, Freshness, UnknownCardView
from agent.wedge import Scanner
from tests.support.clock import FakeClock

CARD_ID = "0f" * 16


def _view(points: int) -> UnknownCardView:
    balance = BalanceShown(posted=points, pending=0, shown=points, as_of=None, freshness=Freshness.NEVER)
    return UnknownCardView(card_id=CARD_ID, hint="•• 0011", balance=balance, points_max=500, asked="waiting")


def _act(sale_id: str = "s-1", **changes: Any) -> Act:
    act = Act(
        position=1,
        sale_id=sale_id,
        customer_id="c-1",
        hint="•• 0011",
        net_minor=500,
        currency="CAD",
        points=5,
        state=ActState.CREDITED,
        recorded_at=datetime(2026, 3, 9, tzinfo=UTC),
    )
    return act.model_copy(update=changes)


def _locked(screen: Screen) -> bool:
    return screen.state.locked


def _last(screen: Screen) -> Act | None:
    return screen.state.act


def _kind(screen: Screen) -> str:
    return screen.state.view.kind


@asynccontextmanager
async def _running() -> AsyncIterator[tuple[Screen, FakeClock]]:
    clock = FakeClock()
    screen = Screen(clock, demo=False, language="fr", lock_after_s=300.0)
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


async def test_a_sale_whose_customer_is_covered_by_the_next_scan_can_still_be_undone() -> None:
    async with _running() as (screen, clock):
        screen.show_soon(lambda: Shown(_view(1)), _act)
        screen.show(Shown(_view(2)))  # the next in the queue, before the screen got to the sale
        assert (screen.state.view, _last(screen)) == (_view(2), _act())
        screen.show_soon(lambda: Shown(_view(3)), lambda: _act("s-2"))
        await clock.advance(1)
        assert (screen.state.view, _last(screen)) == (_view(3), _act("s-2"))
        screen.show(Shown(_view(4)))
        assert _last(screen) == _act("s-2")


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


async def test_a_locked_screen_shows_nothing_whatever_is_scanned_or_sold() -> None:
    async with _running() as (screen, clock):
        screen.show(Shown(_view(1), act=_act))
        screen.lock()
        assert (_kind(screen), _last(screen), _locked(screen)) == ("nothing", None, True)
        locked = screen.state
        screen.lock()
        screen.show(Shown(_view(2), act=_act))
        screen.show_soon(lambda: Shown(_view(3)), _act)
        screen.touched(None)
        screen.clear()
        await clock.advance(1)
        assert screen.state == locked


async def test_what_was_sold_behind_the_lock_does_not_appear_after_it() -> None:
    async with _running() as (screen, clock):
        screen.show_soon(lambda: Shown(_view(1)), _act)  # on its way while the screen is locked
        screen.lock()
        screen.show_soon(lambda: Shown(_view(2)), _act)
        screen.unlock()
        screen.touched(None)
        await clock.advance(1)
        assert (_kind(screen), _last(screen), _locked(screen)) == ("nothing", None, False)
        screen.show(Shown(_view(3)))
        assert (screen.state.view, _last(screen)) == (_view(3), None)


async def test_a_read_that_began_before_the_lock_brings_nobody_back() -> None:
    async with _running() as (screen, clock):
        gate = asyncio.Event()

        async def again() -> Shown:
            await gate.wait()
            return Shown(_view(9))

        screen.show(Shown(_view(1), frozenset({"c1"}), again, _act))
        screen.touched(frozenset({"c1"}))
        await clock.settle()
        screen.lock()
        gate.set()
        await clock.settle()
        assert (_kind(screen), _last(screen)) == ("nothing", None)


async def test_the_screen_locks_itself_when_nobody_acts_and_a_change_at_the_hub_is_no_act() -> None:
    async with _running() as (screen, clock):
        acts: list[Callable[[], None]] = [lambda: screen.show(Shown(_view(1))), screen.clear, screen.unlock]
        for do in acts:
            do()
            await clock.advance(299)
            assert not _locked(screen)
        screen.show_soon(lambda: Shown(_view(1)))
        await clock.advance(299)
        assert not _locked(screen)
        screen.touched(None)
        screen.put_outbox(OutboxFigures(waiting=1, oldest_at=None, rejected=1, parked=0, withheld=0))
        screen.put_currency("CAD")
        await clock.advance(1)
        assert _locked(screen)
        screen.unlock()
        await clock.advance(299)
        assert not _locked(screen)
        await clock.advance(1)
        assert _locked(screen)


async def test_the_last_act_stays_while_others_are_scanned_and_a_new_shift_forgets_it() -> None:
    async with _running() as (screen, clock):
        first = screen.state.seq
        screen.show(Shown(_view(1), act=_act))
        assert (screen.state.seq, screen.state.view, _last(screen)) == (first + 1, _view(1), _act())
        screen.show(Shown(_view(2)))
        screen.clear()
        await clock.advance(CUSTOMER_SHOWN_S)
        assert (_kind(screen), _last(screen)) == ("nothing", _act())
        screen.show(Shown(_view(3), act=lambda: _act("s-2")))
        assert screen.state.act == _act("s-2")
        screen.forget_act()
        screen.touched(None)
        await clock.settle()
        assert (screen.state.view, _last(screen)) == (_view(3), None)


async def test_an_act_that_was_taken_back_and_the_balance_after_it_come_in_one_change() -> None:
    async with _running() as (screen, clock):
        act, points = _act(), 5

        async def again() -> Shown:
            return Shown(_view(points), frozenset({"c1"}), again)

        screen.show(Shown(_view(points), frozenset({"c1"}), again, lambda: act))
        before = screen.state.seq
        act, points = _act(state=ActState.TAKEN_BACK), 0
        screen.touched(frozenset({"c1"}))
        await clock.settle()
        assert (screen.state.seq, screen.state.view, _last(screen)) == (before + 1, _view(0), act)
        screen.show(Shown(_view(7)))  # somebody else; the toast lives on
        act = _act()
        screen.touched(frozenset({"c1"}))
        await clock.settle()
        assert (screen.state.view, _last(screen)) == (_view(7), act)


async def test_an_event_that_was_set_aside_is_read_again_for_whoever_is_shown() -> None:
    async with _running() as (screen, clock):

        async def again() -> Shown:
            return Shown(_view(0))

        screen.show(Shown(_view(5), frozenset({"c1"}), again))
        screen.put_outbox(OutboxFigures(waiting=1, oldest_at=clock.now(), rejected=0, parked=0, withheld=0))
        await clock.settle()
        assert screen.state.view == _view(5)
        screen.put_outbox(OutboxFigures(waiting=0, oldest_at=None, rejected=1, parked=0, withheld=0))
        await clock.settle()
        assert screen.state.view == _view(0)


async def test_a_sale_that_is_about_to_be_shown_keeps_the_screen_from_leaving() -> None:
    async with _running() as (screen, clock):
        screen.show(Shown(_view(1)))
        await clock.advance(CUSTOMER_SHOWN_S - 0.01)
        screen.show_soon(lambda: Shown(_view(2)))
        screen.show_soon(lambda: Shown(_view(3)))
        await clock.advance(0.02)
        await clock.advance(CUSTOMER_SHOWN_S - 2)
        assert screen.state.view == _view(3)


async def test_the_shop_and_the_scanner_are_in_the_state_and_what_did_not_change_makes_no_noise() -> None:
    screen = Screen(FakeClock(), demo=False, language="fr", shop=ShopShown(name="Café", till="1"), sounds=False)
    assert (screen.state.shop.name, screen.state.shop.till, screen.state.shop.currency) == ("Café", "1", None)
    assert not screen.state.sounds
    before = screen.state.seq
    screen.put_currency("CAD")
    screen.put_scanner(Scanner(gap_ms=40))
    assert (screen.state.seq, screen.state.shop.name, screen.state.shop.currency) == (before + 2, "Café", "CAD")
    assert screen.state.scanner.gap_ms == 40
    screen.put_currency("CAD")
    screen.put_scanner(Scanner(gap_ms=40))
    screen.forget_act()
    assert screen.state.seq == before + 2
