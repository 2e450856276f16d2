"""Goodwill on a real file: no more in a day than the program says, whatever the hub, a restart or a wreck does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest

from agent.purse import WhyNot
from agent.redemptions import NotSpendable, RedemptionResult
from agent.store import Store
from agent.store.allowances import rebuild_spends
from sync.contract.program import RedemptionRule
from sync.runtime.sqlite_file import Connection, Row
from tests.support import allowances, shop
from tests.support.allowances import allowance, give_back, hear, word
from tests.support.clock import FakeClock
from tests.support.shop import INC, MORNING

SECOND_INC = "00000000000000b2"
RULES = shop.program(redemption=RedemptionRule(goodwill_points_max=50, per_customer_offline_max=200))
DAY_S = 24 * 3600.0


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path, clock) as opened:
        await opened.cache.apply(shop.page(shop.put(points=1_000)))
        await hear(opened, word())
        yield opened


async def _give(store: Store, redemption_id: str, points: int) -> int:
    """Redeem as the last resort, and return how much of it was goodwill."""
    entry = allowances.entry(store, redemption_id, points, rules=RULES, is_last_resort=True)
    answer = (await store.redeemer.redeem(entry, store.journal.stamp())).answer
    assert isinstance(answer, RedemptionResult)
    return answer.goodwill


async def _why(store: Store, redemption_id: str, points: int) -> WhyNot:
    with pytest.raises(NotSpendable) as refused:
        await _give(store, redemption_id, points)
    return refused.value.reason


async def _kept(store: Store) -> list[Row]:
    return await store.journal._reader.read(
        lambda connection: connection.execute(
            "SELECT position, inc, seq, points, given_at, given_monotonic, given_boot FROM goodwill ORDER BY position"
        ).fetchall()
    )


async def test_a_customer_gets_no_more_in_a_day_however_often_the_hub_covers_it(store: Store, clock: FakeClock) -> None:
    assert await _give(store, "d-1", 30) == 30
    await hear(store, word(applied={INC: 1}))
    assert await _why(store, "d-2", 21) is WhyNot.NO_ALLOWANCE
    assert await _give(store, "d-2", 20) == 20
    await hear(store, word(applied={INC: 2}))
    await clock.advance(DAY_S - 1)
    await hear(store, word(applied={INC: 2}))
    assert await _why(store, "d-3", 1) is WhyNot.NO_ALLOWANCE
    await clock.advance(1.0)
    assert await _give(store, "d-3", 50) == 50


async def test_fifty_last_resorts_at_once_give_what_one_customer_gets_in_a_day(store: Store) -> None:
    done = await asyncio.gather(*(_give(store, f"d-{n}", 7) for n in range(50)), return_exceptions=True)
    assert sum(one for one in done if isinstance(one, int)) == 49
    assert sum(isinstance(one, NotSpendable) for one in done) == 43


async def test_a_wall_clock_that_is_put_forward_gives_nothing_again(store: Store, clock: FakeClock) -> None:
    assert await _give(store, "d-1", 50) == 50
    clock.set_wall(MORNING + timedelta(days=2))
    await hear(store, word(applied={INC: 1}))
    assert await _why(store, "d-2", 1) is WhyNot.NO_ALLOWANCE


async def test_a_restart_forgets_nothing_that_was_given(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    async with shop.open_till(tmp_path, clock) as store:
        await store.cache.apply(shop.page(shop.put(points=1_000)))
        await hear(store, word())
        assert await _give(store, "d-1", 50) == 50
    clock.reboot("boot-2")
    async with shop.open_till(tmp_path, clock, SECOND_INC) as store:
        await hear(store, word(applied={INC: 1}))
        assert await _why(store, "d-2", 1) is WhyNot.NO_ALLOWANCE
        await clock.advance(DAY_S)
        await hear(store, word(applied={INC: 1}))
        assert await _give(store, "d-2", 50) == 50


async def test_a_redemption_taken_back_leaves_what_was_given_counted(store: Store) -> None:
    assert await _give(store, "d-1", 50) == 50
    assert (await give_back(store, "g-1", "d-1")).answer is not None
    assert await _why(store, "d-2", 1) is WhyNot.NO_ALLOWANCE


async def test_what_is_given_counts_as_spent_until_the_hubs_word_contains_it(store: Store) -> None:
    assert await _give(store, "d-1", 50) == 50
    assert _spent(store) == (50, 50)
    assert store.allowances.purse("c-2", []).spent_by_all == 50
    await hear(store, word(allowance(300)))
    assert _spent(store) == (50, 50)
    assert await _why(store, "d-2", 151) is WhyNot.OFFLINE_LIMIT
    assert await _give(store, "d-2", 10) == 0
    await hear(store, word(allowance(300), applied={INC: 1}))
    assert _spent(store) == (10, 10)
    await hear(store, word(allowance(300, spent=10), applied={INC: 2}))
    assert _spent(store) == (0, 0)
    await hear(store, word(allowance(300)))  # a hub that was brought back from a backup
    assert _spent(store) == (60, 60)


async def test_what_is_given_and_the_network_does_not_carry_stays_spent(store: Store) -> None:
    assert await _give(store, "d-1", 50) == 50
    await store.journal.withhold(INC, 1, "message_too_large")
    await hear(store, word(applied={INC: 1}))
    assert _spent(store)[0] == 50


def _spent(store: Store) -> tuple[int, int]:
    purse = store.allowances.purse("c-1", [shop.card_id(shop.card())])
    return purse.spent, purse.spent_by_all


async def test_goodwill_is_worked_out_anew_from_the_events(store: Store, clock: FakeClock) -> None:
    assert await _give(store, "d-1", 20) == 20
    await clock.advance(3600.0)
    assert await _give(store, "d-2", 30) == 30
    before = await _kept(store)

    def lose_and_rebuild(connection: Connection) -> None:
        connection.execute("DELETE FROM goodwill")
        rebuild_spends(connection)

    await store.journal._writer.write(lose_and_rebuild)
    assert await _kept(store) == before
    assert [(row[1], row[2], row[3], row[6]) for row in before] == [(INC, 1, 20, "boot-1"), (INC, 2, 30, "boot-1")]


async def test_a_salvaged_till_knows_what_it_gave_today(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=1_000)))
        await hear(store, word())
        assert await _give(store, "d-1", 50) == 50
    await asyncio.to_thread(shop.salvage, tmp_path)
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        await hear(store, word(applied={INC: 1}))
        assert await _why(store, "d-2", 1) is WhyNot.NO_ALLOWANCE


async def test_what_was_given_is_forgotten_with_its_event_and_not_before_a_day(store: Store, clock: FakeClock) -> None:
    assert await _give(store, "d-1", 50) == 50
    await shop.credit(store, "s-1", 500)  # the newest event always stays
    await shop.settle_all(store)
    await store.cache.apply(shop.page(position=2, covered={INC: 2}))
    await hear(store, word(applied={INC: 2}))
    await store.pruner.step(timedelta(days=1), MORNING)
    await clock.advance(DAY_S - 1)
    await store.pruner.step(timedelta(days=1), clock.now())
    assert len(await _kept(store)) == 1
    await clock.advance(1.0)
    await store.pruner.step(timedelta(days=1), clock.now())
    assert await _kept(store) == []
    await hear(store, word(applied={INC: 2}))
    assert await _give(store, "d-2", 50) == 50


async def test_goodwill_of_an_older_file_gets_its_time_from_its_event(store: Store, clock: FakeClock) -> None:
    assert await _give(store, "d-1", 20) == 20
    await clock.advance(3600.0)
    assert await _give(store, "d-2", 30) == 30
    before = await _kept(store)
    await store.journal._writer.write(_as_before_goodwill_had_a_time)
    assert await _kept(store) == before
    await hear(store, word(applied={INC: 2}))
    assert await _why(store, "d-3", 1) is WhyNot.NO_ALLOWANCE


def _as_before_goodwill_had_a_time(connection: Connection) -> None:
    """Bring the table to what it was, and forward again by its migration."""
    (step,) = (entry for entry in resources.files("agent.migrations.till").iterdir() if "_goodwill" in entry.name)
    for statement in (
        "CREATE TABLE before (subject BLOB, inc TEXT, seq INTEGER, points INTEGER)",
        "INSERT INTO before SELECT subject, inc, seq, points FROM goodwill",
        "DROP TABLE goodwill",
        "ALTER TABLE before RENAME TO goodwill",
        *step.read_text(encoding="utf-8").split(";\n"),
    ):
        connection.execute(statement)
