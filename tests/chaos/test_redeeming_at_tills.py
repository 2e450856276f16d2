"""Points are spent at whole tills: the real hub, real files, real sockets, and a line that is cut."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NoReturn

import pytest

from agent.store import trust
from sync.runtime.sqlite_file import Connection, DatabaseError
from tests.support.chaos_tills import import_cards
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.proxy import Fault
from tests.support.redeeming import ANN, ShopTill, open_shop_till, posted, redeeming_shop
from tests.support.waiting import breath, eventually


async def _reserved(hub: HubUnderTest) -> list[tuple[int, int]]:
    """Amount and spent of every open allowance at the hub."""

    def read(connection: Connection) -> list[tuple[int, int]]:
        return [
            tuple(row) for row in connection.execute("SELECT amount, spent FROM allowances WHERE closed_ms IS NULL")
        ]

    return await hub.inside.reader.read(read)


async def _holds(till: ShopTill, points: int) -> None:
    """Let the till hold so many of Ann's points, as after a scan."""
    till.till.store.allowances.wish(ANN, points)
    await eventually(lambda: till.left() >= points)


async def _holds_for_sure(till: ShopTill, points: int) -> None:
    """Let the till hold so many points, and its marker be changed for that: a copy made before would be believed."""
    await till.until_quiet()
    before = till.marker()
    await _holds(till, points)
    await eventually(lambda: till.marker() not in (before, None))


async def test_points_are_spent_online_and_the_hub_books_them_once(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=120) as (hub, (till,)):
        status, answer = await till.redeem("d-1", 80)
        assert (status, answer["points"], answer["balance"]["shown"]) == (200, 80, 40)
        assert await till.redeem("d-1", 80) == (200, answer)
        await till.until_quiet()
        await eventually(lambda: till.shown() == (40, 0))
        assert await posted(hub) == 40


async def test_a_scan_brings_what_the_customer_may_want_to_spend(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=120) as (_, (till,)):
        await till.scan()
        await eventually(lambda: till.left() == 100)
        view = (await till.pos.get("/api/v1/screen"))[1]["view"]
        assert (view["spendable"], view["spendable_reason"]) == (100, "no_allowance")
        assert [reward["reward_id"] for reward in view["reached_rewards"]] == ["coffee", "cookie"]


async def test_f14_two_tills_cut_off_from_each_other_never_spend_the_same_points(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=100, tills=2) as (hub, (here, there)):
        await _holds(here, 100)
        here.cut()
        there.cut()
        first, second = await asyncio.gather(here.redeem("d-1", 100), there.redeem("d-2", 100))
        assert first[0] == 200
        assert (second[0], second[1]["code"], second[1]["spendable"], second[1]["waiting"]) == (
            409,
            "not_spendable",
            0,
            100,
        )
        for till in (here, there):
            till.mend()
            await till.until_quiet()
        await eventually(lambda: here.shown() == there.shown() == (0, 0))
        assert await posted(hub) == 0


async def test_f15_a_balance_alone_buys_nothing_offline_and_everything_online(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=120) as (hub, (till,)):
        till.cut()
        status, problem = await till.redeem("d-1", 50)
        assert (status, problem["reason"], problem["asked"]) == (409, "no_allowance", 50)
        assert (problem["spendable"], problem["waiting"]) == (0, 120)
        till.mend()
        await eventually(lambda: till.left() == 50)
        assert (await till.redeem("d-1", 50))[0] == 200
        await till.until_quiet()
        assert await posted(hub) == 70


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.DUPLICATE, Fault.CUT_BODY])
async def test_f16_an_allowance_whose_answer_is_lost_or_comes_twice_is_reserved_once(
    tmp_path: Path, fault: Fault
) -> None:
    async with redeeming_shop(tmp_path, points=120) as (hub, (till,)):
        till.line.spoil("/v1/allowances", fault, fault)
        await _holds(till, 60)
        assert await _reserved(hub) == [(60, 0)]
        assert till.left() == 60


async def test_points_at_another_till_come_back_while_the_customer_waits(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=100, tills=2) as (hub, (here, there)):
        await _holds(there, 100)
        assert (await here.redeem("d-1", 100))[0] == 200
        assert there.left() == 0
        await here.until_quiet()
        assert await posted(hub) == 0


async def test_points_at_a_till_that_is_cut_off_stay_there_and_staff_hear_it(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=100, tills=2) as (_, (here, there)):
        await _holds(there, 100)
        there.cut()
        status, problem = await here.redeem("d-1", 100)
        assert (status, problem["reason"], problem["spendable"], problem["waiting"]) == (
            409,
            "reserved_elsewhere",
            0,
            100,
        )
        assert (await there.redeem("d-2", 100))[0] == 200


