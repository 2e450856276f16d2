"""A watched folder as a scanner, with real pictures and the real decoder."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from agent.imaging.decoder import Decoder
from agent.imaging.drawing import draw_card
from agent.scan_files import one_code
from agent.scanners.folder import FolderScanner
from agent.scanners.scans import Scan
from tests.support import shop
from tests.support.clock import FakeClock


class _Hurried(FakeClock):
    """A clock on which every wait is over at once, so that the next look follows."""

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the protocol's own argument
        await asyncio.sleep(0)


@asynccontextmanager
async def _scans(folder: Path) -> AsyncIterator[AsyncIterator[Scan]]:
    async with Decoder() as decoder:
        scans = FolderScanner(folder, decoder, _Hurried(), one_code).scans()
        yield scans


async def test_a_picture_dropped_into_the_folder_is_one_scan_and_is_put_away(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(draw_card(shop.card()))
    async with _scans(tmp_path) as scans:
        scan = await anext(scans)
    assert (scan.text, scan.source) == (shop.card(), "folder")
    assert shop.card() not in repr(scan)
    assert [path.name for path in (tmp_path / "read").iterdir()] == ["photo.png"]
    assert not (tmp_path / "photo.png").exists()


async def test_rubbish_and_large_files_are_put_aside_and_hold_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with (tmp_path / "b.jpg").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    (tmp_path / "notes.txt").write_text("not a picture by its name")
    (tmp_path / "c.png").write_bytes(draw_card(shop.card(3)))
    async with _scans(tmp_path) as scans:
        assert (await anext(scans)).text == shop.card(3)
    assert {path.name for path in (tmp_path / "unread").iterdir()} == {"a.png", "b.jpg"}
    assert (tmp_path / "notes.txt").exists()


async def test_two_cards_in_one_picture_are_no_guess_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = Image.new("RGB", (2000, 1000), "white")
    for place, serial in enumerate((1, 2)):
        with Image.open(io.BytesIO(draw_card(shop.card(serial)))) as card:
            both.paste(card, (place * 1000, 0))
    both.save(tmp_path / "a.png")
    Image.new("RGB", (200, 200), "white").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(draw_card(shop.card(3)))
    async with _scans(tmp_path) as scans:
        assert (await anext(scans)).text == shop.card(3)
    assert [record.getMessage().rpartition("cause=")[2] for record in caplog.records] == ["several_cards", "no_code"]
    assert {path.name for path in (tmp_path / "unread").iterdir()} == {"a.png", "b.png"}


async def test_a_second_picture_of_one_name_covers_nothing(tmp_path: Path) -> None:
    async with _scans(tmp_path) as scans:
        for serial in (1, 2):
            (tmp_path / "photo.png").write_bytes(draw_card(shop.card(serial)))
            assert (await anext(scans)).text == shop.card(serial)
    assert {path.name for path in (tmp_path / "read").iterdir()} == {"photo.png", "photo-2.png"}


async def test_a_folder_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "camera"

    async def first(scans: AsyncIterator[Scan]) -> Scan:
        return await anext(scans)

    async with _scans(folder) as scans, asyncio.TaskGroup() as group:
        waiting = group.create_task(first(scans))
        await asyncio.sleep(0)
        folder.mkdir()
        (folder / "photo.png").write_bytes(draw_card(shop.card()))
    assert waiting.result().text == shop.card()
