"""The table of faults in this folder's README.md is true: each stands there once, with tests that exist or a reason."""

import ast
import re
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = Path(__file__).with_name("README.md")
FAULTS = 60
ROW = re.compile(r"\| F(\d+) \| ([^|]+) \| ([^|]+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NUMBERED = re.compile(r"test_f(\d+)_")
# What stands where no test does says that something is not there, and what that leaves.
REASON = re.compile(r"Not built: .{40,}")


class Row(NamedTuple):
    """One fault of the table."""

    number: int
    fault: str
    cell: str

    @property
    def tests(self) -> list[str]:
        return [f"{path}::{name}" for path, name in TEST.findall(self.cell)]


def rows_of(page: str) -> list[Row]:
    return [Row(int(number), fault, cell) for number, fault, cell in ROW.findall(page)]


def named_tests(folder: Path) -> Iterator[str]:
    """Yield every test there is, as the table names them."""
    for path in sorted(folder.rglob("test_*.py")):
        place = path.relative_to(ROOT).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{place}::{node.name}"


def faults_of(rows: list[Row], known: set[str]) -> list[str]:
    """Say what is wrong with a table, where these tests exist."""
    numbers = [row.number for row in rows]
    wrong = [
        f"F{number} stands {numbers.count(number)} times" for number in range(1, FAULTS + 1) if number not in numbers
    ]
    wrong += [f"F{number} stands {times} times" for number, times in Tally(numbers).items() if times > 1]
    wrong += [f"F{row.number} is out of order" for row, before in zip(rows[1:], rows, strict=False) if row < before]
    for row in rows:
        wrong += [f"F{row.number} names {test}, which is not there" for test in row.tests if test not in known]
        wrong += [f"F{row.number} names {test} twice" for test, times in Tally(row.tests).items() if times > 1]
        if not row.tests and not REASON.search(row.cell):
            wrong.append(f"F{row.number} has neither a test nor a reason")
        if "::" in TEST.sub("", row.cell):
            wrong.append(f"F{row.number} names a test in another way than `tests/….py::test_…`")
    for row in rows:
        strangers = [test for test in row.tests if (number := NUMBERED.search(test)) and int(number[1]) != row.number]
        wrong += [f"F{row.number} names {test}, which is of another fault" for test in strangers]
    return wrong


def test_each_fault_of_the_catalogue_has_tests_that_exist_or_a_reason() -> None:
    assert faults_of(rows_of(PAGE.read_text(encoding="utf-8")), set(named_tests(ROOT / "tests"))) == []


GOOD = [Row(number, "a fault", "`tests/a.py::test_a`") for number in range(1, FAULTS + 1)]
KNOWN = {"tests/a.py::test_a", "tests/a.py::test_f7_b"}
GOOD[6] = Row(7, "a fault", "`tests/a.py::test_a` `tests/a.py::test_f7_b`")


@pytest.mark.parametrize(
    "planted",
    [
        GOOD[:-1],
        [*GOOD, GOOD[-1]],
        [GOOD[1], GOOD[0], *GOOD[2:]],
        [GOOD[0]._replace(cell="`tests/a.py::test_gone`"), *GOOD[1:]],
        [GOOD[0]._replace(cell="`tests/a.py::test_a` `tests/a.py::test_a`"), *GOOD[1:]],
        [GOOD[0]._replace(cell="later"), *GOOD[1:]],
        [GOOD[0]._replace(cell="`tests/a.py::test_a` and a.py::test_b"), *GOOD[1:]],
        [GOOD[0]._replace(cell="`tests/a.py::test_f7_b`"), *GOOD[1:]],
    ],
)
def test_a_table_that_is_not_true_would_be_found(planted: list[Row]) -> None:
    assert faults_of(GOOD, KNOWN) == []
    assert faults_of(planted, KNOWN) != []


def test_the_commands_of_the_page_are_there() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for module in re.findall(r"python -m ([\w.]+)", page):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    for path in re.findall(r"pytest (tests/\S+)|`(tests/[\w/]+\.py)`", page):
        assert (ROOT / "".join(path)).is_file()
