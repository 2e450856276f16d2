#!/bin/sh
# Makes the two lock files anew from pyproject.toml. Needs `uv`; further options go to it (for example --upgrade).
#
# One lock serves Python 3.11-3.13 on x86-64 and arm64: it lists the hashes of every file that a release has, and
# it names no index, so each machine fetches from where it always does and the hashes decide what is accepted.
# The test lock is held to the run-time lock, so that an environment made for the tests also serves the demo.
set -eu
cd "$(dirname "$0")/.."

if ! command -v uv >/dev/null 2>&1; then
    echo "lock.sh: uv is not on the path; install it with: python3 -m pip install uv" >&2
    exit 1
fi

# Only the public index may speak here: a folder of local wheels would bring hashes that nobody else has.
unset UV_FIND_LINKS UV_INDEX UV_DEFAULT_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL

make_lock() {
    lock=$1
    shift
    uv pip compile pyproject.toml --no-config --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "sh packaging/lock.sh" \
        --output-file "$lock" "$@"
}

make_lock packaging/requirements.lock "$@"
make_lock packaging/requirements-test.lock --group test --constraints packaging/requirements.lock "$@"
