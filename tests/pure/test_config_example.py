"""The example file is the reference of the settings: complete, true, and usable as it stands."""

import re
import tomllib
from pathlib import Path

import pytest

from agent.config import Settings
from sync.runtime.settings import SettingsError, load
from sync.runtime.settings_table import describe

_EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
_COMMENTED_KEY = re.compile(r"^# ([a-z_]+) = (.+)$", re.MULTILINE)


def test_the_example_file_is_accepted_as_it_stands() -> None:
    assert load(_EXAMPLE, Settings).hub.url == "https://hub.example.com:8700"


def test_the_example_file_is_accepted_with_every_comment_opened(tmp_path: Path) -> None:
    opened = tmp_path / "config.toml"
    opened.write_text(_COMMENTED_KEY.sub(r"\1 = \2", _EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    settings = load(opened, Settings)
    assert settings.api.key_group == "pos"
    assert settings.scanner.folder == tmp_path / "photographs"


def test_the_example_file_names_every_key_with_its_default_and_its_meaning() -> None:
    text = _EXAMPLE.read_text(encoding="utf-8")
    document = tomllib.loads(text)
    commented = {key for key, _ in _COMMENTED_KEY.findall(text)}
    for row in describe(Settings):
        section, key = row.key.split(".")
        meaning = row.meaning[0].upper() + row.meaning[1:]
        assert meaning.split(":")[0].split(";")[0] in text, row.key
        if row.default == "":
            assert key in commented, row.key
        elif row.default is not None:
            assert tomllib.loads(f"x = {row.default}")["x"] == document[section][key], row.key


def test_the_example_file_names_no_key_that_does_not_exist() -> None:
    text = _COMMENTED_KEY.sub(r"\1 = \2", _EXAMPLE.read_text(encoding="utf-8"))
    named = {f"{section}.{key}" for section, keys in tomllib.loads(text).items() for key in keys}
    assert named == {row.key for row in describe(Settings)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hub]\nurll = 'https://hub.example.com'\n", "did you mean"),
        ("[hub]\nurl = 'https://hub.example.com'\n[api]\nport = '8710'\n", "api.port"),
        ("[hub]\nurl = 'http://hub.example.com'\n", "https://"),
        ("[hub]\nurl = 'https://hub.example.com:99999'\n", "65535"),
        ("[hub]\nurl = 'https://hub.example.com:none'\n", "65535"),
        ("[hub]\nurl = 'https://user@hub.example.com'\n", "must be an address such as"),
        ("[hub]\nurl = 'https://:secret@hub.example.com'\n", "must be an address such as"),
        ("[hub]\nurl = 'https://hub.example.com'\n[api]\nhost = '0.0.0.0'\n", "127.0.0.1"),
        ("[hub]\nurl = 'https://hub.example.com'\n[api]\nhost = '127.0.0.2'\n", "127.0.0.1"),
        ("[hub]\nurl = 'https://hub.example.com'\n[api]\nhost = '::1'\n", "127.0.0.1"),
        ("[hub]\nurl = 'https://hub.example.com'\n[cards]\nprefix = '4111'\n", "bank"),
        ("[hub]\nurl = 'https://hub.example.com'\n[tille]\nstate = 'x'\n", "till"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said):
        load(file, Settings)
