"""The digest: a terminal that stands where the hub's sums do has the same; and one bucket can be had alone."""

import asyncio
import gzip

import pytest

from sync.contract.digest import BUCKETS, Sums, customer_key
from sync.contract.protocol import (
    CHANGE,
    BalancePut,
    CardPut,
    Change,
    CustomerGone,
    CustomerPut,
)
from sync.hub_errors import HubRefused
from tests.support.wire_till import WireTill, random_card


class Cache:
    """What a terminal holds: customers and bare cards, by the changes it was told."""

    def __init__(self) -> None:
        self.customers: dict[str, CustomerPut] = {}
        self.cards: dict[str, int] = {}

    def take(self, change: Change) -> None:
        if isinstance(change, CustomerPut):
            self.customers[change.customer.customer_id] = change
            for identifier in change.identifiers:
                self.cards.pop(identifier.id, None)
        elif isinstance(change, BalancePut):
            known = self.customers[change.customer_id]
            self.customers[change.customer_id] = known.model_copy(update={"points": change.points})
        elif isinstance(change, CardPut):
            self.cards[change.identifier] = change.points
        elif isinstance(change, CustomerGone):
            self.customers.pop(change.customer_id, None)

    def sums(self) -> tuple[str, ...]:
        sums = Sums()
        for customer_id, put in self.customers.items():
            key = customer_key(customer_id)
            sums.add_customer(key, put.points)
            for identifier in put.identifiers:
                sums.add_identifier(bytes.fromhex(identifier.id), key)
        for identifier_id, points in self.cards.items():
            if points:
                sums.add_card(bytes.fromhex(identifier_id), points)
        return sums.buckets()


async def load(till: WireTill) -> tuple[Cache, str]:
    """Load a snapshot and return it with the cursor that continues the feed."""
    cache, manifest = Cache(), await till.client.snapshot_manifest(till.epoch)
    while not manifest.complete:
        manifest = await till.client.snapshot_manifest(till.epoch, manifest.snapshot_id)
    for chunk in manifest.chunks:
        data = await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, chunk.number)
        for line in gzip.decompress(data).splitlines():
            cache.take(CHANGE.validate_json(line))
    return cache, manifest.cursor


async def read_until(till: WireTill, cache: Cache, cursor: str, until: str) -> None:
    async with asyncio.timeout(30):  # a hub with two texts for one position would be read for ever
        while cursor != until:
            page = await till.client.feed_until(cursor, till.epoch, limit=3, until=until)
            assert page.cursor != cursor
            for change in page.changes:
                cache.take(change)
            cursor = page.cursor


async def test_a_terminal_that_reads_on_to_where_the_sums_are_has_the_same(till: WireTill) -> None:
    cache, cursor = await load(till)
    card, stream = random_card(), till.stream()
    for _ in range(4):
        stream.sale(card)
        stream.sale(random_card())
    await stream.put()
    told = await till.client.digest(cursor, till.epoch)
    stream.sale(card)
    await stream.put(9)
    await read_until(till, cache, cursor, told.cursor)

    assert cache.sums() == told.buckets
    assert cache.cards[till.card_id(card)] in (40, 50)  # the hub may sum up as of a later position than it was asked


async def test_a_bucket_holds_its_rows_and_no_others(till: WireTill) -> None:
    card, stream = random_card(), till.stream()
    stream.sale(card, 700)
    await stream.put()
    number = bytes.fromhex(till.card_id(card))[0]
    answer = await till.client.bucket(number, till.epoch)

    assert (answer.hub_epoch, answer.bucket) == (till.epoch, number)
    assert {
        row.points for row in answer.changes if isinstance(row, CardPut) and row.identifier == till.card_id(card)
    } == {7}
    for row in answer.changes:
        key = bytes.fromhex(row.identifier) if isinstance(row, CardPut) else customer_key(row.customer.customer_id)
        assert key[0] == number


@pytest.mark.parametrize("number", [0, BUCKETS - 1])
async def test_every_bucket_can_be_asked_for(till: WireTill, number: int) -> None:
    assert (await till.client.bucket(number, till.epoch)).bucket == number


async def test_sums_as_of_a_cursor_of_another_history_are_refused(till: WireTill) -> None:
    with pytest.raises(HubRefused, match="resync"):
        await till.client.digest("bm8gY3Vyc29y", till.epoch)
    with pytest.raises(HubRefused, match="hello_required"):
        await till.client.digest(await till.feed_start(), "an-epoch-before-the-restore")
