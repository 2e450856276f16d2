# Read by demo.sh and test.sh: makes .venv and keeps it as its lock file says. Sets nothing up outside the checkout.
# shellcheck shell=sh
# The reader sets $program (its name in messages) and $root (the checkout, absolute) first.
: "${program:?}" "${root:?}"

# A Python environment that the caller stands in must not leak into ours.
unset PYTHONHOME PYTHONPATH
# A shell that was started without a path has its own but keeps it to itself; Python needs it to find itself.
export PATH

stop() {
    echo "$program: $1" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

can_make_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# The distribution's own Python comes first, unless $PYTHON names another: an environment or a version manager that the
# caller stands in may be gone tomorrow, and .venv with it. It is the faster one as a rule, too (an eighth, measured).
find_python() {
    without_venv=
    for python in "${PYTHON:-/usr/bin/python3}" python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$python"; then
            if can_make_venv "$python"; then
                return
            fi
            : "${without_venv:=$python}"
        fi
    done
    [ -z "$without_venv" ] || stop "$without_venv has no venv module; install it with: apt install python3-venv"
    stop "needs Python 3.11 or newer, and found none on the path"
}

# make_venv_for LOCK: a second call under the same lock costs nothing, because the lock is kept beside what it made.
# The copy is written last, so a run that was cut off is simply done again.
make_venv_for() {
    installed=$root/.venv/${1##*/}
    if cmp -s "$1" "$installed" && is_new_enough "$root/.venv/bin/python"; then
        return
    fi
    if ! is_new_enough "$root/.venv/bin/python"; then
        find_python
        echo "$program: making .venv with $("$python" --version)"
        "$python" -m venv --clear "$root/.venv" || stop "could not make $root/.venv; the reason stands above"
    fi
    echo "$program: installing what ${1##*/} lists (once; a minute or so)"
    "$root/.venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --progress-bar off \
        --require-hashes --only-binary :all: -r "$1" ||
        stop "could not install the dependencies; the reason stands above"
    put_checkout_on_path
    cp "$1" "$installed"
}

# The checkout itself needs no building, so nothing without a hash is ever fetched: a line relative to site-packages
# shows Python the way (and stays true when the folder moves or its name has odd letters).
put_checkout_on_path() {
    for packages in "$root"/.venv/lib/python3*/site-packages; do
        echo "../../../.." >"$packages/loyalty_agent_checkout.pth"
    done
    make_command loyalty-agent agent
    make_command loyalty-hub sync.hub
}

make_command() {
    rm -f "$root/.venv/bin/$1"
    cat >"$root/.venv/bin/$1" <<END
#!/bin/sh
exec "\$(dirname "\$(readlink -f "\$0")")/python" -P -m $2 "\$@"
END
    chmod 755 "$root/.venv/bin/$1"
}

has_libzbar() {
    "$root/.venv/bin/python" -c 'import ctypes.util, sys; sys.exit(ctypes.util.find_library("zbar") is None)'
}

has_chromium() {
    [ -x /usr/bin/chromium-headless-shell ] || [ -x /usr/bin/chromium ]
}

# try_to_install PACKAGE: only as root, quietly and not for long, because a machine without a network must still start.
try_to_install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        return
    fi
    echo "$program: installing $1"
    apt_get install -y --no-install-recommends "$1" ||
        { apt_get update && apt_get install -y --no-install-recommends "$1"; } ||
        true
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 "$@" >/dev/null 2>&1
}
