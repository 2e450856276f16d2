"""What a read costs on any machine: the steps of SQLite's machine, not its seconds."""

from collections.abc import Awaitable, Callable
from typing import Any

from sync.runtime.database import Reader
from sync.runtime.sqlite_file import Connection


async def steps_of(reader: Reader, act: Callable[[], Awaitable[object]]) -> int:
    """Return how many steps the reader's connection takes while `act` runs."""
    steps = 0

    def one() -> int:
        nonlocal steps
        steps += 1
        return 0

    def count(connection: Any) -> None:
        connection.set_progress_handler(one, 1)

    def stop(connection: Any) -> None:
        connection.set_progress_handler(None, 1)

    await reader.read(count)
    await act()
    await reader.read(stop)
    return steps


def steps_on(connection: Connection, act: Callable[[], object]) -> int:
    """Return how many steps a connection takes while `act` runs."""
    steps = 0

    def one() -> int:
        nonlocal steps
        steps += 1
        return 0

    given: Any = connection
    given.set_progress_handler(one, 1)
    act()
    given.set_progress_handler(None, 1)
    return steps
