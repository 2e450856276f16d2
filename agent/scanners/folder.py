"""A watched folder as a scanner: photographs of codes that a phone or a camera drops there are read one by one.

A file is taken when its size has stood still for one look, so that half a copy is never read. Afterwards it is moved
into `read` or `unread` beside it: nothing is deleted, and nothing is read twice. Clearing both is the owner's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
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
READ, UNREAD = "read", "unread"

_log = logging.getLogger(__name__)


class FolderScanner:
    """Reads the pictures that appear in `folder`, the oldest first.

    `choose` says which of a picture's codes is meant; None where that would be a guess.
    """

    def __init__(self, folder: Path, decoder: Decoder, clock: Clock, choose: Callable[[Reading], Code | None]) -> None:
        self._folder = folder
        self._decoder = decoder
        self._clock = clock
        self._choose = choose
        self._sizes: dict[Path, int] = {}

    async def scans(self) -> AsyncIterator[Scan]:
        """Yield the code of each picture, for ever. A folder that is not there yet is waited for."""
        while True:
            for picture in await asyncio.to_thread(self._settled):
                reading = await self._read(picture)
                code = self._chosen(reading) if reading is not None else None
                await asyncio.to_thread(_put_away, picture, READ if code else UNREAD)
                if code is not None:
                    yield Scan(code.text, code.symbology, "folder")
            await self._clock.sleep(LOOK_EVERY_S)

    def _settled(self) -> list[Path]:
        """Return the pictures whose size is what it was at the last look, the oldest first."""
        found: dict[Path, tuple[float, int]] = {}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.suffix.lower() in _ENDINGS and path.is_file():
                    stat = path.stat()
                    found[path] = (stat.st_mtime, stat.st_size)
        before, self._sizes = self._sizes, {path: size for path, (_, size) in found.items()}
        settled = [path for path, (_, size) in found.items() if before.get(path) == size]
        return sorted(settled, key=lambda path: (found[path][0], path.name))

    def _chosen(self, reading: Reading) -> Code | None:
        code = self._choose(reading)
        if code is None:  # the screen stays as it was, so somebody must be able to find out why
            _log.warning("picture put aside: scanner=folder cause=%s", "several_cards" if reading.codes else "no_code")
        return code

    async def _read(self, picture: Path) -> Reading | None:
        try:
            return await self._decoder.read(await asyncio.to_thread(_content, picture))
        except ImagingError as error:
            _log.warning("picture not read: scanner=folder cause=%s", error.code)
            return None


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
