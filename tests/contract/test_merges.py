"""Customers who are joined, parted and erased, as a terminal sees it: whole balances, by ops that each one knows."""

import time

import pytest

from sync.contract.protocol import BalancePut, Change, CustomerGone, CustomerPut
from sync.hub.people.customer_rows import Leaving, to_row
from sync.hub.people.customers import put_customers
from sync.hub.people.merging import merge, unmerge
from tests.support.hubs import HubUnderTest
from tests.support.wire_till import WireTill, random_card


class Cache:
    """What a terminal keeps of customers: points, and whom an identifier leads to."""

    def __init__(self, till: WireTill, cursor: str) -> None:
        self._till = till
        self._cursor = cursor
        self.points: dict[str, int] = {}
        self.ids: dict[str, set[str]] = {}

    def take(self, change: Change) -> None:
        if isinstance(change, CustomerPut):
            self.points[change.customer.customer_id] = change.points
            self.ids[change.customer.customer_id] = {ref.id for ref in change.identifiers}
        elif isinstance(change, BalancePut):
            self.points[change.customer_id] = change.points
        elif isinstance(change, CustomerGone):
            self.points.pop(change.customer_id, None)
            self.ids.pop(change.customer_id, None)

    async def read(self, limit: int) -> None:
        more = True
        while more:
            page = await self._till.client.feed(self._cursor, self._till.epoch, limit=limit, wait_s=0)
            for change in page.changes:
                self.take(change)
            self._cursor, more = page.cursor, page.more


@pytest.mark.parametrize("limit", [1, 500])
async def test_a_merge_its_end_and_an_erasure_reach_a_terminal_with_whole_balances(
    hub: HubUnderTest, till: WireTill, limit: int
) -> None:
    inside, now_ms = hub.inside, int(time.time() * 1000)
    cards = {name: random_card() for name in (f"ann-{limit}", f"ben-{limit}")}
    ann, ben = cards
    cache = Cache(till, await till.feed_start())
    rows = [
        to_row(
            {
                "customer_id": name,
                "given_name": "Zoé",
                "language": "fr",
                "identifiers": [{"scheme": "card", "value": card}],
                "points": 100,
            },
            inside.founding.identifier_key,
            "1",
        )
        for name, card in cards.items()
    ]
    await inside.writer.write(lambda connection: put_customers(connection, rows, now_ms))
    stream = till.stream()
    stream.sale(cards[ann], 700)
    stream.sale(cards[ben], 300)
    await stream.put(1, 1)

    await inside.writer.write(lambda connection: merge(connection, ann, ben, now_ms))
    await stream.put(2, 2)
    await cache.read(limit)
    assert (cache.points, cache.ids) == ({ben: 210}, {ben: {till.card_id(card) for card in cards.values()}})

    await inside.writer.write(lambda connection: unmerge(connection, ann, now_ms))
    await cache.read(limit)
    assert cache.points == {ann: 107, ben: 103}
    assert cache.ids == {name: {till.card_id(card)} for name, card in cards.items()}

    gone = [Leaving(name, "erased") for name in cards]
    await inside.writer.write(lambda connection: put_customers(connection, gone, now_ms))
    await cache.read(limit)
    assert (cache.points, cache.ids) == ({}, {})
