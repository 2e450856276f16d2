"""Faults of time and of numbers: clocks that jump, a line that flaps, a thousand tills at once, a hub that is slow."""

import contextlib
import random
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sync.contract.identifiers import Identifier, Scheme
from sync.contract.protocol import PresentedIdentifier, UploadAnswer
from sync.hub.terminals.reception import HELLOS_PER_S
from sync.hub_errors import HubBusy, HubError, HubUnreachable
from sync.pump.pace import EVENTS_MIN, Pace, delay_s
from sync.pump.ports import Batch
from sync.pump.pusher import HELLO_EVERY_S
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.hub_tills import till_of
from tests.support.hubs import hub_in_process
from tests.support.pump_fakes import INC, MemoryHub, running
from tests.support.pusher_rig import PusherRig

T = TypeVar("T")

AGENTS = 1_000
PACE = Pace()


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=3650), timedelta(hours=1), timedelta(seconds=-1)])
async def test_a_wall_clock_that_jumps_changes_no_cadence_and_no_order(jump: timedelta) -> None:
    """F39: a day back, ten years ahead, daylight saving, a leap second, in the middle of a backlog."""
    rig = PusherRig()
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        for hour in range(4):
            await rig.clock.advance(HELLO_EVERY_S / 2)
            rig.clock.set_wall(rig.clock.now() + jump * (-1) ** hour)
            rig.journal.commit(3)
            await rig.clock.advance(HELLO_EVERY_S / 2)

    assert rig.all_at_hub()
    assert [len(batch.events) for batch in rig.hub.batches] == [3] * 5
    assert len(rig.hub.hellos) in (4, 5)  # once an hour by the clock that does not jump


async def test_a_clock_of_the_far_future_at_the_other_end_poisons_nobody() -> None:
    """F42: the hub says that it is the year 2999; the till's own time and pace stay as they are."""
    rig = PusherRig()
    rig.hub.clock = FakeClock(datetime(2999, 1, 1, tzinfo=UTC))
    start = rig.clock.now()
    async with running(rig.pusher.run()):
        await rig.clock.advance(HELLO_EVERY_S + 1)
        rig.hub.clock = rig.clock
        await rig.clock.advance(HELLO_EVERY_S + 1)

    walls = [hello.wall for hello in rig.hub.hellos]
    assert all(start <= wall <= rig.clock.now() for wall in walls)
    assert all(
        later - earlier == timedelta(seconds=HELLO_EVERY_S) or later - earlier <= timedelta(seconds=HELLO_EVERY_S + 60)
        for earlier, later in pairwise(walls)
    )
    assert rig.line.state.hub_time is not None
    assert rig.line.state.hub_time.now(rig.clock) == rig.clock.now()


async def test_an_answer_from_a_clock_that_was_years_ahead_is_not_waited_for(tmp_path: Path) -> None:
    """F39: a card was asked about while the clock said 2036; now it is right again, and the card is asked about."""
    clock = FakeClock(datetime(2036, 1, 1, tzinfo=UTC))
    number = shop.card(9)
    presented = PresentedIdentifier(id=shop.card_id(number), identifier=Identifier(scheme=Scheme.CARD, value=number))
    async with shop.open_till(tmp_path, clock) as store:
        await store.journal.present(presented)
        await store.journal.identifiers_sent([presented.id], [])
        await store.journal.present(presented)
        assert await store.journal.unsent_identifiers(10) == []

        clock.set_wall(datetime(2026, 3, 9, tzinfo=UTC))
        await store.journal.present(presented)
        assert await store.journal.unsent_identifiers(10) == [presented]


class FlappingHub(MemoryHub):
    """A hub whose line is there one second and away the next; `made` counts the calls that met it away too."""

    made = 0

    async def _answer(self, call: str, effect: Coroutine[Any, Any, T]) -> T:
        self.made += 1
        if int(self.clock.monotonic()) % 2:
            effect.close()
            raise HubUnreachable("no_connection")
        return await super()._answer(call, effect)


async def test_a_line_that_flaps_each_second_doubles_nothing_and_asks_for_no_hand() -> None:
    """F43: one second on, one off, for ten minutes, with a sale each twenty seconds."""
    rig = PusherRig()
    hub = FlappingHub(rig.clock)
    rig.hub = rig.pusher._hub = hub
    async with running(rig.pusher.run()):
        for _ in range(30):
            rig.journal.commit()
            await rig.clock.advance(20.25)
        await rig.until(rig.all_at_hub, within_s=121)

    assert hub.made <= 2 * 30 * 20
    assert list(hub.streams) == [INC]


async def test_a_line_that_is_away_for_a_day_is_asked_for_no_oftener_than_twice_a_minute_on_average() -> None:
    """F43: only the name cannot be resolved, only one family of addresses works: all the same to the till."""
    rig = PusherRig()
    rig.hub.fail("hello", HubUnreachable("no_connection"), times=100_000)
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.advance(24 * 3600)

    assert 24 * 60 <= len(rig.hub.hellos) <= 24 * 60 * 2.2


def waits(error: HubError, tries: int, seed: int) -> list[list[float]]:
    """Return, for each of a thousand tills, the moments at which it asks again after a loss that hit all at once."""
    dice = random.Random(seed)
    agents = []
    for _ in range(AGENTS):
        at_s, moments = 0.0, []
        for attempt in range(1, tries + 1):
            at_s += delay_s(PACE, error, attempt, dice.random())
            moments.append(at_s)
        agents.append(moments)
    return agents


