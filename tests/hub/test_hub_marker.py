"""A hub.db that came back from a backup is refused until a person says so, and nothing else ever is."""

import asyncio
import errno
import logging
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sync.hub import marker
from sync.hub.founding import database_file
from sync.hub.marker import MARKER_NAME, RENEW_EVERY_S, BroughtBack, Marker
from sync.hub.root import Hub, desk, running
from sync.runtime.database import open_writer
from sync.runtime.sqlite_file import Connection, DatabaseFull
from tests.support.clock import FakeClock
from tests.support.hub_tills import config_of
from tests.support.processes import ROOT
from tests.support.waiting import eventually, passing

WAL_HEADER_BYTES = 32


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@asynccontextmanager
async def started(state: Path, clock: FakeClock | None = None, *, is_restored: bool = False) -> AsyncIterator[Hub]:
    async with running(config_of(state.parent), clock, is_restored=is_restored) as hub:
        yield hub


async def epoch_of(state: Path, *, is_restored: bool = False) -> str:
    async with started(state, is_restored=is_restored) as hub:
        return hub.founding.epoch


def backup(state: Path) -> bytes:
    log = state / "hub.db-wal"
    assert not log.exists() or log.stat().st_size <= WAL_HEADER_BYTES
    return (state / "hub.db").read_bytes()


def lose(state: Path) -> None:
    for old in state.glob("hub.db*"):
        old.unlink()


def bring_back(state: Path, kept: bytes) -> None:
    lose(state)
    (state / "hub.db").write_bytes(kept)


async def test_a_hub_db_from_a_backup_answers_nothing_before_a_person_has_said_so(state: Path) -> None:
    epoch = await epoch_of(state)
    kept = backup(state)
    assert await epoch_of(state) == epoch
    bring_back(state, kept)

    for _ in range(2):
        with pytest.raises(BroughtBack, match="run --restored"):
            await epoch_of(state)
        with pytest.raises(BroughtBack, match="run --restored"):
            async with desk(config_of(state.parent)):
                pass

    renewed = await epoch_of(state, is_restored=True)
    assert renewed != epoch
    async with desk(config_of(state.parent)):
        pass
    assert await epoch_of(state) == renewed


async def test_a_hub_db_that_was_copied_while_the_hub_ran_does_not_fit_after_a_minute(state: Path) -> None:
    clock = FakeClock()
    async with started(state, clock) as hub:
        await hub.writer.outside_transaction(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        kept, beside = backup(state), (state / MARKER_NAME).read_bytes()
        await passing(clock, lambda: (state / MARKER_NAME).read_bytes() != beside)
        assert clock.monotonic() >= RENEW_EVERY_S
        now = (state / MARKER_NAME).read_bytes()
    assert (state / MARKER_NAME).read_bytes() != now
    (state / MARKER_NAME).write_bytes(now)  # as if it had been killed
    bring_back(state, kept)

    with pytest.raises(BroughtBack):
        await epoch_of(state)


async def test_a_hub_db_that_comes_to_another_machine_without_its_folder_is_one_from_a_backup(state: Path) -> None:
    await epoch_of(state)
    (state / MARKER_NAME).unlink()

    with pytest.raises(BroughtBack):
        await epoch_of(state)


async def test_a_folder_that_is_moved_whole_goes_on(state: Path, tmp_path: Path) -> None:
    epoch = await epoch_of(state)
    moved = tmp_path / "there" / "hub"
    await asyncio.to_thread(shutil.copytree, state, moved)

    assert await epoch_of(moved) == epoch


async def test_a_database_from_before_there_were_markers_makes_one_and_one_that_came_back_since_is_told(
    state: Path,
) -> None:
    epoch = await epoch_of(state)
    async with open_writer(database_file(state)) as writer:
        await writer.write(lambda connection: connection.execute("DELETE FROM marker"))
    kept = backup(state)
    (state / MARKER_NAME).unlink()

    assert await epoch_of(state) == epoch

    bring_back(state, kept)
    with pytest.raises(BroughtBack):
        await epoch_of(state)


async def test_a_new_database_in_an_old_folder_is_a_new_hub(state: Path) -> None:
    epoch = await epoch_of(state)
    lose(state)

    assert await epoch_of(state) != epoch


@pytest.mark.parametrize("is_restored", [False, True])
@pytest.mark.parametrize("has_run", [False, True])
async def test_a_kill_between_the_file_and_the_database_leaves_no_doubt(
    state: Path, monkeypatch: pytest.MonkeyPatch, has_run: bool, is_restored: bool
) -> None:
    if has_run:
        await epoch_of(state)
    with monkeypatch.context() as patched:
        patched.setattr(Marker, "put", _killed)
        for _ in range(3):
            with pytest.raises(Killed):
                await epoch_of(state, is_restored=is_restored)
    epoch = await epoch_of(state)
    with monkeypatch.context() as patched:
        patched.setattr(Marker, "put", lambda _: None)  # a disk that takes the commit and not the file
        for _ in range(3):
            assert await epoch_of(state) == epoch

    assert await epoch_of(state) == epoch


class Killed(Exception):
    """The process ended here."""


def _killed(_: Marker) -> None:
    raise Killed


async def test_a_kill_at_any_moment_while_the_marker_changes_all_the_time_is_no_backup(
    state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'[hub]\nstate = "{state}"\nport = 0\n', encoding="utf-8")
    program = (
        "import sys\nfrom sync.hub import marker\nfrom sync.hub.__main__ import main\n"
        "marker.RENEW_EVERY_S = 0.0\nsys.exit(main())"
    )
    seen: set[bytes] = set()
    for _ in range(6):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "run", "--config", str(config)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        before = (state / MARKER_NAME).read_bytes()
        await eventually(lambda before=before: (state / MARKER_NAME).read_bytes() != before)  # type: ignore[misc]
        process.kill()
        await process.wait()
        seen.add((state / MARKER_NAME).read_bytes())
    assert len(seen) == 6


async def test_commands_beside_a_hub_that_renews_all_the_time_are_never_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marker, "RENEW_EVERY_S", 0.0)
    async with started(state):
        for _ in range(40):
            async with desk(config_of(state.parent)):
                pass


