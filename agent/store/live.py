"""Which of the numbered cache files is the live one, its writer, and the change to the next.

The number stands in the till's own database. So a till that dies at any moment of a change wakes up with one whole
cache: the old one, or the new one.
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

from agent.store.files import cache_file, delete, delete_left_over_caches
from agent.store.settling import unsweep
from agent.store.traces import Traces
from sync.runtime.database import Reader, Writer, open_writer
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection, DatabaseFile, DatabaseUnreadable

# The name that the live cache has on the reader, beside the till's own tables.
ATTACHED = "cache"

_log = logging.getLogger(__name__)


class LiveCache:
    """The live cache. Entered as a context before the reader is opened, because the reader attaches its file."""

    def __init__(self, folder: Path, key: bytes, till: Writer) -> None:
        """Take the state folder, the key of its files, and the writer of the till."""
        self._folder = folder
        self._key = key
        self._till = till
        self._number = 1
        self._open = AsyncExitStack()
        self._writer: Writer | None = None
        self._coverage: Mapping[str, int] = {}
        self._selling: NearReader | None = None
        self.traces = Traces(folder, till, lambda: self.writer)
        """What is left of somebody beside the rows that are erased."""

    async def __aenter__(self) -> Self:
        self._number = await self._till.outside_transaction(_live_number)
        delete_left_over_caches(self._folder, self._number)
        self._writer = await self._open.enter_async_context(_open_or_begin_anew(self.file))
        await self.read_coverage()
        # A power cut may have taken the newest commits of the cache, and never one of the till's.
        await self._till.write(lambda connection: unsweep(connection, self._coverage))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def file(self) -> DatabaseFile:
        """The cache that is read."""
        return cache_file(self._folder, self._key, self._number)

    @property
    def next_file(self) -> DatabaseFile:
        """The cache that a snapshot is loaded into."""
        return cache_file(self._folder, self._key, self._number + 1)

    @property
    def writer(self) -> Writer:
        """The writer of the live cache."""
        if self._writer is None:
            raise RuntimeError("the cache is not open")
        return self._writer

    @property
    def coverage(self) -> Mapping[str, int]:
        """The last seq of each incarnation of this terminal that the balances here contain."""
        return self._coverage

    def follow(self, selling: NearReader) -> None:
        """Take the reader that sales use on the till's own thread; it changes files there, between two sales."""
        self._selling = selling

    async def read_coverage(self) -> None:
        """Read the coverage anew, after it was written."""
        self._coverage = await _coverage_of(self.writer)

    async def identifiers_of(self, customer_ids: Sequence[str]) -> Sequence[bytes]:
        """Return the ids of these customers' identifiers."""

        def ids(connection: Connection) -> Sequence[bytes]:
            rows = connection.execute(
                "SELECT identifiers.id FROM customers JOIN identifiers ON identifiers.customer = customers.number "
                "WHERE customer_id IN (SELECT value FROM json_each(?))",
                (json.dumps(customer_ids),),
            )
            return [row[0] for row in rows]

        return await self.writer.outside_transaction(ids)

    async def promote(self, near: NearReader, reader: Reader) -> None:
        """Let the next cache, loaded and closed, take the place of the live one, which is deleted."""
        number, old_file, old_open = self._number + 1, self.file, self._open
        async with AsyncExitStack() as opened:
            writer = await opened.enter_async_context(_open_or_begin_anew(self.next_file))
            coverage = await _coverage_of(writer)
            # While both files are read, only what both contain may be swept.
            self._coverage = {inc: min(seq, self._coverage.get(inc, 0)) for inc, seq in coverage.items()}
            await self._till.write(lambda connection: _change_over(connection, number, coverage))
            self._number, self._writer, self._open = number, writer, opened.pop_all()
        near.attach_instead(ATTACHED, self.file)
        if self._selling is not None:
            selling = self._selling
            await self._till.outside_transaction(lambda _: selling.attach_instead(ATTACHED, self.file))
        await reader.attach_instead(ATTACHED, self.file)
        self._coverage = coverage
        await old_open.aclose()
        delete(old_file.path)


@asynccontextmanager
async def _open_or_begin_anew(file: DatabaseFile) -> AsyncIterator[Writer]:
    async with AsyncExitStack() as opened:
        try:
            writer = await opened.enter_async_context(open_writer(file))
        except DatabaseUnreadable:
            _log.warning("cache unreadable, begun anew: file=%s", file.path.name)
            delete(file.path)
            writer = await opened.enter_async_context(open_writer(file))
        # What a customer asked to be erased leaves the pages of the file too.
        await writer.outside_transaction(lambda connection: connection.execute("PRAGMA secure_delete=ON").fetchone())
        yield writer


def _live_number(connection: Connection) -> int:
    row = connection.execute("SELECT number FROM live_cache").fetchone()
    return int(row[0]) if row else 1


def _change_over(connection: Connection, number: int, coverage: Mapping[str, int]) -> None:
    connection.execute("UPDATE live_cache SET number = ?", (number,))
    unsweep(connection, coverage)


async def _coverage_of(cache: Writer) -> Mapping[str, int]:
    return await cache.outside_transaction(
        lambda connection: dict(connection.execute("SELECT inc, through FROM coverage").fetchall())
    )