async def test_what_a_till_may_not_give_on_its_own_it_may_give_with_the_hub(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=900) as (hub, (till,)):
        await _holds(till, 600)
        till.cut()
        status, problem = await till.redeem("d-1", 600)
        assert (status, problem["reason"], problem["spendable"]) == (409, "offline_limit", 500)
        till.mend()
        await eventually(lambda: not till.till.store.allowances.take_wishes()[0])
        assert (await till.redeem("d-2", 300))[0] == 200  # inside the limit: no need to ask
        await till.until_quiet()
        async with asyncio.timeout(30):
            while (await till.redeem("d-1", 600))[0] != 200:
                await breath()
        await till.until_quiet()
        assert await posted(hub) == 0


async def test_a_redemption_taken_back_can_be_spent_again_once_the_hub_has_heard(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=100) as (hub, (till,)):
        await _holds(till, 100)
        till.cut()
        assert (await till.redeem("d-1", 100))[0] == 200
        assert (await till.redeem("d-2", 50))[0] == 409
        assert (await till.undo("d-1", "g-1"))[1]["state"] == "given_back"
        assert (await till.undo("d-1", "g-1"))[1]["state"] == "given_back"
        assert (await till.undo("d-1", "g-2"))[1]["state"] == "already_given_back"
        # Another till may have taken the same redemption back, and then the points are for everybody.
        assert (await till.redeem("d-2", 50))[0] == 409
        till.mend()
        await till.until_quiet()
        await till.scan()
        await eventually(lambda: till.left() >= 50)
        assert (await till.redeem("d-2", 50))[0] == 200
        await eventually(lambda: till.shown() == (50, 0))
        assert await posted(hub) == 50


async def test_what_was_taken_back_is_spendable_again_without_another_scan(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=100) as (_, (till,)):
        await _holds(till, 100)
        assert (await till.redeem("d-1", 100))[0] == 200
        await till.until_quiet()
        assert (await till.undo("d-1", "g-1"))[1]["state"] == "given_back"
        await eventually(lambda: till.left() == 100)


async def test_a_hub_that_does_not_answer_lets_nobody_hang(tmp_path: Path) -> None:
    """How long a customer waits, and that the next one does not, is told by a fake clock (test_pump_allowances)."""
    async with redeeming_shop(tmp_path, points=100) as (_, (till,)):
        till.line.plan = lambda request: Fault.BLACK_HOLE if "allowances" in request.path else Fault.PASS
        for redemption_id in ("d-1", "d-2"):
            assert (await till.redeem(redemption_id, 50))[0] == 409
        till.line.release()


@contextlib.asynccontextmanager
async def _hub(folder: Path) -> AsyncIterator[HubUnderTest]:
    async with hub_in_process(folder / "hub") as hub:
        await import_cards(hub, folder, (1,), 100)
        yield hub


async def _killed(*_: object, **__: object) -> NoReturn:
    """Stand for the clean end of a till."""
    raise DatabaseError("the till was killed")


def _bring_back_the_file(state: Path, backup: Path) -> None:
    for path in state.glob("till.db*"):
        path.unlink()
    for path in backup.glob("till.db*"):
        shutil.copy2(path, state)


def _bring_back_the_folder(state: Path, backup: Path) -> None:
    shutil.rmtree(state)
    shutil.copytree(backup, state)


def _bring_back_over_what_is_there(state: Path, backup: Path) -> None:
    shutil.copytree(backup, state, dirs_exist_ok=True)


def _bring_back_what_differs(state: Path, backup: Path) -> None:
    """As rsync does: a file of the same size and time stays, another one goes in its place."""
    for kept in (path for path in backup.rglob("*") if path.is_file()):
        there = state / kept.relative_to(backup)
        seen = [(path.stat().st_size, path.stat().st_mtime_ns) for path in (kept, there) if path.exists()]
        if seen != [seen[0]] * 2:
            Path(shutil.copy2(kept, there.with_name("coming"))).replace(there)


_WAYS = (_bring_back_the_file, _bring_back_the_folder, _bring_back_over_what_is_there, _bring_back_what_differs)


