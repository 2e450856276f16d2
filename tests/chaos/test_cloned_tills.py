"""A till's machine is cloned while it holds points, and both copies give them away (F49): what that can cost."""

import asyncio
import shutil
from pathlib import Path

import pytest

from agent.store import trust
from sync.hub.books.redemption_rows import listed_risks
from sync.hub.uploads.fences import is_quarantined
from sync.hub.uploads.quarantine import release_step
from sync.runtime.sqlite_file import Connection
from tests.support.hubs import HubUnderTest
from tests.support.redeeming import ANN, ShopTill, open_shop_till, posted, redeeming_shop
from tests.support.waiting import eventually

POINTS, HELD = 150, 100


async def _holds(till: ShopTill, points: int) -> None:
    till.till.store.allowances.wish(ANN, points)
    await eventually(lambda: till.left() == points)


def _outcomes(connection: Connection) -> dict[str, str]:
    """What became of each redemption and sale that the hub has."""
    rows = connection.execute(
        "SELECT coalesce(raw ->> '$.data.redemption_id', raw ->> '$.data.sale_id') AS id, outcome FROM events "
        "WHERE id IS NOT NULL"
    ).fetchall()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


async def _release(hub: HubUnderTest, till: ShopTill) -> None:
    terminal_id, now = till.till.store.journal.terminal.terminal_id, hub.inside.clock.now()
    while (await hub.inside.writer.write(lambda connection: release_step(connection, terminal_id, now))).total:
        pass


@pytest.mark.parametrize(("ours", "theirs"), [(100, 100), (60, 70)])
async def test_f49_clones_that_spend_without_a_line_cost_the_store_no_more_than_was_held_when_they_were_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: int, theirs: int
) -> None:
    monkeypatch.setattr(trust, "identity", lambda _: "the same")  # an image of a whole machine cannot be told from it
    async with redeeming_shop(tmp_path, points=POINTS) as (hub, (other,)):
        async with open_shop_till(tmp_path / "till", hub) as till:
            await _holds(till, HELD)
        await asyncio.to_thread(shutil.copytree, tmp_path / "till", tmp_path / "clone")
        await _holds(other, POINTS - HELD)  # so that no free point is left to pay for them
        async with (
            open_shop_till(tmp_path / "till", hub, is_cut=True) as one,
            open_shop_till(tmp_path / "clone", hub, is_cut=True) as two,
        ):
            for till, name, points in ((one, "ours", ours), (two, "theirs", theirs)):
                assert (await till.redeem(name, points))[0] == 200
                assert (await till.redeem(f"{name}-more", HELD))[1]["spendable"] == HELD - points
            for till in (one, two):
                till.mend()
                await till.until_quiet()
            for till, name in ((one, "sale-1"), (two, "sale-2"), (one, "sale-3")):
                assert (await till.sell(name, 1))[0] == 200
                await till.until_quiet()
            kept = {"ours", "theirs", "sale-1", "sale-2", "sale-3"}
            assert (await hub.inside.reader.read(_outcomes)).keys() == kept
            terminal_id = one.till.store.journal.terminal.terminal_id
            assert await hub.inside.reader.read(lambda connection: is_quarantined(connection, terminal_id))

            await _release(hub, one)

            assert set((await hub.inside.reader.read(_outcomes)).items()) == {(name, "applied") for name in kept}
            risk = sum(points for _, _, points in await hub.inside.reader.read(listed_risks))
            assert risk == max(ours + theirs - HELD, 0) <= HELD
        assert (await other.redeem("elsewhere", POINTS - HELD))[0] == 200
        await other.until_quiet()
        assert await posted(hub) == POINTS + 3 - (ours + theirs - risk) - (POINTS - HELD)
        assert sum(points for _, _, points in await hub.inside.reader.read(listed_risks)) == risk
