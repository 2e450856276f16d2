"""The files of a till's state folder: the till to back up, and the numbered cache that can be had again."""

from datetime import UTC, datetime
from pathlib import Path

from sync.runtime.sqlite_file import DatabaseFile

TILL_APPLICATION_ID = 0x4C415431  # "LAT1"
CACHE_APPLICATION_ID = 0x4C414331  # "LAC1"
# The companions that SQLite puts beside a database file.
_COMPANIONS = ("", "-wal", "-shm", "-journal")


def till_file(folder: Path, key: bytes) -> DatabaseFile:
    """Return the database of what this terminal committed."""
    return DatabaseFile(folder / "till.db", TILL_APPLICATION_ID, "agent.migrations.till", key)


def aside_file(till: Path, when: datetime) -> Path:
    """Return where a damaged till is set aside."""
    return till.with_name(f"{till.name}.corrupt.{when.astimezone(UTC).strftime('%Y%m%dT%H%M%SZ')}")


def set_aside(folder: Path) -> list[Path]:
    """Return the damaged tills that were set aside, with their logs."""
    return sorted(folder.glob("till.db.corrupt.*"))


def cache_file(folder: Path, key: bytes, number: int) -> DatabaseFile:
    """Return the cache database with that number."""
    path = folder / f"cache-{number}.db"
    return DatabaseFile(path, CACHE_APPLICATION_ID, "agent.migrations.cache", key, synchronous="NORMAL")


def delete(path: Path) -> None:
    """Delete a database file and its companions, where they exist."""
    for companion in _COMPANIONS:
        path.with_name(path.name + companion).unlink(missing_ok=True)


def delete_left_over_caches(folder: Path, live: int) -> None:
    """Delete every cache but the live one and the one that may be half loaded beside it."""
    kept = {f"cache-{live}.db", f"cache-{live + 1}.db"}
    for path in folder.glob("cache-*.db*"):
        if path.name.partition(".db")[0] + ".db" not in kept:
            path.unlink(missing_ok=True)


def milliseconds(moment: datetime) -> int:
    """Return a moment as the files hold it: milliseconds since 1970 UTC."""
    return int(moment.timestamp() * 1000)


def moment(value: int) -> datetime:
    """Return a moment from the files as aware UTC."""
    return datetime.fromtimestamp(value / 1000, UTC)
