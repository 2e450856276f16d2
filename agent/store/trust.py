"""Trust: may what this till's file says of its allowances be believed? A restored file has forgotten what was spent.

A random marker stands in the till's file and in a small file beside it, with the machine it was written on, and both
change at each start and clean end, and whenever points were spent, an allowance was returned, or the hub said what is
held. A till.db from a backup, be it of a minute ago, does not fit the marker, a copied disk does not fit the machine. A
whole folder from a backup fits itself; but the till's file remembers the marker's by its number on the disk and the
time of its last change, which nobody can set, and a file that was brought back has others. Then, and after an unclean
end on a disk that may lie about what it has written, nothing is redeemed until the hub has said in a hello what it
holds; sales go on.

A marker's file is written before it is remembered, and one that the till died before remembering is believed: a crash
freezes nothing. Who changes the file's owner or mode freezes the till until the next hello, and so does each start on a
file system that numbers its files anew (FAT). What cannot be told from the till's own disk is an image or a snapshot of
all of it, or the same folder moved aside and back: delete the marker's file before the start then, which freezes too.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.purse import Reading, Trust
from agent.store.files import milliseconds
from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection, DatabaseError, DatabaseFull
from sync.runtime.state_lock import write_private

TRUST_COLUMNS = "is_frozen, latest_at, heard_at, heard_monotonic, heard_boot"
_MARKER_BYTES = 16
_MACHINE_FILE = Path("/etc/machine-id")
# The bit that Python sets in a hardware address which it made up, because it found none.
_MADE_UP = 1 << 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What was found beside the till's file: the marker, None where there is none, and what no copy of its file has."""

    marker: str | None
    file: str | None


def reading(clock: Clock) -> Reading:
    """Return one look at both clocks."""
    return Reading(milliseconds(clock.now()), int(clock.monotonic() * 1000), clock.boot_id)


class Marker:
    """The marker of one opening of a till's file, and the machine that it is on."""

    def __init__(self, folder: Path, writer: Writer, machine: str) -> None:
        """Take the state folder, where the marker's file stands, and the till's writer."""
        self._folder = folder
        self._writer = writer
        self._machine = machine
        # What stands beside the till's file; None where it must be looked at, as after a renewal that was broken off.
        self._beside: _Beside | None = None
        self._one_at_a_time = asyncio.Lock()

    async def renew(self, *, is_clean: bool = False) -> None:
        """Change the marker, so that a file which was backed up before does not fit it any more when it comes back.

        Called whenever less may be spent than before: what is brought back from then on would not know.

        Raises:
            DatabaseError: the marker stands as it was.
        """
        async with self._one_at_a_time:
            beside, self._beside = self._beside or await self._look(), None
            marker = secrets.token_hex(_MARKER_BYTES)
            await self._writer.write(
                lambda connection: connection.execute(
                    # Where the file beside could not be written before, what it still says must go on to fit.
                    "UPDATE trust SET marker = iif(?1 IN (marker, next_marker), ?1, next_marker),"
                    " marker_file = iif(?1 = marker, marker_file, ?2), next_marker = ?3, is_clean = ?4",
                    (beside.marker or "", beside.file, marker, is_clean),
                )
            )
            await self._put(marker)

    async def begin(self, now_ms: int, *, trusted_disk: bool) -> bool:
        """Judge the file, take the first marker of this opening, and return whether nothing may be redeemed."""
        beside = await self._look()
        marker = secrets.token_hex(_MARKER_BYTES)
        is_frozen = await self._writer.write(
            lambda connection: _begin(connection, beside, marker, now_ms, trusted_disk=trusted_disk)
        )
        await self._put(marker)
        return is_frozen

    async def _look(self) -> _Beside:
        return await asyncio.to_thread(_read, self._folder, self._machine)

    async def _put(self, marker: str) -> None:
        """Write the marker's file, and remember it. Until that is done, whichever file bears the marker is believed."""
        file = await asyncio.to_thread(_write, self._folder, self._machine, marker)
        if file is not None:
            self._beside = _Beside(marker, file)
            with suppress(DatabaseFull):
                await self._writer.write(
                    lambda connection: connection.execute(
                        "UPDATE trust SET marker = next_marker, marker_file = ?1 WHERE next_marker = ?2", (file, marker)
                    )
                )


@asynccontextmanager
async def trusting(folder: Path, writer: Writer, clock: Clock, *, trusted_disk: bool) -> AsyncIterator[Marker]:
    """Judge the till's file for the length of one opening, and note at its end that it ended cleanly.

    Args:
        folder: the state folder, where the marker's file stands.
        writer: the till's.
        clock: for the latest time that was seen.
        trusted_disk: whether the disk keeps what it said it has written, also in a power cut.
    """
    marker = Marker(folder, writer, await asyncio.to_thread(_machine))
    if await marker.begin(milliseconds(clock.now()), trusted_disk=trusted_disk):
        _log.warning("nothing is redeemed before the hub has answered a hello: the till's file may be an older one")
    yield marker
    with suppress(DatabaseError):  # then the end was not clean
        await marker.renew(is_clean=True)


