"""Wiping: a terminal that the hub has shut out forgets the customers and keeps its outbox.

The caches go as files, between two openings of the store, because nothing reads them then. The values of cards that
wait to be asked about are erased at once, and a damaged file that was kept goes, because it may hold some; the events
that were made with them name only the identifier, so their points are still the customer's when the terminal is let in
again and sends them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from agent.store.files import delete
from agent.store.traces import Traces
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection

LOOK_S = 1.0

_log = logging.getLogger(__name__)


def wipe_as_noted(folder: Path) -> None:
    """Delete the caches where the store before was told to wipe; a till that dies within goes on at its next start."""
    note = _note(folder)
    if note.exists():
        for path in folder.glob("cache-*.db"):
            delete(path)
        note.unlink()


class Wiper:
    """Wipes what is personal. Where `due` is set, the store is to be closed and opened again, without the caches."""

    def __init__(
        self, folder: Path, writer: Writer, cursor: Callable[[], Awaitable[str | None]], traces: Traces
    ) -> None:
        """Take the state folder, the till's writer, what tells whether customers were ever loaded, and the traces."""
        self._folder = folder
        self._writer = writer
        self._cursor = cursor
        self._traces = traces
        self.due = asyncio.Event()

    async def run(self, is_shut_out: Callable[[], bool], clock: Clock) -> NoReturn:
        """Wipe while the hub shuts this terminal out, for ever: cards are still scanned then. Supervise it.

        What somebody erased left in the logs goes here too, where it could not go at once.
        """
        while True:
            if is_shut_out():
                await self.wipe()
            await self._traces.empty_logs_when_due()
            await clock.sleep(LOOK_S)

    async def wipe(self) -> None:
        """Erase the values of presented cards, and let the caches go at the next opening. Any number of times."""
        if await self._writer.write(_forget_presented):
            await self._traces.empty_logs()
        await self._traces.delete_damaged()
        if await self._cursor() is None and not await asyncio.to_thread(self._has_half_a_cache):
            return
        _log.warning("the hub has shut this terminal out: its customers are wiped, its outbox is kept")
        _note(self._folder).touch(mode=0o600)
        self.due.set()

    def _has_half_a_cache(self) -> bool:
        return len(list(self._folder.glob("cache-*.db"))) > 1


def _note(folder: Path) -> Path:
    return folder / "wipe"


def _forget_presented(connection: Connection) -> int:
    """Erase the values; a card that is presented again after all is asked about at once."""
    return connection.execute(
        "UPDATE presented SET value = NULL, answer = 'unknown', presented_at = 0 WHERE value IS NOT NULL"
    ).rowcount
