"""The sales of a shift, read back from real files."""

import json
from datetime import timedelta
from pathlib import Path

from agent.shift import SHIFT_MAX, Act, ActState, Held
from agent.store import Store
from agent.store.acts import ACTS_ROWS_MAX
from agent.wedge import End, Scanner
from sync.contract.identifiers import Scheme
from sync.contract.protocol import Outcome, OutcomePut, Reason, Verdict
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.sqlite_steps import steps_of


async def _listed(store: Store, limit: int = 50) -> list[Act]:
    return [kept.act for kept in (await store.acts.newest(limit)).rows]


async def _states(store: Store) -> dict[str | None, tuple[ActState, Held | None]]:
    return {act.sale_id: (act.state, act.held) for act in await _listed(store)}


async def test_a_sale_is_an_act_with_what_it_credited_and_no_name(store: Store) -> None:
    await shop.credit(store, "s-1", 1_599)
    (act,) = await _listed(store)
    assert act == Act(
        position=1,
        sale_id="s-1",
        customer_id="c-1",
        hint=f"•• {shop.card()[-4:]}",
        net_minor=1_599,
        currency="CAD",
        points=15,
        state=ActState.CREDITED,
        recorded_at=shop.MORNING,
    )
    kept = store.acts.of_sale("s-1")
    assert kept is not None
    assert (kept.act, kept.subject) == (act, shop.card_id(shop.card()))
    assert store.acts.of_sale("s-2") is None


async def test_a_card_nobody_is_known_for_has_its_hint_until_the_hub_has_its_number(store: Store) -> None:
    unknown = shop.card(2)
    await shop.credit(store, "s-1", 500, unknown)
    (act,) = await _listed(store)
    assert (act.state, act.customer_id, act.hint) == (ActState.KEPT_FOR_CARD, None, f"•• {unknown[-4:]}")
    await store.journal.identifiers_sent([shop.card_id(unknown)], [])
    assert (await _listed(store))[0].hint is None
    await store.cache.apply(
        shop.page(shop.put(shop.customer("c-2"), identifiers=[shop.ref(Scheme.CARD, unknown)]), position=2)
    )
    assert (await _listed(store))[0].hint == f"•• {unknown[-4:]}"


async def test_a_reversal_changes_the_act_and_is_none_itself(store: Store) -> None:
    await shop.credit(store, "s-1", 500)
    await shop.credit(store, "s-2", 99)  # earns nothing, and can be taken back all the same
    await shop.credit(store, "s-3", 700)
    await shop.take_back(store, "r-1", "s-1")
    await shop.take_back(store, "r-2", "s-2")
    await shop.take_back(store, "r-3", "of-another-till")
    acts = await _listed(store)
    assert [(act.position, act.sale_id, act.points, act.state) for act in acts] == [
        (3, "s-3", 7, ActState.CREDITED),
        (2, "s-2", 0, ActState.TAKEN_BACK),
        (1, "s-1", 5, ActState.TAKEN_BACK),
    ]
    assert [kept.act for act in acts if (kept := store.acts.of_sale(act.sale_id or ""))] == acts


async def test_an_act_says_when_the_hub_does_not_count_it(store: Store) -> None:
    for number in range(1, 5):
        await shop.credit(store, f"s-{number}", 500)
    await shop.settle_all(
        store,
        {
            1: Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED),
            2: Verdict(seq=2, outcome=Outcome.PARKED, reason=Reason.WAITS_FOR_SALE),
        },
    )
    await shop.credit(store, "s-5", 500)
    await store.journal.withhold(shop.INC, 5, "http_413")
    final = OutcomePut(inc=shop.INC, verdict=Verdict(seq=2, outcome=Outcome.APPLIED))
    assert await _states(store) == {
        "s-1": (ActState.CREDITED, Held.REJECTED),
        "s-2": (ActState.CREDITED, Held.PARKED),
        "s-3": (ActState.CREDITED, None),
        "s-4": (ActState.CREDITED, None),
        "s-5": (ActState.CREDITED, Held.WITHHELD),
    }
    await store.journal.conclude([final])
    assert (await _states(store))["s-2"] == (ActState.CREDITED, None)


async def test_a_verdict_that_overtook_its_answer_holds_nothing(store: Store) -> None:
    await shop.credit(store, "s-1", 500)
    await store.journal.conclude([OutcomePut(inc=shop.INC, verdict=Verdict(seq=1, outcome=Outcome.APPLIED))])
    assert await _states(store) == {"s-1": (ActState.CREDITED, None)}


async def test_a_new_shift_begins_with_an_empty_list_and_outlives_the_process(tmp_path: Path, clock: FakeClock) -> None:
    async with shop.open_till(tmp_path, clock) as store:
        await shop.credit(store, "s-1", 500)
        await shop.take_back(store, "r-1", "s-1")
        await clock.advance(60)
        await store.acts.begin_shift()
        began = await store.acts.newest(50)
        assert (began.since, began.rows, began.more) == (shop.MORNING + timedelta(seconds=60), (), False)
    async with shop.open_till(tmp_path, clock, inc="00000000000000b2") as store:
        await shop.credit(store, "s-2", 500)
        assert [act.sale_id for act in await _listed(store)] == ["s-2"]
        assert (await store.acts.newest(50)).since == began.since
        await store.acts.begin_shift()
        assert await _listed(store) == []
        assert store.acts.of_sale("s-1") is not None


