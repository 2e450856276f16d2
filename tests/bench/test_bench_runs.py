import json
import subprocess
import sys
from pathlib import Path

from tests.bench.measures import MEASURES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_bench_runs_whole_and_gives_valid_json(tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"

    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--sizes", "300", "--rounds", "1", "--json", str(report_file)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert {finding["name"].partition(".")[0] for finding in report["findings"]} == set(MEASURES)
    for finding in report["findings"]:
        assert finding["ours"]["min"] <= finding["ours"]["median"] <= finding["ours"]["max"]
        assert finding["ours"]["median"] > 0
        assert finding["name"] in done.stdout
        assert finding["name"] in report["growth"]
