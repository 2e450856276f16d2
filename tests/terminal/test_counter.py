"""The counter's flows over real files, on a clock that stands still, with the hub's time known or not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.codes import DEFAULT_SCHEME
from agent.counter import Counter
from agent.counter_errors import (
    CardMismatch,
    ChoiceNeeded,
    CurrencyRefused,
    CustomerUnknown,
    NoProgram,
    SaleFromTheFuture,
)
from agent.recognition import Chain, HubWord
from agent.redeeming import HubAsked
from agent.screen import Screen
from agent.store import Store
from agent.views import CustomerView, Freshness, NothingView, UnknownCardView
from sync.contract.customers import Caution, CautionKind
from sync.contract.events import Flag
from sync.contract.identifiers import Scheme
from sync.contract.protocol import CustomerGone, PresentedIdentifier
from sync.runtime.sqlite_file import DatabaseFull
from tests.support import shop
from tests.support.clock import FakeClock

_CHAIN = Chain(shop.IDENTIFIER_KEY, DEFAULT_SCHEME, "1")
_CARD, _OTHER = shop.ref(Scheme.CARD, shop.card()), shop.ref(Scheme.CARD, shop.card(2))


class Till:
    """A counter with its store, screen and clock; `hub_now` is what the hub's time is taken for."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.hub_now: datetime | None = None
        self.current_as_of: datetime | None = None
        self.screen = Screen(clock, demo=False, language="en")
        hub = HubWord(lambda: self.hub_now, lambda: self.current_as_of)
        self.counter = Counter(store, self.screen, _CHAIN, clock, hub)


@asynccontextmanager
async def _till(folder: Path, *, rules: bool = True) -> AsyncIterator[Till]:
    clock = FakeClock(shop.MORNING)
    async with shop.open_till(folder, clock) as store:
        if rules:
            await store.cache.keep_program(shop.program())
        yield Till(store, clock)


async def _disk_full(_: PresentedIdentifier) -> None:
    raise DatabaseFull("the disk is full")


@pytest.mark.parametrize(
    ("ahead", "hub_ahead", "flags"),
    [
        (timedelta(0), None, ()),
        (timedelta(minutes=2), None, ()),
        (timedelta(minutes=3), None, (Flag.TIME_UNTRUSTED,)),
        (timedelta(days=4_000), None, (Flag.TIME_UNTRUSTED,)),  # nobody can prove it wrong
        (timedelta(days=-300), None, ()),  # a late sale is a sale
        (timedelta(days=-56 * 365), None, (Flag.TIME_UNTRUSTED,)),  # a dead clock says 1970
        (timedelta(0), timedelta(hours=3), (Flag.TIME_UNTRUSTED,)),  # our own clock is off
        (timedelta(hours=24), timedelta(0), (Flag.TIME_UNTRUSTED,)),
    ],
)
async def test_a_wrong_clock_costs_nobody_points(
    tmp_path: Path, ahead: timedelta, hub_ahead: timedelta | None, flags: tuple[Flag, ...]
) -> None:
    async with _till(tmp_path) as till:
        await till.store.cache.apply(shop.page(shop.put()))
        till.hub_now = None if hub_ahead is None else shop.MORNING + hub_ahead
        result = await till.counter.sale(shop.sale(occurred_at=shop.MORNING + ahead))
        assert (result.points, result.flags) == (15, flags)


