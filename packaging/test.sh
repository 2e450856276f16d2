#!/bin/sh
# Installs what the tests need and runs all checks; stops at the first that fails. Options are pytest's: who names some
# looks at a part, and the large simulation is left out.
set -eu
program=test.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
. "$root/packaging/venv.sh"

make_venv_for "$root/packaging/requirements-test.lock"
if ! has_libzbar; then
    try_to_install libzbar0
    has_libzbar || echo "$program: libzbar is not here; tests that need pyzbar are skipped (as root: apt install libzbar0)"
fi
if ! has_chromium; then
    try_to_install chromium-headless-shell
    has_chromium || try_to_install chromium
    has_chromium || echo "$program: Chromium is not here; tests of the page are skipped (as root: apt install chromium)"
fi

echo "$program: ruff check"
.venv/bin/python -m ruff check .
echo "$program: ruff format"
.venv/bin/python -m ruff format --check .
echo "$program: mypy"
.venv/bin/python -m mypy
if [ $# -eq 0 ]; then
    echo "$program: 2,000 shops under a virtual clock and bad luck"
    .venv/bin/python -m tests.chaos.simulate --seeds 2000 --jobs 2
fi
echo "$program: pytest, three files at a time"
# More than two cores would have it: many tests wait for a browser or a till. The long files begin (tests/conftest.py).
exec .venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder "$@"
