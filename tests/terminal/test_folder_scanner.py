"""A watched folder as a scanner, with real pictures and the real decoder."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from agent.imaging.decoder import Decoder
from agent.imaging.drawing import draw_card
from agent.scan_files import one_code
from agent.scanners.folder import LOOK_EVERY_S, FolderScanner
from agent.scanners.scans import Scan
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.tills import till_and_pos
from tests.support.waiting import eventually, passing


class _Hurried(FakeClock):
    """A clock on which every wait is over at once, so that the next look follows."""

    async def sleep(self, seconds: float) -> None:
        self._move_to(self.monotonic() + seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def _scans(
    folder: Path, clock: FakeClock | None = None, is_shut: Callable[[], bool] = lambda: False
) -> AsyncIterator[AsyncIterator[Scan]]:
    async with Decoder() as decoder:
        yield FolderScanner(folder, decoder, clock or _Hurried(), one_code, is_shut).scans()


async def _first(scans: AsyncIterator[Scan]) -> Scan:
    return await anext(scans)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


async def _looks(clock: FakeClock, number: int) -> None:
    """Let so many looks pass in which nothing is found."""
    for _ in range(number):
        await clock.until_asleep()
        await clock.advance(LOOK_EVERY_S)
    await clock.until_asleep()


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
        assert not (tmp_path / "unread").exists()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_first(scans))
            await eventually(lambda: _names(tmp_path / "unread") == {"a.png", "b.jpg"})
            waiting.cancel()
    assert (tmp_path / "notes.txt").exists()


async def test_half_a_copy_is_waited_for(tmp_path: Path) -> None:
    picture, clock = draw_card(shop.card()), FakeClock()
    async with _scans(tmp_path, clock) as scans, asyncio.TaskGroup() as group:
        waiting = group.create_task(_first(scans))
        with (tmp_path / "photo.png").open("wb", buffering=0) as copy:
            for part in (picture[:300], picture[300:600]):
                await _looks(clock, 10)  # with nothing in it at first: five seconds, twice
                copy.write(part)
            await _looks(clock, 10)
            assert _names(tmp_path) == {"photo.png"}
            copy.write(picture[600:])
        await _looks(clock, 1)
        await clock.advance(LOOK_EVERY_S)
        assert (await waiting).text == shop.card()


async def test_a_picture_that_nobody_may_read_is_put_aside_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(draw_card(shop.card(1)))
    (tmp_path / "b.png").write_bytes(draw_card(shop.card(2)))
    read_bytes, tries = Path.read_bytes, []

    def denied(path: Path) -> bytes:
        if path.name == "a.png":
            tries.append(path)
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    async with _scans(tmp_path) as scans:
        assert (await anext(scans)).text == shop.card(2)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_first(scans))
            await eventually((tmp_path / "unread" / "a.png").exists)
            waiting.cancel()
    assert caplog.messages == ["picture not read: scanner=folder cause=file_unreadable"]
    assert len(tries) == 2


async def test_a_picture_that_cannot_be_moved_is_left_until_it_changes_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "read").write_bytes(b"in the way of the folder")
    photo, clock = tmp_path / "photo.png", FakeClock()
    photo.write_bytes(draw_card(shop.card()))
    async with _scans(tmp_path, clock) as scans, asyncio.TaskGroup() as group:
        waiting = group.create_task(_first(scans))
        await _looks(clock, 50)
        assert caplog.messages == ["picture cannot be moved, so it is left: scanner=folder cause=File exists"]
        (tmp_path / "read").unlink()
        await _looks(clock, 2)
        os.utime(photo)
        await _looks(clock, 1)
        await clock.advance(LOOK_EVERY_S)
        assert (await waiting).text == shop.card()


async def test_while_the_till_is_locked_pictures_wait(tmp_path: Path) -> None:
    is_locked, clock = True, FakeClock()
    (tmp_path / "photo.png").write_bytes(draw_card(shop.card()))
    async with _scans(tmp_path, clock, lambda: is_locked) as scans, asyncio.TaskGroup() as group:
        waiting = group.create_task(_first(scans))
        await _looks(clock, 50)
        assert _names(tmp_path) == {"photo.png"}
        is_locked = False
        await clock.advance(LOOK_EVERY_S)
        assert (await waiting).text == shop.card()


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

    async with _scans(folder) as scans, asyncio.TaskGroup() as group:
        waiting = group.create_task(_first(scans))
        await asyncio.sleep(0)
        folder.mkdir()
        (folder / "photo.png").write_bytes(draw_card(shop.card()))
    assert waiting.result().text == shop.card()


async def test_a_photograph_at_a_locked_till_is_shown_once_it_is_unlocked(tmp_path: Path) -> None:
    clock, photo = FakeClock(), tmp_path / "photographs" / "photo.png"
    async with till_and_pos(tmp_path, clock, scanner={"folder": photo.parent}) as (till, pos):
        await pos.post("/api/v1/screen/lock", {})
        photo.parent.mkdir()
        photo.write_bytes(draw_card(shop.card()))
        await clock.advance(10 * LOOK_EVERY_S)
        assert photo.exists()
        await pos.post("/api/v1/screen/unlock", {})
        await passing(clock, lambda: till.screen.state.view.kind == "unknown_card")
        assert _names(photo.parent) == {"read"}
