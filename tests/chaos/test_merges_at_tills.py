"""Two customers who turn out to be one, or not, while tills are cut off: whole tills, the real hub, a bad line."""

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sync.hub.people.customer_rows import Leaving
from sync.hub.people.customers import put_customers
from sync.hub.people.erasures import listed
from sync.hub.people.merging import merge, unmerge
from tests.support.chaos_tills import ChaosTill, card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.proxy import Fault, FaultProxy, fault_proxy
from tests.support.waiting import passing

OPENING = 100
ANN, BEN = card(1), card(2)


@dataclass
class Shop:
    """Two tills behind lines that can be cut, and a hub that knows a customer for each of two cards."""

    hub: HubUnderTest
    proxies: list[FaultProxy]
    tills: list[ChaosTill]
    clock: FakeClock
    sales: int = 0

    def cut(self, number: int) -> None:
        self.proxies[number].plan = lambda _: Fault.LOSE_REQUEST

    def mend(self) -> None:
        for proxy in self.proxies:
            proxy.plan = lambda _: Fault.PASS
            proxy.release()

    async def sell(self, till: int, number: str, points: int) -> None:
        self.sales += 1
        assert await self.tills[till].sell(number, f"sale-{self.sales}", points * 100) == points

    async def merge(self) -> None:
        await self.hub.inside.writer.write(lambda connection: merge(connection, "customer-1", "customer-2", _now_ms()))

    async def unmerge(self) -> None:
        await self.hub.inside.writer.write(lambda connection: unmerge(connection, "customer-1", _now_ms()))

    async def erase(self) -> None:
        gone = [Leaving("customer-1", "erased")]
        await self.hub.inside.writer.write(lambda connection: put_customers(connection, gone, _now_ms()))

    async def until_all_show(self, ann: int, ben: int) -> None:
        await passing(self.clock, lambda: all(self.figures(till) == [(ann, 0), (ben, 0)] for till in self.tills))

    def figures(self, till: ChaosTill) -> list[tuple[int, int]]:
        return [(till.shown(number), till.pending(number)) for number in (ANN, BEN)]


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = FakeClock()
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_in_process(tmp_path / "hub"))
        await import_cards(hub, tmp_path, (1, 2), OPENING)
        proxies, tills = [], []
        for name in ("a", "b"):
            proxy = await stack.enter_async_context(fault_proxy(hub.url))
            till = chaos_till(tmp_path / f"till-{name}", await enrolled(hub), proxy.url, clock)
            proxies.append(proxy)
            tills.append(await stack.enter_async_context(till))
        shop = Shop(hub, proxies, tills, clock)
        await shop.until_all_show(OPENING, OPENING)
        yield shop


async def test_f45_a_merge_while_a_till_is_cut_off_with_sales_on_both_cards(shop: Shop) -> None:
    shop.cut(0)
    await shop.sell(0, ANN, 5)
    await shop.sell(0, BEN, 3)
    await shop.sell(1, ANN, 7)
    await shop.merge()
    await passing(shop.clock, lambda: shop.figures(shop.tills[1]) == [(207, 0), (207, 0)])
    assert shop.figures(shop.tills[0]) == [(105, 5), (103, 3)]  # it has not heard: each is shown as before

    shop.mend()

    await shop.until_all_show(215, 215)


async def test_f46_an_unmerge_while_a_till_is_cut_off_gives_each_what_was_bought_on_the_own_card(shop: Shop) -> None:
    await shop.merge()
    await shop.until_all_show(200, 200)
    shop.cut(0)
    await shop.sell(0, ANN, 5)
    await shop.sell(1, BEN, 3)
    assert shop.figures(shop.tills[0]) == [(205, 5), (205, 5)]
    await shop.unmerge()

    shop.mend()

    await shop.until_all_show(105, 103)


async def test_f47_an_erasure_reaches_a_till_with_pending_points_as_soon_as_it_has_a_line(shop: Shop) -> None:
    shop.cut(0)
    await shop.sell(0, ANN, 5)
    await shop.erase()
    await passing(shop.clock, lambda: shop.tills[1].store.customers.by_id("customer-1") is None)
    (erasure,) = await shop.hub.inside.reader.read(listed)
    assert shop.tills[0].enrolment.terminal_id in [terminal_id for terminal_id, _ in erasure.behind]

    shop.mend()

    await shop.until_all_show(0, OPENING)
    await passing(shop.clock, lambda: shop.tills[0].outbox().waiting == 0)

    async def all_have_heard() -> bool:
        return all(not one.behind for one in await shop.hub.inside.reader.read(listed))

    await passing(shop.clock, all_have_heard)
    booked = await shop.hub.inside.reader.read(
        lambda connection: connection.execute("SELECT sum(points) FROM events").fetchone()
    )
    assert booked == (5,)


@pytest.mark.parametrize("seed", [1, 2])
async def test_merges_and_sales_in_any_order_on_a_bad_line_end_in_the_same_figures(shop: Shop, seed: int) -> None:
    dice = random.Random(seed)
    own, is_merged = {ANN: OPENING, BEN: OPENING}, False
    for proxy in shop.proxies:
        proxy.plan = lambda _: dice.choice((Fault.PASS, Fault.PASS, Fault.LOSE_ANSWER, Fault.LOSE_REQUEST))
    for _ in range(25):
        if dice.random() < 0.3:
            await (shop.unmerge() if is_merged else shop.merge())
            is_merged = not is_merged
        number, points = dice.choice((ANN, BEN)), dice.randrange(1, 9)
        await shop.sell(dice.randrange(2), number, points)
        own[number] += points
        await shop.clock.advance(1.0)
    shop.mend()
    together = own[ANN] + own[BEN]
    await shop.until_all_show(*((together, together) if is_merged else (own[ANN], own[BEN])))
    if is_merged:
        await shop.unmerge()
    await shop.until_all_show(own[ANN], own[BEN])
