"""Redemptions on a real file: nothing is spent twice, and everything of one is on disk or nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.purse import WhyNot
from agent.redemptions import NotSpendable, RedemptionResult, RedemptionReversalResult
from agent.shift import ActState
from agent.store import Store
from agent.store.allowances import rebuild_spends
from agent.store.entries import Terminal
from agent.store.files import milliseconds
from agent.store.spends import RedemptionIdReused, record_redemption
from sync.contract.allowance import NotGranted
from sync.contract.events import ALLOWANCE_RETURNED, REDEEMED
from sync.contract.protocol import Outcome, Reason, Verdict
from sync.runtime.sqlite_file import Connection, Row
from tests.support import allowances, shop
from tests.support.allowances import DAY_S, allowance, give_back, hear, left, redeem, word
from tests.support.clock import FakeClock
from tests.support.shop import INC, MORNING, STORE_ID, TERMINAL_ID

SECOND_INC = "00000000000000b2"


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path, clock) as opened:
        await opened.cache.apply(shop.page(shop.put(points=300)))
        yield opened


async def _why(store: Store, redemption_id: str, points: int) -> tuple[WhyNot, int]:
    with pytest.raises(NotSpendable) as refused:
        await redeem(store, redemption_id, points)
    return refused.value.reason, refused.value.spendable


async def _events(store: Store) -> list[str]:
    batch = await store.journal.next_batch(500, 1_000_000)
    return list(batch.events) if batch else []


async def test_a_redemption_takes_from_the_allowance_and_from_what_is_shown(store: Store) -> None:
    await hear(store, word(allowance(100)))
    done = await redeem(store, "d-1")
    assert isinstance(done.answer, RedemptionResult)
    assert (done.answer.points, done.answer.spendable, done.answer.balance.shown) == (50, 50, 250)
    assert (left(store), shop.balance(store).pending) == (50, -50)
    (event,) = await _events(store)
    assert f'"type":"{REDEEMED}"' in event
    assert '"shares":[{"allowance_id":"a-1","points":50}]' in event


async def test_the_same_redemption_again_answers_the_first_result(store: Store) -> None:
    await hear(store, word(allowance(100)))
    first = await redeem(store, "d-1", 60)
    await hear(store, word())  # whatever became of the allowance meanwhile
    again = await redeem(store, "d-1", 60)
    assert (again.result, again.answer) == (first.result, None)
    with pytest.raises(RedemptionIdReused):
        await redeem(store, "d-1", 61)
    assert len(await _events(store)) == 1


async def test_fifty_redemptions_at_once_spend_what_is_there_and_no_point_more(store: Store) -> None:
    await hear(store, word(allowance(100, "a-1"), allowance(33, "a-2", ttl_s=60)))
    done = await asyncio.gather(*(redeem(store, f"d-{n}", 10) for n in range(50)), return_exceptions=True)
    refused = [one for one in done if isinstance(one, NotSpendable)]
    assert (len(done) - len(refused), left(store)) == (13, 3)
    assert shop.balance(store).pending == -130
    assert len(await _events(store)) == 13


class _Failing:
    """A connection on which one statement fails."""

    def __init__(self, connection: Connection, fails_at: int) -> None:
        self._connection = connection
        self._left = fails_at

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("the statement that fails")

    def execute(self, sql: str, *parameters: Any) -> Any:
        self._count()
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> Any:
        self._count()
        return self._connection.executemany(sql, *parameters)


async def _rows(store: Store) -> list[int]:
    def read(connection: Connection) -> list[int]:
        tables = ("journal", "pending", "spends", "redemptions", "incarnations")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables]

    return await store.journal._reader.read(read)


async def test_a_redemption_that_fails_at_any_statement_leaves_nothing(store: Store) -> None:
    await hear(store, word(allowance(100)))
    here, stamp, entry = Terminal(TERMINAL_ID, STORE_ID, INC), store.journal.stamp(), allowances.entry(store, "d-1")
    statements = 0
    while True:
        statements += 1

        def failing(connection: Connection, at: int = statements) -> None:
            record_redemption(_Failing(connection, at), here, stamp, entry)  # type: ignore[arg-type]

        try:
            await store.journal._writer.write(failing)
        except RuntimeError:
            assert await _rows(store) == [0, 0, 0, 0, 0]
            continue
        break
    assert statements > 10
    assert await _rows(store) == [1, 1, 1, 1, 1]
    assert left(store) == 50


async def test_the_hubs_word_replaces_the_list_and_keeps_the_spends_it_does_not_contain(store: Store) -> None:
    await hear(store, word(allowance(100)))
    await redeem(store, "d-1", 60)
    await hear(store, word(allowance(100), allowance(30, "a-2")))
    assert left(store) == 70
    await hear(store, word(allowance(100, spent=60), applied={INC: 1}))
    assert left(store) == 40
    # A hub that was brought back from a backup contains less than it said before.
    await hear(store, word(allowance(100)))
    assert left(store) == 40
    await hear(store, word())
    assert await _why(store, "d-2", 10) == (WhyNot.NO_ALLOWANCE, 0)


async def test_a_word_that_crossed_a_newer_one_changes_nothing(store: Store) -> None:
    early, late = store.allowances.asking(), store.allowances.asking()
    assert await late(word(allowance(100)))
    assert not await early(word(allowance(200)))
    assert left(store) == 100


async def test_a_redemption_that_is_taken_back_can_be_spent_again_once_the_hub_says_so(store: Store) -> None:
    """Another till may have taken the same one back before; then the points were free for everybody."""
    await hear(store, word(allowance(100)))
    await redeem(store, "d-1", 100)
    done = await give_back(store, "g-1", "d-1")
    assert isinstance(done.answer, RedemptionReversalResult)
    assert (done.answer.state, done.answer.points) == ("given_back", 100)
    assert (left(store), shop.balance(store).pending) == (0, 0)
    assert (await give_back(store, "g-1", "d-1")).result == done.result
    again = await give_back(store, "g-2", "d-1")
    assert isinstance(again.answer, RedemptionReversalResult)
    assert (again.answer.state, again.answer.points) == ("already_given_back", 0)
    assert left(store) == 0
    await hear(store, word(allowance(100), applied={shop.INC: 3}))
    assert left(store) == 100


async def test_the_redemption_of_another_till_is_taken_back_by_the_hub(store: Store) -> None:
    done = await give_back(store, "g-1", "of-another-till")
    assert isinstance(done.answer, RedemptionReversalResult)
    assert (done.answer.state, done.answer.points) == ("redemption_not_known_here", 0)
    assert shop.balance(store).pending == 0


async def test_a_refused_redemption_leaves_the_pending_sum_and_gives_nothing_back(store: Store) -> None:
    await hear(store, word(allowance(100)))
    await redeem(store, "d-1", 60)
    refused = {1: Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.REDEMPTION_CONFLICT)}
    await shop.settle_all(store, refused)
    assert shop.balance(store).pending == 0
    done = await give_back(store, "g-1", "d-1")
    assert isinstance(done.answer, RedemptionReversalResult)
    assert done.answer.points == 0
    assert [row.redemption_id for row in (await store.outbox.rows()).rows] == ["d-1", "d-1"]


async def test_what_the_network_does_not_carry_is_spent_here_however_far_the_hubs_word_goes(store: Store) -> None:
    await hear(store, word(allowance(100)))
    await redeem(store, "d-1", 60)
    await store.journal.withhold(INC, 1, "message_too_large")
    await hear(store, word(allowance(100), applied={INC: 1}))
    assert left(store) == 40


async def test_all_that_was_spent_here_since_the_hubs_word_counts_for_the_till(store: Store) -> None:
    await hear(store, word(allowance(100), allowance(50, "a-2", customer_id="c-2")))
    await redeem(store, "d-1", 30)
    await redeem(store, "d-2", 20)
    assert store.allowances.purse("c-2", []).spent_by_all == 50
    await hear(store, word(allowance(100, spent=30), applied={INC: 1}))
    assert store.allowances.purse("c-2", []).spent_by_all == 20
    await redeem(store, "d-3", 5)
    await hear(store, word(allowance(100)))  # a hub that was brought back from a backup
    assert store.allowances.purse("c-2", []).spent_by_all == 55


async def test_an_old_allowance_is_not_spent_and_goes_back_once(store: Store, clock: FakeClock) -> None:
    await hear(store, word(allowance(100, ttl_s=3600), allowance(50, "a-2")))
    assert await store.allowances.due_back() == ()
    await clock.advance(3600.0)
    assert (left(store), await store.allowances.due_back()) == (50, ("a-1",))
    await store.redeemer.return_allowances(("a-1",))
    assert await store.allowances.due_back() == ()
    (event,) = await _events(store)
    assert f'"type":"{ALLOWANCE_RETURNED}"' in event
    assert [held.allowance_id for held in await store.allowances.held()] == ["a-2"]
    # The word may still say it: it does not contain the return yet.
    await hear(store, word(allowance(100), allowance(50, "a-2")))
    assert left(store) == 50


async def test_a_wall_clock_that_is_set_back_does_not_make_an_allowance_younger(store: Store, clock: FakeClock) -> None:
    await hear(store, word(allowance(100, ttl_s=3600)))
    await clock.advance(3600.0)
    clock.set_wall(MORNING + timedelta(seconds=5))
    assert left(store) == 0


async def test_a_recalled_allowance_is_not_spent_and_goes_back(store: Store) -> None:
    await hear(store, word(allowance(100, recalled=True)))
    assert (left(store), await store.allowances.due_back()) == (0, ("a-1",))


async def test_a_clock_below_the_last_time_that_was_written_spends_nothing(tmp_path: Path) -> None:
    clock = FakeClock(MORNING)
    async with shop.open_till(tmp_path, clock) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        await clock.advance(3600.0)
        await store.allowances.note_time()
    clock.reboot("boot-2")
    clock.set_wall(MORNING + timedelta(minutes=30))
    async with shop.open_till(tmp_path, clock, SECOND_INC) as store:
        assert await _why(store, "d-1", 10) == (WhyNot.FROZEN, 0)
        await hear(store, word(allowance(100)), by_hello=False)
        await redeem(store, "d-1", 10)


async def test_a_till_that_has_not_heard_the_hub_for_days_spends_nothing(store: Store, clock: FakeClock) -> None:
    await hear(store, word(allowance(100, ttl_s=30 * DAY_S)))
    await clock.advance(72 * 3600.0)
    await redeem(store, "d-1", 10)
    await clock.advance(1.0)
    assert await _why(store, "d-2", 10) == (WhyNot.TOO_LONG_WITHOUT_HUB, 0)


async def test_only_a_hello_ends_a_freeze(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
    (tmp_path / "marker").unlink()
    for inc in (SECOND_INC, "00000000000000c3"):  # a second start does not end it either
        async with shop.open_till(tmp_path, inc=inc) as store:
            await hear(store, word(allowance(100)), by_hello=False)
            assert await _why(store, "d-1", 10) == (WhyNot.FROZEN, 0)
            assert await store.allowances.due_back() == ()
    async with shop.open_till(tmp_path, inc="00000000000000d4") as store:
        await hear(store, word(allowance(100)))
        await redeem(store, "d-1", 10)


async def test_a_disk_copied_to_another_machine_is_frozen(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await hear(store, word(allowance(100)))
    marker = tmp_path / "marker"
    marker.write_text(marker.read_text(encoding="utf-8").replace('"machine": "', '"machine": "f'), encoding="utf-8")
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        assert await _why(store, "d-1", 10) == (WhyNot.FROZEN, 0)


async def test_wishes_are_asked_once_with_the_spends_on_their_way(store: Store) -> None:
    await hear(store, word(allowance(100)))
    await redeem(store, "d-1", 60)
    store.allowances.wish("c-1", 100)
    wants, is_stale = store.allowances.take_wishes()
    assert ([(want.customer_id, want.points) for want in wants], is_stale) == ([("c-1", 160)], False)
    assert store.allowances.take_wishes() == ((), False)


async def test_points_at_another_till_are_said_as_the_reason(store: Store) -> None:
    missing = NotGranted(customer_id="c-1", points=50, reserved_elsewhere=80)
    await hear(store, word(refused=(missing,)))
    assert store.allowances.reserved_elsewhere("c-1") == 80
    await hear(store, word(allowance(10)))
    assert store.allowances.reserved_elsewhere("c-1") == 0


async def test_a_pruned_redemption_is_answered_again_and_taken_back(store: Store) -> None:
    await hear(store, word(allowance(100)))
    first = await redeem(store, "d-1", 60)
    await shop.credit(store, "s-1", 500)  # the newest event always stays
    await shop.settle_all(store)
    await store.cache.apply(shop.page(position=2, covered={INC: 2}))
    for days in (0, 15):
        await store.pruner.step(timedelta(days=14), MORNING + timedelta(days=days))
    assert await _spends(store) == [("a-1", 60)]  # the hub's word does not contain it yet
    await hear(store, word(allowance(100, spent=60), applied={INC: 2}))
    await shop.credit(store, "s-2", 500)
    await shop.settle_all(store)
    await store.cache.apply(shop.page(position=3, covered={INC: 3}))
    for days in (16, 32):
        await store.pruner.step(timedelta(days=14), MORNING + timedelta(days=days))
    assert (await _spends(store), left(store)) == ([], 40)
    assert (await redeem(store, "d-1", 60)).result == first.result
    done = await give_back(store, "g-1", "d-1")
    assert isinstance(done.answer, RedemptionReversalResult)
    assert (done.answer.state, done.answer.points, left(store)) == ("given_back", 60, 40)


async def _spends(store: Store) -> list[Row]:
    return await store.journal._reader.read(
        lambda connection: connection.execute(
            "SELECT allowance_id, points FROM spends ORDER BY seq, allowance_id"
        ).fetchall()
    )


async def test_spends_are_worked_out_anew_from_the_events(store: Store) -> None:
    await hear(store, word(allowance(70), allowance(50, "a-2")))
    await redeem(store, "d-1", 100)
    await store.redeemer.return_allowances(("a-2",))
    before = await _spends(store)

    def lose_and_rebuild(connection: Connection) -> None:
        connection.execute("DELETE FROM spends")
        rebuild_spends(connection)

    await store.journal._writer.write(lose_and_rebuild)
    assert await _spends(store) == before == [("a-1", 70), ("a-2", 30), ("a-2", None)]


async def test_a_salvaged_till_knows_its_redemptions_and_spends_nothing_before_a_hello(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        first = await redeem(store, "d-1", 60)
    await asyncio.to_thread(shop.salvage, tmp_path)
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert (await redeem(store, "d-1", 60)).result == first.result
        assert shop.balance(store).pending == -60
        await hear(store, word(allowance(100)), by_hello=False)
        assert await _why(store, "d-2", 10) == (WhyNot.FROZEN, 0)
        await hear(store, word(allowance(100)))
        assert left(store) == 40
        assert (await give_back(store, "g-1", "d-1")).answer is not None
        assert shop.balance(store).pending == 0


async def test_a_redemption_is_an_act_of_the_shift(store: Store) -> None:
    await hear(store, word(allowance(100)))
    await shop.credit(store, "s-1", 500)
    await redeem(store, "d-1")
    await redeem(store, "d-2", 20)
    await give_back(store, "g-1", "d-1")
    rows = [kept.act for kept in (await store.acts.newest(10)).rows]
    assert [(act.kind, act.redemption_id or act.sale_id, act.reward_id, act.points, act.state) for act in rows] == [
        ("redemption", "d-2", None, 20, ActState.REDEEMED),
        ("redemption", "d-1", "cookie", 50, ActState.GIVEN_BACK),
        ("sale", "s-1", None, 5, ActState.CREDITED),
    ]
    assert rows[0].customer_id == "c-1"
    assert milliseconds(rows[0].recorded_at) == milliseconds(MORNING)