async def test_yesterdays_sales_leave_the_list_by_themselves(store: Store, clock: FakeClock) -> None:
    await shop.credit(store, "s-1", 500)
    await clock.advance(SHIFT_MAX.total_seconds())
    await shop.credit(store, "s-2", 500)
    assert [act.sale_id for act in await _listed(store)] == ["s-2", "s-1"]
    await clock.advance(1)
    acts = await store.acts.newest(50)
    assert ([kept.act.sale_id for kept in acts.rows], acts.more) == (["s-2"], False)
    assert acts.since == shop.MORNING + timedelta(seconds=1)


async def test_a_clock_that_was_set_back_hides_no_sale_of_the_shift(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path, FakeClock(shop.MORNING)) as store:
        await store.acts.begin_shift()
    async with shop.open_till(tmp_path, FakeClock(shop.MORNING - timedelta(hours=2)), inc="00000000000000b2") as store:
        await shop.credit(store, "s-1", 500)
        assert [act.sale_id for act in await _listed(store)] == ["s-1"]


async def test_a_list_that_is_cut_says_so(store: Store) -> None:
    for number in range(1, 4):
        await shop.credit(store, f"s-{number}", 500)
    cut, whole = await store.acts.newest(2), await store.acts.newest(3)
    assert ([kept.act.position for kept in cut.rows], cut.more) == ([3, 2], True)
    assert ([kept.act.position for kept in whole.rows], whole.more) == ([3, 2, 1], False)


async def test_the_list_costs_what_it_shows_however_much_the_till_has_sold(store: Store) -> None:
    await shop.credit(store, "s-0", 500)
    await _sell_copies(store, range(1, 301))
    few = await _steps(store)
    await _sell_copies(store, range(301, 100_001))
    many = await _steps(store)
    assert len((await store.acts.newest(10_000)).rows) == ACTS_ROWS_MAX
    assert many <= few * 1.1


async def _sell_copies(store: Store, numbers: range) -> None:
    """Put copies of the first sale behind the newest one, as a busy till would have them."""

    def write(connection: Connection) -> None:
        ((recorded_at, subject, event, fingerprint, result),) = connection.execute(
            "SELECT j.recorded_at, j.subject, j.event, s.fingerprint, s.result"
            " FROM journal j JOIN sales s USING (position) WHERE j.position = 1"
        ).fetchall()

        def sold(number: int) -> str:
            said = json.loads(event)
            said["data"]["sale_id"] = f"s-{number}"
            return json.dumps(said)

        connection.executemany(
            "INSERT INTO journal (position, recorded_at, subject, points, event) VALUES (?, ?, ?, 5, ?)",
            ((number + 1, recorded_at, subject, sold(number)) for number in numbers),
        )
        connection.executemany(
            "INSERT INTO sales (sale_id, fingerprint, position, result) VALUES (?, ?, ?, ?)",
            ((f"s-{number}", fingerprint, number + 1, result) for number in numbers),
        )

    await store.acts._writer.write(write)


async def _steps(store: Store) -> int:
    return await steps_of(store.acts._reader, lambda: store.acts.newest(ACTS_ROWS_MAX))


async def test_a_measured_scanner_outlives_the_process(tmp_path: Path) -> None:
    measured = Scanner(gap_ms=35, prefix="]C1", suffix="é", end=End.TAB, chars_min=8)
    async with shop.open_till(tmp_path) as store:
        assert store.scanner.read() == Scanner()
        await store.scanner.keep(Scanner(gap_ms=50))
        await store.scanner.keep(measured)
    async with shop.open_till(tmp_path) as store:
        assert store.scanner.read() == measured


async def test_a_till_of_the_version_before_lists_its_sales_too(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await shop.credit(store, "s-1", 500)
        await shop.take_back(store, "r-1", "s-1")
        await shop.credit(store, "s-2", 500)
        await store.acts._writer.outside_transaction(_undo_later_migrations)
    async with shop.open_till(tmp_path, inc="00000000000000b2") as store:
        assert await _states(store) == {"s-1": (ActState.TAKEN_BACK, None), "s-2": (ActState.KEPT_FOR_CARD, None)}
        assert store.scanner.read() == Scanner()


async def test_f37_what_waits_in_a_till_of_the_version_before_is_sent_as_it_was_made(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await shop.credit(store, "s-1", 500)
        await shop.take_back(store, "r-1", "s-1")
        made = await store.journal.next_batch(500, 1_000_000)
        await store.acts._writer.outside_transaction(_undo_later_migrations)
    async with shop.open_till(tmp_path, inc="00000000000000b2") as store:
        await shop.credit(store, "s-2", 500)
        sent = await shop.settle_all(store)
        assert made is not None
        assert sent is not None
        assert (sent.inc, sent.first, sent.events) == (made.inc, made.first, made.events)
        assert store.outbox.figures().waiting == 1


def _undo_later_migrations(connection: Connection) -> None:
    for statement in (
        "DROP TABLE shift",
        "DROP TABLE scanner",
        "DROP INDEX reversals_by_sale",
        "DROP TABLE ack_marks",
        "DROP TABLE bygone",
        "ALTER TABLE incarnations DROP COLUMN pruned_through",
        "ALTER TABLE incarnations DROP COLUMN acked_chain",
        *(f"DROP TABLE {name}" for name in ("trust", "allowances", "word_coverage", "spends", "goodwill")),
        "DROP TABLE redemptions",
        "DROP TABLE redemption_reversals",
        "PRAGMA user_version = 1",
    ):
        connection.execute(statement)
