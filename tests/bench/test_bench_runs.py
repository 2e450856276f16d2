import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.measures import MEASURES

ROOT = Path(__file__).resolve().parent.parent.parent
# What is measured over the line from tills to a hub. Speed is a ratio: each stands beside the bare thing.
OF_THE_LINE = {"drain", "backlog", "intake", "idle", "recover"}
# Run one after another, so that none of them is long where the machine is slow.
RUNS = [{"drain"}, {"backlog", "intake"}, {"idle", "recover"}, set(MEASURES) - OF_THE_LINE]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def test_every_measure_is_run_once() -> None:
    assert sorted(name for names in RUNS for name in names) == sorted(MEASURES)


@pytest.mark.parametrize("names", RUNS, ids=["drain", "backlog-intake", "idle-recover", "rest"])
def test_the_bench_runs_whole_and_gives_valid_json(work: Path, tmp_path: Path, names: set[str]) -> None:
    report_file = tmp_path / "report.json"
    only = [argument for name in sorted(names) for argument in ("--only", name)]

    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench", "--sizes", "300", "--rounds", "1"),
            *("--work", str(work), "--json", str(report_file), *only),
        ],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert {finding["name"].partition(".")[0] for finding in report["findings"]} == names
    for finding in report["findings"]:
        assert finding["ours"]["min"] <= finding["ours"]["median"] <= finding["ours"]["max"]
        assert finding["ours"]["median"] > 0
        assert finding["name"] in done.stdout
        assert finding["name"] in report["growth"]
        if finding["name"].partition(".")[0] in OF_THE_LINE:
            assert finding["raw_is"]
            assert finding["ratio"]["median"] > 0


def test_the_page_about_the_figures_names_every_measure() -> None:
    page = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")

    assert [name for name in MEASURES if f"`{name}`" not in page] == []
