from pathlib import Path

import pytest

from sync.hub.config import DEFAULT_PROGRAM, HubConfig, is_loopback
from sync.hub.programs import ProgramFileError, read_program
from sync.runtime.settings import SettingsError, load
from sync.runtime.settings_table import describe

EXAMPLE = Path(__file__).parents[2] / "packaging" / "hub.example.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "hub.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_file_holds_every_key_with_its_default_and_meaning() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    section = ""
    for row in describe(HubConfig):
        header, _, key = row.key.partition(".")
        section = header
        body = text.split(f"[{section}]", 1)[1].split("\n[", 1)[0]
        line = f"{key} = {row.default}" if row.default else f"# {key} = "
        assert f"# {row.meaning}\n{line}" in body, row.key


def test_the_example_file_is_good_as_it_stands(tmp_path: Path) -> None:
    config = load(written(tmp_path, EXAMPLE.read_text(encoding="utf-8")), HubConfig)

    defaults = load(written(tmp_path, ""), HubConfig)
    assert config == defaults
    assert config.hub.state == tmp_path / "hub-state"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "hub.example.com", "127.0.0.1.example.com"])
def test_plain_http_to_others_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="plain http would show customers to the network"):
        load(written(tmp_path, f'[hub]\nhost = "{host}"\n'), HubConfig)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plain_http_on_this_machine_is_fine(host: str) -> None:
    assert is_loopback(host)


def test_tls_files_open_the_door_to_others_but_only_both_together(tmp_path: Path) -> None:
    both = '[hub]\nhost = "0.0.0.0"\ntls_certificate = "a.pem"\ntls_key = "b.pem"\n'
    assert load(written(tmp_path, both), HubConfig).hub.tls_key == tmp_path / "b.pem"

    with pytest.raises(SettingsError, match="belong together"):
        load(written(tmp_path, '[hub]\ntls_certificate = "a.pem"\n'), HubConfig)


def test_a_wrong_key_is_told_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'hub\.toml:2: hub\.prot: unknown key; did you mean "hub\.port"\?'):
        load(written(tmp_path, "[hub]\nprot = 1\n"), HubConfig)


def test_the_default_program_speaks_both_languages() -> None:
    program = read_program(DEFAULT_PROGRAM)

    assert program.currency == "CAD"
    assert [reward.points for reward in program.rewards] == [50, 100, 200]
    assert [tier.tier for tier in program.tiers] == ["bronze", "silver", "gold"]
    assert program.unknown_card_points_max == 500
    assert all(reward.text.en != reward.text.fr for reward in program.rewards)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "Invalid JSON"),
        ("[]", "the file"),
        ('{"currency": "dollars", "earn": {"points": 1, "per_minor": 100}}', "currency"),
        ('{"currency": "CAD", "earn": {"points": 1.5, "per_minor": 100}}', "earn.points"),
        ('{"currency": "CAD", "earn": {"points": 1, "per_minor": 100}, "reward": []}', "reward: Extra"),
    ],
)
def test_a_program_file_that_is_wrong_is_told_by_its_place(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "program.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ProgramFileError, match=fault):
        read_program(path)


def test_a_program_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramFileError, match="cannot be read"):
        read_program(tmp_path / "none.json")
