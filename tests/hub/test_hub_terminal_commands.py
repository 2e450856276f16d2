"""What a person does with terminals at the hub's command line: invite by QR code, list and release a quarantine."""

import asyncio
import re
import stat
from pathlib import Path

import pytest

from agent.imaging.decoder import Decoder
from sync.hub.__main__ import main
from sync.hub.founding import database_file
from sync.hub_client import open_session
from sync.runtime.database import open_reader
from tests.support.hub_twins import copied
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.wire_till import enrolled, random_card

LOOPBACK = '[hub]\nstate = "hub"\nport = 8700\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(LOOPBACK, encoding="utf-8")
    return path


def call(config: Path, *arguments: object) -> int:
    return main([*map(str, arguments), "--config", str(config)])


def read_back(picture: Path) -> str:
    async def read(drawn: bytes) -> str:
        async with Decoder() as decoder:
            (code,) = (await decoder.read(drawn)).codes
            return code.text

    return asyncio.run(read(picture.read_bytes()))


@pytest.mark.parametrize(
    ("more", "url"),
    [([], "http://127.0.0.1:8700"), (["--url", "https://hub.example.com"], "https://hub.example.com")],
)
def test_an_invitation_is_drawn_with_the_hubs_address(
    config: Path, more: list[str], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = config.with_name("code.png")

    assert call(config, "terminals", "invite", "--store", "S-1", "--qr", picture, *more) == 0

    said = capsys.readouterr()
    assert read_back(picture) == f"loyalty-enrol:{said.out.strip()}@{url}"
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600
    assert "scan" in said.err


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        (LOOPBACK.replace("8700", "0"), [], "give its address"),
        (LOOPBACK, ["--url", "hub.example.com"], "the hub's address"),
        (LOOPBACK, ["--url", "http://hub.example.com"], "plain http"),
    ],
)
def test_an_address_that_no_till_can_call_is_refused_before_a_code_is_made(
    config: Path, settings: str, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(settings, encoding="utf-8")
    picture = config.with_name("code.png")

    assert call(config, "terminals", "invite", "--store", "S-1", "--qr", picture, *more) == 2

    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, picture.exists(), (config.parent / "hub").exists()) == ("", False, False)


def test_a_picture_into_a_missing_folder_is_refused_before_an_invitation_is_made(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = config.parent / "none"

    assert call(config, "terminals", "invite", "--store", "S-1", "--qr", missing / "code.png") == 1

    said = capsys.readouterr()
    assert f"{missing}: there is no such folder" in said.err
    assert (said.out, (config.parent / "hub").exists()) == ("", False)


def test_a_picture_that_cannot_be_written_leaves_no_invitation(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = config.parent / "code.png"
    taken.mkdir()

    assert call(config, "terminals", "invite", "--store", "S-1", "--qr", taken) == 1

    said = capsys.readouterr()
    assert f"{taken} cannot be written" in said.err
    assert ".tmp" not in said.err
    assert said.out == ""
    assert asyncio.run(_invitations(config.parent / "hub")) == 0


def test_a_terminal_in_quarantine_is_listed_and_released(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal_id = asyncio.run(_forked(config.parent / "hub"))

    assert call(config, "terminals", "list") == 0
    assert re.search(rf"{terminal_id} .* quarantined ", capsys.readouterr().out)
    assert call(config, "terminals", "release", terminal_id) == 0
    assert "1 event counted, 0 refused, 0 still held" in capsys.readouterr().out
    assert call(config, "terminals", "list") == 0
    assert re.search(rf"{terminal_id} .* enrolled ", capsys.readouterr().out)

    for name in (terminal_id, "nobody"):
        assert call(config, "terminals", "release", name) == 1
        assert f"{name} is not quarantined" in capsys.readouterr().err


async def _forked(state: Path) -> str:
    """Let two copies of a terminal send different events; return the terminal."""
    async with hub_in_process(state) as hub, open_session() as session:
        till = await enrolled(hub.url, await _code(hub), session)
        ours = till.stream()
        theirs = copied(ours, till)
        for stream in (ours, theirs):
            stream.sale(random_card())
            await stream.put()
        return till.enrolment.terminal_id


async def _code(hub: HubUnderTest) -> str:
    return await hub.invite("S-1")


async def _invitations(state: Path) -> int:
    async with open_reader(database_file(state)) as reader:
        return len(await reader.read(lambda connection: connection.execute("SELECT 1 FROM invitations").fetchall()))
