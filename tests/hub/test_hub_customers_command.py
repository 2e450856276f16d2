import asyncio
import re
from pathlib import Path

import pytest

from sync.contract.protocol import CustomerGone, CustomerPut
from sync.hub.__main__ import main
from sync.hub_client import open_session
from sync.hub_errors import HubRefused
from tests.support.hubs import hub_in_process
from tests.support.waiting import eventually
from tests.support.wire_till import enrolled

CUSTOMERS = "customer_id,given_name,language,card,points\nC-1,Zoé,fr,9990000000012348,120\nC-2,Ann,en,,5\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text('[hub]\nstate = "hub"\nport = 0\n', encoding="utf-8")
    file = tmp_path / "customers.csv"
    file.write_text(CUSTOMERS, encoding="utf-8")
    assert main(["import", str(file), "--config", str(path)]) == 0
    return path


def call(config: Path, *arguments: str) -> int:
    return main(["customers", *arguments, "--config", str(config)])


def test_a_merge_is_made_shown_and_ended(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(config, "merge", "C-1", "C-2") == 0
    assert "C-1 is shown as C-2 now (merge 1)" in capsys.readouterr().out
    assert call(config, "merge", "C-1", "C-2") == 0
    assert "nothing changed" in capsys.readouterr().out
    assert call(config, "show", "C-1") == 0
    assert capsys.readouterr().out == "C-1: shown as C-2 with 125 points\n  merge 1: C-1 into C-2\n"

    assert call(config, "unmerge", "C-1") == 0
    assert call(config, "show", "C-1") == 0
    assert capsys.readouterr().out.endswith("C-1: shown as C-1 with 120 points\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("merge", "C-1", "C-1"), "C-1 cannot be merged into itself"),
        (("merge", "C-1", "C-9"), "C-9: no such customer"),
        (("unmerge", "C-1"), "C-1 is merged into nobody"),
        (("show", "C-9"), "C-9: no such customer"),
        (("erase", "C-9", "--yes"), "C-9: no such customer"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    config: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(config, *arguments) == 1
    assert capsys.readouterr().err.endswith(f"loyalty-hub: {words}\n")


def test_an_erasure_names_whom_it_takes_and_wants_to_be_sure(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(config, "merge", "C-1", "C-2")

    assert call(config, "erase", "C-2") == 1
    assert "this erases C-1 and C-2 here and on every till, and cannot be taken back" in capsys.readouterr().err
    assert call(config, "show", "C-1") == 0
    assert call(config, "erase", "C-2", "--yes") == 0
    assert call(config, "show", "C-1") == 1

    assert re.search(r"C-1 was erased on \d{4}-\d\d-\d\d", capsys.readouterr().err)
    assert call(config, "erase") == 2
    files = b"".join(path.read_bytes() for path in (config.parent / "hub").rglob("*") if path.is_file())
    assert "Zoé".encode() not in files
    assert b"9990000000012348" not in files


def test_a_snapshot_from_before_an_erasure_goes_where_no_hub_runs(config: Path) -> None:
    async def make_one() -> None:
        async with hub_in_process(config.parent / "hub") as hub, open_session() as session:
            till = await enrolled(hub.url, await hub.invite(), session)
            await till.client.snapshot_manifest(till.epoch)

    asyncio.run(make_one())
    snapshots = config.parent / "hub" / "snapshots"
    assert len(list(snapshots.iterdir())) == 1

    assert call(config, "erase", "C-1", "--yes") == 0

    assert list(snapshots.iterdir()) == []


async def test_a_running_hub_tells_its_tills_and_knows_which_have_heard(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with hub_in_process(config.parent / "hub") as hub, open_session() as session:
        till = await enrolled(hub.url, await hub.invite(), session)
        manifest = await till.client.snapshot_manifest(till.epoch)
        cursor = manifest.cursor
        chunks = config.parent / "hub" / "snapshots" / manifest.snapshot_id
        assert chunks.is_dir()

        assert await asyncio.to_thread(call, config, "merge", "C-1", "C-2") == 0
        page = await till.client.feed(cursor, till.epoch, limit=500, wait_s=20)
        put, gone = page.changes
        assert isinstance(put, CustomerPut)
        assert isinstance(gone, CustomerGone)
        assert (put.customer.customer_id, put.points, gone.merged_into) == ("C-2", 125, "C-2")

        assert await asyncio.to_thread(call, config, "erase", "C-1", "--yes") == 0
        page = await till.client.feed(page.cursor, till.epoch, limit=500, wait_s=20)
        assert page.changes == (CustomerGone(customer_id="C-2", reason="erased"),)
        await eventually(lambda: not chunks.exists())
        files = b"".join(path.read_bytes() for path in (config.parent / "hub").glob("hub.db*"))
        assert "Zoé".encode() not in files
        with pytest.raises(HubRefused):
            await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, 1)
        fresh = await till.client.snapshot_manifest(till.epoch)
        assert (fresh.snapshot_id != manifest.snapshot_id, fresh.chunks) == (True, ())

        capsys.readouterr()
        assert await asyncio.to_thread(call, config, "erase", "--status") == 0
        assert capsys.readouterr().out.count(till.enrolment.terminal_id) == 2
        await till.client.feed(page.cursor, till.epoch, limit=500, wait_s=0)
        assert await asyncio.to_thread(call, config, "erase", "--status") == 0
        assert capsys.readouterr().out.count("every till has erased it") == 2
