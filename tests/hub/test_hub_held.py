"""What a till is told at its hello of events that it still shows as held."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.protocol import HeldEvent, Outcome, OutcomePut, Verdict
from sync.hub.books.held import final_outcomes
from sync.hub.feed.feed_log import last_pos, prune
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import Books, open_books
from tests.support.hub_events import SENDER, reversal, sale

OTHER = Sender("till-2", "store-1", "1" * 16)
EPOCH = "e" * 16
HELD = (HeldEvent(inc=SENDER.inc, seq=1), HeldEvent(inc=SENDER.inc, seq=2), HeldEvent(inc="9" * 16, seq=7))
APPLIED = (OutcomePut(inc=SENDER.inc, verdict=Verdict(seq=1, outcome=Outcome.APPLIED)),)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two reversals are parked; the sale of the first one came from another till."""
    with open_books(tmp_path) as books:
        books.upload(SENDER, 1, reversal(SENDER, 1, "r-1", "s-1"), reversal(SENDER, 2, "r-2", "s-nowhere"))
        books.upload(OTHER, 1, sale(OTHER, 1, "s-1"))
        yield books


def told(books: Books, pos: int | None, epoch: str = EPOCH) -> tuple[OutcomePut, ...]:
    """Return what the till is told whose cache stands there."""
    cursor = write_cursor(FeedCursor(epoch, pos)) if pos is not None else None
    return final_outcomes(books.connection, SENDER.terminal_id, HELD, cursor, EPOCH)


def test_a_till_that_jumped_over_a_verdict_is_told_it_and_nothing_else(books: Books) -> None:
    assert told(books, last_pos(books.connection)) == APPLIED


def test_a_verdict_that_the_feed_still_says_is_left_to_the_feed(books: Books) -> None:
    assert told(books, last_pos(books.connection) - 1) == ()
    assert told(books, 0) == ()


def test_a_verdict_that_was_pruned_off_the_feed_is_told(books: Books) -> None:
    books.write(lambda connection: prune(connection, 0))

    assert told(books, last_pos(books.connection)) == APPLIED


def test_a_till_whose_cursor_leads_nowhere_loads_a_snapshot_before_it_is_told(books: Books) -> None:
    newest = last_pos(books.connection)
    books.write(lambda connection: prune(connection, 0))

    assert told(books, None) == ()
    assert told(books, newest - 1) == ()
    assert told(books, newest, epoch="f" * 16) == ()


def test_no_terminal_is_told_of_anothers_events(books: Books) -> None:
    cursor = write_cursor(FeedCursor(EPOCH, last_pos(books.connection)))

    assert final_outcomes(books.connection, OTHER.terminal_id, HELD, cursor, EPOCH) == ()
