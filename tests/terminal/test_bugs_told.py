"""A bug in a command: said to be one, with its places and without what the failing code held."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from agent.__main__ import main as agent
from sync.contract.customers import Customer
from sync.hub.__main__ import main as hub
from tests.support.tills import NO_HUB

Main = Callable[[list[str]], int]
Faulty = Callable[[Main, str, str, Callable[..., NoReturn]], str]


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Faulty:
    """Runs a program with a fault planted in it, and returns what it said."""

    def run(main: Main, settings: str, fails: str, fail: Callable[..., NoReturn]) -> str:
        config = tmp_path / "settings.toml"
        config.write_text(settings, encoding="utf-8")
        monkeypatch.setattr(fails, fail)
        assert main(["config", "check", "--config", str(config)]) == 1
        return capsys.readouterr().err

    return run


def alone(*_: object) -> NoReturn:
    """Fail as code does that meets a customer it was not written for: the message quotes the name."""
    Customer.model_validate({"customer_id": "Zoé Tremblay"})
    raise AssertionError


def in_a_group(*_: object) -> NoReturn:
    """Fail as a task group does."""
    try:
        alone()
    except ValueError as error:
        raise ExceptionGroup("what Zoé did", [error, ValueError("of Zoé")]) from error


@pytest.mark.parametrize("fail", [alone, in_a_group])
@pytest.mark.parametrize(
    ("main", "settings", "fails"),
    [
        (hub, "[hub]\n", "sync.hub.__main__.read_program"),
        (agent, f'[hub]\nurl = "{NO_HUB}"\n', "agent.commands.load"),
    ],
    ids=["hub", "agent"],
)
def test_a_bug_is_said_to_be_one_with_its_places_and_nobodys_name(
    main: Main, settings: str, fails: str, fail: Callable[..., NoReturn], faulty: Faulty
) -> None:
    said = faulty(main, settings, fails, fail)

    assert ": this is a bug in the program" in said.splitlines()[0]
    assert f"{__file__}:{alone.__code__.co_firstlineno + 2} in alone" in said
    assert "pydantic_core._pydantic_core.ValidationError at" in said
    assert not any(word in said for word in ("Zo", "Tremblay", "Traceback"))
