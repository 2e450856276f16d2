"""Who may carry the log of a database over into it, by the version of SQLite; and what another process can do to us."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.store.files import till_file
from sync.runtime import database, sqlite_file
from sync.runtime.database import COMMITS_PER_CHECKPOINT
from sync.runtime.sqlite_file import Connection, DatabaseBusy, DatabaseError, driver
from sync.runtime.sqlite_version import has_safe_log, serves
from tests.support import shop

SAFE = ["3.44.6", "3.44.9", "3.50.7", "3.50.10", "3.51.3", "3.52.0", "3.53.4", "4.0.0"]
UNSAFE = ["3.40.1", "3.44.5", "3.45.3", "3.49.9", "3.50.6", "3.51.0", "3.51.2"]

# Starts a program on a machine that lacks the wheel of sqlcipher3.
WITHOUT_CIPHER = """
import runpy, sys
sys.modules["sqlcipher3"] = None
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__")
"""

# Another program on the live file: a backup tool, a curious person. It holds the write lock until it is told to end.
INTRUDER = """
import sys
from pathlib import Path
from agent.store.files import till_file
from sync.runtime.sqlite_file import open_for_writing
connection = open_for_writing(till_file(Path(sys.argv[1]), bytes.fromhex(sys.argv[2])))
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
connection.execute("BEGIN IMMEDIATE")
print("holding", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
connection.close()
"""


@pytest.mark.parametrize("version", SAFE)
def test_a_version_without_the_race_checkpoints_by_itself(version: str) -> None:
    assert has_safe_log(version)


@pytest.mark.parametrize("version", UNSAFE)
def test_a_version_with_the_race_leaves_checkpoints_to_the_writer(version: str) -> None:
    assert not has_safe_log(version)


@pytest.mark.parametrize(
    ("version", "is_enough"),
    [("3.40.1", False), ("3.41.2", False), ("3.42.0", True), ("3.53.1", True), ("4.0.0", True)],
)
def test_only_a_version_with_all_that_the_files_need_serves(version: str, *, is_enough: bool) -> None:
    assert serves(version) is is_enough


async def test_a_till_on_a_sqlite_that_is_too_old_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_driver", SimpleNamespace(sqlite_version="3.41.2"))

    with pytest.raises(DatabaseError, match=r"SQLite 3\.41\.2 is too old, 3\.42 or newer is needed"):
        async with shop.open_till(tmp_path):
            pass

    assert not (tmp_path / "till.db").exists()


def test_a_program_on_a_sqlite_that_is_too_old_ends_in_a_line_that_says_what_to_install(tmp_path: Path) -> None:
    if serves(sqlite3.sqlite_version):
        pytest.skip(f"plain SQLite {sqlite3.sqlite_version} serves here, so there is none that is too old")
    config = tmp_path / "hub.toml"
    config.write_text(f'[hub]\nstate = "{tmp_path}/state"\n', encoding="utf-8")

    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_CIPHER, "sync.hub", "run", "--config", str(config)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert f"SQLite {sqlite3.sqlite_version} is too old" in ended.stderr
    assert "install the Python package sqlcipher3" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_serves_here_is_told() -> None:
    told = driver()

    assert told.checkpoints == ("automatic" if has_safe_log(told.sqlite) else "writer")
    assert (told.cipher is None) == (sqlite_file.driver_notice() is not None)


@pytest.mark.parametrize("is_safe", [True, False])
async def test_only_the_writer_checkpoints_where_the_version_is_not_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_safe: bool
) -> None:
    monkeypatch.setattr(sqlite_file, "HAS_SAFE_LOG", is_safe)
    monkeypatch.setattr(database, "HAS_SAFE_LOG", is_safe)
    file = tmp_path / "till.db"
    async with shop.open_till(tmp_path) as store:
        writer = store.journal._writer
        automatic = await writer.outside_transaction(lambda c: c.execute("PRAGMA wal_autocheckpoint").fetchone())
        assert (automatic == (0,)) is not is_safe
        await writer.outside_transaction(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        before = file.stat().st_size
        for number in range(COMMITS_PER_CHECKPOINT + 1):
            await shop.credit(store, f"s-{number}", 100)
        await writer.outside_transaction(lambda _: None)  # behind all that the writer's thread has to do
        assert (file.stat().st_size > before) is not is_safe
    async with shop.open_till(tmp_path) as store:
        assert store.outbox.figures().waiting == COMMITS_PER_CHECKPOINT + 1


async def test_another_process_on_the_live_file_costs_a_refused_sale_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)

    def whole(connection: Connection) -> object:
        return connection.execute("PRAGMA integrity_check").fetchone()

    async with shop.open_till(tmp_path) as store:
        await shop.credit(store, "before")
        arguments = ("-c", INTRUDER, str(tmp_path), shop.DATABASE_KEY.hex())
        pipe = asyncio.subprocess.PIPE
        intruder = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
        assert intruder.stdout is not None
        assert await intruder.stdout.readline() == b"holding\n"
        with pytest.raises(DatabaseBusy):
            await shop.credit(store, "during")
        assert store.outbox.figures().waiting == 1
        await intruder.communicate(b"\n")
        assert intruder.returncode == 0

        await shop.credit(store, "during")
        assert store.outbox.figures().waiting == 2
        assert await store.journal._reader.read(whole) == ("ok",)
    assert till_file(tmp_path, shop.DATABASE_KEY).path.exists()
