"""Releasing a terminal from quarantine: in the order in which its events came, each step at the same price."""

from functools import partial
from pathlib import Path

from sync.hub.uploads.batch import Sender
from sync.hub.uploads.fences import quarantine
from sync.hub.uploads.quarantine import EVENTS_PER_STEP, release_step
from tests.support.hub_books import NOW, Books, card_id, open_books
from tests.support.hub_events import sale
from tests.support.hub_redemptions import enrolled
from tests.support.sqlite_steps import steps_on

CARD = card_id("9000000000000001")
ONE = Sender("till-1", "store-1", "1" * 16)
AGAIN = Sender("till-1", "store-1", "2" * 16)
PER_UPLOAD = 400


def parked(books: Books, uploads: int) -> None:
    """Let two incarnations of a terminal in quarantine send so many uploads each, in turn."""
    enrolled(books, ONE)
    books.write(partial(quarantine, terminal_id=ONE.terminal_id, now=NOW))
    for number in range(uploads):
        first = number * PER_UPLOAD + 1
        for sender in (ONE, AGAIN):
            seqs = range(first, first + PER_UPLOAD)
            books.upload(sender, first, *(sale(sender, seq, f"s-{sender.inc[0]}-{seq}", CARD, 100) for seq in seqs))


def release(books: Books) -> int:
    return books.write(partial(release_step, terminal_id=ONE.terminal_id, now=NOW)).total


def test_a_step_of_a_release_costs_the_same_however_much_waits(tmp_path: Path) -> None:
    costs = []
    for uploads in (1, 8):
        folder = tmp_path / str(uploads)
        folder.mkdir()
        with open_books(folder) as books:
            parked(books, uploads)
            costs.append(steps_on(books.connection, partial(release, books)))

    assert costs[1] < costs[0] * 1.1


def test_a_release_judges_all_in_the_order_in_which_it_came(tmp_path: Path) -> None:
    with open_books(tmp_path) as books:
        parked(books, 2)
        books.connection.execute("UPDATE events SET reason = 'fork' WHERE seq % 3 = 0")
        order = books.connection.execute("SELECT number FROM events ORDER BY pos, number").fetchall()

        while judged := release(books):
            left = books.connection.execute(
                "SELECT number FROM events WHERE outcome = 'parked' ORDER BY pos, number"
            ).fetchall()
            assert judged == EVENTS_PER_STEP
            assert left == order[len(order) - len(left) :]
        assert left == []
