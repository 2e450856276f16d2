"""A till whose signing key is gone says so, loses nothing, and is right again after it was enrolled again."""

import logging
from pathlib import Path

import pytest

from agent.__main__ import _parser
from agent.config import Settings
from agent.root import KEY_LOST, Till, running
from sync.runtime.settings import load
from tests.support import shop
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.tills import free_port, open_pos
from tests.support.waiting import eventually


async def enrol(config: Path, hub: HubUnderTest) -> None:
    asked = _parser().parse_args(["enrol", await hub.invite(), "--config", str(config)])
    assert await asked.run(asked) == 0


async def sell(till: Till, of: Settings, sale_id: str) -> None:
    sale = {
        "sale_id": sale_id,
        "card": shop.card(),
        "lines": [{"quantity": "1", "net_minor": 1000}],
        "net_minor": 1000,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
    }
    async with open_pos(till, of) as pos:
        assert (await pos.post("/api/v1/sales", sale))[0] == 200


async def counted_at(hub: HubUnderTest) -> int:
    return len(await hub.inside.reader.read(lambda connection: connection.execute("SELECT 1 FROM events").fetchall()))


@pytest.mark.parametrize("text", [None, "07" * 32], ids=["gone", "another"])
async def test_a_till_without_its_key_asks_to_be_enrolled_again_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    async with hub_in_process(tmp_path / "hub") as hub:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[till]\nstate = "state"\n[hub]\nurl = "{hub.url}"\n[api]\nport = {free_port()}\n', encoding="utf-8"
        )
        await enrol(config, hub)
        of = load(config, Settings)
        if text is None:
            of.terminal_key_file.unlink()
        else:
            of.terminal_key_file.write_text(text, encoding="ascii")

        with caplog.at_level(logging.ERROR):
            async with running(of) as till:
                await sell(till, of, "s-1")
                await eventually(lambda: till.line.state.upload_fault == "signature_invalid")
                await eventually(lambda: till.screen.state.hub.fault == KEY_LOST)
        (said,) = [line for line in caplog.messages if "signing key" in line]
        assert "loyalty-agent enrol" in said
        assert of.terminal_key_file.exists() == (text is not None)
        assert await counted_at(hub) == 0

        await enrol(config, hub)
        async with running(of) as till:
            await eventually(lambda: till.store.outbox.figures().waiting == 0)
            await eventually(lambda: till.screen.state.hub.fault is None)
        assert await counted_at(hub) == 1


async def test_a_key_that_is_brought_back_and_a_restart_are_all_that_is_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub_in_process(tmp_path / "hub") as hub:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[till]\nstate = "state"\n[hub]\nurl = "{hub.url}"\n[api]\nport = {free_port()}\n', encoding="utf-8"
        )
        await enrol(config, hub)
        of = load(config, Settings)
        backup = of.terminal_key_file.rename(tmp_path / "backup.key")
        async with running(of) as till:
            await sell(till, of, "s-1")
        (said,) = [line for line in caplog.messages if "signing key" in line]
        assert "bring the file back" in said
        assert "start it again" in said

        backup.rename(of.terminal_key_file)
        async with running(of) as till:
            await eventually(lambda: till.store.outbox.figures().waiting == 0)
        assert await counted_at(hub) == 1
