"""The feed and the snapshot: what they cover, to the event, and that reading on from either misses nothing."""

import asyncio
import gzip
import hashlib
import json
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from sync.contract.protocol import CardPut, FeedPage, Outcome, OutcomePut, SnapshotManifest
from sync.hub_errors import HubRefused
from tests.support.wire_till import Stream, WireTill, random_card


class Shown:
    """What a terminal with this feed would show: the hub's balance plus its own events that are not covered yet."""

    def __init__(self, till: WireTill, cards: list[str]) -> None:
        self._ids = {till.card_id(card): card for card in cards}
        self.posted: dict[str, int] = defaultdict(int)
        self.covered: dict[str, int] = defaultdict(int)
        # (incarnation, seq) -> (card, points); without the events that a verdict has set aside
        self.local: dict[tuple[str, int], tuple[str, int]] = {}

    def apply(self, page: FeedPage) -> None:
        for change in page.changes:
            if isinstance(change, CardPut) and change.identifier in self._ids:
                self.posted[self._ids[change.identifier]] = change.points
        self.covered |= page.covered

    def of(self, card: str) -> int:
        pending = sum(
            points for (inc, seq), (name, points) in self.local.items() if name == card and seq > self.covered[inc]
        )
        return self.posted[card] + pending


@pytest.mark.parametrize("limit", [1, 2, 7, 500])
async def test_what_is_shown_never_moves_while_pages_catch_up(till: WireTill, limit: int) -> None:
    dice = random.Random(limit)
    cursor = await till.feed_start()
    cards = [random_card() for _ in range(4)]
    shown = Shown(till, cards)
    streams = [till.stream() for _ in range(3)]
    for stream in streams:
        for seq in range(1, 21):
            card, points = dice.choice(cards), dice.randrange(1, 9)
            is_wrong = dice.random() < 0.2
            stream.sale(card, points * 100, **({"currency": "XTS"} if is_wrong else {}))
            if not is_wrong:
                shown.local[(stream.inc, seq)] = (card, points)
    expected = {card: shown.of(card) for card in cards}
    at = dict.fromkeys((stream.inc for stream in streams), 1)
    while any(at[stream.inc] <= 20 for stream in streams):
        stream = dice.choice(streams)
        last = min(at[stream.inc] + dice.randrange(1, 6), 20)
        if at[stream.inc] <= last:
            await stream.put(at[stream.inc], last)
            at[stream.inc] = last + 1

    for page in await till.pages(cursor, limit):
        assert len(page.changes) <= limit
        shown.apply(page)
        assert {card: shown.of(card) for card in cards} == expected

    assert {stream.inc: shown.covered[stream.inc] for stream in streams} == dict.fromkeys(at, 20)
    assert dict(shown.posted) == expected


async def test_events_of_every_verdict_are_covered_in_the_end(till: WireTill) -> None:
    cursor = await till.feed_start()
    stream = till.stream()
    stream.sale(random_card(), currency="XTS")
    stream.write("loyalty.from.the.future.v9", {})
    await stream.put()

    pages = await till.pages(cursor)

    assert pages[-1].covered[stream.inc] == 2
    assert pages[-1].cursor != cursor


async def test_a_terminal_hears_of_its_own_coverage_only(till: WireTill, other_till: WireTill) -> None:
    cursor = await till.feed_start()
    other = Stream(other_till)
    other.sale(random_card())
    await other.put()

    pages = await till.pages(cursor)

    assert all(other.inc not in page.covered for page in pages)
    assert any(change.op == "card" for page in pages for change in page.changes)


async def test_a_waiting_poll_answers_as_soon_as_something_happens(till: WireTill) -> None:
    cursor = await till.feed_start()
    stream = till.stream()
    stream.sale(random_card())

    poll = asyncio.ensure_future(till.client.feed(cursor, till.epoch, limit=10, wait_s=20))
    answer = await stream.put()
    async with asyncio.timeout(5):
        page = await poll

    assert answer.results[0].outcome is Outcome.APPLIED
    assert page.covered == {stream.inc: 1}


async def test_a_poll_without_news_ends_where_it_began(till: WireTill) -> None:
    cursor = await till.feed_start()

    page = await till.client.feed(cursor, till.epoch, limit=10, wait_s=1)

    assert (page.changes, page.covered, page.cursor, page.more) == ((), {}, cursor, False)


