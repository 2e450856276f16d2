"""A watched folder as a scanner: photographs of codes that a phone or a camera drops there are read one by one.

A file is read once it has stood still for one look. What is no whole picture then may be a copy that pauses: it is
tried again, and given up, only after it has stood still for long. Afterwards a picture is moved into `read` or `unread`
beside it, before it is shown: nothing is deleted, and nothing is shown twice. One that cannot be moved is left alone
until it changes, and holds no other up. Clearing both folders is the owner's.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.imaging.decoder import Decoder
from agent.imaging.errors import ImageTooLarge, ImagingError
from agent.imaging.symbols import Code
from agent.imaging.wire import PICTURE_BYTES_MAX, Reading
from agent.scanners.scans import Scan
from sync.runtime.clock import Clock

_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
# A person holds a phone: half a second between two looks is not felt, and costs one directory listing.
LOOK_EVERY_S = 0.5
# A copy over a weak Wi-Fi pauses for seconds; nobody waits for a file that is no picture.
UNREAD_AFTER_S = 10.0
READ, UNREAD = "read", "unread"
# Size, then times of the last change of the content and of the owner or mode, in nanoseconds.
_Stamp = tuple[int, int, int]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """A picture that lies in the folder: how it looks, since when, and from when on it is to be read."""

    stamp: _Stamp
    since_s: float
    due_s: float


class FolderScanner:
    """Reads the pictures that appear in `folder`, the oldest first.

    `choose` says which of a picture's codes is meant; None where that would be a guess. While `is_shut`, nothing could
    be shown, and pictures are left where they are.
    """

    def __init__(
        self,
        folder: Path,
        decoder: Decoder,
        clock: Clock,
        choose: Callable[[Reading], Code | None],
        is_shut: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._decoder = decoder
        self._clock = clock
        self._choose = choose
        self._is_shut = is_shut
        self._known: dict[Path, _Known] = {}

    async def scans(self) -> AsyncIterator[Scan]:
        """Yield the code of each picture, for ever. A folder that is not there yet is waited for."""
        while True:
            for picture in await asyncio.to_thread(self._due):
                if self._is_shut():
                    break
                code = await self._taken(picture)
                if code is not None:
                    yield Scan(code.text, code.symbology, "folder")
            await self._clock.sleep(LOOK_EVERY_S)

    def _due(self) -> list[Path]:
        """Return the pictures that look as they did at the last look and are to be read, the oldest first."""
        now_s = self._clock.monotonic()
        before, self._known = self._known, {}
        for path, stamp in _pictures(self._folder):
            known = before.get(path)
            self._known[path] = known if known and known.stamp == stamp else _Known(stamp, now_s, now_s)
        due = [path for path, known in self._known.items() if known is before.get(path) and now_s >= known.due_s]
        return sorted(due, key=lambda path: (self._known[path].stamp[1], path.name))

    async def _taken(self, picture: Path) -> Code | None:
        """Return the code that is meant in a picture, which was put away; None where there is none to show, or yet."""
        known = self._known[picture]
        try:
            code = self._chosen(await self._decoder.read(await asyncio.to_thread(_content, picture)))
        except (ImagingError, OSError) as error:
            given_up_s = known.since_s + UNREAD_AFTER_S
            if self._clock.monotonic() < given_up_s:
                known.due_s = given_up_s
                return None
            cause = error.code if isinstance(error, ImagingError) else "file_unreadable"
            _log.warning("picture not read: scanner=folder cause=%s", cause)
            code = None
        try:
            await asyncio.to_thread(_put_away, picture, READ if code else UNREAD)
        except OSError as error:
            known.due_s = math.inf
            _log.warning("picture cannot be moved, so it is left: scanner=folder cause=%s", error.strerror)
            return None
        return code

    def _chosen(self, reading: Reading) -> Code | None:
        code = self._choose(reading)
        if code is None:  # the screen stays as it was, so somebody must be able to find out why
            _log.warning("picture put aside: scanner=folder cause=%s", "several_cards" if reading.codes else "no_code")
        return code


def _pictures(folder: Path) -> Iterator[tuple[Path, _Stamp]]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix.lower() in _ENDINGS and path.is_file():
                with suppress(FileNotFoundError):  # somebody took it away just now
                    stat = path.stat()
                    yield path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _content(picture: Path) -> bytes:
    if picture.stat().st_size > PICTURE_BYTES_MAX:
        raise ImageTooLarge(f"the picture has more than {PICTURE_BYTES_MAX:,} bytes: send a smaller one")
    return picture.read_bytes()


def _put_away(picture: Path, where: str) -> None:
    """Move a picture into a folder beside it, under a name that is free there."""
    folder = picture.parent / where
    folder.mkdir(exist_ok=True)
    target, number = folder / picture.name, 1
    while target.exists():
        number += 1
        target = folder / f"{picture.stem}-{number}{picture.suffix}"
    picture.rename(target)
