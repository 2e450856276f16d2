from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from sync.runtime.settings import Section, SettingsError, load
from sync.runtime.settings_table import Row, describe
from sync.runtime.toml_lines import key_lines


class Sounds(StrEnum):
    QUIET = "quiet"
    LOUD = "loud"


class Web(Section):
    port: int = Field(default=8731, ge=1, le=65535, description="The port the till listens on.")
    sounds: Sounds = Field(default=Sounds.QUIET, description="How loud a scan is.")


class Hub(Section):
    url: str = Field(description="Where the hub is.")
    timeout_s: float = Field(default=5.0, gt=0, description="Longest wait.")
    key: SecretStr | None = Field(default=None, description="The terminal's key.")


class Till(Section):
    name: Annotated[str, Field(min_length=1, max_length=20)] = Field(description="What staff call it.")


class Config(Section):
    state: Path = Field(default=Path("state"), description="Where the till keeps its data.")
    languages: tuple[str, ...] = Field(default=("en", "fr"), description="Languages of the screen.")
    web: Web = Field(default_factory=Web)
    hub: Hub
    tills: tuple[Till, ...] = ()


GOOD = """
# a till
state = "data/till-1"
languages = ["fr"]

[web]
port = 9000
sounds = "loud"

[hub]
url = "https://hub.example"
timeout_s = 3
key = "s3cret"

[[tills]]
name = "front"
[[tills]]
name = "back"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, model: type[BaseModel] = Config) -> list[str]:
    path = written(folder, text)
    with pytest.raises(SettingsError) as caught:
        load(path, model)
    return [problem.replace(str(path), "FILE") for problem in caught.value.problems]


def test_good_file_becomes_one_frozen_model(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD), Config)
    assert config.web == Web(port=9000, sounds=Sounds.LOUD)
    assert config.languages == ("fr",)
    assert [till.name for till in config.tills] == ["front", "back"]
    assert config.hub.timeout_s == 3.0
    with pytest.raises(ValidationError):
        config.hub = config.hub


def test_relative_paths_start_at_the_folder_of_the_config_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD), Config).state == tmp_path / "data/till-1"
    assert load(written(tmp_path, '[hub]\nurl = "x"'), Config).state == tmp_path / "state"
    assert load(written(tmp_path, 'state = "/var/till"\n[hub]\nurl = "x"'), Config).state == Path("/var/till")


def test_secret_is_masked_in_every_printed_form(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD), Config)
    assert config.hub.key is not None
    assert config.hub.key.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{config!r} {config} {config.model_dump_json()}"


def test_all_faults_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        'languages = ["en"]\nstaet = "x"\n\n[web]\nport = "8731"\nsounds = "lout"\n\n[hub]\nurll = "y"\ntimeout_s = 0\n'
    )
    assert problems(tmp_path, text) == [
        'FILE:2: staet: unknown key; did you mean "state"?',
        "FILE:5: web.port: must be a whole number, not a text in quotes",
        "FILE:6: web.sounds: must be one of 'quiet' or 'loud'; did you mean \"loud\"?",
        'FILE:9: hub.urll: unknown key; did you mean "hub.url"?',
        "FILE:10: hub.timeout_s: must be more than 0.0",
    ]


def test_unknown_section_gets_a_suggestion(tmp_path: Path) -> None:
    assert problems(tmp_path, '[hub]\nurl = "x"\n[wep]\nport = 1\n') == [
        'FILE:3: wep: unknown section; did you mean "web"?'
    ]


def test_key_in_the_wrong_section_is_shown_its_place(tmp_path: Path) -> None:
    assert problems(tmp_path, '[hub]\nurl = "x"\nport = 1\n') == [
        'FILE:3: hub.port: unknown key; did you mean "web.port"?'
    ]


def test_key_that_resembles_nothing_gets_no_suggestion(tmp_path: Path) -> None:
    assert problems(tmp_path, '[hub]\nurl = "x"\nzzzz = 1\n') == ["FILE:3: hub.zzzz: unknown key"]


def test_missing_key_names_its_section_even_when_that_is_absent(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == ["FILE: hub.url: is missing, and it has no default"]
    assert problems(tmp_path, "\n[hub]\n") == ["FILE:2: hub.url: is missing, and it has no default"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1.0", "must be a whole number, not a number with a fraction"),
        ("true", "must be a whole number, not true or false"),
        ('"1"', "must be a whole number, not a text in quotes"),
        ("[1]", "must be a whole number, not a list"),
        ("0", "must be at least 1"),
        ("65536", "must be at most 65535"),
        ("1979-05-27", "must be a whole number, not a text in quotes"),
    ],
)
def test_wrong_value_is_never_bent_into_shape(tmp_path: Path, value: str, message: str) -> None:
    assert problems(tmp_path, f'web.port = {value}\n[hub]\nurl = "x"\n') == [f"FILE:1: web.port: {message}"]


def test_section_given_as_a_value_says_so(tmp_path: Path) -> None:
    assert problems(tmp_path, 'hub = "https://hub.example"\n') == [
        "FILE:1: hub: must be a section of its own, not a text in quotes"
    ]


def test_fault_in_a_list_of_sections_names_entry_and_line(tmp_path: Path) -> None:
    text = '[hub]\nurl = "x"\n[[tills]]\nname = "front"\n[[tills]]\n# empty\nname = ""\n'
    assert problems(tmp_path, text) == ["FILE:7: tills[1].name: must have at least 1 characters"]


def test_no_fault_ever_prints_a_value(tmp_path: Path) -> None:
    text = '[hub]\nurl = 5\nkey = ["canary-4711"]\n[web]\nport = "canary-4711"\nsounds = "canary-4711"\n'
    assert len(problems(tmp_path, text)) == 4
    assert "canary" not in "\n".join(problems(tmp_path, text))


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    assert problems(tmp_path, "[web]\nport 1\n") == [
        "FILE:2: column 6: is not valid TOML: Expected '=' after a key in a key/value pair"
    ]


def test_toml_that_stops_too_early_names_its_end(tmp_path: Path) -> None:
    assert problems(tmp_path, '[web]\nport = """x')[0].startswith("FILE:2: ")


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no such file; copy config\.example\.toml"):
        load(tmp_path / "config.toml", Config)