async def test_the_same_cursor_again_brings_the_same_news(till: WireTill) -> None:
    cursor = await till.feed_start()
    stream = till.stream()
    stream.sale(random_card())
    await stream.put()

    first, second = await till.pages(cursor), await till.pages(cursor)

    assert [page.changes for page in first] == [page.changes for page in second]
    assert first[-1].covered == second[-1].covered


@pytest.mark.parametrize("cursor", ["", "rubbish", "ZXBvY2gtMHwxfDU", "ZXBvY2gtMHw5OTl8NQ", "é", "x" * 190])
async def test_a_cursor_of_another_hub_or_shape_asks_for_a_resync(till: WireTill, cursor: str) -> None:
    with pytest.raises(HubRefused, match="resync"):
        await till.client.feed(cursor, till.epoch, limit=10, wait_s=0)


async def test_feed_and_snapshot_of_another_epoch_are_refused(till: WireTill) -> None:
    cursor = await till.feed_start()

    with pytest.raises(HubRefused, match="hello_required"):
        await till.client.feed(cursor, "another-epoch", limit=10, wait_s=0)
    with pytest.raises(HubRefused, match="hello_required"):
        await till.client.snapshot_manifest("another-epoch")


async def test_a_final_verdict_is_told_to_the_terminal_of_its_event_alone(till: WireTill, other_till: WireTill) -> None:
    cursor = await till.feed_start()
    early, late = till.stream(), other_till.stream()
    sale_id = late.sale(random_card())
    early.reversal(sale_id)
    await early.put()
    await late.put()

    told = [
        [change.inc for page in await one.pages(cursor) for change in page.changes if isinstance(change, OutcomePut)]
        for one in (till, other_till)
    ]

    assert told == [[early.inc], []]


async def complete_manifest(till: WireTill) -> SnapshotManifest:
    async with asyncio.timeout(60):
        manifest = await till.client.snapshot_manifest(till.epoch)
        while not manifest.complete:
            manifest = await till.client.snapshot_manifest(till.epoch, manifest.snapshot_id)
    return manifest


async def test_a_snapshot_and_the_feed_after_it_are_all_there_is(till: WireTill) -> None:
    cards = [random_card() for _ in range(3)]
    stream = till.stream()
    for card in cards:
        stream.sale(card, 500)
    await stream.put(1, 2)

    manifest = await complete_manifest(till)
    await stream.put(3, 3)
    rows: list[dict[str, object]] = []
    for chunk in manifest.chunks:
        packed = await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, chunk.number)
        assert hashlib.sha256(packed).hexdigest() == chunk.sha256
        lines = gzip.decompress(packed).splitlines()
        assert len(lines) == chunk.rows
        rows += [json.loads(line) for line in lines]
    points = {row["identifier"]: row["points"] for row in rows if row["op"] == "card"}
    covered = dict(manifest.covered)
    for seq, card in enumerate(cards, start=1):
        assert (till.card_id(card) in points) == (covered.get(stream.inc, 0) >= seq), (
            "rows and coverage are of one point"
        )
    for page in await till.pages(manifest.cursor):
        points |= {change.identifier: change.points for change in page.changes if isinstance(change, CardPut)}
        covered |= page.covered

    assert {card: points[till.card_id(card)] for card in cards} == dict.fromkeys(cards, 5)
    assert covered[stream.inc] == 3


async def test_the_current_snapshot_is_not_older_than_an_hour(till: WireTill) -> None:
    now, manifest = (await till.hello()).server_time, await complete_manifest(till)

    assert manifest.as_of > now - timedelta(hours=1, minutes=1)


async def test_a_chunk_never_changes_and_can_be_had_again(till: WireTill) -> None:
    stream = till.stream()
    stream.sale(random_card())
    await stream.put()
    manifest = await complete_manifest(till)
    number = manifest.chunks[0].number
    first = await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, number)
    stream.sale(random_card())
    await stream.put(2)

    assert await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, number) == first
    again = await till.client.snapshot_manifest(till.epoch, manifest.snapshot_id)
    assert (again.chunks, again.cursor) == (manifest.chunks, manifest.cursor)


async def test_a_snapshot_that_is_not_there_is_refused_by_its_name(till: WireTill) -> None:
    manifest = await complete_manifest(till)

    with pytest.raises(HubRefused, match="snapshot_unknown"):
        await till.client.snapshot_manifest(till.epoch, "f" * 32)
    for snapshot_id, number in (("f" * 32, 1), (manifest.snapshot_id, len(manifest.chunks) + 1)):
        with pytest.raises(HubRefused, match="snapshot_unknown"):
            await till.client.snapshot_chunk(till.epoch, snapshot_id, number)
