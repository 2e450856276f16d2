import subprocess
import sys

import pytest

_AS_MAIN = """
import contextlib, gc, runpy, sys
module, sys.argv[1:] = sys.argv[1], ["--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module(module, run_name="__main__")
searched = []
gc.callbacks.append(lambda phase, info: searched.append(info["generation"]) if phase == "start" else None)
for _ in range(20):
    rows = [[number] for number in range(10_000)]
print(searched.count(0), searched.count(2))
"""


@pytest.mark.parametrize("program", ["agent", "sync.hub"])
def test_a_program_that_reads_rows_seldom_searches_for_objects_that_hold_each_other(program: str) -> None:
    """A snapshot took a third longer, because the same objects were looked through again and again."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_MAIN, program], capture_output=True, check=True, text=True, timeout=60
    )

    young, whole = map(int, done.stdout.splitlines()[-1].split())
    assert young <= 20
    assert whole == 0
