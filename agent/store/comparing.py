"""Comparing: what this cache holds, summed up as the hub does, and one bucket of it made equal to the hub's.

Summed up are the rows that answer a scan, and not the texts they came as: whom an identifier leads to, and how many
points stand there. It goes in pieces with pauses between, so that look-ups and sales go on beside it; nothing changes
meanwhile, because only the puller writes here and it is the one who asks.
"""

from typing import NamedTuple

from agent.store.rows import apply_change
from sync.contract.digest import KEY_BYTES, BucketAnswer, Sums, customer_key
from sync.contract.protocol import CardPut, CustomerGone, CustomerPut
from sync.runtime.clock import Clock
from sync.runtime.database import Reader
from sync.runtime.sqlite_file import Connection

# A piece takes some ten milliseconds on the reader's own thread. A million customers take 9 s of its time (measured),
# and with the pauses between some fifteen.
PIECE_ROWS = 2_000
PAUSE_S = 0.005

_NOBODY = bytes(KEY_BYTES)


async def buckets(reader: Reader, clock: Clock) -> tuple[str, ...]:
    """Return the sums of what the cache holds; `reader` has it attached."""
    scan = _Scan()
    for step in (scan.customers, scan.identifiers, scan.cards):
        while await reader.read(step):
            await clock.sleep(PAUSE_S)
    return scan.sums.buckets()


class _Scan:
    """One pass over a cache. Each step reads a piece and tells whether it found one.

    Keeps the key of each customer by its number: 16 bytes each, 16 MB for a million.
    """

    def __init__(self) -> None:
        self.sums = Sums()
        self._keys = bytearray()
        self._customer = -1
        self._identifier = (b"", -1)
        self._card = b""

    def customers(self, connection: Connection) -> bool:
        rows = connection.execute(
            "SELECT number, customer_id, points FROM cache.customers WHERE number > ? ORDER BY number LIMIT ?",
            (self._customer, PIECE_ROWS),
        ).fetchall()
        for number, customer_id, points in rows:
            key = customer_key(customer_id)
            self._keys += bytes(max((number + 1) * KEY_BYTES - len(self._keys), 0))
            self._keys[number * KEY_BYTES : (number + 1) * KEY_BYTES] = key
            self.sums.add_customer(key, points)
            self._customer = number
        return bool(rows)

    def identifiers(self, connection: Connection) -> bool:
        rows = connection.execute(
            "SELECT id, customer FROM cache.identifiers WHERE (id, customer) > (?, ?) ORDER BY id, customer LIMIT ?",
            (*self._identifier, PIECE_ROWS),
        ).fetchall()
        for identifier, number in rows:
            key = bytes(self._keys[number * KEY_BYTES : (number + 1) * KEY_BYTES])
            self.sums.add_identifier(identifier, key or _NOBODY)
            self._identifier = (identifier, number)
        return bool(rows)

    def cards(self, connection: Connection) -> bool:
        rows = connection.execute(
            "SELECT id, points FROM cache.cards WHERE id > ? ORDER BY id LIMIT ?", (self._card, PIECE_ROWS)
        ).fetchall()
        for identifier, points in rows:
            self.sums.add_card(identifier, points)
            self._card = identifier
        return bool(rows)


class _Held(NamedTuple):
    """What the cache holds of a customer: where, the points, and what leads there."""

    number: int
    points: int
    identifiers: set[bytes]


def replace_bucket(connection: Connection, answer: BucketAnswer) -> set[str]:
    """Make one bucket of the cache equal to the hub's, and return the accounts that were otherwise.

    In the caller's transaction on the cache's own file. Changes nothing where the cache stands elsewhere by now.
    """
    (cursor,) = connection.execute("SELECT cursor FROM state").fetchone() or (None,)
    if cursor != answer.cursor:
        return set()
    touched = _drop_strays(connection)
    customers = {put.customer.customer_id: put for put in answer.changes if isinstance(put, CustomerPut)}
    held = _held(connection, answer.bucket)
    for customer_id, one in held.items():
        if not _is_same(one, customers.get(customer_id)):
            _unlink(connection, one)
            touched |= apply_change(connection, CustomerGone(customer_id=customer_id, reason="out_of_scope"))
    for customer_id, put in customers.items():
        if customer_id not in held or customer_id in touched:
            touched |= apply_change(connection, put)
    return touched | _replace_cards(connection, answer)


def _is_same(held: _Held, put: CustomerPut | None) -> bool:
    if put is None or held.points != put.points:
        return False
    return held.identifiers == {bytes.fromhex(identifier.id) for identifier in put.identifiers}


def _drop_strays(connection: Connection) -> set[str]:
    """Delete what leads to a customer who is not here."""
    strays = connection.execute(
        "SELECT id, customer FROM identifiers WHERE customer NOT IN (SELECT number FROM customers)"
    ).fetchall()
    connection.executemany("DELETE FROM identifiers WHERE id = ? AND customer = ?", strays)
    return {identifier.hex() for identifier, _ in strays}


def _held(connection: Connection, bucket: int) -> dict[str, _Held]:
    held = {
        customer_id: _Held(number, points, set())
        for number, customer_id, points in connection.execute("SELECT number, customer_id, points FROM customers")
        if customer_key(customer_id)[0] == bucket
    }
    by_number = {one.number: one.identifiers for one in held.values()}
    for identifier, number in connection.execute("SELECT id, customer FROM identifiers"):
        if number in by_number:
            by_number[number].add(identifier)
    return held


def _unlink(connection: Connection, held: _Held) -> None:
    """Delete all that leads to a customer, also what its own text does not name."""
    connection.executemany(
        "DELETE FROM identifiers WHERE id = ? AND customer = ?",
        [(identifier, held.number) for identifier in held.identifiers],
    )


def _replace_cards(connection: Connection, answer: BucketAnswer) -> set[str]:
    first = bytes([answer.bucket])
    until = bytes([answer.bucket]) + b"\xff" * KEY_BYTES
    held = connection.execute("SELECT id, points FROM cards WHERE id BETWEEN ? AND ?", (first, until)).fetchall()
    wanted = {bytes.fromhex(put.identifier): put.points for put in answer.changes if isinstance(put, CardPut)}
    otherwise = set(held) ^ set(wanted.items())
    touched: set[str] = set()
    for identifier in {identifier for identifier, _ in otherwise}:
        put = CardPut(identifier=identifier.hex(), points=wanted.get(identifier, 0))
        touched |= apply_change(connection, put)
    return touched
