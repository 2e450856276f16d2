"""Held events: a till asks at its hello what became of them, because a snapshot jumps over what the feed said."""

from pathlib import Path

from agent.store.outbox import EntryState
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.protocol import HeldEvent, Outcome, OutcomePut, Reason, Verdict
from sync.pump.line import HubTime, Line
from sync.pump.puller import Puller
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.pump_fakes import INC, MemoryCache, MemoryHub, running
from tests.support.pusher_rig import PusherRig


def outcome(seq: int, inc: str = INC) -> OutcomePut:
    return OutcomePut(inc=inc, verdict=Verdict(seq=seq, outcome=Outcome.APPLIED))


def parked(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.PARKED, reason=Reason.WAITS_FOR_SALE)


async def test_a_hello_names_what_is_held_and_what_it_is_told_is_written_down() -> None:
    rig = PusherRig()
    rig.journal.parked = [HeldEvent(inc=INC, seq=3), HeldEvent(inc=INC, seq=5)]
    rig.hub.final = (outcome(3),)
    async with running(rig.pusher.run()):
        await rig.until(lambda: bool(rig.journal.concluded), within_s=5)

    assert rig.hub.hellos[0].held == (HeldEvent(inc=INC, seq=3), HeldEvent(inc=INC, seq=5))
    assert rig.journal.concluded == [outcome(3)]


async def test_a_verdict_that_nobody_asked_for_is_not_believed() -> None:
    rig = PusherRig()
    rig.journal.parked = [HeldEvent(inc=INC, seq=3)]
    rig.hub.final = (outcome(4), outcome(3, "f" * 16))
    async with running(rig.pusher.run()):
        await rig.until(lambda: bool(rig.hub.hellos) and rig.line.epoch is not None, within_s=5)

    assert rig.journal.concluded == []


async def test_after_a_snapshot_a_hello_is_due_at_once() -> None:
    clock = FakeClock()
    line, hub = Line(clock, lambda _: None), MemoryHub(clock)
    line.greeted(hub.epoch, HubTime(clock.now(), clock.monotonic(), "boot-1"))
    cache = MemoryCache()
    async with running(Puller(cache, hub, line, lambda _: None, clock).run()):
        await clock.advance(1)

    assert cache.held_cursor == write_cursor(FeedCursor(hub.epoch, 0))
    assert line.hello_wanted.is_set()


async def test_a_held_event_leaves_the_list_once_its_verdict_is_known(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        for number in range(1, 4):
            await shop.credit(store, f"s-{number}")
        await shop.settle_all(store, {2: parked(2)})
        assert (await store.journal.state()).held == (HeldEvent(inc=shop.INC, seq=2),)

        await store.journal.conclude([outcome(2, shop.INC)])

        assert (await store.journal.state()).held == ()
        assert (await store.outbox.rows(EntryState.PARKED)).rows == ()


async def test_of_many_held_events_each_gets_its_turn(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        for number in range(1, 6):
            await shop.credit(store, f"s-{number}")
        await shop.settle_all(store, {seq: parked(seq) for seq in range(1, 6)})

        turns = [[one.seq for one in (await store.journal.state(held_max=2)).held] for _ in range(4)]

    assert turns == [[1, 2], [3, 4], [5], [1, 2]]
