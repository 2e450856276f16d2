"""Importing customers: a file of any size becomes rows of the hub; bad rows are named, good ones are kept.

The file is read line by line and written in short transactions, one in flight while the next is read, so memory stays
flat and a running hub goes on serving between two of them. A customer that stands twice in a file is a fault of the
second row; otherwise the same file would never come to rest.
"""

import asyncio
import csv
import difflib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sync.hub.people.columns import NAMES, CellError, to_fields
from sync.hub.people.customer_rows import CustomerRow, Leaving, RowError, to_row
from sync.hub.people.customers import Put, put_customers
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection

# Rows per transaction: half a second of the file's one writing place when nobody else wants it, else a tenth.
BATCH_ROWS = 5_000
BATCH_ROWS_BESIDE_HUB = 1_000
# A running hub that waits for the file asks again every 25 to 100 ms, so most of its waits end in the next pause.
PAUSE_S = 0.06
# One row: a customer with all it may hold is far below; more is no row.
LINE_BYTES_MAX = 1024 * 1024
# A cell may span lines, but not a page of them.
RECORD_LINES_MAX = 20
# The inner pages of the indexes over millions of identifiers.
_CACHE_KIB = 64_000


class ImportFileError(Exception):
    """The file cannot be read, or not to its end; the message says whether rows were kept."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a row: its line in the file (from 1), the field, and the words for a person."""

    line: int
    field: str
    words: str


@dataclass(slots=True)
class Imported:
    """What an import did, in rows."""

    new: int = 0
    changed: int = 0
    same: int = 0
    gone: int = 0
    bad: int = 0
    warnings: int = 0

    @property
    def rows(self) -> int:
        """All rows of the file."""
        return self.new + self.changed + self.same + self.gone + self.bad


@dataclass(frozen=True, slots=True)
class Desk:
    """What an import needs besides the file: who is told of faults, warnings and progress (bytes read)."""

    writer: Writer
    clock: Clock
    identifier_key: bytes
    country_code: str
    on_fault: Callable[[Fault], None]
    on_warning: Callable[[Fault], None]
    on_progress: Callable[[int], None]
    beside_hub: bool = False


@dataclass(slots=True)
class _Batch:
    rows: list[tuple[int, CustomerRow | Leaving]] = field(default_factory=list)
    bytes_read: int = 0


async def import_customers(path: Path, desk: Desk) -> Imported:
    """Bring the hub's customers to what a file says and return what that did.

    A `.csv` has the columns of `sync.hub.people.columns`; anything else is NDJSON.

    Raises:
        ImportFileError: it cannot be read, or its header names a column that is none. Nothing was changed, but where
            the reading failed in the middle: then what stands before is kept.
        DatabaseError: the rows up to here are kept, this batch is not; the same file again goes on from there.
    """
    done = Imported()
    await desk.writer.outside_transaction(_prepare)
    try:
        with _opened(path) as file:
            rows = _good(_rows(path, file), desk, done)
            most = BATCH_ROWS_BESIDE_HUB if desk.beside_hub else BATCH_ROWS
            await _write_all(_batches(rows, file, most), desk, done)
    finally:
        await desk.writer.outside_transaction(_tidy)
    return done


async def _write_all(batches: Iterator[_Batch], desk: Desk, done: Imported) -> None:
    """Write batch after batch; while one is written on the database's thread, the next is read here."""
    batch = next(batches, None)
    while batch is not None:
        _, batch = await asyncio.gather(_write(batch, desk, done), _following(batches))
        if desk.beside_hub:
            await desk.clock.sleep(PAUSE_S)


async def _following(batches: Iterator[_Batch]) -> _Batch | None:
    return next(batches, None)


async def _write(batch: _Batch, desk: Desk, done: Imported) -> None:
    now_ms = int(desk.clock.now().timestamp() * 1000)
    put, kept, twice = await desk.writer.write(lambda connection: _put(connection, batch, now_ms))
    done.new += put.new
    done.changed += put.changed
    done.same += put.same
    done.gone += put.gone
    for line, first in twice:
        done.bad += 1
        desk.on_fault(Fault(line, "customer_id", f"the same customer stands on line {first} already"))
    for customer_id in put.points_differ:
        done.warnings += 1
        words = "differs from the balance; an opening balance is booked once only"
        desk.on_warning(Fault(kept[customer_id], "points", words))
    desk.on_progress(batch.bytes_read)


def _prepare(connection: Connection) -> None:
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute("CREATE TEMP TABLE seen (customer_id TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")


def _tidy(connection: Connection) -> None:
    connection.execute("DROP TABLE temp.seen")


def _put(connection: Connection, batch: _Batch, now_ms: int) -> tuple[Put, Mapping[str, int], list[tuple[int, int]]]:
    """Write a batch but for rows whose customer was seen before in this file.

    Returns what that did, the line of each customer who was written, and of each other row its line and the first one.
    """
    ids = json.dumps([row.customer_id for _, row in batch.rows])
    seen: dict[str, int] = dict(
        connection.execute(
            "SELECT customer_id, line FROM temp.seen WHERE customer_id IN (SELECT value FROM json_each(?))", (ids,)
        ).fetchall()
    )
    kept: dict[str, int] = {}
    rows: list[CustomerRow | Leaving] = []
    twice: list[tuple[int, int]] = []
    for line, row in batch.rows:
        first = seen.setdefault(row.customer_id, line)
        if first != line:
            twice.append((line, first))
            continue
        kept[row.customer_id] = line
        rows.append(row)
    connection.executemany("INSERT INTO temp.seen (customer_id, line) VALUES (?, ?)", kept.items())
    return put_customers(connection, rows, now_ms), kept, twice