def by_second(agents: list[list[float]]) -> Counter[int]:
    return Counter(int(moment) for moments in agents for moment in moments)


def test_a_thousand_tills_that_lost_the_hub_in_one_second_come_back_in_no_wave() -> None:
    """F54: the histogram of all tries, by the second. A fleet in step would show the whole fleet in one of them."""
    histogram = by_second(waits(HubUnreachable("no_connection"), 12, seed=54))
    later = [histogram[second] for second in range(10, 150)]

    assert max(histogram.values()) <= AGENTS  # the first try, drawn from half a second
    assert max(later) <= AGENTS / 5
    assert max(later[60:]) <= 3 * sum(later[60:]) / len(later[60:])
    jumps = [abs(one - next_one) for one, next_one in pairwise(later[60:])]
    assert max(jumps) <= AGENTS / 20


@pytest.mark.parametrize("retry_after_s", [5.0, 30.0, 120.0])
def test_a_thousand_tills_told_to_wait_the_same_time_do_not_come_in_the_same_second(retry_after_s: float) -> None:
    """F54: a storm of 429, each with the same Retry-After."""
    first = Counter(int(moments[0]) for moments in waits(HubBusy(retry_after_s), 1, seed=429))

    assert min(first) >= int(retry_after_s)
    assert max(first.values()) <= AGENTS / min(retry_after_s / 4, 4) * 1.2
    tenth = by_second([moments[-1:] for moments in waits(HubBusy(retry_after_s), 10, seed=429)])
    assert max(tenth.values()) <= AGENTS / 2


class SpreadingHub(MemoryHub):
    """A hub that is away at first, spreads the tills as the product does, and notes when each of them uploads."""

    uploaded_at_s = 0.0

    async def upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        self.uploaded_at_s = self.uploaded_at_s or self.clock.monotonic()
        return await super().upload(batch, hub_epoch)


async def _uploads_by_second(spread_s: int) -> Counter[int]:
    """Return when the pushers of a whole fleet send their backlog, after a loss that hit all at once."""
    clock = FakeClock()
    hubs = []
    async with contextlib.AsyncExitStack() as fleet:
        for _ in range(AGENTS):
            rig = PusherRig(clock)
            hub = SpreadingHub(clock, reconnect_spread_s=spread_s)
            rig.hub = rig.pusher._hub = hub
            hub.fail("hello", HubUnreachable("no_connection"))
            rig.journal.commit()
            await fleet.enter_async_context(running(rig.pusher.run()))
            hubs.append(hub)
        start_s = clock.monotonic()
        await clock.advance(PACE.floor_s * 4 + spread_s)
    assert all(hub.uploaded_at_s for hub in hubs)
    return Counter(int(hub.uploaded_at_s - start_s) for hub in hubs)


def _enrol_all(connection: Connection) -> None:
    connection.executemany(
        "INSERT INTO terminals (terminal_id, store_id, name, credential_hash, enrolled_ms, hello_ms, agent_version) "
        "VALUES (?, 'store-1', '', ?, 0, 0, '')",
        [(f"till-{number}", str(number).encode().ljust(32)) for number in range(1, AGENTS)],
    )


async def test_the_hub_spreads_a_fleet_that_reconnects_over_as_many_seconds_as_it_needs(tmp_path: Path) -> None:
    """F54: a thousand pushers, each of which waits a random part of what the hello of a hub of so many answers."""
    async with hub_in_process(tmp_path) as hub, till_of(hub.inside) as till:
        await hub.inside.writer.write(_enrol_all)
        spread_s = (await till.hello()).reconnect_spread_s
    together = await _uploads_by_second(0)
    spread = await _uploads_by_second(spread_s)

    assert max(together.values()) > AGENTS / 3  # what it is for
    assert max(spread.values()) <= HELLOS_PER_S * 1.4
    assert len(spread) >= AGENTS / HELLOS_PER_S


class SlowHub(MemoryHub):
    """A hub that takes one upload in five, and lets large ones time out."""

    uploads = 0
    is_slow = True

    async def _answer(self, call: str, effect: Coroutine[Any, Any, T]) -> T:
        if call == "upload" and self.is_slow:
            self.uploads += 1
            if self.uploads % 5:
                effect.close()
                raise HubBusy(30.0) if self.uploads % 2 else HubUnreachable("timeout")
        return await super()._answer(call, effect)


async def test_a_hub_that_is_slower_than_the_sales_for_hours_loses_none_of_them_and_their_order() -> None:
    """F55: the batch shrinks while it times out and grows again; nothing is shed, because all that waits is money."""
    rig = PusherRig()
    hub = SlowHub(rig.clock)
    rig.hub = rig.pusher._hub = hub
    async with running(rig.pusher.run()):
        for _ in range(120):
            rig.journal.commit(500)
            await rig.clock.advance(60)
        behind = sum(len(events) for events in rig.journal.events.values()) - len(hub.streams[INC])
        assert behind > 0
        assert len(hub.batches[-1].events) == EVENTS_MIN
        hub.is_slow = False
        await rig.until(rig.all_at_hub, within_s=3600)

    assert max(len(batch.events) for batch in hub.batches) == hub.max_batch_events
    assert rig.journal.settled_times.keys() == rig.journal.verdicts.keys()
