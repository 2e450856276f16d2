#!/bin/sh
# The demo: one hub and two tills of a sample coffee shop on this machine. `--help` lists the options; `--check` runs the
# main job by itself. Never asks for root.
set -eu
program=demo.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/packaging/venv.sh"

make_venv_for "$root/packaging/requirements.lock"
if ! has_libzbar; then
    try_to_install libzbar0
    has_libzbar || echo "$program: libzbar is not here, so pyzbar rests and zxing-cpp reads the codes (both: apt install libzbar0)"
fi
exec "$root/.venv/bin/python" -P -m agent.demo "$@"
