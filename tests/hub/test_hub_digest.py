"""The hub's side of the digest: its sums are those of the rows that it gives out, at every position."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.contract.digest import BUCKETS, BucketAnswer, Sums, customer_key
from sync.contract.protocol import CHANGE, CardPut, CustomerPut
from sync.hub.feed.digests import bucket_text, rows_of, sum_up
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.pages import read_page
from sync.hub.feed.snapshot_files import chunk_texts
from sync.hub.people.customer_rows import Leaving
from sync.hub.root import running
from sync.hub_errors import HubRefused
from tests.support.hub_books import Books, card_id, customer, open_books
from tests.support.hub_events import SENDER, sale
from tests.support.hub_tills import config_of, till_of
from tests.support.hub_world import World
from tests.support.wire_till import random_card

CARD, OTHER_CARD, BARE_CARD = "9990000000000001", "9990000000000002", "9990000000000003"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        yield books


def sums_of(rows: list[CustomerPut | CardPut]) -> tuple[str, ...]:
    """Sum up rows as a terminal that holds them does."""
    sums = Sums()
    for row in rows:
        if isinstance(row, CardPut):
            sums.add_card(bytes.fromhex(row.identifier), row.points)
            continue
        key = customer_key(row.customer.customer_id)
        sums.add_customer(key, row.points)
        for identifier in row.identifiers:
            sums.add_identifier(bytes.fromhex(identifier.id), key)
    return sums.buckets()


def snapshot(books: Books) -> list[CustomerPut | CardPut]:
    lines = (line for _, text in chunk_texts(books.connection) for line in text.splitlines())
    return [row for row in map(CHANGE.validate_json, lines) if isinstance(row, CustomerPut | CardPut)]


def bucket(books: Books, number: int) -> BucketAnswer:
    text = bucket_text(rows_of(books.connection, number), number, "e" * 16)
    return BucketAnswer.model_validate_json(text, strict=True)


def test_the_sums_are_those_of_a_snapshot_at_the_same_position(books: Books) -> None:
    books.put(customer("C-1", CARD, points=40), customer("C-2", OTHER_CARD), customer("C-3"))
    books.put(Leaving("C-3", "out_of_scope"))
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", card_id(CARD)), sale(SENDER, 2, "s-2", card_id(BARE_CARD)))
    pos, sums = sum_up(books.connection)

    assert pos == last_pos(books.connection)
    assert sums.buckets() == sums_of(snapshot(books))
    assert sum(number != "0" * 32 for number in sums.buckets()) == 3


@pytest.mark.parametrize("seed", range(4))
def test_the_sums_hold_through_merges_erasures_and_shared_cards(books: Books, seed: int) -> None:
    world = World(books, seed)
    for _ in range(60):
        world.step()
        assert sum_up(books.connection)[1].buckets() == sums_of(snapshot(books))


def test_the_buckets_together_are_the_snapshot(books: Books) -> None:
    books.put(*(customer(f"C-{number}", points=number) for number in range(1, 30)))
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", card_id(BARE_CARD)))
    answers = [bucket(books, number) for number in range(BUCKETS)]
    rows = [change for answer in answers for change in answer.changes]

    assert sorted(row.model_dump_json() for row in rows) == sorted(row.model_dump_json() for row in snapshot(books))
    assert {answer.cursor for answer in answers} == {answers[0].cursor}


def test_a_page_ends_where_it_is_asked_to_and_never_inside_a_merge(books: Books) -> None:
    books.put(customer("C-1", CARD), customer("C-2", OTHER_CARD))
    before = last_pos(books.connection)
    books.merge("C-1", "C-2")
    merged = last_pos(books.connection)
    books.put(customer("C-3"))
    newest = last_pos(books.connection)

    def end(until: int) -> int:
        """Return where a till gets to that reads on until there, one change at a time."""
        pos = 0
        while (page := read_page(books.connection, "till-1", pos, 1, until)).pos != pos:
            pos = page.pos
        return pos

    assert {until: end(until) for until in (0, 1, before, merged, newest)} == {
        until: until for until in (0, 1, before, merged, newest)
    }
    assert end(before + 1) in (before, merged)


async def test_over_the_door_a_till_is_told_the_sums_as_of_where_it_can_still_get_to(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        start = await till.feed_start()
        stream = till.stream()
        card = random_card()
        stream.sale(card)
        await stream.put()
        told = await till.client.digest(start, till.epoch)
        stream.sale(card)
        await stream.put(2)
        page = await till.client.feed_until(start, till.epoch, limit=500, until=told.cursor)

        assert page.cursor == told.cursor
        assert page.more
        rows = [change for change in page.changes if isinstance(change, CardPut)]
        assert told.buckets == sums_of([*rows])
        later = await till.client.digest((await till.feed_start()), till.epoch)
        assert later.buckets != told.buckets
        answer = await till.client.bucket(bytes.fromhex(till.card_id(card))[0], till.epoch)
        assert [change.points for change in answer.changes if isinstance(change, CardPut)] == [20]


async def test_a_cursor_of_another_history_is_told_to_begin_anew(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        with pytest.raises(HubRefused, match="resync"):
            await till.client.digest(json.dumps("no cursor"), till.epoch)
        with pytest.raises(HubRefused, match="hello_required"):
            await till.client.bucket(7, "f" * 16)
