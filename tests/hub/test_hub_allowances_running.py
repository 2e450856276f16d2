"""Allowances at a whole hub: its door, its loops and its commands, with tills that have no store."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sync.contract.allowance import AllowancesWord, HeldAllowance, Want
from sync.contract.protocol import FEED_WAIT_S_MAX, AllowancesPut, IncarnationLength, Outcome, OutcomePut, Reason
from sync.hub.__main__ import main
from sync.hub.root import Hub, running
from sync.hub_client import open_session
from tests.support.hub_tills import config_of, till_of
from tests.support.waiting import eventually
from tests.support.wire_till import WireTill, random_inc

CARD = "9990000000012348"
CUSTOMERS = f"customer_id,given_name,language,card,points\nC-1,Zoé,fr,{CARD},120\n"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The settings of a hub with one customer of 120 points."""
    path, file = tmp_path / "hub.toml", tmp_path / "customers.csv"
    path.write_text('[hub]\nstate = "hub"\nport = 0\n', encoding="utf-8")
    file.write_text(CUSTOMERS, encoding="utf-8")
    assert main(["import", str(file), "--config", str(path)]) == 0
    return path


def call(settings: Path, *arguments: str) -> int:
    return main([*arguments, "--config", str(settings)])


async def want(till: WireTill, points: int) -> AllowancesWord:
    return await till.allowances(Want(customer_id="C-1", points=points))


@contextlib.asynccontextmanager
async def two_tills(hub: Hub) -> AsyncIterator[tuple[WireTill, WireTill]]:
    async with till_of(hub) as one, till_of(hub) as two:
        await one.hello()
        await two.hello()
        yield one, two


async def test_f14_a_recall_wakes_the_till_that_holds_points_and_the_other_gets_them(settings: Path) -> None:
    async with running(config_of(settings.parent)) as hub, two_tills(hub) as (one, two):
        held = await want(one, 120)
        cursor = await one.feed_start()
        async with asyncio.TaskGroup() as group, asyncio.timeout(10):
            poll = group.create_task(one.client.feed(cursor, one.epoch, limit=10, wait_s=FEED_WAIT_S_MAX))
            refused = (await want(two, 50)).refused
            page = await poll
        assert page.changes == (AllowancesPut(),)
        assert refused[0].reserved_elsewhere == 120

        stream = one.stream()
        stream.give_back(held.allowances[0].allowance_id)
        await stream.put()

        assert [allowance.amount for allowance in (await want(two, 50)).allowances] == [50]


def again(hub: Hub, till: WireTill, session: aiohttp.ClientSession) -> WireTill:
    """Return a till as it comes back to a hub at another port, under the epoch of now."""
    same = WireTill(hub.url, till.enrolment, session, till.key)
    same.epoch = hub.founding.epoch
    return same


async def test_f28_a_restored_hub_grants_nothing_until_the_tills_have_sent_all(settings: Path) -> None:
    config, state = config_of(settings.parent), settings.parent / "hub"
    async with running(config) as hub, two_tills(hub) as (one, two):
        pass
    shutil.copy(state / "hub.db", settings.parent / "backup.db")
    async with running(config) as hub, open_session() as session:
        first = again(hub, one, session)
        await first.hello()
        granted = (await want(first, 100)).allowances[0]
        stream = first.stream()
        stream.redemption(CARD, {granted.allowance_id: 40, "returned-before": 10})
        await stream.put()

    for left in ("hub.db-wal", "hub.db-shm"):
        (state / left).unlink(missing_ok=True)
    shutil.copy(settings.parent / "backup.db", state / "hub.db")
    async with running(config, is_restored=True) as hub, open_session() as session:
        first, other = again(hub, one, session), again(hub, two, session)
        stream.till = first
        held = HeldAllowance.model_validate(granted.model_dump())
        recorded = IncarnationLength(inc=stream.inc, length=1)
        heard = (None, "e-before", first.epoch)
        assert [(await first.hello(hub_epoch=one)).again for one in heard] == [True, True, False]
        word = (await first.hello(recorded, held=[held], hub_epoch=first.epoch)).allowances
        assert word is not None
        assert [one.allowance_id for one in word.allowances] == [granted.allowance_id]
        cursor = await first.feed_start()
        answer = await stream.put()
        assert answer.results[0].reason is Reason.HUB_RECOVERING
        await other.hello(hub_epoch=other.epoch)

        async def is_judged() -> bool:
            changes = [change for page in await first.pages(cursor) for change in page.changes]
            return any(isinstance(one, OutcomePut) and one.verdict.outcome is Outcome.APPLIED for one in changes)

        await eventually(is_judged)
        # 120 - 50 redeemed - 60 that the first till still holds.
        assert [one.amount for one in (await want(other, 100)).allowances] == [10]


