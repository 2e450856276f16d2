"""A reader on the caller's own thread, for look-ups by key.

Handing a function to a database thread and its answer back takes some 100 µs, more than twice what a whole customer
takes to read (measured at a million customers). A look-up by key touches a handful of pages, so it is done at once, on
the event loop. Whatever may take longer (a search, a list, a batch) goes to the reader that has a thread of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sync.runtime.database import Work
from sync.runtime.sqlite_file import (
    DRIVER_ERROR,
    Connection,
    DatabaseDamaged,
    DatabaseFile,
    Row,
    attach_instead,
    open_for_reading,
    read_one_state,
    translated,
)

T = TypeVar("T")


@contextmanager
def open_near_reader(
    file: DatabaseFile, attached: Mapping[str, DatabaseFile], on_damage: Callable[[], None] | None = None
) -> Iterator["NearReader"]:
    """Open a connection that only reads `file`, with other files attached under their names.

    `on_damage` is called whenever a part of a file cannot be read.

    Raises:
        DatabaseError: one of its kinds, naming the file and the next step.
    """
    connection = open_for_reading(file, attached)
    try:
        yield NearReader(connection, on_damage)
    finally:
        connection.close()


class NearReader:
    """A connection that only reads, on the thread of whoever asks."""

    def __init__(self, connection: Connection, on_damage: Callable[[], None] | None = None) -> None:
        """Take a connection opened for reading."""
        self._connection = connection
        self._on_damage = on_damage

    def read(self, work: Work[T]) -> T:
        """Run `work` against one unchanging state of the file and return what it returned."""
        try:
            return read_one_state(self._connection, work)
        except DRIVER_ERROR as error:
            raise self._told(error) from error

    def glance(self, sql: str, parameters: Sequence[Any]) -> list[Row]:
        """Return the rows of one statement, which sees one state by itself."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except DRIVER_ERROR as error:
            raise self._told(error) from error

    def attach_instead(self, name: str, file: DatabaseFile) -> None:
        """Let another file stand under an attached name."""
        try:
            attach_instead(self._connection, name, file)
        except DRIVER_ERROR as error:
            raise self._told(error) from error

    def _told(self, error: BaseException) -> BaseException:
        """Return our error for the driver's, and tell of a damaged file. A look-up is too short for a context."""
        ours = translated(error)
        if isinstance(ours, DatabaseDamaged) and self._on_damage is not None:
            self._on_damage()
        return ours
