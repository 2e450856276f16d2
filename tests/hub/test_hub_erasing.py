import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sync.contract.identifiers import Identifier, Scheme
from sync.contract.protocol import PresentedIdentifier
from sync.hub.feed.snapshot_files import chunk_texts
from sync.hub.founding import DATABASE_NAME
from sync.hub.people.customer_rows import Leaving
from sync.hub.people.erasures import is_news, listed, note_passed
from sync.hub.people.presented import keep
from sync.hub.terminals.roster import NewTerminal, Place, enrol
from tests.support.hub_books import NOW, Books, card_id, customer, open_books
from tests.support.hub_events import SENDER, reversal, sale

NUMBER, OTHER_NUMBER = "9990000000000001", "9990000000009876"
CARD = card_id(NUMBER)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        books.put(customer("ann", NUMBER, points=100, name="Canary"), customer("ben", OTHER_NUMBER, name="Canary"))
        yield books
        books.check_sums()


def erase(books: Books, customer_id: str) -> int:
    return books.put(Leaving(customer_id, "erased")).pos


def shown(books: Books) -> dict[str, int]:
    rows = [json.loads(line) for _, text in chunk_texts(books.connection) for line in text.splitlines()]
    return {row["customer"]["customer_id"] if "customer" in row else row["identifier"]: row["points"] for row in rows}


def test_f47_pending_points_of_somebody_erased_are_kept_under_the_pseudonym_and_shown_nowhere(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    start = erase(books, "ann")

    # A till that was offline sells to her card, and takes the sale back that it made before.
    answer = books.upload(SENDER, 2, sale(SENDER, 2, "s-2", CARD), reversal(SENDER, 3, "r-1", "s-1"))

    assert {one.outcome for one in answer.results} == {"applied"}
    assert books.number("SELECT sum(points) FROM events WHERE identifier = ?", CARD) == 10
    page = books.page("till-1", start)
    assert (page.changes, page.covered) == ((), {SENDER.inc: 3})
    assert shown(books) == {"ben": 0}


def test_everybody_merged_with_somebody_erased_is_the_same_person_and_erased(books: Books) -> None:
    books.merge("ann", "ben")
    books.put(customer("ann", NUMBER, points=100, name="Canary Two"))

    erase(books, "ann")

    assert shown(books) == {}
    for (table,) in books.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        rows = books.connection.execute(f"SELECT * FROM {table}").fetchall()
        assert not any("Canary" in str(row) or "9876" in str(row) or "0001" in str(row) for row in rows), table
    assert books.number("SELECT count(*) FROM merges WHERE undone_ms IS NULL") == 0


def test_nothing_of_somebody_erased_is_left_in_the_bytes_of_the_file(books: Books, tmp_path: Path) -> None:
    books.connection.execute("PRAGMA secure_delete=ON")
    books.merge("ann", "ben")

    erase(books, "ben")
    books.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    files = b"".join(path.read_bytes() for path in tmp_path.glob(DATABASE_NAME + "*"))
    assert b"Canary" not in files
    assert NUMBER.encode() not in files


def test_a_card_that_somebody_else_has_too_stays_theirs(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    books.put(customer("ben", NUMBER, name="Ben"))
    assert shown(books) == {"ann": 100, "ben": 0, CARD: 10}

    erase(books, "ann")

    assert shown(books) == {"ben": 10}


def test_points_that_waited_on_a_shared_card_go_when_all_of_it_are_erased(books: Books) -> None:
    books.put(customer("ben", NUMBER, name="Ben"))
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    start = books.pages("till-1")[-1].pos

    books.put(Leaving("ann", "erased"), Leaving("ben", "erased"))

    assert shown(books) == {}
    assert f'{{"op":"card","identifier":"{CARD}","points":0}}' in books.page("till-1", start).changes


def test_a_card_that_is_given_to_somebody_else_begins_at_0(books: Books) -> None:
    books.upload(SENDER, 1, sale(SENDER, 1, "s-1", CARD))
    erase(books, "ann")

    books.put(customer("cleo", NUMBER, name="Cleo"))
    books.upload(SENDER, 2, sale(SENDER, 2, "s-2", CARD, net_minor=300))

    assert shown(books) == {"ben": 0, "cleo": 3}
    books.upload(SENDER, 3, reversal(SENDER, 3, "r-1", "s-1"))  # of the one who was erased
    assert shown(books) == {"ben": 0, "cleo": 3}


def test_the_value_of_a_card_of_somebody_erased_is_not_kept_again(books: Books) -> None:
    erase(books, "ann")
    presented = PresentedIdentifier(id=CARD, identifier=Identifier(scheme=Scheme.CARD, value=NUMBER))

    known = books.write(lambda connection: keep(connection, (presented,), "till-1", NOW))

    assert known == ()
    assert books.number("SELECT count(*) FROM presented") == 0


def test_the_hub_knows_which_tills_have_not_heard_of_an_erasure(books: Books) -> None:
    for name in ("till-1", "till-2"):
        new = NewTerminal(name, f"{name}-{'x' * 40}", "0.1.0")
        books.write(partial(enrol, new=new, place=Place("store-1", "Front"), now=NOW))
    pos = erase(books, "ann")

    assert not is_news(books.connection, "till-1", pos - 1)
    assert is_news(books.connection, "till-1", pos)
    books.write(lambda connection: note_passed(connection, "till-1", pos))

    assert not is_news(books.connection, "till-1", pos + 5)
    (erasure,) = listed(books.connection)
    assert (erasure.customer_id, erasure.behind) == ("ann", (("till-2", "Front"),))
