import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "scripts"
]
AS_MODULE = "import runpy; runpy.run_module('{}', run_name='__main__')"
AS_SCRIPT = "from {} import {}; {}()"
_WATCHED = """
import contextlib, gc, sys
sys.argv[1:] = ["--help"]
with contextlib.suppress(SystemExit):
    exec(WAY)
searched = []
gc.callbacks.append(lambda phase, info: searched.append(info["generation"]) if phase == "start" else None)
for _ in range(20):
    rows = [[number] for number in range(10_000)]
print(searched.count(0), searched.count(2))
"""


def ways_in() -> list[str]:
    """Return how each program is started: as a module, and by the script that an installation makes."""
    modules = [place.partition(":")[0] for place in SCRIPTS.values()]
    scripts = [place.split(":") for place in SCRIPTS.values()]
    return [AS_MODULE.format(name.removesuffix(".__main__")) for name in modules] + [
        AS_SCRIPT.format(module, function, function) for module, function in scripts
    ]


@pytest.mark.parametrize("way", ways_in())
def test_a_program_that_reads_rows_seldom_searches_for_objects_that_hold_each_other(way: str) -> None:
    """A snapshot took a third longer, because the same objects were looked through again and again."""
    done = subprocess.run(
        [sys.executable, "-c", f"WAY = {way!r}\n{_WATCHED}"], capture_output=True, check=True, text=True, timeout=60
    )

    young, whole = map(int, done.stdout.splitlines()[-1].split())
    assert young <= 20
    assert whole == 0
