"""What a till may believe of its own file, by the marker beside it, and how much of what it holds it keeps."""

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.purse import WhyNot, bar
from agent.store import Store, trust
from sync.contract.program import RedemptionRule
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.allowances import DAY_S, allowance, hear, left, redeem, word

SECOND_INC = "00000000000000b2"
THIRD_INC = "00000000000000c3"


class _Killed(Exception):
    """The till died here."""


def _till_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("till.db*")}


def _why_not(store: Store) -> WhyNot | None:
    return bar(store.allowances.purse("c-1", []), RedemptionRule())


async def _holding(folder: Path, inc: str = shop.INC) -> None:
    """Let a till hold 100 points, and end."""
    async with shop.open_till(folder, inc=inc) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))


async def _is_frozen_until_a_hello(folder: Path) -> None:
    """Look whether this and the next start are frozen, a hello ends it, and the start after that is not."""
    for inc in (SECOND_INC, THIRD_INC):
        async with shop.open_till(folder, inc=inc) as store:
            await hear(store, word(allowance(100)), by_hello=False)
            assert _why_not(store) is WhyNot.FROZEN
    for inc in ("00000000000000d4", "00000000000000e5"):
        async with shop.open_till(folder, inc=inc) as store:
            if inc.endswith("d4"):
                await hear(store, word(allowance(100)))
            assert _why_not(store) is None
            await redeem(store, f"d-{inc}", 10)


async def test_a_whole_folder_that_is_brought_back_is_frozen_though_all_its_files_fit_each_other(
    tmp_path: Path,
) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy"
    state.mkdir()
    await _holding(state)
    await asyncio.to_thread(shutil.copytree, state, copy)
    async with shop.open_till(state, inc=SECOND_INC) as store:
        await redeem(store, "d-1", 60)
    await asyncio.to_thread(shutil.rmtree, state)
    await asyncio.to_thread(shutil.copytree, copy, state)
    await _is_frozen_until_a_hello(state)


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.chmod(0o400),
        lambda path: os.chown(path, os.getuid(), os.getgid()),
        lambda path: shutil.copy2(shutil.move(path, path.with_name("aside")), path),
    ],
    ids=["chmod", "chown", "a copy of it"],
)
async def test_a_marker_that_somebody_touched_freezes_until_the_next_hello(
    tmp_path: Path, touch: Callable[[Path], None]
) -> None:
    await _holding(tmp_path)
    touch(tmp_path / "marker")
    await _is_frozen_until_a_hello(tmp_path)


async def _start(folder: Path, next_time_it_dies: Callable[[], None]) -> None:
    next_time_it_dies()
    async with shop.open_till(folder, inc=SECOND_INC):
        pass


async def _hello(folder: Path, next_time_it_dies: Callable[[], None]) -> None:
    async with shop.open_till(folder, inc=SECOND_INC) as store:
        next_time_it_dies()
        await hear(store, word(allowance(100)))


async def _end(folder: Path, next_time_it_dies: Callable[[], None]) -> None:
    async with shop.open_till(folder, inc=SECOND_INC):
        next_time_it_dies()


def _die_at_the_marker(monkeypatch: pytest.MonkeyPatch, *, is_written: bool) -> None:
    write = trust._write

    def die(folder: Path, machine: str, marker: str) -> None:
        if is_written:
            write(folder, machine, marker)
        raise _Killed

    monkeypatch.setattr(trust, "_write", die)


@pytest.mark.parametrize("is_written", [False, True], ids=["before the marker", "before it is remembered"])
@pytest.mark.parametrize("is_new", [False, True], ids=["a till", "a new till"])
@pytest.mark.parametrize("moment", [_start, _hello, _end])
async def test_a_till_on_a_trusted_disk_that_dies_at_its_marker_goes_on_spending(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: Callable[[Path, Callable[[], None]], Awaitable[None]],
    *,
    is_written: bool,
    is_new: bool,
) -> None:
    if not is_new:
        await _holding(tmp_path)
    with pytest.raises(_Killed):
        await moment(tmp_path, lambda: _die_at_the_marker(monkeypatch, is_written=is_written))
    monkeypatch.undo()
    with pytest.raises(_Killed):
        await _start(tmp_path, lambda: _die_at_the_marker(monkeypatch, is_written=False))
    monkeypatch.undo()
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.allowances.purse("c-1", []).trust.is_frozen is False
    await _holding(tmp_path, "00000000000000d4")
    async with shop.open_till(tmp_path, inc="00000000000000e5") as store:
        await redeem(store, "d-1", 10)


