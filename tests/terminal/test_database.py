import asyncio
import importlib.metadata
import inspect
import re
import resource
from collections.abc import Callable
from pathlib import Path

import aiosqlite
import pytest

from sync.runtime import sqlite_file
from sync.runtime.database import SHARED_COMMIT_WORKS_MAX, open_reader, open_writer
from sync.runtime.sqlite_file import (
    Connection,
    ConstraintBroken,
    DatabaseError,
    DatabaseFile,
    DatabaseForeign,
    DatabaseFull,
    DatabaseNewer,
    DatabaseUnreadable,
    driver_notice,
)

_KEY = bytes(range(32))
_FIRST = "CREATE TABLE sale (id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;\n"


class Migrations:
    """A package of migrations that a test can add to."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self.folder.mkdir()
        (self.folder / "__init__.py").touch()

    def add(self, number: int, script: str) -> None:
        (self.folder / f"{number:04}_step.sql").write_text(script, encoding="utf-8")


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migrations:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Migrations(tmp_path, f"steps_{tmp_path.name}")
    made.add(1, _FIRST)
    return made


@pytest.fixture
def file(tmp_path: Path, migrations: Migrations) -> DatabaseFile:
    return DatabaseFile(tmp_path / "a.db", 0x1234, migrations.name, _KEY)


def _insert(number: int, note: str | None = "x") -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO sale VALUES (?, ?)", (number, note))
        return number

    return work


def _count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM sale").fetchone()
    return row[0] if row else -1


async def test_the_private_call_that_runs_a_function_on_the_thread_is_as_we_know_it() -> None:
    assert importlib.metadata.version("aiosqlite") == "0.22.1"
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters) == ["self", "fn", "args", "kwargs"]
    async with aiosqlite.connect(":memory:") as connection:
        ran: list[bool] = []
        connection._tx.put_nowait((None, lambda: ran.append(True)))
        await connection.execute("SELECT 1")
        assert ran == [True]


def test_the_driver_encrypts_and_says_nothing() -> None:
    assert driver_notice() is None


async def test_a_unit_of_work_is_written_whole_or_not_at_all(file: DatabaseFile) -> None:
    def half(connection: Connection) -> None:
        connection.execute("INSERT INTO sale VALUES (1, 'a')")
        raise RuntimeError("power")

    async with open_writer(file) as writer, open_reader(file) as reader:
        with pytest.raises(RuntimeError, match="power"):
            await writer.write(half)
        assert await reader.read(_count) == 0


async def test_works_that_share_a_commit_do_not_share_a_failure(file: DatabaseFile) -> None:
    async with open_writer(file) as writer, open_reader(file) as reader:
        numbers = [1, 2, 2, 3, None, *range(10, 10 + 3 * SHARED_COMMIT_WORKS_MAX)]
        works = [writer.write(_insert(n if n is not None else 99, "x" if n is not None else None)) for n in numbers]
        answers = await asyncio.gather(*works, return_exceptions=True)
        failed = [number for number, answer in zip(numbers, answers, strict=True) if isinstance(answer, Exception)]
        assert failed == [2, None]
        assert all(isinstance(answer, ConstraintBroken | int) for answer in answers)
        assert await reader.read(_count) == len(numbers) - 2


async def test_a_cancelled_caller_leaves_no_transaction_open(file: DatabaseFile) -> None:
    async with open_writer(file) as writer:
        task = asyncio.ensure_future(writer.write(_insert(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await writer.outside_transaction(lambda connection: connection.in_transaction)
        assert await writer.write(_insert(2)) == 2


async def test_those_who_wait_with_a_cancelled_caller_are_written_all_the_same(file: DatabaseFile) -> None:
    async with open_writer(file) as writer, open_reader(file) as reader:
        first = asyncio.ensure_future(writer.write(_insert(1)))
        others = [asyncio.ensure_future(writer.write(_insert(number))) for number in range(2, 40)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == list(range(2, 40))
        assert await reader.read(_count) == 39


async def test_what_waits_when_the_file_is_closed_is_written_and_nothing_after(file: DatabaseFile) -> None:
    async with open_writer(file) as writer:
        waiting = asyncio.ensure_future(writer.write(_insert(1)))
        await asyncio.sleep(0)
    assert await waiting == 1
    with pytest.raises(sqlite_file.DatabaseError, match="closed"):
        await writer.write(_insert(2))


async def test_a_full_disk_fails_everybody_in_the_commit_and_nothing_is_half_written(file: DatabaseFile) -> None:
    async with open_writer(file) as writer, open_reader(file) as reader:
        await writer.outside_transaction(lambda c: c.execute("PRAGMA max_page_count=8"))
        large = "x" * 100_000
        answers = await asyncio.gather(
            *(writer.write(_insert(n, large)) for n in range(20)),
            return_exceptions=True,
        )
        assert {type(answer) for answer in answers} == {DatabaseFull}
        assert await reader.read(_count) == 0
        assert not await writer.outside_transaction(lambda connection: connection.in_transaction)
        assert await writer.write(_insert(1)) == 1


async def test_a_reader_sees_one_state_and_cannot_write(file: DatabaseFile) -> None:
    async with open_writer(file) as writer, open_reader(file) as reader:
        await writer.write(_insert(1))
        with pytest.raises(sqlite_file.DatabaseError, match="readonly"):
            await reader.read(_insert(2))
        assert await reader.read(_count) == 1


async def test_another_file_can_stand_under_an_attached_name(tmp_path: Path, file: DatabaseFile) -> None:
    other, third = (DatabaseFile(tmp_path / name, 0x1234, file.migrations, _KEY) for name in ("b.db", "c.db"))
    async with open_writer(file), open_writer(other) as b, open_writer(third) as c:
        await b.write(_insert(7))
        await c.write(_insert(8))
        async with open_reader(file, {"cache": other}) as reader:
            assert await reader.read(lambda x: x.execute("SELECT id FROM cache.sale").fetchall()) == [(7,)]
            await reader.attach_instead("cache", third)
            assert await reader.read(lambda x: x.execute("SELECT id FROM cache.sale").fetchall()) == [(8,)]


async def test_nothing_readable_stands_in_the_file_or_its_log(file: DatabaseFile) -> None:
    async with open_writer(file) as writer:
        await writer.write(_insert(1, "Zoé Canari"))
        log = file.path.with_name(file.path.name + "-wal").read_bytes()
        assert log
        assert b"Canari" not in log + file.path.read_bytes()
    assert b"Canari" not in file.path.read_bytes()
    assert b"SQLite format" not in file.path.read_bytes()
    assert file.path.stat().st_mode & 0o077 == 0


async def test_a_wrong_key_is_refused_and_the_file_stays_as_it_was(file: DatabaseFile) -> None:
    async with open_writer(file):
        pass
    before = file.path.read_bytes()
    with pytest.raises(DatabaseUnreadable, match="key"):
        async with open_writer(DatabaseFile(file.path, 0x1234, file.migrations, bytes(32))):
            pass
    assert file.path.read_bytes() == before


async def test_a_file_of_another_program_is_refused(file: DatabaseFile) -> None:
    async with open_writer(file):
        pass
    with pytest.raises(DatabaseForeign, match="another program"):
        async with open_writer(DatabaseFile(file.path, 0x9999, file.migrations, _KEY)):
            pass


async def test_a_file_of_a_newer_version_is_refused(file: DatabaseFile, migrations: Migrations) -> None:
    migrations.add(2, "ALTER TABLE sale ADD COLUMN till TEXT;\n")
    async with open_writer(file):
        pass
    (migrations.folder / "0002_step.sql").unlink()
    with pytest.raises(DatabaseNewer, match="newer version"):
        async with open_writer(file):
            pass


async def test_a_migrated_file_has_the_tables_of_a_fresh_one(
    tmp_path: Path, file: DatabaseFile, migrations: Migrations
) -> None:
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    async with open_writer(file) as writer:
        await writer.write(_insert(1))
    migrations.add(2, "ALTER TABLE sale ADD COLUMN till TEXT;\nCREATE INDEX by_till ON sale (till);\n")
    fresh = DatabaseFile(tmp_path / "fresh.db", 0x1234, migrations.name, _KEY)
    async with open_writer(file) as old, open_writer(fresh) as new:
        schemas = [await one.write(lambda c: c.execute(schema).fetchall()) for one in (old, new)]
        assert schemas[0] == schemas[1]
        assert await old.write(_count) == 1


async def test_a_migration_that_fails_changes_nothing(file: DatabaseFile, migrations: Migrations) -> None:
    async with open_writer(file):
        pass
    migrations.add(2, "CREATE TABLE extra (a INTEGER);\nCREATE TABLE sale (a INTEGER);\n")
    with pytest.raises(sqlite_file.DatabaseError, match="already exists"):
        async with open_writer(file):
            pass
    (migrations.folder / "0002_step.sql").unlink()
    async with open_writer(file) as writer:
        tables = await writer.write(lambda c: c.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall())
        assert tables == [("sale",)]


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, file: DatabaseFile) -> None:
    missing = DatabaseFile(tmp_path / "no" / "a.db", 0x1234, file.migrations, _KEY)
    with pytest.raises(DatabaseUnreadable, match=r"no/a\.db"):
        async with open_writer(missing):
            pass


async def test_a_disk_that_refuses_names_the_file_and_what_to_do(file: DatabaseFile) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no file may grow: as on a full disk
    try:
        with pytest.raises(DatabaseError, match=rf"{re.escape(str(file.path))}.*full"):
            async with open_writer(file):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_text_that_is_no_database_is_refused(tmp_path: Path, file: DatabaseFile) -> None:
    (tmp_path / "a.db").write_text("hello" * 1000)
    with pytest.raises(DatabaseUnreadable):
        async with open_writer(file):
            pass
