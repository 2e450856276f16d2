"""The front page is held to the code: its tables, its commands, its files."""

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.config import Settings
from agent.demo.sample_shop import make_shop
from agent.web.problem_kinds import CODES
from sync.runtime.settings_table import describe

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def _between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", _README, re.DOTALL)
    assert found, f"README.md has no part between <!-- {name} --> and <!-- /{name} -->"
    return found[1].strip()


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def test_the_table_of_problems_names_every_code_with_its_meaning() -> None:
    assert _between("problems") == _table(("`code`", "Meaning"), ((f"`{code}`", said) for code, said in CODES.items()))


def test_the_table_of_settings_names_every_key_with_its_default() -> None:
    def default(value: str | None) -> str:
        return "required" if value is None else f"`{value}`" if value else "unset"

    rows = ((f"`{row.key}`", row.kind, default(row.default), row.meaning) for row in describe(Settings))
    assert _between("settings") == _table(("Key", "Kind", "Default", "Meaning"), rows)


def test_every_file_that_the_page_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", _README)
    assert links
    assert [link for link in links if not (_ROOT / link).exists()] == []


def test_every_script_that_the_page_starts_exists() -> None:
    scripts = set(re.findall(r"^sh (\S+)", _README, re.MULTILINE))
    assert scripts == {"packaging/demo.sh", "packaging/test.sh"}
    assert all((_ROOT / script).exists() for script in scripts)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^loyalty-agent ((?:[a-z]+ ?)+)", _README, re.MULTILINE))))
def test_every_agent_command_that_the_page_shows_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "usage: loyalty-agent" in capsys.readouterr().out


def test_the_card_of_the_tour_is_one_of_the_sample_shop() -> None:
    numbers = {number.replace(" ", "") for number in re.findall(r"9990(?: [0-9]{4}){3}", _README)}
    cards = {card for member in make_shop(date(2026, 11, 22)).members for card in member.cards}
    assert numbers
    assert numbers <= cards


def test_the_layout_names_every_room_of_the_tree() -> None:
    layout = _README.partition("## How the code is laid out")[2]
    rooms = [path.name for part in ("agent", "sync", "tests") for path in (_ROOT / part).iterdir() if path.is_dir()]
    missing = [room for room in rooms if not room.startswith("__") and f"{room}/" not in layout]
    assert missing == []
