"""Loading a snapshot: chunks of the hub's rows into a new cache file, each in one transaction that names its number.

Shaped by what makes a million rows fast and memory flat (measured with SQLCipher, which sorts in memory only):

* customers arrive in the order of their ids, so their table and its index only ever grow at the end;
* identifiers are hashes and arrive in no order. They wait in sixteen plain tables by their first digit, and at the
  end each goes into its place in the order of the index, so that no page is visited twice and a sort stays small;
* nothing is synced while loading, because a process that dies loses nothing that the system holds, and a system that
  dies loses a file that can be had again: a load begun before a restart of the machine is thrown away.
"""

import io
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile, GzipFile
from itertools import islice

from pydantic import ValidationError

from agent.store.entries import StoreError
from agent.store.files import milliseconds
from agent.store.rows import day_number, put_coverage, words_of
from sync.contract.protocol import CHANGE, CardPut, CustomerPut, SnapshotManifest
from sync.runtime.sqlite_file import Connection

# A customer with 50 of everything is some 60 kB; a line beyond this is no row.
LINE_BYTES_MAX = 256 * 1024
# Rows parsed before they are written: few enough that a chunk never stands in memory whole.
_ROWS_AT_A_TIME = 500
PARTS = "0123456789abcdef"
# What is placed in one transaction, where the shop is so small: no more than a sixteenth of a million customers.
_ROWS_PLACED_AT_ONCE = 60_000


class SnapshotBroken(StoreError):
    """A chunk or manifest does not hold what it must; nothing of it was loaded."""


def begin(connection: Connection, snapshot_id: str, boot_id: str) -> int | None:
    """Return how many chunks of this snapshot are loaded here, or None where the file is of another load."""
    row = connection.execute("SELECT snapshot_id, boot_id, chunks FROM state").fetchone()
    if row is None or row[0] is None:
        connection.execute("UPDATE state SET snapshot_id = ?, boot_id = ?", (snapshot_id, boot_id))
        return 0
    return int(row[2]) if row[:2] == (snapshot_id, boot_id) else None


def load_chunk(connection: Connection, number: int, data: bytes) -> None:
    """Load the rows of a gzipped NDJSON chunk; `number` must follow the last one.

    Raises:
        SnapshotBroken: the chunk is out of order, cut, or holds what is no row of a snapshot.
    """
    (loaded,) = connection.execute("SELECT chunks FROM state").fetchone() or (0,)
    if number <= loaded:
        return
    if number != loaded + 1:
        raise SnapshotBroken(f"chunk {number} does not follow chunk {loaded}; ask for the next one")
    lines = _lines(data)
    while part := _read(number, lines):
        _write(connection, part)
    connection.execute("UPDATE state SET chunks = ?", (number,))


def steps_of_placing(rows: int) -> list[str]:
    """Return the parts that are placed together, step by step: of a small shop all at once."""
    return [PARTS] if rows <= _ROWS_PLACED_AT_ONCE else list(PARTS)


def place_identifiers(connection: Connection, parts: str) -> None:
    """Move the identifiers that begin with one of these digits to where they are looked up."""
    staged = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'staged_?'")}
    for part in parts:
        table = f"staged_{part}"
        if table in staged:
            connection.execute(
                f"INSERT OR IGNORE INTO identifiers (id, customer) SELECT id, customer FROM {table} ORDER BY 1, 2"
            )
            connection.execute(f"DROP TABLE {table}")


def conclude(connection: Connection, snapshot_id: str, manifest: SnapshotManifest) -> None:
    """Write where the feed continues and what the balances contain.

    Raises:
        SnapshotBroken: the manifest is not complete, or names chunks that are not loaded.
    """
    (loaded,) = connection.execute("SELECT chunks FROM state").fetchone() or (0,)
    if snapshot_id != manifest.snapshot_id or not manifest.complete or loaded != len(manifest.chunks):
        raise SnapshotBroken(
            f"{loaded} of {len(manifest.chunks)} chunks of snapshot {manifest.snapshot_id} are loaded; load the others"
        )
    put_coverage(connection, manifest.covered.items())
    connection.execute("UPDATE state SET cursor = ?, as_of = ?", (manifest.cursor, milliseconds(manifest.as_of)))


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines of a chunk, unpacked as they are asked for."""
    with GzipFile(fileobj=io.BytesIO(data)) as unpacked:
        while line := unpacked.readline(LINE_BYTES_MAX):
            yield line


def _read(number: int, lines: Iterator[bytes]) -> list[tuple[CustomerPut | CardPut, str]]:
    part: list[tuple[CustomerPut | CardPut, str]] = []
    try:
        for line in islice(lines, _ROWS_AT_A_TIME):
            row = CHANGE.validate_json(line)
            if not isinstance(row, CustomerPut | CardPut):
                raise SnapshotBroken(f"chunk {number} holds a {row.op} row; ask for the chunk again")
            part.append((row, line.decode().rstrip("\n")))
    except (ValidationError, BadGzipFile, EOFError, zlib.error):
        raise SnapshotBroken(f"chunk {number} cannot be read; ask for it again") from None
    return part


def _write(connection: Connection, part: list[tuple[CustomerPut | CardPut, str]]) -> None:
    (last,) = connection.execute("SELECT max(number) FROM customers").fetchone() or (None,)
    customers: list[tuple[int, str, int, int, str]] = []
    names: list[tuple[int, str]] = []
    staged: dict[str, list[tuple[bytes, int]]] = {}
    for put, text in part:
        if isinstance(put, CardPut):
            connection.execute(
                "INSERT OR REPLACE INTO cards VALUES (?, ?)", (bytes.fromhex(put.identifier), put.points)
            )
            continue
        row = (last or 0) + len(customers) + 1
        customer = put.customer
        customers.append((row, customer.customer_id, put.points, day_number(customer.last_visit_on), text))
        names.append((row, words_of(customer)))
        for identifier in put.identifiers:
            staged.setdefault(identifier.id[0], []).append((bytes.fromhex(identifier.id), row))
    connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", customers)
    connection.executemany("INSERT INTO names (rowid, words) VALUES (?, ?)", names)
    for digit, rows in staged.items():
        table = f"staged_{digit}"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id BLOB NOT NULL, customer INTEGER NOT NULL) STRICT")
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