def _batches(rows: Iterator[tuple[int, CustomerRow | Leaving]], file: BinaryIO, most: int) -> Iterator[_Batch]:
    """Yield rows in batches of so many; what was read before the reading failed is one, too."""
    batch = _Batch()
    try:
        for row in rows:
            batch.rows.append(row)
            if len(batch.rows) == most:
                batch.bytes_read = file.tell()
                yield batch
                batch = _Batch()
    except ImportFileError:
        if batch.rows:
            batch.bytes_read = file.tell()
            yield batch
        raise
    batch.bytes_read = file.tell()
    yield batch


def _good(
    rows: Iterator[tuple[int, Mapping[str, Any] | Fault]], desk: Desk, done: Imported
) -> Iterator[tuple[int, CustomerRow | Leaving]]:
    """Yield rows that can be kept; say what is wrong with the others."""
    for line, fields in rows:
        if isinstance(fields, Fault):
            done.bad += 1
            desk.on_fault(fields)
            continue
        try:
            yield line, to_row(fields, desk.identifier_key, desk.country_code)
        except RowError as error:
            done.bad += 1
            for name, words in error.faults:
                desk.on_fault(Fault(line, name, words))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ImportFileError(f"{path}: cannot be read: {error.strerror}") from error


def _rows(path: Path, file: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    """Yield each row with its line: the fields, or what keeps them from being read."""
    line = 0
    try:
        for line, fields in _csv_rows(file) if path.suffix.lower() == ".csv" else _ndjson_rows(file):
            yield line, fields
    except OSError as error:
        raise ImportFileError(
            f"{path}: cannot be read after line {line}: {error.strerror}. What stands before is kept; the same file "
            "again goes on from there"
        ) from error


def _ndjson_rows(file: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    line = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        line += 1
        if len(raw) > LINE_BYTES_MAX:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LINE_BYTES_MAX)
            yield line, Fault(line, "the row", f"is longer than {LINE_BYTES_MAX} bytes")
        elif raw.strip():
            yield line, _object(raw, line)


def _object(raw: bytes, line: int) -> Mapping[str, Any] | Fault:
    try:
        value = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        return Fault(line, "the row", "is not UTF-8")
    except (ValueError, RecursionError):
        return Fault(line, "the row", "is not JSON")
    return value if isinstance(value, dict) else Fault(line, "the row", "is not a JSON object")


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any] | Fault]]:
    records = _csv_records(file)
    header = _header(next(records, (1, [""]))[1])
    for line, lines in records:
        try:
            cells = next(csv.reader(lines, strict=True), [])
        except csv.Error as error:
            yield line, Fault(line, "the row", f"is not CSV: {error}")
            continue
        if cells:
            yield line, _fields(cells, header, line)


def _csv_records(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with its first line: lines until every quote is closed.

    A quote that no line of the next few closes is a fault of its own line only; it must not swallow the rows below.
    """
    ahead: deque[str] = deque()

    def read() -> str:
        if ahead:
            return ahead.popleft()
        encoding = "utf-8-sig" if file.tell() == 0 else "utf-8"
        return file.readline(LINE_BYTES_MAX).decode(encoding, errors="surrogateescape")

    number = 1
    while first := read():
        lines = [first]
        quotes = first.count('"')
        while quotes % 2 and len(lines) < RECORD_LINES_MAX and (more := read()):
            lines.append(more)
            quotes += more.count('"')
        if quotes % 2:
            ahead.extendleft(reversed(lines[1:]))
            lines = [first]
        yield number, lines
        number += len(lines)


def _fields(cells: list[str], header: list[str], line: int) -> Mapping[str, Any] | Fault:
    if len(cells) != len(header):
        return Fault(line, "the row", f"has {len(cells)} cells where the header has {len(header)}")
    try:
        "".join(cells).encode()
        return to_fields(dict(zip(header, cells, strict=True)))
    except UnicodeEncodeError:
        return Fault(line, "the row", "is not UTF-8")
    except CellError as error:
        return Fault(line, error.column, error.fault)


def _header(lines: list[str]) -> list[str]:
    try:
        header = [name.strip() for name in next(csv.reader(lines, strict=True), [])]
    except csv.Error as error:
        raise ImportFileError(f"line 1: is not CSV: {error}") from None
    unknown = [name for name in header if name not in NAMES]
    if unknown:
        near = difflib.get_close_matches(unknown[0], NAMES, n=1)
        meant = f'did you mean "{near[0]}"?' if near else "loyalty-hub import --help lists the columns"
        raise ImportFileError(f'line 1: there is no column "{unknown[0]}"; {meant}')
    if "customer_id" not in header:
        raise ImportFileError("line 1: the column customer_id is missing; the first line must name the columns")
    if len(set(header)) != len(header):
        raise ImportFileError("line 1: a column stands twice")
    return header
