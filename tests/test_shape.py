"""The rules of `tests/support/shape.py` meet the tree, and each meets a planted fault that it must find."""

import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import LONG
from tests.support import shape

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    "pyproject.toml",
    "README.md",
    "config.example.toml",
    "CHANGELOG.md",
    "LICENSE",
    "agent",
    "sync",
    "tests",
    "packaging",
}
TEST_FOLDERS = {"pure", "terminal", "hub", "contract", "browser", "chaos", "bench", "support"}
# A path that exists on one machine only, or the host of a package registry. Written apart, so as not to find itself.
ONE_MACHINE_ONLY = re.compile(
    r"(?<![\w.~$}])/(?:root|work|home|tmp|Users)/|file:/" r"/|\bpy" r"pi\.org|python" r"hosted\.org|registry\.n" r"pm"
)
LOCKS = ("packaging/requirements.lock", "packaging/requirements-test.lock")


def files_of_the_tree() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this tree is no git checkout, so nothing tells its files from what was made in it")
    return [path for path in sorted(set(listed.stdout.split("\0")) - {""}) if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def tree() -> Mapping[str, str]:
    """The texts of the tree by path; pictures and the like are left out."""
    texts = {}
    for path in files_of_the_tree():
        raw = (ROOT / path).read_bytes()
        if b"\0" not in raw:
            texts[path] = raw.decode("utf-8")
    return texts


@pytest.mark.parametrize("rule", shape.RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: shape.Rule, tree: Mapping[str, str]) -> None:
    assert rule(tree) == []


PROMISE = '"""Promise."""\n'
FAULTS: tuple[tuple[shape.Rule, Mapping[str, str]], ...] = (
    (shape.breaches_of_layers, {"agent/odd.py": PROMISE}),
    (
        shape.breaches_of_layers,
        {"sync/contract/events.py": "from sync.runtime.clock import x", "sync/runtime/clock.py": ""},
    ),
    (
        shape.breaches_of_layers,
        {"agent/store.py": "from agent import counter", "agent/counter.py": "", "agent/__init__.py": ""},
    ),
    (shape.breaches_of_the_one_rule, {"sync/pump.py": "import agent.codes"}),
    (shape.breaches_of_the_one_rule, {"sync/hub/web/routes.py": "from agent import codes"}),
    (shape.breaches_of_the_one_rule, {"agent/store.py": "from tests.support import clock"}),
    (
        shape.breaches_of_cycles,
        {
            "sync/runtime/a.py": "from .b import x",
            "sync/runtime/b.py": "import sync.runtime.c",
            "sync/runtime/c.py": "from sync.runtime import a",
        },
    ),
    (shape.breaches_of_import_place, {"agent/store.py": "def f() -> None:\n    import json"}),
    (shape.breaches_of_import_place, {"tests/x.py": "async def f() -> None:\n    from json import loads"}),
    (shape.breaches_of_length, {"sync/pump.py": "a = 1\n" * 401}),
    (shape.breaches_of_length, {"tests/x.py": "def f() -> None:\n" + "    g()\n" * 60}),
    (shape.breaches_of_broad_except, {"agent/store.py": "try:\n    f()\nexcept Exception:\n    g()"}),
    (shape.breaches_of_broad_except, {"agent/store.py": "try:\n    f()\nexcept (OSError, BaseException):\n    g()"}),
    (shape.breaches_of_broad_except, {"agent/store.py": "try:\n    f()\nexcept:\n    g()"}),
    (shape.breaches_of_broad_except, {"agent/store.py": "with contextlib.suppress(Exception):\n    g()"}),
    (
        shape.breaches_of_broad_except,
        {"sync/runtime/supervise.py": "try:\n    f()\nexcept Exception:\n    g()\n" * 2},
    ),
    (shape.breaches_of_bare_tasks, {"agent/root.py": "asyncio.create_task(f())"}),
    (shape.breaches_of_bare_tasks, {"sync/pump.py": "create_task(f())"}),
    (shape.breaches_of_bare_tasks, {"sync/pump.py": "loop.create_task(f())"}),
    (shape.breaches_of_bare_tasks, {"sync/pump.py": "asyncio.ensure_future(f())"}),
    (shape.breaches_of_types, {"agent/store.py": "def f(a) -> None: ..."}),
    (shape.breaches_of_types, {"agent/store.py": "def f(*, a: int): ..."}),
    (shape.breaches_of_types, {"tests/x.py": "async def f(*a, b: int) -> None: ..."}),
    (shape.breaches_of_docstrings, {"agent/store.py": "x = 1"}),
    (shape.breaches_of_docstrings, {"agent/store.py": PROMISE + "def f() -> None: ..."}),
    (shape.breaches_of_docstrings, {"agent/store.py": PROMISE + "class _A:\n    a = 1\nclass B:\n    b = 1"}),
    (
        shape.breaches_of_docstrings,
        {"agent/store.py": PROMISE + 'class B:\n    """B."""\n    async def f(self) -> None: ...'},
    ),
    (shape.breaches_of_driver_rooms, {"agent/store.py": "import sqlite3"}),
    (shape.breaches_of_driver_rooms, {"sync/hub/books/ledger.py": "from sqlcipher3 import dbapi2"}),
    (shape.breaches_of_driver_rooms, {"sync/hub/books/ledger.py": "from aiosqlite import Connection"}),
    (shape.breaches_of_purity, {"sync/contract/program.py": "import logging"}),
    (shape.breaches_of_purity, {"agent/advice.py": "async def f() -> None: ..."}),
    (shape.breaches_of_purity, {"agent/advice.py": "today = datetime.now(UTC)"}),
    (shape.breaches_of_sleep, {"tests/x.py": "time.sleep(1)"}),
    (shape.breaches_of_sleep, {"tests/x.py": "await asyncio.sleep(0.01)"}),
    (shape.breaches_of_sleep, {"tests/x.py": "from time import sleep\nsleep(1)"}),
)


@pytest.mark.parametrize(("rule", "planted"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_rule_finds_the_fault_it_is_there_for(rule: shape.Rule, planted: Mapping[str, str]) -> None:
    assert rule(planted) != []


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _ in FAULTS} == set(shape.RULES)


CLEAN: Mapping[str, str] = {
    "agent/__init__.py": "",
    "agent/root.py": PROMISE
    + "import asyncio\n"
    + "async def run(others: asyncio.TaskGroup) -> None:\n"
    + '    """Run."""\n'
    + "    others.create_task(f())\n"
    + "    async with asyncio.TaskGroup() as group:\n"
    + "        group.create_task(f())\n",
    "agent/web/live.py": PROMISE + "from sync.runtime import problems\ntry:\n    f()\nexcept OSError:\n    g()\n",
    "sync/runtime/problems.py": PROMISE + "try:\n    f()\nexcept Exception:\n    g()\n",
    "sync/runtime/__init__.py": "",
    "sync/runtime/http_server.py": PROMISE + "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
    "tests/x.py": "import asyncio\nasync def test_x() -> None:\n    await asyncio.sleep(0)\n    clock.sleep(5)\n",
}


@pytest.mark.parametrize("rule", shape.RULES, ids=lambda rule: rule.__name__)
def test_no_rule_complains_of_a_clean_tree(rule: shape.Rule) -> None:
    assert rule(CLEAN) == []


def test_the_top_level_is_exactly_as_stated() -> None:
    top = {path.split("/")[0] for path in files_of_the_tree()}

    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_every_folder_of_tests_is_known() -> None:
    folders = {path.split("/")[1] for path in files_of_the_tree() if re.match(r"tests/[^/]+/", path)}

    assert folders <= TEST_FOLDERS


def test_test_files_have_names_of_their_own() -> None:
    names = [path.rpartition("/")[2] for path in files_of_the_tree() if re.search(r"/test_\w+\.py$", path)]

    assert sorted(names) == sorted(set(names))


def test_nothing_names_a_path_of_one_machine_or_a_registry(tree: Mapping[str, str]) -> None:
    found = {
        f"{path}: {line.strip()[:80]}"
        for path, text in tree.items()
        for line in text.splitlines()
        if ONE_MACHINE_ONLY.search(line)
    }

    assert found == set()


@pytest.mark.parametrize(
    "planted", ["/" + "root/x", 'open("/' + 'work/checkout")', "/" + "tmp/a", "https://py" + "pi.org"]
)
def test_a_path_of_one_machine_would_be_found(planted: str) -> None:
    assert ONE_MACHINE_ONLY.search(planted)
    assert not ONE_MACHINE_ONLY.search("https://hub.example.com/home/page ../shared ~/work/x and/or/tmp/x")


def requirements_of(lock: str) -> list[str]:
    """Return the requirements of a lock file, each with its continued lines."""
    text = "\n".join(line for line in lock.splitlines() if not line.lstrip().startswith("#"))
    return [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_place(path: str) -> None:
    requirements = requirements_of((ROOT / path).read_text(encoding="utf-8"))

    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==[\w.]+( ; [^@]+)? +--hash=sha256:[0-9a-f]{64}", requirement), requirement
        assert not re.search(r"https?:|index|find-links|@", requirement), requirement


def test_the_test_lock_holds_all_of_the_run_time_lock() -> None:
    run_time, test = (requirements_of((ROOT / path).read_text(encoding="utf-8")) for path in LOCKS)

    assert {entry.split(" ")[0] for entry in run_time} <= {entry.split(" ")[0] for entry in test}


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = (project["project"]["dependencies"], project["dependency-groups"]["test"])

    for path, names in zip(LOCKS, wanted, strict=True):
        locked = {entry.split("==")[0] for entry in requirements_of((ROOT / path).read_text(encoding="utf-8"))}
        assert {re.split(r"[<>=!~\[ ]", name)[0] for name in names} <= locked


@pytest.mark.parametrize(
    "planted", ["aiohttp==3.14.5", "aiohttp>=3 --hash=sha256:" + "0" * 64, "aiohttp @ https://example.com/a.whl"]
)
def test_a_loose_requirement_would_be_found(planted: str) -> None:
    assert not re.match(r"[a-z0-9-]+==[\w.]+( ; [^@]+)? +--hash=sha256:[0-9a-f]{64}", planted)


def test_the_files_that_are_told_first_are_there() -> None:
    assert [name for name in LONG if not (ROOT / name).is_file()] == []