def test_folder_in_place_of_a_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, Config)


def test_file_in_another_encoding_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"[hub]\nurl = 'caf\xe9'\n")
    with pytest.raises(SettingsError, match=r"config\.toml:2: is not UTF-8"):
        load(path, Config)


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = written(tmp_path, "# " + "x" * 300_000)
    with pytest.raises(SettingsError, match="larger than"):
        load(path, Config)


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path, Config).web.port == 9000


def test_lines_are_found_past_strings_arrays_and_comments() -> None:
    text = (
        'a = """\n[not.a.table]\nb = 1\n"""\n'  # 1-4
        "c = [\n  'x = 1', # ]\n  2,\n]\n"  # 5-8
        '"d e".f = { g = 1 }\n'  # 9
        "[h.\"i.j\"]\nk = '''\nl = 1'''\nm = 1\n"  # 10-13
    )
    assert key_lines(text) == {
        ("a",): 1,
        ("c",): 5,
        ("d e",): 9,
        ("d e", "f"): 9,
        ("h", "i.j"): 10,
        ("h", "i.j", "k"): 11,
        ("h", "i.j", "m"): 13,
    }


def test_description_lists_every_key_with_type_default_and_meaning() -> None:
    assert describe(Config) == (
        Row("state", "path", '"state"', "Where the till keeps its data."),
        Row("languages", "list of text", '["en", "fr"]', "Languages of the screen."),
        Row("web.port", "whole number", "8731", "The port the till listens on."),
        Row("web.sounds", 'one of "quiet", "loud"', '"quiet"', "How loud a scan is."),
        Row("hub.url", "text", None, "Where the hub is."),
        Row("hub.timeout_s", "number", "5.0", "Longest wait."),
        Row("hub.key", "secret text", "", "The terminal's key."),
        Row("tills[].name", "text", None, "What staff call it."),
    )
