"""Commands beside a running hub, under a SQLite in which a checkpoint may meet another program's commit and lose it."""

import asyncio
import json
from pathlib import Path

import pytest

from sync.hub.__main__ import main
from sync.hub.root import LOCK_NAME
from sync.runtime.state_lock import AlreadyRunning, hold
from tests.support.hub_books import customer, open_books
from tests.support.hubs import hub_in_process

WRITING = (
    ("terminals", "invite", "--store", "store-1"),
    ("customers", "erase", "C-1", "--yes"),
    ("customers", "merge", "C-1", "C-2"),
    ("customers", "forget", "values.txt"),
    ("import", "customers.csv"),
)
READING = (("terminals", "list"), ("customers", "show", "C-1"), ("customers", "erase", "--status"), ("events",))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hub.toml"
    path.write_text('[hub]\nstate = "hub"\nport = 0\n', encoding="utf-8")
    (tmp_path / "values.txt").write_text("9990000000001234\n", encoding="utf-8")
    (tmp_path / "customers.csv").write_text("customer_id,given_name,language\nC-3,Zoe,fr\n", encoding="utf-8")
    (tmp_path / "hub").mkdir()
    with open_books(tmp_path / "hub") as books:
        books.put(customer("C-1", "9990000000000001"), customer("C-2", "9990000000000002"))
    return path


@pytest.fixture
def old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.hub.root.HAS_SAFE_LOG", False)


async def call(config: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, [*arguments, "--config", str(config)])


@pytest.mark.usefixtures("old_sqlite")
async def test_what_writes_asks_for_the_hub_to_be_stopped_first_and_changes_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with hub_in_process(config.parent / "hub") as hub:
        for command in WRITING:
            assert await call(config, *command) == 1
            assert "stop the hub first, then try again" in capsys.readouterr().err
        customers = await hub.inside.reader.read(
            lambda connection: connection.execute("SELECT customer_id FROM customers ORDER BY 1").fetchall()
        )
    assert customers == [("C-1",), ("C-2",)]

    for command in WRITING[:2]:
        assert await call(config, *command) == 0


@pytest.mark.usefixtures("old_sqlite")
async def test_what_only_reads_works_beside_the_hub(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with hub_in_process(config.parent / "hub"):
        for command in READING:
            assert await call(config, *command) == 0
        assert await call(config, "export", "-") == 0
    exported = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["customer_id"] for row in exported] == ["C-1", "C-2"]


@pytest.mark.usefixtures("old_sqlite")
async def test_no_hub_starts_while_a_command_writes(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[bool] = []

    def while_it_writes(*_: object) -> set[str]:
        with pytest.raises(AlreadyRunning), hold(config.parent / "hub" / LOCK_NAME):
            pass
        refused.append(True)
        return {"C-1"}

    monkeypatch.setattr("sync.hub.commands.customers._persons", while_it_writes)
    assert await call(config, "customers", "erase", "C-1") == 1  # without --yes
    assert refused == [True]


async def test_under_a_sqlite_of_today_they_work_beside_the_hub(config: Path) -> None:
    async with hub_in_process(config.parent / "hub"):
        for command in (*WRITING[2:], *WRITING[:2]):
            assert await call(config, *command) == 0
