"""F56: one customer with far too much of something is refused by name, and everybody else flows on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.contract.customers import ROWS_PER_CUSTOMER_MAX
from sync.contract.events import EARNED, LINES_MAX, canonical_json
from sync.contract.protocol import Outcome, Reason
from sync.hub.config import HubConfig, HubSection
from sync.hub.people.importing import Desk, Fault, import_customers
from sync.hub.root import desk
from tests.support.clock import FakeClock
from tests.support.hub_books import Books, card_id, open_books
from tests.support.hub_events import SENDER, sale, sale_data
from tests.support.hub_events import event as event_of

CARD = "9990000000000001"
SMALL = {"customer_id": "C-1", "given_name": "Zoé", "language": "fr"}
CAUTION = {"kind": "recent_refund", "since": "2026-03-01"}


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        yield books


@pytest.mark.parametrize(
    "too_much",
    [
        {"given_name": "Z" * 5_000_000},
        {"cautions": [CAUTION] * 10_000},
        {"cautions": [CAUTION] * (ROWS_PER_CUSTOMER_MAX + 1)},
        {"identifiers": [{"scheme": "card", "value": f"{number:016d}"} for number in range(10_000)]},
    ],
    ids=["a name of 5 MB", "10,000 cautions", "one caution too many", "10,000 cards"],
)
async def test_a_profile_that_is_far_too_large_is_a_bad_row_and_the_others_come_in(
    tmp_path: Path, too_much: dict[str, object]
) -> None:
    path = tmp_path / "customers.ndjson"
    rows = [SMALL, SMALL | {"customer_id": "C-2"} | too_much, SMALL | {"customer_id": "C-3"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults: list[Fault] = []
    async with desk(HubConfig(hub=HubSection(state=tmp_path / "hub"))) as (writer, founding):
        done = await import_customers(
            path,
            Desk(writer, FakeClock(), founding.identifier_key, "1", faults.append, faults.append, lambda _: None),
        )
        held = await writer.write(lambda c: c.execute("SELECT customer_id FROM customers ORDER BY 1").fetchall())

    assert (done.new, done.bad) == (2, 1)
    assert {fault.line for fault in faults} == {2}
    assert held == [("C-1",), ("C-3",)]


def test_a_sale_of_too_many_lines_is_a_verdict_and_the_line_moves_on(books: Books) -> None:
    large = sale_data("s-1", *([100] * (LINES_MAX + 1)))
    answer = books.upload(
        SENDER, 1, canonical_json(event_of(SENDER, 1, EARNED, large, subject=card_id(CARD))), sale(SENDER, 2, "s-2")
    )

    assert [(verdict.outcome, verdict.reason) for verdict in answer.results] == [
        (Outcome.REJECTED, Reason.BAD_EVENT),
        (Outcome.APPLIED, None),
    ]


def test_thousands_of_sales_of_one_customer_are_one_row_of_a_page(books: Books) -> None:
    for first in range(1, 3_001, 500):
        events = [sale(SENDER, seq, f"s-{seq}", card_id(CARD), 100) for seq in range(first, first + 500)]
        books.upload(SENDER, first, *events)
    page = books.page("till-1", 0)

    assert [json.loads(text)["points"] for text in page.changes if json.loads(text)["op"] == "card"] == [3_000]
    assert not page.more
