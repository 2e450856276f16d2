"""The hub's books without a hub: its database file open on this thread, one transaction a step."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sync.contract.identifiers import Scheme, hint, identifier_id
from sync.contract.protocol import UploadAnswer
from sync.hub.feed.pages import Page, read_page
from sync.hub.founding import Founding, database_file, found
from sync.hub.judging.times import BusinessDay
from sync.hub.people.customer_rows import CustomerRow, Leaving, to_row
from sync.hub.people.customers import Put, put_customers
from sync.hub.people.merging import Merged, Unmerged, merge, unmerge
from sync.hub.programs import enact
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.intake import apply_upload
from sync.hub.uploads.upload import read_upload
from sync.runtime.sqlite_file import Connection, open_for_writing
from tests.support.hub_events import PROGRAM, body

NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KEY = b"k" * 32

T = TypeVar("T")


class Books:
    """What a hub does to its file, step by step."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run a step in one transaction; nothing of it stays where it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self.connection)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    def upload(self, sender: Sender, first: int, *events: str) -> UploadAnswer:
        upload = read_upload(body(*events), sender, first)
        applied = self.write(lambda connection: apply_upload(connection, upload, NOW, BusinessDay()))
        return UploadAnswer(hub_epoch="e", applied_through=applied.through, results=applied.verdicts)

    def put(self, *rows: CustomerRow | Leaving) -> Put:
        return self.write(lambda connection: put_customers(connection, rows, NOW_MS))

    def merge(self, loser: str, winner: str) -> Merged:
        return self.write(lambda connection: merge(connection, loser, winner, NOW_MS))

    def unmerge(self, loser: str) -> Unmerged:
        return self.write(lambda connection: unmerge(connection, loser, NOW_MS))

    def page(self, terminal_id: str, after: int, limit: int = 500) -> Page:
        return read_page(self.connection, terminal_id, after, limit)

    def pages(self, terminal_id: str, after: int = 0, limit: int = 500) -> list[Page]:
        """Return every page from a position to the feed's end."""
        pages = [self.page(terminal_id, after, limit)]
        while pages[-1].more:
            pages.append(self.page(terminal_id, pages[-1].pos, limit))
        return pages

    def number(self, sql: str, *values: object) -> int:
        """Return the one number that a query answers; 0 for none."""
        row = self.connection.execute(sql, values).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def check_sums(self) -> None:
        """Prove that every kept sum is the sum of the ledger."""
        tallies = self.connection.execute(
            "SELECT identifier, sum(points) FROM (SELECT identifier, points FROM events WHERE points <> 0 "
            "UNION ALL SELECT identifier, points FROM entries) GROUP BY identifier"
        ).fetchall()
        kept = self.connection.execute("SELECT identifier, points FROM tallies WHERE points <> 0").fetchall()
        buried: dict[str, int] = dict(self.connection.execute("SELECT id, buried FROM erased_identifiers").fetchall())
        counting = {card: points - buried.get(card, 0) for card, points in tallies}
        assert dict(kept) == {card: points for card, points in counting.items() if points}
        ledger = self.connection.execute(
            "SELECT customer_id, sum(points) FROM ledger WHERE customer_id IS NOT NULL GROUP BY customer_id"
        ).fetchall()
        balances = self.connection.execute("SELECT customer_id, points FROM balances").fetchall()
        assert {name: points for name, points in balances if points} == {
            name: points for name, points in ledger if points
        }
        self.check_reserves()

    def check_reserves(self) -> None:
        """Prove that nothing stands below 0, and that what is held back or owed is the sum of its parts."""
        assert self.number("SELECT count(*) FROM balances WHERE points < 0") == 0
        held = self.connection.execute(
            "SELECT account, sum(amount - spent) FROM allowances WHERE closed_ms IS NULL GROUP BY account"
        ).fetchall()
        reserved = self.connection.execute("SELECT customer_id, reserved FROM balances WHERE reserved > 0").fetchall()
        assert dict(reserved) == {account: points for account, points in held if points}
        owed = self.connection.execute(
            "SELECT min(customer_id), debt FROM tallies JOIN identifiers ON identifiers.id = tallies.identifier "
            "WHERE debt > 0 GROUP BY identifier HAVING count(*) = 1"
        ).fetchall()
        debts: dict[str, int] = {}
        for customer_id, debt in owed:
            debts[customer_id] = debts.get(customer_id, 0) + debt
        assert (
            dict(self.connection.execute("SELECT customer_id, debt FROM balances WHERE debt > 0").fetchall()) == debts
        )


@contextlib.contextmanager
def open_books(folder: Path) -> Iterator[Books]:
    """Open new or old books in a folder, with the sample program in force."""
    connection = open_for_writing(database_file(folder))
    try:
        books = Books(connection)
        books.write(lambda connection: found(connection, Founding("e" * 16, KEY)))
        books.write(lambda connection: enact(connection, PROGRAM, NOW_MS))
        yield books
    finally:
        connection.close()


def card_id(number: str) -> str:
    """Return the id of a card number under the books' key."""
    return identifier_id(KEY, Scheme.CARD, number)


def card_hint(number: str) -> str:
    return hint(Scheme.CARD, number)


def customer(customer_id: str, *cards: str, points: int | None = None, name: str = "Zoé") -> CustomerRow:
    """Return a customer with these cards, as an import hands it in."""
    row = to_row(
        {
            "customer_id": customer_id,
            "given_name": name,
            "language": "fr",
            "identifiers": [{"scheme": "card", "value": card} for card in cards],
            "points": points,
        },
        KEY,
        "1",
    )
    assert isinstance(row, CustomerRow)
    return row