async def test_a_disk_that_is_full_for_a_while_ends_no_renewing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, refusals, take = FakeClock(), iter(range(3)), Marker.take

    def sometimes(self: Marker, connection: Connection) -> None:
        if next(refusals, None) is not None:
            raise DatabaseFull("the disk is full")
        take(self, connection)

    async with started(state, clock):
        before = (state / MARKER_NAME).read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(Marker, "take", sometimes)
            await passing(clock, lambda: (state / MARKER_NAME).read_bytes() != before)
    assert next(refusals, None) is None
    assert await epoch_of(state)


async def test_a_marker_that_cannot_be_renewed_is_told_once_and_once_that_it_can_again(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sync.hub.marker")
    clock, refusals, put = FakeClock(), iter(range(5)), Marker.put

    def sometimes(self: Marker) -> None:
        if next(refusals, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self)

    monkeypatch.setattr(Marker, "put", sometimes)
    async with started(state, clock):  # the first refusal is that of the start
        await passing(clock, (state / MARKER_NAME).exists)

    assert [record.getMessage() for record in caplog.records if record.name == "sync.hub.marker"] == [
        "hub.marker cannot be renewed: No space left on device",
        "hub.marker is renewed again",
    ]


async def test_the_command_line_says_what_to_do_and_changes_nothing(state: Path, tmp_path: Path) -> None:
    epoch = await epoch_of(state)
    kept = backup(state)
    await epoch_of(state)
    bring_back(state, kept)
    config = tmp_path / "hub.toml"
    config.write_text(f'[hub]\nstate = "{state}"\nport = 0\n', encoding="utf-8")

    for words in (("run",), ("terminals", "invite", "--store", "store-1")):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sync.hub", *words, "--config", str(config)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert b"loyalty-hub run --restored" in said
        assert b"Traceback" not in said
    async with open_writer(database_file(state)) as writer:
        rows = await writer.write(
            lambda c: c.execute("SELECT epoch, (SELECT count(*) FROM invitations) FROM hub").fetchall()
        )
    assert rows == [(epoch, 0)]


async def test_a_marker_that_cannot_be_read_fits_nothing(state: Path) -> None:
    await epoch_of(state)
    for broken in (b"", b"\xff\xfe", b"something else"):
        (state / MARKER_NAME).write_bytes(broken)
        with pytest.raises(BroughtBack):
            await epoch_of(state)