def test_what_tills_hold_is_listed_and_let_go_by_a_person(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(settings, "allowances", "list") == 0
    assert capsys.readouterr().out == "no till holds points\n"

    async def hold() -> str:
        async with running(config_of(tmp_path)) as hub, two_tills(hub) as (one, _):
            await want(one, 70)
            return one.enrolment.terminal_id

    terminal_id = asyncio.run(hold())
    assert call(settings, "allowances", "list") == 0
    listed = capsys.readouterr().out
    assert terminal_id in listed
    assert "70 of      70" in listed
    assert call(settings, "customers", "show", "C-1") == 0
    assert "tills hold 70 of them" in capsys.readouterr().out

    assert call(settings, "allowances", "release", terminal_id) == 1
    assert "this frees 70 points" in capsys.readouterr().err
    assert call(settings, "allowances", "release", terminal_id, "--yes") == 0
    assert capsys.readouterr().out == "freed 70 points in 1 allowance\n"
    assert call(settings, "allowances", "release", terminal_id, "--yes") == 1
    assert "holds no points" in capsys.readouterr().err


def test_the_stores_risk_is_listed(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "allowances", "risks") == 0
    assert capsys.readouterr().out == "no store gave any\n"

    async def overspend() -> None:
        async with running(config_of(tmp_path)) as hub, two_tills(hub) as (one, _):
            stream = one.stream()
            stream.redemption(CARD, {f"lost-{random_inc()}": 150})
            await stream.put()

    asyncio.run(overspend())
    assert call(settings, "allowances", "risks") == 0
    assert capsys.readouterr().out.split() == ["store-1", "uncovered", "30"]


def test_a_recovery_is_shown_and_ended_by_a_person(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(settings, "recovery", "show") == 0
    assert "not recovering" in capsys.readouterr().out
    assert call(settings, "recovery", "end") == 1

    async def restore() -> str:
        async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
            terminal_id = till.enrolment.terminal_id
        async with running(config_of(tmp_path), is_restored=True):
            return terminal_id

    terminal_id = asyncio.run(restore())
    capsys.readouterr()
    assert call(settings, "recovery", "show") == 0
    shown = capsys.readouterr().out
    assert "nothing is granted" in shown
    assert terminal_id in shown
    assert "its hello" in shown
    assert call(settings, "recovery", "end") == 1
    assert "1 till still to send all" in capsys.readouterr().err
    assert call(settings, "recovery", "end", "--yes") == 0
    assert call(settings, "recovery", "show") == 0
    assert "not recovering" in capsys.readouterr().out.splitlines()[-1]


async def test_the_metrics_tell_the_stores_risk_and_that_the_hub_recovers(settings: Path, tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, two_tills(hub) as (one, _):
        assert await gauges(hub, tmp_path) == {"loyalty_hub_recovering 0.0"}
        stream = one.stream()
        stream.redemption(CARD, {f"lost-{random_inc()}": 150}, redemption_id="r-1")
        await stream.put()
        assert await gauges(hub, tmp_path) == {
            "loyalty_hub_recovering 0.0",
            'loyalty_hub_risk_points{kind="uncovered",store="store-1"} 30.0',
        }
        stream.undoing("r-1")
        await stream.put()
        assert await gauges(hub, tmp_path) == {"loyalty_hub_recovering 0.0"}

    async with running(config_of(tmp_path), is_restored=True) as hub:
        assert await gauges(hub, tmp_path) == {"loyalty_hub_recovering 1.0"}
        assert await asyncio.to_thread(call, settings, "recovery", "end", "--yes") == 0
        assert await gauges(hub, tmp_path) == {"loyalty_hub_recovering 0.0"}


async def gauges(hub: Hub, folder: Path) -> set[str]:
    key = (folder / "hub" / "keys" / "admin.key").read_text(encoding="ascii")
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.get(f"{hub.url}/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return {line for line in lines if line.startswith(("loyalty_hub_risk", "loyalty_hub_recovering"))}
