"""What the commands print: whole sentences, and no complaint where nobody reads on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sync.hub.__main__ import main as hub
from sync.runtime.printing import counted
from tests.support.tills import NO_HUB

# More than a pipe or any buffer holds back.
MANY = 2_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hub.toml").write_text('[hub]\nstate = "hub"\nport = 0\n', encoding="utf-8")
    (tmp_path / "config.toml").write_text(f'[hub]\nurl = "{NO_HUB}"\n', encoding="utf-8")
    return tmp_path


def printed_to_nobody(
    folder: Path, module: str, arguments: list[str], complaints: int = subprocess.PIPE
) -> tuple[int, str]:
    """Run a command as `command | head` does, with a reader that has gone; return its exit code and its complaints."""
    reader, writer = os.pipe()
    os.close(reader)
    return printed_to(writer, folder, module, arguments, complaints)


def printed_to(
    out: int, folder: Path, module: str, arguments: list[str], complaints: int = subprocess.PIPE
) -> tuple[int, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""},
            stdout=out,
            stderr=complaints,
            check=False,
            text=True,
            timeout=60,
        )
    finally:
        os.close(out)
    return done.returncode, done.stderr


def import_many(folder: Path) -> None:
    customers = folder / "customers.csv"
    rows = "".join(f"C-{number},Ann,en\n" for number in range(MANY))
    customers.write_text(f"customer_id,given_name,language\n{rows}", encoding="utf-8")
    assert hub(["import", str(customers), "--config", str(folder / "hub.toml")]) == 0


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("sync.hub", ["terminals", "list"]),
        ("sync.hub", ["allowances", "list"]),
        ("agent", ["config", "check"]),
    ],
    ids=str,
)
def test_a_list_that_nobody_reads_to_its_end_ends_quietly(folder: Path, module: str, arguments: list[str]) -> None:
    assert printed_to_nobody(folder, module, arguments) == (1, "")


@pytest.mark.parametrize(("module", "arguments"), [("sync.hub", ["import", "--help"]), ("agent", ["--help"])], ids=str)
def test_help_that_nobody_reads_to_its_end_ends_quietly(folder: Path, module: str, arguments: list[str]) -> None:
    _, complaint = printed_to_nobody(folder, module, arguments)

    assert complaint == ""


def test_a_long_list_that_nobody_reads_to_its_end_ends_quietly(folder: Path) -> None:
    import_many(folder)

    assert printed_to_nobody(folder, "sync.hub", ["export", "-"]) == (1, "")


def test_an_import_goes_on_though_nobody_reads_its_faults(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    customers = folder / "customers.csv"
    rows = "C-1,Ann,xx\n" * MANY + "C-2,Bob,en\n"
    customers.write_text(f"customer_id,given_name,language\n{rows}", encoding="utf-8")

    code, _ = printed_to_nobody(folder, "sync.hub", ["import", "customers.csv"], subprocess.STDOUT)

    assert code == 1
    assert hub(["export", "-", "--config", str(folder / "hub.toml")]) == 0
    assert '"customer_id":"C-2"' in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' file that is always full")
@pytest.mark.parametrize(
    ("module", "arguments", "who"),
    [
        ("sync.hub", ["terminals", "list"], "standard output"),  # held back until the end
        ("sync.hub", ["export", "-"], "loyalty-hub"),
        ("agent", ["config", "check"], "standard output"),
    ],
    ids=str,
)
def test_a_full_disk_under_what_is_printed_is_said_once(
    folder: Path, module: str, arguments: list[str], who: str
) -> None:
    import_many(folder)

    code, said = printed_to(os.open("/dev/full", os.O_WRONLY), folder, module, arguments)

    assert code == 1
    assert re.fullmatch(rf"{who}: the disk is full; .*\n", said)


def test_a_number_and_its_noun_agree() -> None:
    assert [counted(number, "point") for number in (0, 1, 2)] == ["0 points", "1 point", "2 points"]


def test_an_import_of_one_row_says_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "customers.csv").write_text("customer_id,given_name,language\nC-1,Ann,en\n", encoding="utf-8")

    assert hub(["import", str(folder / "customers.csv"), "--config", str(folder / "hub.toml")]) == 0
    assert capsys.readouterr().out.startswith("1 row: 1 new")
    assert hub(["export", "-", "--config", str(folder / "hub.toml")]) == 0
    assert capsys.readouterr().err == "1 customer\n"