@pytest.mark.parametrize("is_clean", [True, False], ids=["of a clean end", "of a killed till"])
@pytest.mark.parametrize("bring_back", _WAYS, ids=["the till's file", "the whole folder", "over it", "what differs"])
async def test_f50_a_till_brought_back_from_a_backup_spends_nothing_before_the_hub_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bring_back: Callable[[Path, Path], None], *, is_clean: bool
) -> None:
    folder, state, backup = tmp_path / "till", tmp_path / "till" / "state", tmp_path / "yesterday"
    async with _hub(tmp_path) as hub:
        async with open_shop_till(folder, hub) as till:
            await _holds_for_sure(till, 100)
            if not is_clean:
                monkeypatch.setattr(trust.Marker, "renew", _killed)
        monkeypatch.undo()
        await asyncio.to_thread(shutil.copytree, state, backup)
        async with open_shop_till(folder, hub) as till:
            assert (await till.redeem("d-1", 100))[0] == 200
            await till.until_quiet()
        await asyncio.to_thread(bring_back, state, backup)
        async with open_shop_till(folder, hub, is_cut=True) as till:
            status, problem = await till.redeem("d-2", 100)
            assert (status, problem["reason"], problem["spendable"]) == (409, "frozen", 0)
            assert (await till.sell("s-1", 7))[0] == 200
            till.mend()
            await till.until_quiet()
            await eventually(lambda: till.shown() == (7, 0))
            status, problem = await till.redeem("d-2", 100)
            assert (status, problem["reason"]) == (409, "too_few_points")
            assert (await till.redeem("d-3", 7))[0] == 200
            await till.until_quiet()
            assert await posted(hub) == 0
            assert await hub.inside.reader.read(_given) == []  # the store paid nothing


async def test_f50_a_file_that_was_copied_a_moment_before_its_points_were_spent_spends_them_no_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state, kept = tmp_path / "till", tmp_path / "till" / "state", tmp_path / "a moment ago"
    async with _hub(tmp_path) as hub:
        async with open_shop_till(folder, hub) as till:
            await _holds_for_sure(till, 100)
            await asyncio.to_thread(_copied_at_a_cut, state, kept)
            assert (await till.redeem("d-1", 100))[0] == 200
            await till.until_quiet()
            monkeypatch.setattr(trust.Marker, "renew", _killed)  # no hello and no clean end in between
        monkeypatch.undo()
        await asyncio.to_thread(_bring_back_the_file, state, kept)
        async with open_shop_till(folder, hub, is_cut=True) as till:
            status, problem = await till.redeem("d-2", 100)
            assert (status, problem["reason"]) == (409, "frozen")


def _given(connection: Connection) -> list[tuple[int, ...]]:
    return [tuple(row) for row in connection.execute("SELECT points FROM risks")]


async def test_f30_a_disk_that_lost_its_last_commits_spends_nothing_before_the_hub_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, state, kept = tmp_path / "till", tmp_path / "till" / "state", tmp_path / "what the disk kept"
    monkeypatch.setattr(trust, "identity", lambda _: "the same file")  # a cut makes no new files, and a copy does
    doubtful = {"trusted_disk": False}
    async with _hub(tmp_path) as hub:
        async with open_shop_till(folder, hub, storage=doubtful) as till:
            await _holds(till, 100)
            await asyncio.to_thread(_copied_at_a_cut, state, kept)
            assert (await till.redeem("d-1", 60))[0] == 200
            await till.until_quiet()
        await asyncio.to_thread(_bring_back_the_file, state, kept)
        await asyncio.to_thread(shutil.copy2, kept / "marker", state)
        async with open_shop_till(folder, hub, is_cut=True, storage=doubtful) as till:
            assert till.left() == 100  # as far as this file knows
            assert (await till.redeem("d-2", 60))[1]["reason"] == "frozen"
            till.mend()
            await eventually(lambda: till.left() == 40)
            await eventually(lambda: till.shown() == (40, 0))
            assert (await till.redeem("d-2", 40))[0] == 200
            await till.until_quiet()
            assert await posted(hub) == 0


def _copied_at_a_cut(state: Path, to: Path) -> None:
    """Copy a running till's file with what stands beside it, as a disk has both."""
    to.mkdir()
    for path in (*state.glob("till.db*"), state / "marker"):
        shutil.copy2(path, to)


async def test_a_disk_that_is_trusted_goes_on_spending_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "till"
    async with _hub(tmp_path) as hub:
        async with open_shop_till(folder, hub) as till:
            await _holds(till, 100)
            monkeypatch.setattr(trust.Marker, "renew", _killed)
        monkeypatch.undo()
        async with open_shop_till(folder, hub, is_cut=True) as till:
            assert (await till.redeem("d-1", 60))[0] == 200
