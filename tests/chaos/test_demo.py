"""The demo as a person meets it: its own process, its own hub and tills, a keyboard, Ctrl-C."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from agent.config import Settings
from agent.demo.__main__ import main
from agent.demo.check import Check
from agent.demo.ports import free_ports
from agent.demo.waiting import NotSeen
from agent.till_client import till_client
from sync.runtime.settings import load

ROOT = Path(__file__).resolve().parents[2]
# A till that lost its hub asks again within a minute.
LINE_S_MAX = 65.0


def test_the_check_does_the_main_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent.demo", "--check"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=110,
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    steps = [line for line in done.stdout.splitlines() if re.match(r" *\d+/11 ", line)]
    assert [step.split("/")[0].strip() for step in steps] == [str(number) for number in range(1, 12)]
    assert "✗" not in done.stdout
    assert "till 1: 1013 points (1013 posted, 0 pending)" in done.stdout
    assert "till 2: 1013 points (1013 posted, 0 pending)" in done.stdout
    assert "each of the 4 sales and 2 redemptions stands in the ledger once" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Good: ")
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_says_what_it_expected_and_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def see_another_balance(_: Check) -> None:
        raise NotSeen("till 2", "1288 points", "1289 points")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Check, "run", see_another_balance)

    assert main(["--check"]) == 1

    lines = capsys.readouterr().out.splitlines()
    (kept,) = tmp_path.iterdir()
    assert lines[-2] == "      ✗ till 2: expected 1288 points, saw 1289 points"
    assert lines[-1].startswith("Not good")
    assert lines[-1].endswith(f"kept in {kept}")


@pytest.mark.parametrize("above", [0, 10, 20])
def test_a_taken_port_ends_in_one_line_that_names_it_and_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], above: int
) -> None:
    base = free_ports().base
    with socket.create_server(("127.0.0.1", base + above)):
        code = main(["--state", str(tmp_path), "--port-base", str(base)])

    said = capsys.readouterr().err
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(f"demo: port {base + above} is taken by another program; ")
    assert "--port-base" in said


def test_a_folder_with_other_things_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.odt").write_text("years of work", encoding="utf-8")
    mode = tmp_path.stat().st_mode

    assert main(["--state", str(tmp_path), "--port-base", str(free_ports().base)]) == 1

    assert capsys.readouterr().err.startswith(f"demo: {tmp_path} holds other things")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.odt"]
    assert tmp_path.stat().st_mode == mode


@pytest.mark.parametrize("base", ["80", "65536", "-1", "8700.5", "eight"])
def test_a_base_without_room_for_all_ports_is_asked_for_wrongly(base: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"--port-base={base}"])

    assert ended.value.code == 2


@dataclass
class Played:
    """A running demo, its keyboard, and all that it has printed."""

    process: Process
    keyboard: int
    text: str = ""
    seen: int = 0
    children: list[psutil.Process] = field(default_factory=list)

    async def until(self, words: str) -> str:
        """Read on until a line holds these words; return the line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LINE_S_MAX):
            while True:
                line = (await self.process.stdout.readline()).decode()
                assert line, f"it ended without a word of {words!r}: {self.text}"
                self.text += line
                if words in line:
                    return line

    def type(self, key: str) -> None:
        os.write(self.keyboard, f"{key}\n".encode())

    def program(self, words: str) -> psutil.Process:
        """Return the child whose command line holds these words."""
        (found,) = [child for child in self._children() if words in " ".join(child.cmdline())]
        return found

    async def ctrl_c(self) -> int:
        """Do as the terminal does, tell nobody else, and return the exit code."""
        self.children = self._children()
        os.killpg(self.process.pid, signal.SIGINT)
        async with asyncio.timeout(LINE_S_MAX):
            _, said = await self.process.communicate()
        assert said == b""
        return await self.process.wait()

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextlib.asynccontextmanager
async def playing(state: Path, base: int) -> AsyncIterator[Played]:
    """Run a demo with a keyboard; whatever of it is left at the end is killed."""
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "agent.demo", "--state", str(state), "--port-base", str(base)),
        cwd=ROOT,
        stdin=its,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    os.close(its)
    try:
        yield Played(process, ours)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
        os.close(ours)


async def shown(state: Path, till: int) -> dict[str, object]:
    async with till_client(load(state / f"till-{till}" / "config.toml", Settings)) as client:
        return await client.call("GET", "/api/v1/screen")


async def test_the_demo_is_played_by_keys_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    state = tmp_path / "été du café"
    async with playing(state, free_ports().base) as demo:
        assert (await demo.until("DEMO")).startswith("DEMO")
        links = [(await demo.until(f"  till {number}   ")).split()[-1] for number in (1, 2)]
        assert len({link.partition("#")[2] for link in links}) == 2
        await demo.until("Ctrl-C")
        assert len(list((state / "cards").glob("*.png"))) == 9
        assert [(await shown(state, till))["demo"] for till in (1, 2)] == [True, True]

        demo.type("h")
        await demo.until("the line is down")
        demo.process.send_signal(signal.SIGUSR1)  # the same key, for whoever has no keyboard
        await demo.until("the hub runs")
        await demo.until("both tills have the hub again")
        demo.type("o")
        assert (await demo.until("  till 1   ")).split()[-1] not in links

        demo.program("till-2").kill()
        said = await demo.until("was ended by SIGKILL")
        assert said.startswith(f"  till 2 was ended by SIGKILL; the end of {state / 'till-2.log'}: ")
        await demo.until("  till 2 is back   http://127.0.0.1:")
        demo.program("hub").kill()  # a hub that has crashed waits for a person, and says so
        await demo.until("the hub was ended by SIGKILL")
        await demo.until("the line is down; scan and sell on, then start it again")
        demo.type("h")
        await demo.until("the hub runs")

        assert await demo.ctrl_c() == 0
        gone, alive = psutil.wait_procs(demo.children, timeout=5)
        assert (len(gone), alive) == (3, [])
