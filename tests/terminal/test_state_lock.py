import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sync.runtime.state_lock import AlreadyRunning, hold, hold_folder, is_held, private_folder, write_private

HOLDER = """
import sys, time
from pathlib import Path
from sync.runtime.state_lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(lock_file: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def finish(process: "subprocess.Popen[bytes]") -> None:
    process.communicate(timeout=20)


def test_second_process_is_told_the_folder_and_who_holds_it(tmp_path: Path) -> None:
    process = holder(tmp_path / "agent.lock")
    try:
        with pytest.raises(AlreadyRunning) as caught, hold(tmp_path / "agent.lock"):
            pass
        assert caught.value.folder == tmp_path
        assert caught.value.pid == process.pid
        assert str(tmp_path) in str(caught.value)
        assert str(process.pid) in str(caught.value)
    finally:
        finish(process)


def test_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    process = holder(tmp_path / "agent.lock")
    process.send_signal(signal.SIGKILL)
    finish(process)
    with hold(tmp_path / "agent.lock"):
        assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"


def test_lock_ends_with_its_block_also_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), hold(tmp_path / "agent.lock"):
        raise RuntimeError
    with hold(tmp_path / "agent.lock"):
        pass


def test_same_process_cannot_hold_one_folder_twice(tmp_path: Path) -> None:
    with hold(tmp_path / "agent.lock"), pytest.raises(AlreadyRunning), hold(tmp_path / "agent.lock"):
        pass


def test_who_asks_whether_a_folder_is_held_changes_nothing(tmp_path: Path) -> None:
    lock_file = tmp_path / "agent.lock"
    assert not is_held(lock_file)
    assert list(tmp_path.iterdir()) == []

    with hold(lock_file):
        assert is_held(lock_file)
    assert not is_held(lock_file)


def test_who_asks_keeps_nobody_from_starting_and_no_other_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = tmp_path / "agent.lock"
    lock_file.touch()
    asking = os.open(lock_file, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    assert not is_held(lock_file)
    waits: list[float] = []

    def answered_at_the_third_wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.close(asking)

    monkeypatch.setattr("sync.runtime.state_lock.sleep", answered_at_the_third_wait)

    with hold(lock_file):
        assert is_held(lock_file)
    assert len(waits) == 3


def test_a_start_beside_a_holder_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sync.runtime.state_lock.sleep")

    with hold(tmp_path / "agent.lock"), pytest.raises(AlreadyRunning), hold(tmp_path / "agent.lock"):
        pass


def test_state_folder_and_its_files_are_for_one_user_only(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "state")
    write_private(folder / "database.key", b"k" * 32)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "database.key").stat().st_mode) == 0o600
    assert (folder / "database.key").read_bytes() == b"k" * 32


def test_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "state").stat().st_mode) == 0o700


def test_a_folder_that_is_held_is_made_and_closed_to_others(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_folder(tmp_path / "a" / "state" / "agent.lock") as folder:
            assert folder == tmp_path / "a" / "state"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o755)


def test_whoever_is_refused_shuts_nobody_out(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "state" / "agent.lock") as folder:
        folder.chmod(0o710)
        with pytest.raises(AlreadyRunning), hold_folder(tmp_path / "state" / "agent.lock"):
            pass
        assert stat.S_IMODE(folder.stat().st_mode) == 0o710


def test_key_for_the_pos_user_is_readable_by_its_group(tmp_path: Path) -> None:
    write_private(tmp_path / "pos.key", b"x", mode=0o640, group=os.getgid())
    status = (tmp_path / "pos.key").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == os.getgid()


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "pos.key", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "pos.key", b"new")
    assert (tmp_path / "pos.key").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["pos.key"]
