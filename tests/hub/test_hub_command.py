import asyncio
import json
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from sync.hub.__main__ import main
from sync.hub.people.columns import COLUMNS
from sync.hub_client import enrol
from tests.support.hubs import hub_in_process
from tests.support.wire_till import enrolling

CUSTOMERS = "customer_id,given_name,language,card,points\nC-1,Zoé,fr,9990000000012348,120\nC-2,Ann,en,,\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text('[hub]\nstate = "hub"\nport = 0\n', encoding="utf-8")
    return path


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    path = tmp_path / "customers.csv"
    path.write_text(CUSTOMERS, encoding="utf-8")
    return path


def call(config: Path, *arguments: str | Path) -> int:
    """Run one command in this process and return its exit code."""
    return main([*(str(argument) for argument in arguments), "--config", str(config)])


def test_good_settings_are_said_to_be_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(config, "config", "check") == 0
    assert "good; program in CAD with 3 rewards" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hub]\nprot = 1\n", r"hub.toml:2: hub.prot: unknown key; did you mean \"hub.port\"?"),
        ('[hub]\nhost = "0.0.0.0"\n', "plain http would show customers to the network"),
        ("[hub\n", "is not valid TOML"),
        ('[program]\nfile = "none.json"\n', "the program cannot be read"),
        ('[hub]\ntls_certificate = "a.pem"\ntls_key = "a.pem"\n', "are no PEM certificate and its key"),
    ],
)
@pytest.mark.parametrize("command", [("config", "check"), ("run",)])
def test_wrong_settings_end_in_a_clear_line_before_any_data_is_touched(
    config: Path, text: str, words: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(text, encoding="utf-8")

    assert call(config, *command) == 2

    error = capsys.readouterr().err
    assert words.replace("\\", "") in error
    assert "Traceback" not in error
    assert list(config.parent.iterdir()) == [config]


def test_a_config_file_that_is_not_there_is_told_with_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "no.toml", "run") == 2
    assert "copy packaging/hub.example.toml there" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["import"], ["terminals", "invite"], ["run", "--port", "1"]])
def test_a_wrong_call_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


def test_an_import_says_what_it_did(config: Path, customers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(config, "import", customers) == 0
    assert capsys.readouterr().out == "2 rows: 2 new, 0 changed, 0 unchanged, 0 gone, 0 bad\n"

    assert call(config, "import", customers) == 0
    assert capsys.readouterr().out == "2 rows: 0 new, 0 changed, 2 unchanged, 0 gone, 0 bad\n"


def test_bad_rows_are_told_by_line_and_field_and_end_with_1(
    config: Path, customers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    customers.write_text(CUSTOMERS + "C-3,Bob,klingon,12,\n", encoding="utf-8")

    assert call(config, "import", customers) == 1

    output = capsys.readouterr()
    assert f"{customers}:4: language: " in output.err
    assert f"{customers}:4: card: is no card number" in output.err
    assert "klingon" not in output.err
    assert "2 new" in output.out


def test_a_wrong_file_of_many_rows_does_not_flood_the_screen(
    config: Path, customers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    customers.write_text(CUSTOMERS + "x\n" * 1_200, encoding="utf-8")

    assert call(config, "import", customers) == 1

    assert "and 200 more lines like these" in capsys.readouterr().err


def test_an_export_goes_to_a_private_file_or_to_stdout(
    config: Path, customers: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call(config, "import", customers)
    capsys.readouterr()

    assert call(config, "export", "-") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["customer_id"], row["points"]) for row in rows] == [("C-1", 120), ("C-2", 0)]

    out = tmp_path / "out.csv"
    assert call(config, "export", out) == 0
    assert out.read_text(encoding="utf-8").startswith("customer_id,given_name,")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert call(config, "import", out) == 0


def test_the_help_of_import_lists_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])

    text = capsys.readouterr().out
    assert all(re.search(rf"^  {column.name} ", text, re.MULTILINE) for column in COLUMNS)


def test_a_file_that_is_not_there_ends_with_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(config, "import", "nowhere.csv") == 1
    assert "nowhere.csv: No such file" in capsys.readouterr().err