async def test_a_marker_that_was_written_and_found_no_room_to_be_remembered_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(marker: trust.Marker, text: str) -> None:
        trust._write(marker._folder, marker._machine, text)

    await _holding(tmp_path)
    monkeypatch.setattr(trust.Marker, "_put", put)

    def room_again() -> None:
        monkeypatch.undo()
        _die_at_the_marker(monkeypatch, is_written=False)

    with pytest.raises(_Killed):
        await _hello(tmp_path, room_again)
    monkeypatch.undo()
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert _why_not(store) is None


@pytest.mark.parametrize("is_written", [False, True], ids=["before its last marker", "with its last marker"])
async def test_a_till_of_the_version_before_goes_on_spending_and_is_frozen_when_it_comes_back_later(
    tmp_path: Path, *, is_written: bool
) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy"
    state.mkdir()
    await _holding(state)
    async with shop.open_till(state, inc=SECOND_INC) as store:
        await store.acts._writer.outside_transaction(lambda connection: _undo_marker_file(connection, is_written))
    async with shop.open_till(state, inc=THIRD_INC) as store:
        assert _why_not(store) is None
        await redeem(store, "d-1", 10)
    await asyncio.to_thread(shutil.copytree, state, copy)
    await asyncio.to_thread(shutil.rmtree, state)
    await asyncio.to_thread(shutil.copytree, copy, state)
    await _is_frozen_until_a_hello(state)


def _undo_marker_file(connection: Connection, is_written: bool) -> None:
    of_the_other = "marker = 'the one before'" if is_written else "next_marker = 'the one to come'"
    for statement in (
        f"UPDATE trust SET {of_the_other}",
        "ALTER TABLE trust DROP COLUMN marker_file",
        "PRAGMA user_version = 6",
    ):
        connection.execute(statement)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["as it is", "without the marker"])
async def test_an_image_of_the_whole_disk_is_told_only_where_the_marker_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_deleted: bool
) -> None:
    """An image brings back the numbers and times of all files too: a limit, with a way round it."""
    monkeypatch.setattr(trust, "identity", lambda _: "as in the image")
    state, image = tmp_path / "state", tmp_path / "image"
    state.mkdir()
    async with shop.open_till(state) as store:  # in its very first run, which wrote no marker at an end yet
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        await asyncio.to_thread(shutil.copytree, state, image)
        await redeem(store, "d-1", 60)
    if is_deleted:
        (image / "marker").unlink()
        await _is_frozen_until_a_hello(image)
        return
    async with shop.open_till(image, inc=SECOND_INC) as store:
        assert _why_not(store) is None


async def test_a_file_that_was_copied_while_the_till_ran_is_frozen_when_it_comes_back(tmp_path: Path) -> None:
    """It has forgotten what was spent after the copy, and no hello changed the marker in the meantime."""
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        copied = _till_files(tmp_path)
        await redeem(store, "d-1", 60)
    for path, content in copied.items():
        path.write_bytes(content)
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert _why_not(store) is WhyNot.FROZEN


async def test_a_marker_that_cannot_be_written_stops_nothing_and_is_no_reason_to_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trust, "write_private", refuse)
    for inc in (SECOND_INC, THIRD_INC):
        async with shop.open_till(tmp_path, inc=inc) as store:
            assert store.allowances.purse("c-1", []).trust.is_frozen is False
            assert await hear(store, word(allowance(100)))
            assert await hear(store, word(allowance(100)))
            assert left(store) == 100


async def test_of_too_many_allowances_those_held_longest_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.allowances.KEPT_MAX", 2)
    async with shop.open_till(tmp_path) as store:
        held = [allowance(10, f"a-{number}", ttl_s=DAY_S + number) for number in range(1, 5)]
        await hear(store, word(*held, allowance(10, "a-9", recalled=True, ttl_s=DAY_S + 9)))
        due = await store.allowances.due_back()
        assert due == ("a-1", "a-2", "a-3", "a-9")
        await store.redeemer.return_allowances(("a-9", "a-1", "a-2"))
        assert await store.allowances.due_back() == ()
