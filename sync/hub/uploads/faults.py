"""Faults of our own: an event that the hub falls over must block nothing, neither its line nor what waits for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sync.hub.uploads.fences import StaleFence
from sync.hub.uploads.placing import Gap
from sync.runtime.sqlite_file import DRIVER_ERROR, Connection, ConstraintBroken, translated

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bug:
    """What our own code fell over."""

    error: Exception


def tried(connection: Connection, work: Callable[[], T], *, keeps: bool = True) -> T | Bug:
    """Return what `work` returns, or the bug that it fell over, of which nothing stays in the caller's transaction.

    Raises:
        StaleFence, Gap, or an error of the driver: no bug of ours.
    """
    connection.execute("SAVEPOINT judging")
    try:
        result: T | Bug = work()
    except Exception as error:
        is_bug = not isinstance(error, StaleFence | Gap | DRIVER_ERROR)
        if not is_bug and not isinstance(translated(error), ConstraintBroken):
            raise
        result = Bug(error)
    if isinstance(result, Bug) or not keeps:
        connection.execute("ROLLBACK TO judging")
    connection.execute("RELEASE judging")
    return result
