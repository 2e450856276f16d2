"""The commands that go through a running till's API, started as their user starts them."""

import asyncio
import grp
import json
import os
import stat
import sys
from pathlib import Path

from agent.config import Settings
from agent.root import running
from tests.support import shop
from tests.support.tills import Pos, enrol_by_hand, open_pos, settings

_ROOT = Path(__file__).parents[2]


async def _agent(config: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent",
        *arguments,
        "--config",
        str(config),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def _sell(pos: Pos, sale_id: str) -> None:
    sale = {
        "sale_id": sale_id,
        "card": shop.card(),
        "lines": [{"quantity": "1", "net_minor": 1000}],
        "net_minor": 1000,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
    }
    assert (await pos.post("/api/v1/sales", sale))[0] == 200


def _config(folder: Path, of: Settings) -> Path:
    """Write the settings of a till as its user has them in a file."""
    config = folder / "config.toml"
    config.write_text(
        f'[hub]\nurl = "{of.hub.url}"\n[till]\nstate = "{of.till.state}"\n[api]\nport = {of.api.port}\n',
        encoding="utf-8",
    )
    return config


async def test_the_outbox_is_listed_and_exported_from_a_running_till(tmp_path: Path) -> None:
    of = settings(tmp_path)
    config = _config(tmp_path, of)
    enrol_by_hand(of)
    async with running(of) as till, open_pos(till, of) as pos:
        assert await _agent(config, "outbox", "list") == (0, "nothing waits: the hub has every event\n", "")
        await _sell(pos, "s-1")
        await pos.post("/api/v1/sales/s-1/reversals", {"reversal_id": "r-1", "occurred_at": "2026-03-09T09:00:00Z"})
        code, out, err = await _agent(config, "outbox", "list")
        assert (code, err) == (0, "")
        sale, reversal = out.splitlines()
        assert sale.endswith("waiting   +10 points  sale s-1")
        assert reversal.endswith("waiting   -10 points  reversal r-1 of sale s-1")
        code, out, err = await _agent(config, "outbox", "export")
        assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2]
        code, out, err = await _agent(config, "outbox", "export", "-o", str(tmp_path / "events.ndjson"))
        assert (tmp_path / "events.ndjson").read_text(encoding="utf-8").count("\n") == 2
        code, out, err = await _agent(config, "open")
        assert out.startswith(f"http://127.0.0.1:{of.api.port}/#")
        code, out, err = await _agent(config, "open", "--customer")
        assert out.startswith(f"http://127.0.0.1:{of.api.port}/customer#")
        assert (await _agent(config, "key", "rotate"))[0] == 0
        assert (await pos.get("/api/v1/screen"))[0] == 401
        assert (await _agent(config, "outbox", "list"))[0] == 0
        code, out, err = await _agent(config, "run")
        assert (code, "in use" in err, err.count("\n")) == (1, True, 1)


async def test_a_refused_command_leaves_the_point_of_sale_its_way_to_the_key(tmp_path: Path) -> None:
    of = settings(tmp_path, api={"key_group": grp.getgrgid(os.getgid()).gr_name})
    config = _config(tmp_path, of)
    enrol_by_hand(of)
    async with running(of):
        for refused in (["run"], ["enrol", "x" * 12]):
            code, _, err = await _agent(config, *refused)
            assert (code, "in use by process" in err) == (1, True)
            assert stat.S_IMODE(of.till.state.stat().st_mode) == 0o710


async def test_a_key_that_was_deleted_under_a_till_is_made_by_its_next_start(tmp_path: Path) -> None:
    of = settings(tmp_path)
    config = _config(tmp_path, of)
    enrol_by_hand(of)
    async with running(of):
        of.pos_key_file.unlink()
        for command in ("show", "rotate"):
            code, out, err = await _agent(config, "key", command)
            assert (code, out, "restart it" in err) == (1, "", True)
        assert not of.pos_key_file.exists()
    async with running(of) as till, open_pos(till, of) as pos:
        code, out, _ = await _agent(config, "key", "show")
        assert (code, f"Bearer {out.strip()}") == (0, pos.session.headers["Authorization"])
