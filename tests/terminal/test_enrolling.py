"""`loyalty-agent enrol`, at a real hub: by a typed code, a scanned text and a picture; and everything that is none."""

import asyncio
import io
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import keys
from agent.__main__ import _parser
from agent.codes import make_card_number
from agent.commands import CommandError
from agent.imaging.drawing import draw_card
from agent.imaging.errors import ImagingError
from sync.contract.invitations import Invitation, write_invitation
from sync.hub.terminals.invitation_qr import draw_qr
from tests.support.hubs import HubUnderTest, hub_in_process


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubUnderTest]:
    async with hub_in_process(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def config(tmp_path: Path, hub: HubUnderTest) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[till]\nstate = "state"\n[hub]\nurl = "{hub.url}"\n', encoding="utf-8")
    return path


async def enrol(config: Path, *arguments: object) -> int:
    asked = _parser().parse_args(["enrol", *map(str, arguments), "--config", str(config)])
    return int(await asked.run(asked))


async def invitation(hub: HubUnderTest, url: str | None = None) -> str:
    return write_invitation(Invitation(await hub.invite(), url or hub.url))


def enrolled(config: Path) -> keys.Enrolment:
    return keys.read_enrolment(config.parent / "state" / "keys" / "hub.json")


async def test_a_typed_code_enrols_with_a_key_that_the_hub_knows(hub: HubUnderTest, config: Path) -> None:
    assert await enrol(config, await hub.invite()) == 0

    file = config.parent / "state" / "keys" / "terminal.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known = await hub.inside.reader.read(
        lambda connection: connection.execute("SELECT terminal_id, public_key FROM terminals").fetchall()
    )
    assert known == [(enrolled(config).answer.terminal_id, keys.terminal_key(file).public)]


async def test_a_till_that_is_enrolled_again_keeps_its_name_and_its_key(hub: HubUnderTest, config: Path) -> None:
    await enrol(config, await hub.invite())
    was, key = enrolled(config), keys.terminal_key(config.parent / "state" / "keys" / "terminal.key")

    assert await enrol(config, await hub.invite()) == 0

    assert enrolled(config).answer.terminal_id == was.answer.terminal_id
    assert keys.terminal_key(config.parent / "state" / "keys" / "terminal.key").public == key.public


async def test_the_text_of_the_qr_code_enrols(hub: HubUnderTest, config: Path) -> None:
    assert await enrol(config, await invitation(hub, f"{hub.url}/")) == 0


async def test_ctrl_c_ends_the_wait_for_a_code(config: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "enrol", "--config", str(config)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,  # nobody types
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"type or scan")
    process.send_signal(signal.SIGINT)
    assert await process.stderr.read() == b"loyalty-agent: no code was given; nothing was changed\n"
    assert await process.wait() == 1


async def test_a_scanner_types_it_where_it_is_asked_for(
    hub: HubUnderTest, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{await invitation(hub)}\r\nmore"))

    assert await enrol(config) == 0

    assert "type or scan the enrolment code:" in capsys.readouterr().err


async def test_a_picture_of_the_qr_code_enrols(hub: HubUnderTest, config: Path) -> None:
    picture = config.with_name("code.png")
    picture.write_bytes(draw_qr(await invitation(hub)))

    assert await enrol(config, "--image", picture) == 0


async def test_a_code_of_another_hub_changes_nothing(hub: HubUnderTest, config: Path) -> None:
    for url in ("https://hub.example.com", "http://evil.example.com", "nonsense", "https://user@hub.example.com"):
        text = await invitation(hub, url)
        with pytest.raises(CommandError, match=r"is of the hub at https://hub\.example\.com|no enrolment code"):
            await enrol(config, text)
    assert not (config.parent / "state").exists()
    assert await enrol(config, text.partition("@")[0].removeprefix("loyalty-enrol:")) == 0


async def test_a_code_serves_once(hub: HubUnderTest, config: Path) -> None:
    text = await invitation(hub)
    await enrol(config, text)

    with pytest.raises(CommandError, match="wrong, used, too old or was tried too often"):
        await enrol(config, text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "WIFI:S:shop;P:secret;;", "https://example.com/menu", "loyalty-enrol:", "loyalty-enrol:ABC@", "x@y"],
)
async def test_a_text_that_is_no_code_is_never_sent(config: Path, text: str) -> None:
    with pytest.raises(CommandError, match="no enrolment code"):
        await enrol(config, text)


async def test_a_picture_of_something_else_is_said_to_be_none(config: Path) -> None:
    picture = config.with_name("picture.png")
    picture.write_bytes(draw_card(make_card_number(1)))
    with pytest.raises(CommandError, match="holds no enrolment code"):
        await enrol(config, "--image", picture)
    picture.write_bytes(draw_qr("https://example.com/menu"))
    with pytest.raises(CommandError, match="holds no enrolment code"):
        await enrol(config, "--image", picture)
    picture.write_bytes(b"no picture")
    with pytest.raises(ImagingError):
        await enrol(config, "--image", picture)
    with pytest.raises(OSError, match=r"none\.png"):
        await enrol(config, "--image", config.with_name("none.png"))


@pytest.mark.parametrize("arguments", [["CODE-CODE-CODE", "--image", "x.png"], ["one", "two"]])
def test_a_code_and_a_picture_are_one_too_many(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        _parser().parse_args(["enrol", *arguments])

    assert raised.value.code == 2
    assert capsys.readouterr().err


def test_a_damaged_key_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "terminal.key"
    made = keys.terminal_key(file)
    assert keys.terminal_key(file).public == made.public

    for text in ("", "zz", "00" * 31):
        file.write_text(text, encoding="ascii")
        with pytest.raises(keys.KeyFileError, match="holds no signing key"):
            keys.terminal_key(file)
