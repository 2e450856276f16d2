"""Digests: what a terminal's cache must hold as of one position, summed up, and the rows of one bucket of it.

The sums are worked out by one scan in one read transaction, on the connection that snapshots are made on, so never
beside one: a hub that sums up takes in uploads and serves pages as before. A scan of a million customers takes some
four seconds (measured), and serves every terminal that has not passed its position: at night, when the feed stands
still, all of them. Sums that are kept up to date by each booking would cost the uploads, all day, for a question that
is asked once a day; and a fault in that upkeep would look like a fault of every till.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.digest import Sums, customer_key
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.pages import card_text, customer_text
from sync.hub.feed.snapshot_files import BARE_CARDS
from sync.runtime.clock import Clock
from sync.runtime.database import Reader
from sync.runtime.sqlite_file import Connection, Row

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Digest:
    """The sums as of a position."""

    pos: int
    as_of: datetime
    buckets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rows of one bucket as of a position, as JSON texts."""

    pos: int
    changes: tuple[str, ...]


class Digests:
    """The digests of this hub. Its reader is the one that scans, not the one that serves pages."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._scanning = asyncio.Lock()
        self._newest: Digest | None = None

    async def not_before(self, pos: int) -> Digest:
        """Return the sums as of a position that a terminal at `pos` has not passed."""
        async with self._scanning:
            if self._newest is None or self._newest.pos < pos:
                now = self._clock.now()
                reached, sums = await self._reader.read(sum_up)
                self._newest = Digest(reached, now, sums.buckets())
            return self._newest

    async def bucket(self, number: int) -> Bucket:
        """Return the rows of a bucket as they are now."""
        return await self._reader.read(lambda connection: rows_of(connection, number))


def sum_up(connection: Connection) -> tuple[int, Sums]:
    """Return the position that this read transaction sees, and the sums there."""
    sums = Sums()
    customers = connection.execute(
        "SELECT customer_id, points FROM balances "
        "WHERE EXISTS (SELECT 1 FROM customers WHERE customers.customer_id = balances.customer_id)"
    )
    while rows := customers.fetchmany(_ROWS_AT_ONCE):
        for customer_id, points in rows:
            sums.add_customer(customer_key(customer_id), points)
    identifiers = connection.execute("SELECT id, customer_id FROM identifiers")
    while rows := identifiers.fetchmany(_ROWS_AT_ONCE):
        for identifier, customer_id in rows:
            sums.add_identifier(bytes.fromhex(identifier), customer_key(customer_id))
    cards = connection.execute(BARE_CARDS)
    while rows := cards.fetchmany(_ROWS_AT_ONCE):
        for identifier, points in rows:
            sums.add_card(bytes.fromhex(identifier), points)
    return last_pos(connection), sums


def rows_of(connection: Connection, number: int) -> Bucket:
    """Return the rows of a bucket and the position that this read transaction sees."""
    customers = (customer_text(wire, refs, points) for wire, refs, points in _customers(connection, number))
    first = f"{number:02x}"
    cards = (
        card_text(identifier, points)
        for identifier, points in connection.execute(BARE_CARDS)
        if identifier.startswith(first)
    )
    return Bucket(last_pos(connection), (*customers, *cards))


def bucket_text(bucket: Bucket, number: int, epoch: str) -> str:
    """Return a bucket as the JSON of a `BucketAnswer`."""
    return (
        f'{{"hub_epoch":"{epoch}","cursor":"{write_cursor(FeedCursor(epoch, bucket.pos))}","bucket":{number},'
        f'"changes":[{",".join(bucket.changes)}]}}'
    )


def _customers(connection: Connection, number: int) -> Iterator[Row]:
    ids = connection.execute("SELECT customer_id FROM customers ORDER BY customer_id")
    while rows := ids.fetchmany(_ROWS_AT_ONCE):
        for (customer_id,) in rows:
            if customer_key(customer_id)[0] == number:
                yield from connection.execute(
                    "SELECT wire, refs, balances.points FROM customers "
                    "JOIN balances ON balances.customer_id = customers.customer_id WHERE customers.customer_id = ?",
                    (customer_id,),
                )
