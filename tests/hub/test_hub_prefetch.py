"""Points that tills hold before a likely visitor comes."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sync.contract.allowance import AllowancesRequest
from sync.contract.customers import Wording
from sync.contract.program import RedemptionRule, Reward
from sync.hub.escrow.allowances import word_for
from sync.hub.escrow.reserving import grant_all
from sync.hub.escrow.visitors import VISITED_DAYS, likely_visitors
from sync.hub.programs import enact
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import NOW, NOW_MS, Books, card_id, customer, open_books
from tests.support.hub_events import PROGRAM, reversal, sale
from tests.support.hub_redemptions import asker, enrolled

NUMBERS = tuple(f"900000000000000{number}" for number in range(5))
CARDS = tuple(map(card_id, NUMBERS))
ONE = Sender("till-1", "store-1", "1" * 16)
TWO = Sender("till-2", "store-1", "2" * 16)
FAR = Sender("till-3", "store-2", "3" * 16)
COOKIE = Reward(reward_id="cookie", points=50, text=Wording(en="a cookie", fr="un biscuit"))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two tills of a store and one of another, customers with 300 points each, and a reward of 50."""
    rule = RedemptionRule(per_customer_offline_max=200, prefetch_customers_max=3)
    with open_books(tmp_path) as books:
        books.write(
            lambda connection: enact(
                connection, PROGRAM.model_copy(update={"rewards": (COOKIE,), "redemption": rule}), NOW_MS
            )
        )
        enrolled(books, ONE, TWO, FAR)
        for number, card in enumerate(NUMBERS):
            books.put(customer(f"C-{number}", card, points=300))
        yield books
        books.check_sums()


def prefetch(books: Books, sender: Sender, visitors: list[str]) -> dict[str, int]:
    """Return what a terminal holds after it asked, by customer."""
    request = AllowancesRequest(prefetch=True)
    books.write(lambda connection: grant_all(connection, asker(sender), request, visitors, NOW))
    word = word_for(books.connection, asker(sender), NOW)
    return {one.customer_id: one.amount for one in word.allowances}


def visitors(books: Books, store_id: str = "store-1", days: int = 0) -> list[str]:
    return likely_visitors(books.connection, store_id, 50, 3, NOW + timedelta(days=days))


def test_the_tills_of_a_store_share_a_visitors_points(books: Books) -> None:
    assert prefetch(books, ONE, ["C-0"]) == {"C-0": 150}
    assert prefetch(books, TWO, ["C-0"]) == {"C-0": 150}
    assert prefetch(books, ONE, ["C-0"]) == {"C-0": 150}


def test_another_store_leaves_what_is_held_alone(books: Books) -> None:
    assert prefetch(books, FAR, ["C-0"]) == {"C-0": 200}
    assert prefetch(books, ONE, ["C-0"]) == {"C-0": 50}
    assert prefetch(books, TWO, ["C-0"]) == {"C-0": 50}
    books.put(customer("C-9", "9000000000000019", points=60))
    assert prefetch(books, ONE, ["C-9"])["C-9"] == 50
    assert "C-9" not in prefetch(books, TWO, ["C-9"])


def test_who_bought_here_last_comes_first_and_who_has_too_little_not_at_all(books: Books) -> None:
    books.put(customer("C-9", "9000000000000019", points=5))
    books.upload(ONE, 1, *(sale(ONE, number + 1, f"s-{number}", CARDS[number], 100) for number in range(4)))
    books.upload(ONE, 5, sale(ONE, 5, "s-9", card_id("9000000000000019"), 100), sale(ONE, 6, "s-5", CARDS[0], 100))
    books.upload(FAR, 1, sale(FAR, 1, "s-1", CARDS[4], 100))

    assert visitors(books) == ["C-0", "C-3", "C-2"]
    assert visitors(books, "store-2") == ["C-4"]
    assert visitors(books, "store-9") == []


def test_a_visit_is_forgotten_after_its_days(books: Books) -> None:
    books.upload(ONE, 1, sale(ONE, 1, "s-1", CARDS[0], 100))

    assert visitors(books, days=VISITED_DAYS - 1) == ["C-0"]
    assert visitors(books, days=VISITED_DAYS + 1) == []


def test_a_card_that_leads_to_nobody_or_two_brings_no_visitor(books: Books) -> None:
    books.put(customer("C-8", "9000000000000018", points=300), customer("C-7", "9000000000000018", points=300))
    books.upload(ONE, 1, sale(ONE, 1, "s-1", "f" * 32, 9_900), sale(ONE, 2, "s-2", card_id("9000000000000018"), 100))
    books.upload(ONE, 3, reversal(ONE, 3, "x-1", "s-1"))

    assert visitors(books) == []
