"""Open files, kept on a shelf: a process of a simulation that starts again takes up the connections of the one before.

A fifth of a seed's time went into reading the same schema again at each of its some fifty openings. A connection is
taken up only for the very files that it has open: where one was replaced meanwhile, as by an older image, all is opened
as the product opens it, checks included. One that was left within a transaction is closed, as the end of a process
would.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from sync.runtime import database, near_reader, sqlite_file
from sync.runtime.sqlite_file import Connection, DatabaseFile

_driver: Any = sqlite_file._driver
_open_for_writing, _open_for_reading, _attach = (
    sqlite_file.open_for_writing,
    sqlite_file.open_for_reading,
    sqlite_file.attach,
)
# The smallest that SQLite has: the tables of a simulation are many and their rows few, and it copies whole pages.
PAGE_BYTES = 512
# A file is known by its path and its number on the disk.
_Number = tuple[str, int]
_Place = tuple[str, _Number, frozenset[tuple[str, _Number]]]


class Kept(_driver.Connection):  # type: ignore[misc]
    """A connection that goes back to its shelf when it is closed."""

    shelf: "Shelf | None" = None
    use = ""
    number: _Number
    attached: dict[str, _Number]

    def close(self) -> None:
        """Go back to the shelf, or close where there is none."""
        if self.shelf is None or self.in_transaction:
            super().close()
        else:
            self.shelf.put(self)


class Idle(Kept):
    """A connection on its shelf: whoever closed it can do nothing with it any more."""

    def execute(self, *_: Any) -> Any:
        """Refuse, as a closed connection does."""
        raise _driver.ProgrammingError("Cannot operate on a closed database.")

    executemany = execute

    def close(self) -> None:
        """Closing twice is closing once."""


class Shelf:
    """The open files of one simulation."""

    def __init__(self) -> None:
        self._free: dict[_Place, list[Kept]] = {}

    def open_for_writing(self, file: DatabaseFile) -> Connection:
        """Stand for `sqlite_file.open_for_writing`."""
        kept = self._take("write", file, {})
        if kept is None:
            if not file.path.exists():
                _write_new(file)
            return self._keep(lambda: _open_for_writing(file), "write", file)
        kept.execute(f"PRAGMA synchronous={file.synchronous}")
        return kept

    def open_for_reading(self, file: DatabaseFile, attached: Mapping[str, DatabaseFile]) -> Connection:
        """Stand for `sqlite_file.open_for_reading`."""
        kept = self._take("read", file, attached)
        return kept or self._keep(lambda: _open_for_reading(file, attached), "read", file)

    def put(self, kept: Kept) -> None:
        """Take back a connection that nobody uses any more."""
        place = (kept.use, kept.number, frozenset(kept.attached.items()))
        kept.__class__ = Idle
        self._free.setdefault(place, []).append(kept)

    def close(self) -> None:
        """Close all that nobody uses."""
        for several in self._free.values():
            for kept in several:
                _driver.Connection.close(kept)
        self._free.clear()

    def _take(self, use: str, file: DatabaseFile, attached: Mapping[str, DatabaseFile]) -> Kept | None:
        if not all(one.path.exists() for one in (file, *attached.values())):
            return None
        others = frozenset((name, _number(other)) for name, other in attached.items())
        free = self._free.get((use, _number(file), others))
        if not free:
            return None
        kept = free.pop()
        kept.__class__ = Kept
        return kept

    def _keep(self, connect: Callable[[], Connection], use: str, file: DatabaseFile) -> Connection:
        connection = connect()
        assert isinstance(connection, Kept)
        connection.shelf, connection.use, connection.number = self, use, _number(file)
        return connection


# New files by the folder of their migrations, as the product makes them.
_new: dict[str, bytes] = {}


def _write_new(file: DatabaseFile) -> None:
    """Write a new file as one that was made before: its schema is the same each time."""
    if file.migrations not in _new:
        connection = _open_for_writing(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        _driver.Connection.close(connection)
        _new[file.migrations] = file.path.read_bytes()
    file.path.write_bytes(_new[file.migrations])
    file.path.chmod(0o600)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder, and none of its folders: what a disk would hold. An index of a log is made anew."""
    target.mkdir(mode=0o700, exist_ok=True)
    for entry in os.scandir(source):
        if entry.is_file() and not entry.name.endswith("-shm"):
            (target / entry.name).write_bytes(Path(entry.path).read_bytes())


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Let the product's rooms open files by way of a shelf for the length of the block."""
    shelf = Shelf()
    with (
        mock.patch.object(sqlite_file, "_driver", _KeepingDriver()),
        mock.patch.object(sqlite_file, "attach", _noting_attach),
        mock.patch.object(database, "open_for_writing", shelf.open_for_writing),
        mock.patch.object(database, "open_for_reading", shelf.open_for_reading),
        mock.patch.object(near_reader, "open_for_reading", shelf.open_for_reading),
    ):
        try:
            yield
        finally:
            shelf.close()


class _KeepingDriver:
    """The driver, whose connections can be kept."""

    def connect(self, *args: Any, **named: Any) -> Any:
        connection = _driver.connect(*args, factory=Kept, **named)
        connection.attached = {}
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # a file that has its pages already keeps theirs
        return connection

    def __getattr__(self, name: str) -> Any:
        return getattr(_driver, name)


def _noting_attach(connection: Connection, name: str, file: DatabaseFile) -> None:
    _attach(connection, name, file)
    assert isinstance(connection, Kept)
    connection.attached[name] = _number(file)


def _number(file: DatabaseFile) -> _Number:
    return str(file.path), file.path.stat().st_ino
