"""Rows of the cache: how changes of the feed are written. Functions on the cache's connection, in one transaction.

A customer is kept as one JSON text and read back as one: the cache answers by identifier, id and name, nothing else.
"""

from collections.abc import Iterable
from datetime import date

from agent.store.files import milliseconds
from agent.store.names import fold
from sync.contract.customers import Customer, IdentifierRef
from sync.contract.protocol import BalancePut, CardPut, Change, CustomerGone, CustomerPut, FeedPage
from sync.runtime.sqlite_file import Connection

# Anything below is before loyalty cards; a day number of 0 means "no visit known".
NO_VISIT = 0


def apply_page(connection: Connection, page: FeedPage) -> set[str]:
    """Write a page's rows, its coverage and its cursor; return the accounts touched."""
    touched: set[str] = set()
    for change in page.changes:
        touched |= apply_change(connection, change)
    _let_go_of_cards(connection, page.changes)
    put_coverage(connection, page.covered.items())
    connection.execute("UPDATE state SET cursor = ?, as_of = ? WHERE id = 1", (page.cursor, milliseconds(page.as_of)))
    return touched


def apply_change(connection: Connection, change: Change) -> set[str]:
    """Write one change; return the accounts touched."""
    if isinstance(change, CustomerPut):
        return _put_customer(connection, change)
    if isinstance(change, BalancePut):
        connection.execute("UPDATE customers SET points = ? WHERE customer_id = ?", (change.points, change.customer_id))
        return {change.customer_id}
    if isinstance(change, CardPut):
        _put_card(connection, change)
        return {change.identifier}
    if isinstance(change, CustomerGone):
        return {change.customer_id, *_remove_customer(connection, change.customer_id)}
    return set()  # programs and outcomes stand in the till's own file


def put_coverage(connection: Connection, covered: Iterable[tuple[str, int]]) -> None:
    """Raise how far the balances here contain each incarnation; never lowers it."""
    connection.executemany(
        "INSERT INTO coverage (inc, through) VALUES (?, ?)"
        " ON CONFLICT (inc) DO UPDATE SET through = max(through, excluded.through)",
        covered,
    )


def words_of(customer: Customer) -> str:
    """Return the words that a customer can be found by."""
    names = (customer.given_name, customer.family_name, customer.called)
    return " ".join(fold(" ".join(name for name in names if name)))


def day_number(visit: date | None) -> int:
    """Return a day as a number that sorts, `NO_VISIT` for none."""
    return visit.toordinal() if visit is not None else NO_VISIT


def written(put: CustomerPut) -> str:
    """Return a customer's row as it is kept."""
    return put.model_dump_json(exclude_defaults=True)


def _put_customer(connection: Connection, put: CustomerPut) -> set[str]:
    customer = put.customer
    row = connection.execute(
        "SELECT number, put FROM customers WHERE customer_id = ?", (customer.customer_id,)
    ).fetchone()
    left = _unlink(connection, row[0], row[1]) if row is not None else []
    connection.execute(
        "INSERT INTO customers (customer_id, points, last_visit, put) VALUES (?, ?, ?, ?) ON CONFLICT (customer_id)"
        " DO UPDATE SET points = excluded.points, last_visit = excluded.last_visit, put = excluded.put",
        (customer.customer_id, put.points, day_number(customer.last_visit_on), written(put)),
    )
    connection.execute(
        "INSERT INTO names (rowid, words) SELECT number, ? FROM customers WHERE customer_id = ?",
        (words_of(customer), customer.customer_id),
    )
    for identifier in put.identifiers:
        _link(connection, bytes.fromhex(identifier.id), customer.customer_id)
    return {customer.customer_id, *left, *_ids(put.identifiers)}


def _link(connection: Connection, key: bytes, customer_id: str) -> None:
    """Let an identifier lead to a customer, alone or beside others."""
    connection.execute(
        "INSERT INTO identifiers (id, customer) SELECT ?, number FROM customers WHERE customer_id = ?"
        " ON CONFLICT DO NOTHING",
        (key, customer_id),
    )


def _let_go_of_cards(connection: Connection, changes: Iterable[Change]) -> None:
    """Delete what waited on identifiers that lead to one customer alone now: it is in that customer's balance.

    Behind the last row of a page. Folded rows stand in another order than what happened, so that between two of them an
    identifier which several share may seem to lead to one.
    """
    keys = {identifier.id for put in changes if isinstance(put, CustomerPut) for identifier in put.identifiers}
    connection.executemany(
        "DELETE FROM cards WHERE id = ?1 AND (SELECT count(*) FROM identifiers WHERE id = ?1) = 1",
        [(bytes.fromhex(key),) for key in keys],
    )


def _unlink(connection: Connection, number: int, put_text: str) -> list[str]:
    """Take a customer's words and identifiers out; return the identifiers that led there."""
    put = CustomerPut.model_validate_json(put_text)
    connection.execute(
        "INSERT INTO names (names, rowid, words) VALUES ('delete', ?, ?)", (number, words_of(put.customer))
    )
    connection.executemany(
        "DELETE FROM identifiers WHERE id = ? AND customer = ?",
        [(bytes.fromhex(identifier.id), number) for identifier in put.identifiers],
    )
    return _ids(put.identifiers)


def _remove_customer(connection: Connection, customer_id: str) -> list[str]:
    row = connection.execute("SELECT number, put FROM customers WHERE customer_id = ?", (customer_id,)).fetchone()
    if row is None:
        return []
    left = _unlink(connection, row[0], row[1])
    connection.execute("DELETE FROM customers WHERE number = ?", (row[0],))
    return left


def _put_card(connection: Connection, put: CardPut) -> None:
    """Note what waits on an identifier itself; its account ends with 0 points."""
    key = bytes.fromhex(put.identifier)
    if put.points:
        connection.execute(
            "INSERT INTO cards (id, points) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET points = excluded.points",
            (key, put.points),
        )
    else:
        connection.execute("DELETE FROM cards WHERE id = ?", (key,))


def _ids(identifiers: Iterable[IdentifierRef]) -> list[str]:
    return [identifier.id for identifier in identifiers]
