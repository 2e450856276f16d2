"""The ballast: some megabytes in the state folder that are given up when the disk is full.

A full disk must not keep the hub's answers from being written down, or the outbox could never empty. So when SQLite
finds no room, the ballast goes, and what must be written goes into its place. Sales must not: they are refused, in
sight, until there is room for the ballast again.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sync.runtime.clock import Clock
from sync.runtime.sqlite_file import DatabaseFull

BALLAST_BYTES = 8 * 1024 * 1024
LOOK_S = 5.0
# With less than this a database does not even open: its index finds no room.
_START_BYTES_MIN = 1024 * 1024
_BLOCK = bytes(range(256)) * 256

_log = logging.getLogger(__name__)


def free_bytes(folder: Path) -> int:
    """Return how much the disk of a folder has left for this user."""
    return shutil.disk_usage(folder).free


def no_room(*_: object) -> NoReturn:
    """Refuse an act while the disk is full.

    Raises:
        DatabaseFull: always.
    """
    raise DatabaseFull("the disk is full: nothing was written; free some space and try again")


class Ballast:
    """Whether the disk is full, and the file that is given up then. `release` may be called from anywhere."""

    def __init__(
        self, folder: Path, *, size_bytes: int = BALLAST_BYTES, free: Callable[[Path], int] = free_bytes
    ) -> None:
        """Take the state folder; `free` tells how many bytes its disk has left."""
        self._path = folder / "ballast"
        self._size_bytes = size_bytes
        self._free = free
        self._is_full = False

    @property
    def is_full(self) -> bool:
        """Whether the disk is full: no sale is recorded now."""
        return self._is_full

    def release_where_nothing_opens(self) -> None:
        """Give the ballast up before the databases are opened, where they could not be."""
        if self._path.exists() and self._free(self._path.parent) < _START_BYTES_MIN:
            self.release()

    def release(self) -> None:
        """Give the ballast up: a write found no room. From here on sales are refused."""
        self._path.unlink(missing_ok=True)
        if not self._is_full:
            self._is_full = True
            _log.error("disk full: sales are refused, the outbox goes on; free some space")

    def make(self) -> bool:
        """Make the ballast, where there is room for it twice; return whether it lies there now. Blocks."""
        if self._path.exists() and self._path.stat().st_size == self._size_bytes:
            return True
        temporary = self._path.with_name(".ballast.tmp")
        try:
            temporary.unlink(missing_ok=True)
            if self._free(self._path.parent) < 2 * self._size_bytes:
                return False
            self._fill(temporary)
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        return True

    def _fill(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
            else:
                for _ in range(self._size_bytes // len(_BLOCK)):
                    file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())

    async def run(self, checkpoint: Callable[[], Awaitable[None]], clock: Clock) -> NoReturn:
        """Keep the ballast made, for ever; while the disk is full, let the log of the database give its room back."""
        while True:
            await self.look(checkpoint)
            await clock.sleep(LOOK_S)

    async def look(self, checkpoint: Callable[[], Awaitable[None]]) -> None:
        """Take one look: make the ballast where it is missing, and let sales go on once it lies there again."""
        if self._is_full:
            with suppress(DatabaseFull):
                await checkpoint()
        if await asyncio.to_thread(self.make) and self._is_full:
            self._is_full = False
            _log.info("the disk has room again: sales go on")
