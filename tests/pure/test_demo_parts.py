import asyncio
import json
from datetime import date

import pytest

from agent import codes
from agent.demo.ports import PORT_BASE_MAX, Ports
from agent.demo.sample_shop import Shop, make_shop
from agent.demo.shop_files import cards_table, import_line, sample_cards, shared_phone
from agent.demo.transcript import Transcript
from agent.demo.waiting import NotSeen, wait_for
from sync.contract.customers import Customer
from sync.contract.identifiers import Scheme
from sync.hub.people.customer_rows import CustomerRow, to_row
from tests.support.clock import FakeClock


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(date(2026, 3, 9))


def test_the_hub_reads_every_customer_as_the_shop_made_it(shop: Shop) -> None:
    for member in shop.members:
        row = to_row(json.loads(import_line(member)), bytes(32), "1")

        assert isinstance(row, CustomerRow)
        assert Customer.model_validate_json(row.wire) == member.customer
        assert {(one.scheme, one.value) for one in row.identifiers} == {
            (one.scheme.value, one.value) for one in member.identifiers
        }
        assert row.points == member.points


def test_every_road_worth_showing_has_a_card_with_a_name_of_its_own(shop: Shop) -> None:
    cards = sample_cards(shop)

    assert [card.number for card in cards] == [
        *(number for member in shop.members if member.sees for number in member.cards),
        shop.unknown_card,
    ]
    assert len({card.file_name for card in cards}) == len(cards)
    assert all(codes.read(card.number) == codes.CardNumber(card.number) for card in cards)
    assert cards[0].file_name == "01-marie-the-whole-view.png"
    assert cards[-1].file_name == "09-unknown-card.png"
    # Safe on any file system, and on a command line without quotes.
    assert all(card.file_name.isascii() and set(card.file_name) <= set(_PLAIN) for card in cards)


_PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789-."


def test_the_table_of_cards_gives_the_number_as_it_is_read_aloud_and_what_it_shows(shop: Shop) -> None:
    cards = sample_cards(shop)

    row = cards_table(cards)[2]

    assert (
        row == f"03  {codes.grouped(cards[2].number)}  Daniel Okafor: no consent: points work, the wording is neutral"
    )


def test_the_shared_phone_leads_to_two(shop: Shop) -> None:
    phone = shared_phone(shop)

    owners = [
        member.customer.given_name
        for member in shop.members
        if any(one.scheme is Scheme.PHONE and one.value == phone for one in member.identifiers)
    ]
    assert owners == ["Léa", "Thomas"]


def test_the_highest_base_still_leaves_room_for_the_tills() -> None:
    assert Ports(8700).tills == (8710, 8720)
    assert Ports(PORT_BASE_MAX).tills[-1] == 65_535


def test_a_transcript_numbers_its_steps_and_says_what_each_took() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append, FakeClock(), 9)

    with transcript.step("Scan"):
        transcript.seen("Marie")
    with transcript.step("Sell"):
        transcript.failed("expected 5, saw 4")

    assert lines == [
        "  1/9 Scan",
        "      ✓ Marie",
        "        0.0 s",
        "  2/9 Sell",
        "      ✗ expected 5, saw 4",
        "        0.0 s",
    ]


async def test_waiting_ends_when_the_expected_is_seen_and_says_how_long_it_took() -> None:
    clock = FakeClock()
    seen = iter([3, 4, 5])

    async def look() -> int:
        return next(seen)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_for("points", 5, look, within_s=10.0, clock=clock))
        await clock.advance(1.0)

    assert waiting.result() == pytest.approx(0.2)


async def test_waiting_gives_up_and_names_what_was_seen_instead() -> None:
    clock = FakeClock()

    async def look() -> int:
        return 4

    async def wait() -> str:
        with pytest.raises(NotSeen) as caught:
            await wait_for("points on till 1", 5, look, within_s=10.0, clock=clock)
        return str(caught.value)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait())
        await clock.advance(11.0)

    assert waiting.result() == "points on till 1, within 10 s: expected 5, saw 4"
