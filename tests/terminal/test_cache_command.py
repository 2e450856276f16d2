"""`loyalty-agent cache compare`: a running till compares its customers with a real hub's, and says what came of it."""

from pathlib import Path

import pytest

from agent.__main__ import _parser
from agent.commands import CommandError
from agent.config import Settings
from agent.root import running
from sync.runtime.settings import load
from tests.support.hubs import hub_in_process
from tests.support.tills import enrol_by_hand, free_port, open_pos, settings
from tests.support.waiting import eventually


async def command(config: Path, *arguments: str) -> int:
    asked = _parser().parse_args([*arguments, "--config", str(config)])
    return int(await asked.run(asked))


async def test_a_cache_is_compared_on_demand_and_put_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The till compares between two questions of its feed, which wait for half a minute each.
    monkeypatch.setattr("sync.pump.puller.FEED_WAIT_S_MAX", 1)
    async with hub_in_process(tmp_path / "hub") as hub:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[till]\nstate = "state"\n[hub]\nurl = "{hub.url}"\n[api]\nport = {free_port()}\n', encoding="utf-8"
        )
        assert await command(config, "enrol", await hub.invite()) == 0
        async with running(load(config, Settings)) as till:
            await eventually(lambda: till.line.state.current_as_of is not None)
            assert await command(config, "cache", "compare") == 0
            await till.store.cache._live.writer.write(
                lambda connection: connection.execute("INSERT INTO cards (id, points) VALUES (zeroblob(16), 7)")
            )
            assert await command(config, "cache", "compare") == 0
            assert await command(config, "cache", "compare") == 0

    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["no difference", "1 account put right", "no difference"]


async def test_without_a_hub_the_command_says_where_to_look(tmp_path: Path) -> None:
    of = settings(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[till]\nstate = "{of.till.state}"\n[hub]\nurl = "{of.hub.url}"\n[api]\nport = {of.api.port}\n',
        encoding="utf-8",
    )
    enrol_by_hand(of)
    async with running(of) as till, open_pos(till, of) as pos:
        with pytest.raises(CommandError, match="see its log"):
            await command(config, "cache", "compare", "--wait", "0")
        assert await pos.get("/api/v1/cache/comparison") == (
            200,
            {"is_due": True, "compared_at": None, "accounts": None},
        )


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_time_to_wait_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["cache", "compare", "--wait", seconds])
    assert f"{seconds} is no number of seconds from 0 to 86400" in capsys.readouterr().err