async def test_only_the_hubs_own_time_proves_a_sale_to_be_from_the_future(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        till.hub_now = shop.MORNING
        late = shop.sale(occurred_at=shop.MORNING + timedelta(hours=24, seconds=1))
        with pytest.raises(SaleFromTheFuture):
            await till.counter.sale(late)
        with pytest.raises(SaleFromTheFuture):
            await till.counter.reverse("s-1", shop.reversal(occurred_at=late.occurred_at))
        till.hub_now = None
        assert (await till.counter.sale(late)).flags == (Flag.CARD_UNKNOWN, Flag.TIME_UNTRUSTED)


async def test_a_till_without_rules_says_so_and_records_nothing(tmp_path: Path) -> None:
    async with _till(tmp_path, rules=False) as till:
        with pytest.raises(NoProgram):
            await till.counter.sale(shop.sale())
        assert till.store.outbox.figures().waiting == 0


async def test_another_currency_is_refused_by_the_programs_name(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        with pytest.raises(CurrencyRefused, match="CAD"):
            await till.counter.sale(shop.sale(currency="USD"))


async def test_a_sale_for_a_chosen_customer_is_booked_on_their_own_card(tmp_path: Path) -> None:
    phone = shop.ref(Scheme.PHONE, "+15145550123")
    async with _till(tmp_path) as till:
        await till.store.cache.apply(shop.page(shop.put(identifiers=[phone, _CARD])))
        result = await till.counter.sale(shop.sale(customer_id="c-1", card=None))
        assert (result.state, result.customer_id) == ("credited", "c-1")
        (event,) = (await till.store.outbox.export()).events
        assert _CARD.id in event


async def test_points_of_somebody_without_an_identifier_of_their_own_wait_on_the_shared_one(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        both = [shop.put(shop.customer(name), identifiers=[_CARD]) for name in ("c-1", "c-2")]
        await till.store.cache.apply(shop.page(*both))
        with pytest.raises(ChoiceNeeded):
            await till.counter.sale(shop.sale())
        result = await till.counter.sale(shop.sale(customer_id="c-1", card=shop.card()))
        assert (result.state, result.flags) == ("kept_for_card", (Flag.CARD_SHARED,))


async def test_a_card_of_somebody_else_than_the_named_customer_is_refused(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        await till.store.cache.apply(shop.page(shop.put(), shop.put(shop.customer("c-2"), identifiers=[_OTHER])))
        with pytest.raises(CardMismatch):
            await till.counter.sale(shop.sale(customer_id="c-2", card=shop.card()))


@pytest.mark.parametrize("sales", [1, 16, 17, 40])
async def test_however_many_sales_wait_on_a_card_each_counts_until_it_is_covered(tmp_path: Path, sales: int) -> None:
    async with _till(tmp_path) as till:
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        for number in range(sales):
            await till.counter.sale(shop.sale(f"s-{number}"))
        covered = sales // 2
        page = shop.page(shop.put(points=100 + 15 * covered), position=2, covered={shop.INC: covered})
        await till.store.cache.apply(page)
        view = await till.counter.scan(shop.card())
        assert isinstance(view, CustomerView)
        assert (view.balance.pending, view.balance.shown) == (15 * (sales - covered), 100 + 15 * sales)
        result = await till.counter.sale(shop.sale("last"))
        assert result.balance.shown == 100 + 15 * (sales + 1)


async def test_the_wish_to_know_an_unknown_card_waits_for_the_hub_once(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        for _ in range(2):
            view = await till.counter.scan(shop.card())
            assert isinstance(view, UnknownCardView)
        (wish,) = await till.store.journal.unsent_identifiers(10)
        assert wish.identifier.value == shop.card()
        await till.store.journal.identifiers_sent([wish.id], [])
        again = await till.counter.scan(shop.card())
        assert isinstance(again, UnknownCardView)
        assert again.asked == "unknown"


async def test_a_card_is_shown_also_where_the_wish_to_know_more_cannot_be_written(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        till.store.journal.present = _disk_full  # type: ignore[assignment, method-assign]
        assert isinstance(await till.counter.scan(shop.card()), UnknownCardView)


async def test_a_sale_shows_whom_it_was_for_with_the_new_balance(tmp_path: Path) -> None:
    async with _till(tmp_path) as till, asyncio.TaskGroup() as group:
        running = group.create_task(till.screen.run())
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        await till.counter.sale(shop.sale())
        view = (await till.screen.beyond(till.screen.state.seq)).view
        running.cancel()
        assert isinstance(view, CustomerView)
        assert (view.balance.posted, view.balance.pending) == (100, 15)


async def test_a_customer_erased_before_the_screen_gets_to_the_sale_stops_nothing(tmp_path: Path) -> None:
    async with _till(tmp_path) as till, asyncio.TaskGroup() as group:
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        await till.counter.sale(shop.sale())
        gone = CustomerGone(customer_id="c-1", reason="erased")
        await till.store.cache.apply(shop.page(gone, position=2))
        before = till.screen.state.seq
        running = group.create_task(till.screen.run())
        view = (await till.screen.beyond(before)).view
        running.cancel()
        assert isinstance(view, NothingView)


async def test_a_quiet_hub_that_was_just_asked_makes_an_old_figure_true_today(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        till.current_as_of = shop.MORNING + timedelta(hours=5)
        await till.clock.advance(5 * 3600)
        view = await till.counter.scan(shop.card())
        assert isinstance(view, UnknownCardView)
        assert view.balance.as_of is None  # nothing was ever loaded here, whatever the hub says
        await till.store.cache.apply(shop.page(shop.put()))
        view = await till.counter.scan(shop.card())
        assert isinstance(view, CustomerView)
        assert (view.balance.as_of, view.balance.freshness) == (till.current_as_of, Freshness.FRESH)


async def test_reading_a_customer_leaves_the_screen_and_the_hub_alone_and_showing_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with _till(tmp_path) as till:
        counter = Counter(till.store, till.screen, _CHAIN, till.clock, HubWord(), HubAsked(lambda: True))
        await till.store.cache.apply(shop.page(shop.put(points=300)))
        before, nothing = till.screen.state, ((), False)
        read = counter.customer("c-1")
        assert (till.screen.state, till.store.allowances.take_wishes()) == (before, nothing)
        assert "customer opened" not in caplog.text
        assert counter.show_customer("c-1") == read == till.screen.state.view
        (wanted,), _ = till.store.allowances.take_wishes()
        assert (wanted.customer_id, till.screen.state.seq) == ("c-1", before.seq + 1)
        assert "customer opened: id=c-1" in caplog.text
        for ask in (counter.customer, counter.show_customer):
            with pytest.raises(CustomerUnknown):
                ask("nobody")
        assert (till.screen.state.view, till.store.allowances.take_wishes()) == (read, nothing)


async def test_a_view_is_read_again_after_a_change_and_gone_after_an_erasure(tmp_path: Path) -> None:
    async with _till(tmp_path) as till:
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        till.counter.show_customer("c-1")
        shown = till.screen._shown
        assert shown.again is not None
        complaint = Caution(kind=CautionKind.OPEN_COMPLAINT, since=shop.TODAY)
        angry = shop.put(shop.whole_customer(cautions=(complaint,)), points=90)
        await till.store.cache.apply(shop.page(angry, position=2))
        view = (await shown.again()).view
        assert isinstance(view, CustomerView)
        assert (view.balance.posted, view.offer) == (90, None)
        gone = CustomerGone(customer_id="c-1", reason="erased")
        await till.store.cache.apply(shop.page(gone, position=3))
        assert isinstance((await shown.again()).view, NothingView)
