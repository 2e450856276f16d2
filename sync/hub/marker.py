"""Marker: is hub.db the one that this folder held last? One from a backup has forgotten what it promised to the tills.

A random text stands in hub.db and in a small file beside it, and changes at each start, every minute, and at a clean
end. So a hub.db that is brought back alone does not fit the file, and the hub refuses to answer anything before a
person has said so (`run --restored`). The next text is written into hub.db first and beside it then, and both fit: a
crash between the two leaves no doubt. A folder that is moved whole, to another machine too, fits as it did.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sync.runtime.clock import Clock
from sync.runtime.database import Writer
from sync.runtime.sqlite_file import Connection, DatabaseError
from sync.runtime.state_lock import write_private

MARKER_NAME = "hub.marker"
# What a hub.db that was copied within so many seconds before it came back is not told from; a small commit each time.
RENEW_EVERY_S = 60.0
_MARKER_BYTES = 16
# Fits nothing: no marker is written so.
_UNREADABLE = "unreadable"

_log = logging.getLogger(__name__)


class BroughtBack(Exception):
    """The hub's database is not the one that its folder held last; the message names the next step."""

    def __init__(self, state: Path) -> None:
        super().__init__(
            f"{state / 'hub.db'} is not the one that this folder held last: it came back from a backup, or without the "
            f"{MARKER_NAME} beside it. Nothing is lost: start it once with: loyalty-hub run --restored. Every till "
            "then sends again what this file does not hold"
        )


class Marker:
    """The marker of one opening: what stood beside hub.db, and what will."""

    def __init__(self, state: Path) -> None:
        """Read what stands in the state folder."""
        self._state = state
        self._beside = _read(state)
        self._next = secrets.token_hex(_MARKER_BYTES)

    def check(self, connection: Connection) -> None:
        """Compare what stood beside with what stands in hub.db.

        Raises:
            BroughtBack: they do not fit.
        """
        row = connection.execute("SELECT marker, next_marker FROM marker").fetchone()
        if row is not None:
            fits = (self._beside or "") in row
        else:  # new, or from before there were markers: beside such a one none can stand, but in a folder of today
            fits = self._beside is None or connection.execute("SELECT 1 FROM hub").fetchone() is None
        if not fits:
            raise BroughtBack(self._state)

    def take(self, connection: Connection) -> None:
        """Let hub.db fit what stands beside it, and what will; in the transaction of a start."""
        connection.execute(
            "INSERT INTO marker (one, marker, next_marker) VALUES (1, ?1, ?2)"
            " ON CONFLICT (one) DO UPDATE SET marker = excluded.marker, next_marker = excluded.next_marker",
            (self._beside or "", self._next),
        )

    def put(self) -> None:
        """Write the next marker beside hub.db, which has it.

        Raises:
            OSError: the file system refuses; the one before stands, and fits.
        """
        write_private(self._state / MARKER_NAME, self._next.encode())


class Renewing:
    """Keeps the marker new. On a full disk the old one stands, and fits: told once, and once when it works again."""

    def __init__(self, state: Path, writer: Writer) -> None:
        """Renew what stands in the state folder and in its hub.db."""
        self._state = state
        self._writer = writer
        self._is_lost = False

    def put(self, marker: Marker) -> None:
        """Write the marker of a start, which hub.db has, beside it."""
        with self._told():
            marker.put()

    @asynccontextmanager
    async def at_end(self) -> AsyncIterator[None]:
        """Renew the marker when the block ends, so that a copy which was made in it does not fit any more."""
        yield
        await self._renew()

    async def run(self, clock: Clock) -> None:
        """Renew the marker again and again; never returns."""
        while True:
            await clock.sleep(RENEW_EVERY_S)
            await self._renew()

    async def _renew(self) -> None:
        """Renew it, all on the writer's thread, so that no renewal that was cut off overtakes the next."""
        with self._told():
            marker = await self._writer.outside_transaction(lambda _: Marker(self._state))
            await self._writer.write(marker.take)
            await self._writer.outside_transaction(lambda _: marker.put())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, OSError) as error:
            if not self._is_lost:
                reason = error.strerror if isinstance(error, OSError) else error
                _log.warning("%s cannot be renewed: %s", MARKER_NAME, reason)
            self._is_lost = True
        else:
            if self._is_lost:
                _log.info("%s is renewed again", MARKER_NAME)
            self._is_lost = False


def _read(state: Path) -> str | None:
    """Return the marker beside hub.db, None where there is none."""
    try:
        return (state / MARKER_NAME).read_text(encoding="ascii").strip() or _UNREADABLE
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return _UNREADABLE