def test_terminals_nobody_has_are_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("revoke", "rotate"):
        assert call(config, "terminals", command, "nobody") == 1
        assert "nobody: no such terminal" in capsys.readouterr().err


def test_a_database_of_another_program_is_not_touched(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = config.parent / "hub"
    state.mkdir()
    (state / "hub.db").write_bytes(b"something else entirely, and long enough" * 100)

    assert call(config, "run") == 1

    assert "Nothing was changed" in capsys.readouterr().err


async def test_a_second_hub_on_the_same_state_is_refused_in_one_line(tmp_path: Path, config: Path) -> None:
    async with hub_in_process(tmp_path / "hub"):
        second = await asyncio.to_thread(run_to_end, config)

    assert second.returncode == 1
    assert re.fullmatch(r"loyalty-hub: .* is in use by process \d+; .*\n", second.stderr)


def test_a_taken_port_is_told_in_one_line(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f'[hub]\nstate = "hub"\nport = {port}\n', encoding="utf-8")
        ended = run_to_end(config)

    assert ended.returncode == 1
    assert re.fullmatch(rf"loyalty-hub: port {port} on 127\.0\.0\.1 is taken by another program; .*\n", ended.stderr)


def run_to_end(config: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(config, "run"), capture_output=True, check=False, text=True, timeout=60)


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "sync.hub", *arguments, "--config", str(config)]


class Process:
    """A hub process that said that it is ready."""

    def __init__(self, config: Path) -> None:
        self.popen = subprocess.Popen(command(config, "run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        found = re.fullmatch(r"loyalty-hub is ready: (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        self.url = found[1]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.popen.send_signal(number)
        _, error = self.popen.communicate(timeout=30)
        return self.popen.returncode, error


def test_an_export_that_fails_leaves_no_customers_behind(
    config: Path, customers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(config, "import", customers) == 0
    out = tmp_path / "out"
    (out / "taken.csv").mkdir(parents=True)

    assert call(config, "export", out / "taken.csv") == 1

    assert "taken.csv" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["taken.csv"]


async def test_a_hub_ends_cleanly_when_told_to_and_a_killed_one_starts_again(config: Path) -> None:
    first = await asyncio.to_thread(Process, config)
    try:
        invited = await asyncio.to_thread(
            subprocess.run,
            command(config, "terminals", "invite", "--store", "store-1", "--name", "Front"),
            capture_output=True,
            check=True,
            text=True,
        )
        code = invited.stdout.strip()
        assert re.fullmatch(r"([A-Z]{4}-){3}[A-Z]{4}", code)
        terminal = await enrol(first.url, enrolling(code))
    finally:
        killed, _ = await asyncio.to_thread(first.end, signal.SIGKILL)
    assert killed == -signal.SIGKILL

    second = await asyncio.to_thread(Process, config)
    try:
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {terminal.credential}"}
            async with session.post(f"{second.url}/v1/credentials", headers=headers) as response:
                assert response.status == 201
    finally:
        code_of_end, log = await asyncio.to_thread(second.end, signal.SIGTERM)
    assert code_of_end == 0
    assert terminal.credential not in log


def test_terminals_are_listed_revoked_and_asked_to_rotate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def enrolled() -> str:
        async with hub_in_process(config.parent / "hub") as hub:
            answer = await enrol(hub.url, enrolling(await hub.inside.invite("S-7", "Bar")))
            return answer.terminal_id

    terminal_id = asyncio.run(enrolled())
    assert call(config, "terminals", "list") == 0
    assert re.search(rf"{terminal_id} +S-7 +Bar +enrolled +never", capsys.readouterr().out)

    assert call(config, "terminals", "rotate", terminal_id) == 0
    assert call(config, "terminals", "revoke", terminal_id) == 0
    assert call(config, "terminals", "revoke", terminal_id) == 0
    call(config, "terminals", "list")
    assert re.search(rf"{terminal_id} +S-7 +Bar +revoked", capsys.readouterr().out)


def test_what_the_hub_writes_only_its_user_may_read(config: Path, customers: Path) -> None:
    call(config, "import", customers)

    for path in [config.parent / "hub", *(config.parent / "hub").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO) == 0, path


def test_the_program_names_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])

    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("loyalty-hub ")
