"""Sales as a counter makes them: to customers at random, durable one by one or as many at a time as there are tills."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count

from agent.counter import Counter
from agent.recognition import Chain, HubWord
from agent.sales import SaleRequest
from agent.screen import Screen
from agent.store import Store
from agent.store.outbox import Outbox
from sync.runtime.clock import SystemClock
from tests.bench.people import SEED, card
from tests.bench.world import Till

CONCURRENT = 64
_CURRENCY = "CAD"


class Sales:
    """New sales without end, each under an id of its own, also when the bench runs a second time on the same till."""

    def __init__(self, customers: int) -> None:
        self._customers = customers
        self._die = random.Random(SEED + 2)
        self._run = f"{datetime.now(UTC):%Y%m%d%H%M%S%f}"
        self._numbers = count(1)

    def next(self, number_of: int) -> list[SaleRequest]:
        """Return that many sales of two lines; points are a few per sale."""
        now = datetime.now(UTC)
        return [self._sale(number, now) for _, number in zip(range(number_of), self._numbers, strict=False)]

    def _sale(self, number: int, now: datetime) -> SaleRequest:
        amounts = (self._die.randrange(250, 900), self._die.randrange(100, 600))
        return SaleRequest.model_validate(
            {
                "sale_id": f"bench-{self._run}-{number}",
                "card": card(self._die.randrange(1, self._customers + 1)),
                "lines": [{"quantity": "1", "net_minor": amount, "sku": f"sku-{amount % 40}"} for amount in amounts],
                "net_minor": sum(amounts),
                "tax_minor": sum(amounts) * 15 // 100,
                "currency": _CURRENCY,
                "occurred_at": now,
                "staff_ref": "ann",
            }
        )


@asynccontextmanager
async def open_counter(till: Till) -> AsyncIterator[tuple[Counter, Store]]:
    """Open a till's counter in this process. What is sold here is forgotten in the end: the till is as it was."""
    with till.put_back():
        async with open_counter_for_good(till) as opened:
            yield opened


@asynccontextmanager
async def open_counter_for_good(till: Till) -> AsyncIterator[tuple[Counter, Store]]:
    """Open a till's counter in this process. What is sold here stays sold."""
    clock = SystemClock()
    cards = till.settings.cards
    chain = Chain(till.identifier_key, cards.scheme(), cards.country_code)
    async with till.open_store() as store:
        screen = Screen(clock, demo=False, language="en")
        yield Counter(store, screen, chain, clock, HubWord()), store


async def waiting_events(outbox: Outbox) -> list[str]:
    """Return the texts of all that waits in an outbox, in the order they are sent."""
    events: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await outbox.export(after=after)
        events.extend(page.events)
        after = page.next_after
    return events


async def sell_one_by_one(counter: Counter, sales: Sequence[SaleRequest]) -> None:
    for sale in sales:
        await counter.sale(sale)


async def sell_at_once(counter: Counter, sales: Sequence[SaleRequest]) -> None:
    """Sell with that many credits under way at any moment, each from a counter that waits for its answer."""
    waiting = iter(sales)
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT):
            group.create_task(_sell(counter, waiting))


async def _sell(counter: Counter, waiting: Iterator[SaleRequest]) -> None:
    for sale in waiting:
        await counter.sale(sale)
