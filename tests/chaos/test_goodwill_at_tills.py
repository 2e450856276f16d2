"""Goodwill at whole tills: a real hub is asked first, and what the store pays is capped, line or no line."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent import redeeming
from sync.runtime.sqlite_file import Connection
from tests.support.hubs import HubUnderTest
from tests.support.redeeming import ANN, ShopTill, posted, redeeming_shop
from tests.support.waiting import eventually

_PROGRAM = Path(__file__).resolve().parents[2] / "sync" / "hub" / "default_program.json"


def _generous(folder: Path, goodwill_points_max: int = 50) -> Path:
    """The default program with goodwill, as a file."""
    program = json.loads(_PROGRAM.read_text(encoding="utf-8"))
    program["redemption"] = {"goodwill_points_max": goodwill_points_max}
    path = folder / "program.json"
    path.write_text(json.dumps(program), encoding="utf-8")
    return path


async def _risk(hub: HubUnderTest) -> int:
    """What the store has paid, by the hub's books."""

    def read(connection: Connection) -> int:
        return (connection.execute("SELECT sum(points) FROM risks").fetchone() or (0,))[0] or 0

    return await hub.inside.reader.read(read)


async def _contained(till: ShopTill) -> None:
    """Wait until the hub has everything of this till and its word says so."""
    await till.until_quiet()
    till.till.store.allowances.ask_again()
    await eventually(lambda: till.till.store.allowances.purse("nobody", []).spent_by_all == 0)


async def _redeem_again_and_again(till: ShopTill, day: str = "today") -> list[tuple[int, Any]]:
    done = []
    for number, points in enumerate((30, 20, 10)):
        status, answer = await till.redeem(f"{day}-{number}", points)
        done.append((status, answer["goodwill"] if status == 200 else answer["reason"]))
        await _contained(till)
    return done


async def test_points_that_are_free_at_the_hub_cost_the_store_nothing(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=120, program_file=_generous(tmp_path)) as (hub, (till,)):
        for number in range(2):
            status, answer = await till.redeem(f"d-{number}", 50)
            assert (status, answer["goodwill"]) == (200, 0)
            await _contained(till)
        status, problem = await till.redeem("d-2", 50)
        assert (status, problem["reason"]) == (409, "too_few_points")
        await eventually(lambda: till.shown() == (20, 0))
        assert (await posted(hub), await _risk(hub)) == (20, 0)


async def test_points_held_elsewhere_are_given_up_to_the_cap_whatever_the_hub_has_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "ASKING_S_MAX", 1.0)  # the till there never answers, six times over
    program = _generous(tmp_path)
    async with redeeming_shop(tmp_path, points=50, tills=2, program_file=program) as (hub, (here, there)):
        there.till.store.allowances.wish(ANN, 50)
        await eventually(lambda: there.left() >= 50)
        there.cut()
        of_a_day = [(200, 30), (200, 20), (409, "reserved_elsewhere")]
        assert await _redeem_again_and_again(here) == of_a_day
        assert (await posted(hub), await _risk(hub)) == (50, 50)
        await _a_day_later(here)
        assert await _redeem_again_and_again(here, "tomorrow") == of_a_day
        assert (await posted(hub), await _risk(hub)) == (50, 100)


async def test_with_the_line_down_the_store_gives_up_to_the_cap(tmp_path: Path) -> None:
    async with redeeming_shop(tmp_path, points=120, program_file=_generous(tmp_path)) as (hub, (till,)):
        till.cut()
        done = [await till.redeem(f"d-{number}", 20) for number in range(4)]
        assert [status for status, _ in done] == [200, 200, 409, 409]
        assert [answer["goodwill"] for _, answer in done[:2]] == [20, 20]
        problem = done[-1][1]
        assert (problem["reason"], problem["spendable"], problem["waiting"]) == ("no_allowance", 0, 120)
        assert await till.redeem("d-0", 20) == done[0]
        till.mend()
        await _contained(till)
        assert await _risk(hub) == 40


async def _a_day_later(till: ShopTill) -> None:
    """Let what this till gave be of yesterday: nobody waits a day here, and both clocks are the machine's own."""
    day_ms = 24 * 3_600_000

    def write(connection: Connection) -> None:
        connection.execute(
            "UPDATE goodwill SET given_at = given_at - ?, given_monotonic = given_monotonic - ?", (day_ms, day_ms)
        )

    await till.till.store.journal._writer.write(write)
