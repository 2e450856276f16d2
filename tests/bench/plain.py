"""The raw thing: the same rows in plain SQLite through the standard library's sqlite3, with nothing around them.

The customers are read out of a till's cache as it keeps them, so that both sides hold the same texts. They are loaded
the fastest way SQLite knows: unsynced, without a journal, into fresh tables, indexes made last.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agent.store.files import cache_file
from agent.store.names import fold
from sync.contract.protocol import CustomerPut
from sync.runtime.sqlite_file import open_for_reading
from tests.bench.rounds import Stopwatch

_ROWS_AT_A_TIME = 5_000
# What a till's own reader keeps in memory, in KiB; the raw connection gets as much.
_CACHE_KIB = 8_000

_TABLES = """
CREATE TABLE customers (
  number INTEGER PRIMARY KEY, customer_id TEXT NOT NULL, points INTEGER NOT NULL, last_visit INTEGER NOT NULL,
  put TEXT NOT NULL
) STRICT;
CREATE TABLE identifiers (id BLOB NOT NULL, customer INTEGER NOT NULL) STRICT;
CREATE VIRTUAL TABLE names USING fts5 (
  words, content = '', tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3 4', detail = none, columnsize = 0
);
"""
_INDEXES = """
CREATE UNIQUE INDEX customers_by_id ON customers (customer_id);
CREATE INDEX identifiers_by_id ON identifiers (id, customer);
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the load cost: rows of customers, and the seconds SQLite itself took for them."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Rows:
    customers: list[tuple[int, str, int, int, str]]
    identifiers: list[tuple[bytes, int]]
    names: list[tuple[int, str]]


def load_plain(path: Path, till: Path, key: bytes, cache_number: int) -> Loaded:
    """Load all customers of a till's cache into a plain file; only the time inside SQLite counts."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.executescript(_TABLES)
    rows, seconds = 0, 0.0
    for part in _read_cache(till, key, cache_number):
        watch = Stopwatch()
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", part.customers)
        connection.executemany("INSERT INTO identifiers VALUES (?, ?)", part.identifiers)
        connection.executemany("INSERT INTO names (rowid, words) VALUES (?, ?)", part.names)
        connection.execute("COMMIT")
        seconds += watch.seconds
        rows += len(part.customers)
    watch = Stopwatch()
    connection.executescript(_INDEXES)
    seconds += watch.seconds
    connection.close()
    return Loaded(rows, seconds)


def open_plain(path: Path) -> sqlite3.Connection:
    """Open a plain file to read from, with the memory that a till gives its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute("PRAGMA query_only=ON")
    return connection


def open_durable(path: Path) -> sqlite3.Connection:
    """Open a fresh plain file with the tables of a till, each commit of it synced: WAL, synchronous=FULL."""
    for companion in ("", "-wal", "-shm"):
        path.with_name(path.name + companion).unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for script in sorted(resources.files("agent.migrations.till").iterdir(), key=lambda entry: entry.name):
        if script.name.endswith(".sql"):
            connection.executescript(script.read_text(encoding="utf-8"))
    return connection


def _read_cache(till: Path, key: bytes, cache_number: int) -> Iterator[_Rows]:
    reader = open_for_reading(cache_file(till, key, cache_number), {})
    cursor = reader.execute("SELECT number, customer_id, points, last_visit, put FROM customers ORDER BY number")
    while customers := cursor.fetchmany(_ROWS_AT_A_TIME):
        part = _Rows([], [], [])
        for number, customer_id, points, last_visit, text in customers:
            put = CustomerPut.model_validate_json(text)
            names = (put.customer.given_name, put.customer.family_name or "", put.customer.called or "")
            part.customers.append((number, customer_id, points, last_visit, text))
            part.identifiers.extend((bytes.fromhex(identifier.id), number) for identifier in put.identifiers)
            part.names.append((number, " ".join(fold(" ".join(names)))))
        yield part
    reader.close()
