"""Wiping: a terminal that the hub has shut out forgets the customers and keeps its outbox.

It is noted first, so that no customer is shown any more whatever comes after, on a full disk too. The caches go as
files, between two openings of the store, because nothing reads them then. The values of cards that wait to be asked
about are erased, and a damaged file that was kept goes, because it may hold some; the events that were made with them
name only the identifier, so their points are still the customer's when the terminal is let in again and sends them. The
note stays until all of that is done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from agent.store.ballast import Ballast
from agent.store.files import delete
from agent.store.journal import EventJournal
from agent.store.traces import Traces
from sync.runtime.clock import Clock

LOOK_S = 1.0

_log = logging.getLogger(__name__)


def wipe_as_noted(folder: Path) -> None:
    """Delete the caches where it was noted to wipe; a till that dies within goes on at its next start."""
    if _note(folder).exists():
        for path in folder.glob("cache-*.db"):
            delete(path)


class Wiper:
    """Wipes what is personal. Where `due` is set, the store is to be closed and opened again, without the caches."""

    def __init__(
        self,
        folder: Path,
        journal: EventJournal,
        ballast: Ballast,
        traces: Traces,
        cursor: Callable[[], Awaitable[str | None]],
    ) -> None:
        """Take the state folder, its journal, ballast and traces, and what tells whether customers were ever loaded."""
        self._folder = folder
        self._journal = journal
        self._ballast = ballast
        self._traces = traces
        self._cursor = cursor
        self.due = asyncio.Event()

    async def run(self, is_shut_out: Callable[[], bool], clock: Clock) -> NoReturn:
        """Wipe while the hub shuts this terminal out, for ever: cards are still scanned then. Supervise it.

        What a wipe before did not get done is done here, and what somebody erased left in the logs.
        """
        while True:
            if is_shut_out():
                await self.wipe()
            elif await asyncio.to_thread(_note(self._folder).exists):
                await self._forget_presented()
            await self._traces.empty_logs_when_due()
            await clock.sleep(LOOK_S)

    async def wipe(self) -> None:
        """Let the caches go at the next opening, and erase the values of presented cards. Any number of times.

        Raises:
            DatabaseFull: the values are still there, and nobody is shown any more; call again.
        """
        if not self.due.is_set() and (await self._cursor() is not None or await asyncio.to_thread(self._is_loading)):
            _log.warning("the hub has shut this terminal out: its customers are wiped, its outbox is kept")
            await asyncio.to_thread(self._note_down)
            self.due.set()
        await self._forget_presented()

    async def _forget_presented(self) -> None:
        if await self._journal.forget_all_presented():
            await self._traces.empty_logs()
        await self._traces.delete_damaged()
        if not self.due.is_set():
            await asyncio.to_thread(_note(self._folder).unlink, missing_ok=True)

    def _note_down(self) -> None:
        try:
            _note(self._folder).touch(mode=0o600)
        except OSError:
            self._ballast.release()
            _note(self._folder).touch(mode=0o600)

    def _is_loading(self) -> bool:
        return len(list(self._folder.glob("cache-*.db"))) > 1


def _note(folder: Path) -> Path:
    return folder / "wipe"
