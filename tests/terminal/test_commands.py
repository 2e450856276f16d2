"""The command line as its users meet it: exit codes, and one clear line per error."""

import grp
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.codes import make_card_number
from tests.support.tills import NO_HUB, free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(f'[hub]\nurl = "{NO_HUB}"\n[api]\nport = {free_port()}\n', encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_good_settings_are_said_to_be_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hub]\nurll = 'https://hub.example.com'\n", "did you mean"),
        ("[hub]\nurl = 5\n", "hub.url"),
        ("[hub\n", "TOML"),
    ],
)
def test_settings_that_cannot_be_used_end_with_2_and_a_line_each(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    config.write_text(text, encoding="utf-8")
    assert main(["config", "check", "--config", str(config)]) == 2
    assert main(["run", "--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_missing_settings_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_a_till_that_is_not_enrolled_says_how(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", str(config)]) == 1
    assert "loyalty-agent enrol" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["short", "x" * 12])
def test_enrolment_without_a_hub_or_a_code_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    assert main(["enrol", code, "--config", str(config)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("loyalty-agent: ")
    assert err.count("\n") == 1


def test_a_till_whose_name_is_lost_is_not_enrolled_over_its_events(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "till.db").write_bytes(b"events")

    assert main(["enrol", "x" * 12, "--config", str(config)]) == 1

    assert "hub.json is missing or damaged" in capsys.readouterr().err


def test_an_enrolment_without_a_hub_names_the_address(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrol", "x" * 12, "--config", str(config)]) == 1

    err = capsys.readouterr().err
    assert NO_HUB in err
    assert "hub.url" in err


def test_a_drawn_card_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = make_card_number(42)
    picture = tmp_path / "card.png"
    assert main(["card", "draw", number, "-o", str(picture)]) == 0
    assert main(["scan", "--json", str(picture)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["file"], line["card"], line["kind"]) == (str(picture), number, "card")
    assert {code["text"] for code in line["codes"]} == {number}
    assert line["ms"] > 0


def test_a_number_that_is_not_ours_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "draw", "4111111111111111", "-o", str(tmp_path / "card.png")]) == 1
    assert "card number" in capsys.readouterr().err
    assert not (tmp_path / "card.png").exists()


def test_pictures_that_cannot_be_read_are_named_and_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rubbish.png").write_bytes(b"no picture")
    files = [str(tmp_path / name) for name in ("rubbish.png", "missing.png")]
    assert main(["scan", "--json", *files]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["error"]["code"] for line in lines] == ["image_unreadable", "file_unreadable"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "none" / "card.png"

    assert main(["card", "draw", make_card_number(42), "-o", str(picture)]) == 1

    assert capsys.readouterr().err == f"loyalty-agent: {picture}: No such file or directory\n"


@pytest.mark.parametrize("command", [["outbox", "list"], ["outbox", "export"], ["open"]])
def test_what_needs_a_running_till_says_that_none_runs(
    config: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--config", str(config)]) == 1
    assert "no till" in capsys.readouterr().err
    main(["key", "show", "--config", str(config)])
    assert main([*command, "--config", str(config)]) == 1
    assert "loyalty-agent run" in capsys.readouterr().err


def test_the_pos_key_is_made_once_private_and_can_be_replaced(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["key", "show", "--config", str(config)]) == 0
    first, again = capsys.readouterr().out.split()
    assert first == again
    assert (tmp_path / "state" / "pos" / "pos.key").stat().st_mode & 0o777 == 0o640
    assert main(["key", "rotate", "--config", str(config)]) == 0
    assert main(["key", "show", "--config", str(config)]) == 0
    assert capsys.readouterr().out.split()[-1] != first


def test_the_key_is_shown_to_a_member_of_its_group(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_group = grp.getgrgid(os.getgid()).gr_name
    config.write_text(config.read_text(encoding="utf-8") + f'key_group = "{own_group}"\n', encoding="utf-8")
    assert main(["key", "show", "--config", str(config)]) == 0
    key = capsys.readouterr().out

    def not_the_owner(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", not_the_owner)
    assert main(["key", "show", "--config", str(config)]) == 0
    assert capsys.readouterr().out == key


def test_an_unknown_group_for_the_key_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text(encoding="utf-8") + 'key_group = "no-such-group"\n', encoding="utf-8")
    assert main(["key", "show", "--config", str(config)]) == 1
    assert "no-such-group" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["scan"], ["card", "draw", "1"]])
def test_a_wrong_call_ends_with_2_and_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: loyalty-agent" in capsys.readouterr().err
