"""Holders: whom an identifier leads to, with no more than a sale needs to know of them.

A sale decides inside its own transaction, on the writer's thread, so that all of it is one function there: two threads
that take turns at SQLite and at the interpreter cost more than the sale itself (measured: 64 sales at once were slower
than one after the other). The connection here belongs to that thread and reads the cache alone: the pages of the
till's own file change with every sale and would be read anew each time.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from agent.store.entries import Basis
from agent.store.files import moment
from agent.store.near import NearReader
from sync.contract.customers import Value
from sync.runtime.sqlite_file import Connection, Row

_BY_IDENTIFIER = (
    "SELECT s.cursor, s.as_of, c.points, c.put FROM cache.state s"
    " LEFT JOIN cache.identifiers i ON i.id = ? LEFT JOIN cache.customers c ON c.number = i.customer"
)
_BY_CUSTOMER = (
    "SELECT s.cursor, s.as_of, c.points, c.put FROM cache.state s LEFT JOIN cache.customers c ON c.customer_id = ?"
)


class Ref(Value):
    """An identifier of a holder."""

    id: str
    scheme: str


class _Who(Value):
    customer_id: str


class _Row(Value):
    """A customer's row as far as a sale reads it: a third of the time that the whole one takes."""

    customer: _Who
    identifiers: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """A customer as a sale needs them. Pending points are counted when the sale is recorded."""

    customer_id: str
    refs: tuple[Ref, ...]
    basis: Basis


def _nobody(_: Sequence[str]) -> Collection[str]:
    return ()


class Holders:
    """Looks holders up. Only for functions that run on the writer's thread."""

    def __init__(self, near: NearReader) -> None:
        """Take the reader of that thread."""
        self._near = near
        self._coverage: tuple[str | None, Mapping[str, int]] = (None, {})

    def of_identifier(self, identifier: str) -> tuple[Holder, ...]:
        """Return every customer that an identifier leads to."""
        return self._holders(_BY_IDENTIFIER, bytes.fromhex(identifier))

    def of_customer(self, customer_id: str) -> Holder | None:
        """Return the customer of an id, or None where the cache has none."""
        return next(iter(self._holders(_BY_CUSTOMER, customer_id)), None)

    def card(self, identifier: str) -> Basis:
        """Return the account of an identifier itself, for one that leads to nobody or to several."""

        def read(connection: Connection) -> Basis:
            key = bytes.fromhex(identifier)
            cursor, as_of = connection.execute("SELECT cursor, as_of FROM cache.state").fetchone() or (None, None)
            row = connection.execute("SELECT points FROM cache.cards WHERE id = ?", (key,)).fetchone()
            return self._basis(connection, (identifier,), row[0] if row else 0, (cursor, as_of))

        return self._near.read(read)

    def shared(self, identifiers: Sequence[str]) -> frozenset[str]:
        """Return those of the identifiers that lead to more than one customer."""

        def read(connection: Connection) -> frozenset[str]:
            marks = ", ".join("?" * len(identifiers))
            rows = connection.execute(
                f"SELECT id FROM cache.identifiers WHERE id IN ({marks}) GROUP BY id HAVING count(*) > 1",
                [bytes.fromhex(identifier) for identifier in identifiers],
            )
            return frozenset(row[0].hex() for row in rows.fetchall())

        return self._near.read(read)

    def _holders(self, sql: str, key: bytes | str) -> tuple[Holder, ...]:
        def read(connection: Connection) -> tuple[Holder, ...]:
            rows = connection.execute(sql, (key,)).fetchall()
            return tuple(self._holder(connection, row) for row in rows if row[3] is not None)

        return self._near.read(read)

    def _holder(self, connection: Connection, row: Row) -> Holder:
        cursor, as_of, points, text = row
        put = _Row.model_validate_json(text)
        subjects = tuple(ref.id for ref in put.identifiers)
        basis = self._basis(connection, subjects, points, (cursor, as_of), self.shared)
        return Holder(put.customer.customer_id, put.identifiers, basis)

    def _basis(
        self,
        connection: Connection,
        subjects: tuple[str, ...],
        points: int,
        state: tuple[str | None, int | None],
        shared: Callable[[Sequence[str]], Collection[str]] = _nobody,
    ) -> Basis:
        cursor, as_of = state
        if self._coverage[0] != cursor:
            rows = connection.execute("SELECT inc, through FROM cache.coverage").fetchall()
            self._coverage = (cursor, dict(rows))
        return Basis(points, subjects, self._coverage[1], moment(as_of) if as_of is not None else None, shared)
