"""The hub's database file, and what is made with it once: the epoch and the identifier key.

The epoch names this history of the hub. A hub that was brought back from a backup begins a new one (`renew_epoch`), so
that terminals that had seen more believe nothing of it, say hello, send again what it lost and load a snapshot.
"""

from dataclasses import dataclass
from pathlib import Path

from sync.runtime.sqlite_file import Connection, DatabaseFile

DATABASE_NAME = "hub.db"
# "LHB1"
APPLICATION_ID = 0x4C484231
MIGRATIONS = "sync.hub.migrations"

EPOCH_BYTES = 8
IDENTIFIER_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Founding:
    """What every room of the hub is given. `identifier_key` is a secret."""

    epoch: str
    identifier_key: bytes


def database_file(state: Path) -> DatabaseFile:
    """Return the hub's database in its state folder."""
    return DatabaseFile(state / DATABASE_NAME, APPLICATION_ID, MIGRATIONS)


def found(connection: Connection, fresh: Founding) -> Founding:
    """Return what the hub was founded with; a new file takes `fresh`."""
    connection.execute(
        "INSERT INTO hub (one, epoch, identifier_key) VALUES (1, ?, ?) ON CONFLICT DO NOTHING",
        (fresh.epoch, fresh.identifier_key),
    )
    row = connection.execute("SELECT epoch, identifier_key FROM hub").fetchone()
    if row is None:
        raise LookupError("the hub's own row is missing")
    return Founding(row[0], row[1])


def renew_epoch(connection: Connection, epoch: str) -> None:
    """Begin a new epoch: nothing that a terminal was told before counts any more."""
    connection.execute("UPDATE hub SET epoch = ?", (epoch,))
