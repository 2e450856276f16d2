import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
LOCK = "requirements.lock"
DISTRIBUTION = Path("/usr/bin/python3")

# A python3 that says what it was asked for, and answers as each test wants.
FAKE_PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
*version_info*) exit {new_enough} ;;
*ensurepip*) exit {has_venv} ;;
*--version*) echo "Python 3.11.2" ;;
*"-m venv"*) mkdir -p "$4/bin" "$4/lib/python3.11/site-packages"; cp "$0" "$4/bin/python" ;;
*"-m pip"*) exit {pip} ;;
esac
"""


def write_python(path: Path, *, new_enough: int = 0, has_venv: int = 0, pip: int = 0) -> None:
    path.write_text(FAKE_PYTHON.format(new_enough=new_enough, has_venv=has_venv, pip=pip), encoding="utf-8")
    path.chmod(0o755)


class Machine:
    """A checkout under an odd path, on a machine whose every Python is ours."""

    def __init__(self, folder: Path, *, new_enough: int = 0, has_venv: int = 0, pip: int = 0) -> None:
        self.root = folder / "été du  café"
        shutil.copytree(PACKAGING, self.root / "packaging")
        self._bin = folder / "bin"
        self._bin.mkdir()
        self._calls = folder / "calls"
        self.named = str(self._bin / "python3")
        for name in ("python3", "python3.11", "python3.12", "python3.13"):
            write_python(self._bin / name, new_enough=new_enough, has_venv=has_venv, pip=pip)

    def start(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("sh", str(self.root / "packaging/demo.sh"), *options, PYTHON=self.named)

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        self._calls.write_text("")
        return subprocess.run(
            command,
            env={"PATH": f"{self._bin}:/usr/bin:/bin", "CALLS": str(self._calls), **settings},
            cwd="/",
            capture_output=True,
            check=False,
            text=True,
        )

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


def test_no_new_enough_python_ends_in_one_clear_line(tmp_path: Path) -> None:
    ended = Machine(tmp_path, new_enough=1).start()

    assert ended.returncode == 1
    assert ended.stderr == "demo.sh: needs Python 3.11 or newer, and found none on the path\n"
    assert ended.stdout == ""


def test_a_missing_venv_module_ends_in_one_clear_line(tmp_path: Path) -> None:
    machine = Machine(tmp_path, has_venv=1)

    ended = machine.start()

    assert ended.returncode == 1
    assert ended.stderr == f"demo.sh: {machine.named} has no venv module; install it with: apt install python3-venv\n"
    assert ended.stdout == ""


def test_without_a_name_the_distributions_python_is_taken_and_not_the_first_on_the_path(tmp_path: Path) -> None:
    can = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    if not DISTRIBUTION.exists() or subprocess.run([DISTRIBUTION, "-c", can], check=False).returncode:
        pytest.skip("this machine's distribution has no Python that could make an environment for us")
    machine = Machine(tmp_path)
    script = f'program=test; root=/; . "{machine.root}/packaging/venv.sh"; find_python; echo "$python"'

    taken = machine.run("sh", "-c", script)

    assert (taken.stdout, taken.stderr) == (f"{DISTRIBUTION}\n", "")


def test_a_python_that_cannot_make_an_environment_leaves_it_to_the_next(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.named = str(tmp_path / "bare")
    write_python(Path(machine.named), has_venv=1)

    ended = machine.start("--check")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"-m venv --clear {machine.root}/.venv" in machine.calls()


def test_a_first_start_installs_by_hash_and_hands_the_options_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    ended = machine.start("--state", "a b")

    assert (ended.returncode, ended.stderr) == (0, "")
    installed = [call for call in machine.calls() if "-m pip" in call]
    assert len(installed) == 1
    assert "--require-hashes --only-binary :all:" in installed[0]
    assert machine.calls()[-1] == "-P -m agent.demo --state a b"


def test_a_second_start_installs_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()

    ended = machine.start("--check")

    assert (ended.returncode, ended.stdout) == (0, "")
    assert not [call for call in machine.calls() if "pip" in call.split()]
    assert machine.calls()[-1] == "-P -m agent.demo --check"


def test_a_changed_lock_is_installed_into_the_same_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()
    with (machine.root / "packaging" / LOCK).open("a") as lock:
        lock.write("# newer\n")

    machine.start()

    assert len([call for call in machine.calls() if "-m pip" in call]) == 1
    assert not [call for call in machine.calls() if "-m venv" in call]


def test_a_failed_installation_is_done_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, pip=1)

    first = machine.start()
    machine.start()

    assert first.returncode == 1
    assert first.stderr == "demo.sh: could not install the dependencies; the reason stands above\n"
    assert len([call for call in machine.calls() if "-m pip" in call]) == 1


@pytest.mark.parametrize("command", ["loyalty-agent", "loyalty-hub"])
def test_the_commands_stand_in_the_environment(tmp_path: Path, command: str) -> None:
    machine = Machine(tmp_path)
    machine.start()

    ended = subprocess.run(
        [str(machine.root / ".venv/bin" / command), "run", "a b"],
        env={"CALLS": str(tmp_path / "calls"), "PATH": "/usr/bin:/bin"},
        check=False,
    )

    assert ended.returncode == 0
    assert machine.calls()[-1] == f"-P -m {'agent' if command == 'loyalty-agent' else 'sync.hub'} run a b"


def test_a_link_to_a_command_finds_the_environment_it_leads_to(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()
    link = tmp_path / "loyalty-agent"
    link.symlink_to(machine.root / ".venv/bin/loyalty-agent")

    ended = subprocess.run(
        [str(link), "run"], env={"CALLS": str(tmp_path / "calls"), "PATH": "/usr/bin:/bin"}, check=False
    )

    assert ended.returncode == 0
    assert machine.calls()[-1] == "-P -m agent run"


def test_the_checkout_is_on_the_path_by_a_relative_line(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.start()

    packages = machine.root / ".venv/lib/python3.11/site-packages"
    line = (packages / "loyalty_agent_checkout.pth").read_text().strip()

    assert (packages / line).resolve() == machine.root.resolve()
