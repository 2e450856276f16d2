"""Traces: what is left of somebody beside the rows that were erased, and how it goes.

The logs of both files hold the pages as they were, until they are carried over and cut to nothing. That needs nobody
to read them at that moment, so it is tried until it was done, also after a crash. A till's file that was set aside as
damaged holds what was presented while it served, and nobody can tell whose; so it goes whole. Its events were saved
when it was set aside.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.store.files import set_aside
from sync.runtime.database import Writer

_log = logging.getLogger(__name__)


class Traces:
    """The logs of the till and of its live cache, and the damaged files beside them."""

    def __init__(self, folder: Path, till: Writer, cache: Callable[[], Writer]) -> None:
        """Take the state folder, the writer of the till, and what tells the writer of the live cache."""
        self._folder = folder
        self._till = till
        self._cache = cache
        self._is_due = True  # as a crash may have left the logs

    async def delete_damaged(self) -> None:
        """Delete the till's files that were set aside as damaged. Any number of times."""
        for name in await asyncio.to_thread(self._delete_damaged):
            _log.warning("a damaged file that was kept is deleted, for whom it may name: file=%s", name)

    async def empty_logs(self) -> None:
        """Let the logs hold nothing from before. Where that cannot be now, `empty_logs_when_due` tries again."""
        self._is_due = True
        is_till_empty = await self._till.empty_log()
        self._is_due = not (await self._cache().empty_log() and is_till_empty)

    async def empty_logs_when_due(self) -> None:
        """Try again where the logs are not empty yet."""
        if self._is_due:
            await self.empty_logs()

    def _delete_damaged(self) -> list[str]:
        found = set_aside(self._folder)
        for path in found:
            path.unlink(missing_ok=True)
        return [path.name for path in found]
