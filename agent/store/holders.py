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
from sync.contract.customers import Value
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection, Row

_BY_IDENTIFIER = (
    "SELECT s.cursor, s.as_of, c.points, c.put FROM cache.state s"
    " LEFT JOIN cache.identifiers i ON i.id = ? LEFT JOIN cache.customers c ON c.number = i.customer"
)
_BY_CUSTOMER = (
    "SELECT s.cursor, s.as_of, c.points, c.put FROM cache.state s LEFT JOIN cache.customers c ON c.customer_id = ?"
)
_CARD = "SELECT s.cursor, s.as_of, c.points FROM cache.state s LEFT JOIN cache.cards c ON c.id = ?"


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
    """Looks holders up. Only for functions that run on the thread of its reader, which for a sale is the writer's."""

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
        ((_, as_of, points),) = self._rows(_CARD, bytes.fromhex(identifier))
        return self._basis(as_of, points or 0, (identifier,))

    def shared(self, identifiers: Sequence[str]) -> frozenset[str]:
        """Return those of the identifiers that lead to more than one customer."""
        return self._near.read(lambda connection: shared_among(connection, identifiers))

    def _holders(self, sql: str, key: bytes | str) -> tuple[Holder, ...]:
        rows = self._rows(sql, key)
        return tuple(self._holder(as_of, points, text) for _, as_of, points, text in rows if text is not None)

    def _holder(self, as_of: int | None, points: int, text: str) -> Holder:
        put = _Row.model_validate_json(text)
        subjects = tuple(ref.id for ref in put.identifiers)
        basis = self._basis(as_of, points, subjects, self.shared)
        return Holder(put.customer.customer_id, put.identifiers, basis)

    def _rows(self, sql: str, key: bytes | str) -> list[Row]:
        """Return rows that begin with the cursor, with the coverage that belongs to that cursor in hand.

        One statement sees one state. Only where the cursor has moved on is the coverage read too, in one look with it.
        """
        rows = self._near.glance(sql, (key,))
        if rows[0][0] == self._coverage[0]:
            return rows

        def read(connection: Connection) -> list[Row]:
            moved = connection.execute(sql, (key,)).fetchall()
            coverage = connection.execute("SELECT inc, through FROM cache.coverage").fetchall()
            self._coverage = (moved[0][0], dict(coverage))
            return moved

        return self._near.read(read)

    def _basis(
        self,
        as_of: int | None,
        points: int,
        subjects: tuple[str, ...],
        shared: Callable[[Sequence[str]], Collection[str]] = _nobody,
    ) -> Basis:
        return Basis(points, subjects, self._coverage[1], moment(as_of) if as_of is not None else None, shared)


def shared_among(connection: Connection, identifiers: Sequence[str]) -> frozenset[str]:
    """Return those of the identifiers that lead to more than one customer."""
    marks = ", ".join("?" * len(identifiers))
    rows = connection.execute(
        f"SELECT id FROM cache.identifiers WHERE id IN ({marks}) GROUP BY id HAVING count(*) > 1",
        [bytes.fromhex(identifier) for identifier in identifiers],
    )
    return frozenset(row[0].hex() for row in rows.fetchall())
