"""Real purchases: 6,919 orders of 2,357 customers in 78 weeks, at two tills, the hub stopped for whole weeks of it.

Customers are cards, dollars are sales in cents. At the end every balance, at the hub and on both tills, must equal a
sum that was made from the file alone.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from sync.runtime.sqlite_file import Connection
from tests.support.chaos_tills import ChaosTill, card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.waiting import breath, passing

PROGRAM = {"currency": "USD", "earn": {"points": 1, "per_minor": 100}, "unknown_card_points_max": 500}
# One sale in twenty is sent a second time by its point of sale, which did not hear the answer.
REPEATED = 0.05


class Order(NamedTuple):
    """One order of the file; `number` is its line."""

    number: int
    customer: int
    day: datetime
    cents: int


@dataclass
class HubSwitch:
    """A hub that can be stopped and started on one port and one state folder."""

    state: Path
    program_file: Path
    port: int = 0
    starts: int = 0

    def __post_init__(self) -> None:
        self._open = contextlib.AsyncExitStack()
        self.hub: HubUnderTest | None = None

    async def up(self) -> HubUnderTest:
        if self.hub is None:
            self.hub = await self._open.enter_async_context(
                hub_in_process(self.state, port=self.port, program_file=self.program_file)
            )
            self.port = int(self.hub.url.rpartition(":")[2])
            self.starts += 1
        return self.hub

    async def down(self) -> None:
        self.hub = None
        await self._open.aclose()


@pytest.fixture
def orders(shared: Path) -> list[Order]:
    lines = (shared / "data" / "cdnow" / "CDNOW_sample.txt").read_text(encoding="ascii").splitlines()
    orders = []
    for number, line in enumerate(lines, start=1):
        _, customer, day, _, dollars = line.split()
        when = datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC)
        orders.append(Order(number, int(customer), when, int(Decimal(dollars) * 100)))
    return orders


@pytest.fixture
async def switch(tmp_path: Path) -> AsyncIterator[HubSwitch]:
    program_file = tmp_path / "program.json"
    program_file.write_text(json.dumps(PROGRAM), encoding="utf-8")
    switch = HubSwitch(tmp_path / "hub", program_file)
    await switch.up()
    yield switch
    await switch.down()


def by_week(orders: Sequence[Order]) -> dict[datetime, list[Order]]:
    first = min(order.day for order in orders)
    weeks: dict[datetime, list[Order]] = defaultdict(list)
    for order in orders:
        weeks[first + timedelta(weeks=(order.day - first).days // 7)].append(order)
    return dict(sorted(weeks.items()))


async def test_every_balance_is_right_after_78_weeks_with_the_hub_away_for_many(
    orders: list[Order], switch: HubSwitch, tmp_path: Path
) -> None:
    dice = random.Random(78)
    sums = Tally[int]()
    for order in orders:
        sums[order.customer] += order.cents // 100
    assert (len(orders), len(sums)) == (6919, 2357)
    clock = FakeClock(min(order.day for order in orders))
    hub = await switch.up()
    await import_cards(hub, tmp_path, sorted(sums))
    async with contextlib.AsyncExitStack() as stack:
        tills = [
            await stack.enter_async_context(
                chaos_till(tmp_path / name, await enrolled(hub), f"http://127.0.0.1:{switch.port}", clock)
            )
            for name in ("till-a", "till-b")
        ]
        await passing(clock, lambda: all(till.shown(card(1)) == 0 and till.line.state.current_as_of for till in tills))
        weeks_down = 0
        waiting: list[int] = []
        for week in by_week(orders).values():
            if dice.random() < 0.35:
                await (switch.up() if switch.hub is None else switch.down())
            weeks_down += switch.hub is None
            await sell_week(week, tills, clock, dice)
            waiting.append(sum(till.outbox().waiting for till in tills))
        # The outboxes filled and drained many times over.
        assert (weeks_down >= 10, switch.starts >= 5, max(waiting) > 300, min(waiting[10:]) < 30) == (True,) * 4

        hub = await switch.up()
        await passing(clock, lambda: all(is_settled(till, sums) for till in tills), within_s=60)
        assert await hub.inside.reader.read(applied_sales) == len(orders)
        assert await hub.inside.reader.read(balances) == {f"customer-{who}": points for who, points in sums.items()}
        for till in tills:
            figures = till.outbox()
            assert (figures.waiting, figures.rejected, figures.parked, figures.withheld) == (0, 0, 0, 0)


async def sell_week(week: Sequence[Order], tills: Sequence[ChaosTill], clock: FakeClock, dice: random.Random) -> None:
    """Credit a week's orders, day by day, at random tills."""
    by_day: dict[datetime, list[Order]] = defaultdict(list)
    for order in week:
        by_day[order.day].append(order)
    for day, of_day in sorted(by_day.items()):
        clock.set_wall(day)
        sold = [(dice.choice(tills), order) for order in of_day]
        sold += [(till, order) for till, order in sold if dice.random() < REPEATED]
        await asyncio.gather(
            *(till.sell(card(order.customer), f"order-{order.number}", order.cents) for till, order in sold)
        )
        await clock.advance(60)
        await breath()


def is_settled(till: ChaosTill, sums: Tally[int]) -> bool:
    """Tell whether nothing waits and the till shows every balance as the hub's own."""
    return till.outbox().waiting == 0 and all(
        till.pending(card(customer)) == 0 and till.shown(card(customer)) == points for customer, points in sums.items()
    )


def applied_sales(connection: Connection) -> int:
    row = connection.execute(
        "SELECT count(DISTINCT json_extract(raw, '$.data.sale_id')), count(*) FROM events WHERE outcome = 'applied'"
    ).fetchone()
    assert row is not None
    assert row[0] == row[1]
    return int(row[0])


def balances(connection: Connection) -> dict[str, int]:
    """Return each customer's kept balance, which must be the sum of the ledger."""
    kept: dict[str, int] = dict(
        connection.execute(
            "SELECT customer_id, coalesce(points, 0) FROM customers LEFT JOIN balances USING (customer_id)"
        ).fetchall()
    )
    ledger: dict[str, int] = dict(
        connection.execute("SELECT customer_id, sum(points) FROM ledger GROUP BY customer_id").fetchall()
    )
    assert {who: points for who, points in kept.items() if points} == {who: p for who, p in ledger.items() if p}
    return kept
