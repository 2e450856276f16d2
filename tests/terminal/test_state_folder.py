"""README.md names every file of a till's state folder, and says of each whether to back it up."""

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from agent.store import damage, wiping
from tests.support import shop
from tests.support.tills import settings, till_and_pos

_PAGE = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def _named() -> list[str]:
    table = _PAGE.partition("| Path | What it is | Back it up? |")[2].partition("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def _files(folder: Path) -> Iterable[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_every_file_of_a_state_folder_stands_in_the_readme(tmp_path: Path) -> None:
    state = settings(tmp_path, "http://127.0.0.1:9").till.state
    async with till_and_pos(tmp_path):
        seen = {*_files(state)}
    till = tmp_path / "damaged"
    till.mkdir()
    async with shop.open_till(till):
        seen |= {*_files(till)}
    (till / "till.db").write_bytes((till / "till.db").read_bytes()[:8192])
    async with shop.open_till(till, inc="00000000000000b2"):
        seen |= {*_files(till)}
    seen |= {damage._note(state).name, wiping._note(state).name, "ballast", "pages.json", "till.db.salvaged"}
    assert any("corrupt" in name for name in seen)
    assert "marker" in seen
    named = _named()
    assert [name for name in sorted(seen) if not any(fnmatch(name, one) for one in named)] == []
    assert [one for one in named if not any(fnmatch(name, one) for name in seen)] == []