def identity(path: Path) -> str | None:
    """Return what no copy of a file has, also brought back to its place; None where the file cannot be asked."""
    try:
        of = path.stat()
    except OSError:
        return None
    return f"{of.st_ino}:{of.st_ctime_ns}"


def read_trust(connection: Connection) -> Trust:
    """Return what this till knows of itself."""
    return trust_of(connection.execute(f"SELECT {TRUST_COLUMNS} FROM main.trust").fetchone() or ())


def trust_of(row: Sequence[Any]) -> Trust:
    """Return what `TRUST_COLUMNS` say; nothing is believed where there is no row."""
    if not row:
        return Trust(is_frozen=True, heard=None, latest_ms=0)
    is_frozen, latest_ms, heard_at, heard_monotonic, heard_boot = row
    heard = Reading(heard_at, heard_monotonic, heard_boot) if heard_at is not None else None
    return Trust(is_frozen=bool(is_frozen), heard=heard, latest_ms=latest_ms)


def note_time(connection: Connection, now_ms: int) -> None:
    """Note that it is at least so late."""
    connection.execute("UPDATE trust SET latest_at = ? WHERE latest_at < ?", (now_ms, now_ms))


def note_heard(connection: Connection, when: Reading, *, by_hello: bool) -> None:
    """Note that the hub was heard; only a hello ends the freeze, because only there both ends say what they hold."""
    connection.execute(
        "UPDATE trust SET heard_at = ?1, heard_monotonic = ?2, heard_boot = ?3, latest_at = ?1,"
        " is_frozen = is_frozen AND NOT ?4",
        (when.wall_ms, when.monotonic_ms, when.boot_id, by_hello),
    )


def _begin(connection: Connection, beside: _Beside, next_marker: str, now_ms: int, *, trusted_disk: bool) -> bool:
    """Judge the file by the marker beside it, take the next marker, and return whether nothing may be redeemed."""
    row = connection.execute("SELECT marker, marker_file, next_marker, is_clean, is_frozen FROM trust").fetchone()
    if row is None:
        is_frozen = beside.marker is not None  # the till's file is new, the folder is not: salvaged, or another's
    else:
        marker, file, following, is_clean, was_frozen = row
        is_frozen = bool(was_frozen) or not _fits(beside, marker, file, following) or not (trusted_disk or is_clean)
    connection.execute(
        "INSERT INTO trust (id, marker, marker_file, next_marker, is_clean, is_frozen, latest_at)"
        " VALUES (1, ?1, ?2, ?3, 0, ?4, ?5)"
        " ON CONFLICT (id) DO UPDATE SET marker = excluded.marker, marker_file = excluded.marker_file,"
        " next_marker = excluded.next_marker, is_clean = 0, is_frozen = excluded.is_frozen,"
        " latest_at = max(latest_at, excluded.latest_at)",
        (beside.marker or "", beside.file, next_marker, is_frozen, now_ms),
    )
    return is_frozen


def _fits(beside: _Beside, marker: str, file: str | None, following: str) -> bool:
    """Tell whether the till's file was written beside this one: a crash between the two leaves either marker."""
    found = beside.marker or ""  # a till that never got its file has no marker to fit
    return file in (None, beside.file) if found == marker else found == following


def _file(folder: Path) -> Path:
    return folder / "marker"


def _read(folder: Path, machine: str) -> _Beside:
    """Return what stands beside the till's file; the marker of another machine fits nothing."""
    path = _file(folder)
    file = identity(path)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return _Beside(str(kept["marker"]) if kept["machine"] == machine else "another machine", file)
    except FileNotFoundError:
        return _Beside(None, None)
    except (OSError, ValueError, KeyError, TypeError):
        return _Beside("unreadable", file)


def _write(folder: Path, machine: str, marker: str) -> str | None:
    """Write the marker's file and return what no copy of it has.

    Where it cannot be written, that is None: the one before stands, which the till's file fits too.
    """
    path = _file(folder)
    try:
        write_private(path, json.dumps({"machine": machine, "marker": marker}).encode())
    except OSError as error:
        _log.warning("the file beside the till's cannot be renewed: %s", error.strerror or "no reason given")
        return None
    return identity(path)


def _machine() -> str:
    """Return what tells this machine from a copy of its disk, hashed; the same text where nothing does."""
    try:
        name = _MACHINE_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        address = uuid.getnode()
        name = "" if address & _MADE_UP else f"{address:012x}"
    return hashlib.sha256(f"loyalty-agent {name}".encode()).hexdigest()[:32]
