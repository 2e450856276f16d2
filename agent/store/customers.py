"""Customers read: by identifier and by id at once, by name on the reader's thread. Each read sees one state.

The till's file is looked at before the cache is: a local event that leaves the pending rows has entered the cache
before, so a read may see it in both, where coverage takes it out once, and never in neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.store.entries import pending_of
from agent.store.files import moment
from agent.store.holders import shared_among
from agent.store.names import exact_query, fold, prefix_query
from sync.contract.customers import Customer, IdentifierRef
from sync.contract.ledger import Balance
from sync.contract.protocol import CustomerPut
from sync.runtime.database import Reader
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection, Row

SEARCH_ROWS_MAX = 20
# Found by words before they are ranked. Ranking all of 30,000 Martins would take longer than a cashier waits.
CANDIDATES_MAX = 100

_FOUND = (
    "SELECT EXISTS (SELECT 1 FROM main.pending), s.cursor, s.as_of, c.points, c.put FROM cache.state s"
    " LEFT JOIN cache.identifiers i ON i.id = ? LEFT JOIN cache.customers c ON c.number = i.customer"
)
_BY_ID = (
    "SELECT EXISTS (SELECT 1 FROM main.pending), s.cursor, s.as_of, c.points, c.put FROM cache.state s"
    " LEFT JOIN cache.customers c ON c.customer_id = ?"
)


class Asked(StrEnum):
    """Whether the hub was asked whom an identifier leads to, and what it said."""

    NOT_YET = "not_yet"
    WAITING = "waiting"
    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Account:
    """The points of one account here and now, and as of when the hub posted its part."""

    balance: Balance
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Person:
    """A customer with the points that count here and now."""

    customer: Customer
    identifiers: tuple[IdentifierRef, ...]
    account: Account


@dataclass(frozen=True, slots=True)
class Found:
    """What an identifier leads to: nobody known here, one person, or several to choose from.

    `card` is the account of the identifier itself, for nobody and for several.
    """

    identifier: str
    people: tuple[Person, ...]
    card: Account
    asked: Asked = Asked.NOT_YET


@dataclass(frozen=True, slots=True)
class Hits:
    """The best of a name search; `more` says that there were others."""

    people: tuple[CustomerPut, ...]
    more: bool


class Customers:
    """Reads customers."""

    def __init__(self, near: NearReader, reader: Reader) -> None:
        """Take the till's readers, which have the live cache attached."""
        self._near = near
        self._reader = reader
        self._coverage: tuple[str | None, Mapping[str, int]] = (None, {})

    def by_identifier(self, identifier: str) -> Found:
        """Return what an identifier id leads to."""
        return self._near.read(lambda connection: self._read_found(connection, identifier))

    def by_id(self, customer_id: str) -> Person | None:
        """Return a customer, or None where the cache has none of that id."""

        def read(connection: Connection) -> Person | None:
            row = connection.execute(_BY_ID, (customer_id,)).fetchone()
            return self._person(connection, row) if row is not None and row[4] is not None else None

        return self._near.read(read)

    async def search(self, text: str) -> Hits:
        """Return the customers whose names begin with all of these words; whole words first, then by last visit."""
        words = fold(text)
        if not words:
            return Hits((), more=False)
        return await self._reader.read(lambda connection: _search(connection, words))

    def _read_found(self, connection: Connection, identifier: str) -> Found:
        key = bytes.fromhex(identifier)
        rows = connection.execute(_FOUND, (key,)).fetchall()
        people = tuple(self._person(connection, row) for row in rows if row[4] is not None)
        if len(people) == 1:
            return Found(identifier, people, people[0].account)
        has_pending, cursor, as_of = rows[0][:3]
        waiting = connection.execute("SELECT points FROM cache.cards WHERE id = ?", (key,)).fetchone()
        asked = connection.execute("SELECT coalesce(answer, 'waiting') FROM presented WHERE id = ?", (key,)).fetchone()
        coverage = self._coverage_at(connection, cursor)
        pending = pending_of(connection, (identifier,), coverage) if has_pending else {}
        balance = Balance(waiting[0] if waiting else 0, sum(pending.values()))
        card = Account(balance, _when(as_of))
        return Found(identifier, people, card, Asked(asked[0]) if asked else Asked.NOT_YET)

    def _person(self, connection: Connection, row: Row) -> Person:
        has_pending, cursor, as_of, points, text = row
        put = CustomerPut.model_validate_json(text)
        subjects = tuple(identifier.id for identifier in put.identifiers)
        coverage = self._coverage_at(connection, cursor)
        pending: dict[str, int] = {}
        if has_pending:
            pending = pending_of(connection, subjects, coverage)
            if pending:
                # Points on an identifier that others share belong to the identifier until a person decides.
                shared = shared_among(connection, list(pending))
                pending = {subject: points for subject, points in pending.items() if subject not in shared}
        balance = Balance(points, sum(pending.values()))
        return Person(put.customer, put.identifiers, Account(balance, _when(as_of)))

    def _coverage_at(self, connection: Connection, cursor: str | None) -> Mapping[str, int]:
        """Return the coverage that belongs to the rows being read; it changes with the cursor only."""
        if self._coverage[0] != cursor:
            rows = connection.execute("SELECT inc, through FROM cache.coverage").fetchall()
            self._coverage = (cursor, dict(rows))
        return self._coverage[1]


def _search(connection: Connection, words: list[str]) -> Hits:
    found: dict[int, str] = {}
    for query in (exact_query(words), prefix_query(words)):
        rows = connection.execute(
            "SELECT number, put FROM cache.customers WHERE number IN"
            " (SELECT rowid FROM cache.names WHERE names MATCH ? LIMIT ?) ORDER BY last_visit DESC",
            (query, CANDIDATES_MAX),
        )
        for number, put in rows:
            found.setdefault(number, put)
        if len(found) > SEARCH_ROWS_MAX:
            break
    people = tuple(CustomerPut.model_validate_json(put) for put in list(found.values())[:SEARCH_ROWS_MAX])
    return Hits(people, more=len(found) > SEARCH_ROWS_MAX)


def _when(as_of: int | None) -> datetime | None:
    return moment(as_of) if as_of is not None else None
