"""Damage: is the till's file whole, and what is done where it is not. Runs before the file is opened for use.

A damaged file is set aside as `till.db.corrupt.<when>`, with its log, after what can be read of it stands whole in a
new file; there it stays until somebody is erased (`agent.store.traces`). A till that dies at any moment of this wakes
up with one whole file: the old or the new.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from agent.store.files import CACHE_APPLICATION_ID, aside_file, delete, milliseconds, till_file
from agent.store.salvage import Salvaged, Wreck, salvage
from sync.runtime.sqlite_file import (
    DatabaseDamaged,
    DatabaseError,
    DatabaseFile,
    DatabaseSealed,
    open_for_reading,
    open_for_writing,
    quick_check,
)
from sync.runtime.state_lock import sync_folder

# A file of a few hundred MB is read through in this time; the rest of a larger one shows when it is read.
CHECK_S = 2.0
# After damage showed, the whole file is read, whatever that takes.
THOROUGH_CHECK_S = 600.0

_log = logging.getLogger(__name__)


class DamageAlarm:
    """Tells that a part of a file could not be read, to this process and to the next one. Used on the event loop."""

    def __init__(self, folder: Path) -> None:
        """Take the state folder."""
        self._note = _note(folder)
        self.rung = asyncio.Event()

    def ring(self) -> None:
        """Tell: the files are to be closed, and opened again through `bring_back`."""
        with suppress(OSError):  # a disk that takes no note still has this process told
            self._note.touch(mode=0o600)
        self.rung.set()

    def heard(self, _: object, error: BaseException | None, __: object) -> None:
        """Ring where this error ends the store; for the stack that the store opens in."""
        if isinstance(error, DatabaseDamaged):
            self.ring()


def bring_back(folder: Path, key: bytes, now: datetime) -> Salvaged | None:
    """Let the till's file be one that can be opened; return what was salvaged where it was damaged. Blocks.

    After an alarm the whole file is read. If the damage is not in the till's file it is in the cache, which is thrown
    away then.

    Args:
        folder: the state folder, held by this process.
        key: the key of its files.
        now: for the name of the damaged file.

    Raises:
        DatabaseError: the file is not ours, or newer, or the key is not known to be right.
    """
    is_suspect = _note(folder).exists()
    salvaged = _bring_back(folder, key, now, is_suspect=is_suspect)
    _note(folder).unlink(missing_ok=True)
    return salvaged


def _note(folder: Path) -> Path:
    return folder / "suspect"


def _bring_back(folder: Path, key: bytes, now: datetime, *, is_suspect: bool) -> Salvaged | None:
    till = till_file(folder, key)
    fresh = DatabaseFile(folder / "till.db.salvaged", till.application_id, till.migrations, key)
    if not till.path.exists():
        if fresh.path.exists():
            _swap(till.path, fresh.path, now)
        return None
    delete(fresh.path)
    if _is_whole(till, folder, THOROUGH_CHECK_S if is_suspect else CHECK_S):
        if is_suspect:
            _log.error("the cache is damaged: it is thrown away and loaded again")
            for path in folder.glob("cache-*.db"):
                delete(path)
        return None
    salvaged = _salvage(till, fresh, now)
    aside = _swap(till.path, fresh.path, now)
    if salvaged.is_readable:
        _log.error(
            "till.db was damaged: kept %d events, lost %d (the hub may lack %d), lost %d answers; it is kept as %s",
            salvaged.events,
            salvaged.lost,
            salvaged.lost_unsent,
            salvaged.lost_answers,
            aside.name,
        )
    else:
        _log.error(
            "till.db was damaged: nothing of it could be read, the till begins anew; it is kept as %s", aside.name
        )
    return salvaged


def _is_whole(till: DatabaseFile, folder: Path, limit_s: float) -> bool:
    try:
        return quick_check(till, limit_s)
    except DatabaseDamaged:
        return False
    except DatabaseSealed:
        if not _key_opens_a_cache(till, folder):
            raise  # more likely the wrong key than damage in the first page
        return False


def _key_opens_a_cache(till: DatabaseFile, folder: Path) -> bool:
    for path in folder.glob("cache-*.db"):
        try:
            cache = DatabaseFile(path, CACHE_APPLICATION_ID, till.migrations, till.key)
            connection = open_for_reading(cache, {})
            try:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            finally:
                connection.close()
        except DatabaseError:
            continue
        return True
    return False


def _salvage(till: DatabaseFile, fresh: DatabaseFile, now: datetime) -> Salvaged:
    wreck = Wreck(till)
    connection = open_for_writing(fresh)
    try:
        connection.execute("PRAGMA foreign_keys=OFF")  # a row may come before the one that it names, or without it
        connection.execute("BEGIN IMMEDIATE")
        salvaged = salvage(wreck, connection, milliseconds(now))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()
        wreck.close()
    return salvaged


def _swap(till: Path, fresh: Path, now: datetime) -> Path:
    """Set the damaged file aside with its log, and let the new one take its place. Any part may be done already."""
    aside = aside_file(till, now)
    for companion in ("", "-wal"):
        path = till.with_name(till.name + companion)
        if path.exists():
            path.replace(aside.with_name(aside.name + companion))
    till.with_name(till.name + "-shm").unlink(missing_ok=True)
    for companion in ("-wal", "-shm"):
        fresh.with_name(fresh.name + companion).unlink(missing_ok=True)
    fresh.replace(till)
    sync_folder(till.parent)
    return aside
