"""A hub that is newer than the till: what both know comes in, and the till waits for its update where it must."""

import json
from dataclasses import dataclass
from pathlib import Path

from agent.screen import UPDATE_NEEDED, fault_shown
from agent.store.outbox import EntryState
from agent.texts import reason_wording
from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.protocol import CardPut, FeedPage, Reason, UploadAnswer, Verdict
from sync.hub_errors import NOT_UNDERSTOOD, HubRefused, HubUnreachable
from sync.pump.line import HubTime, Line
from sync.pump.puller import Puller
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.pump_fakes import MemoryCache, MemoryHub, running
from tests.support.pusher_rig import PusherRig


@dataclass
class NewerHub(MemoryHub):
    """A hub with a row on its feed that only the next version of a till understands."""

    new_at: int | None = None

    async def _feed(self, cursor: str, hub_epoch: str, limit: int, wait_s: int) -> FeedPage:
        page = await super()._feed(cursor, hub_epoch, limit, wait_s)
        after, end = read_cursor(cursor), read_cursor(page.cursor)
        assert after is not None
        assert end is not None
        if self.new_at is not None and after.position < self.new_at <= end.position:
            raise HubUnreachable(NOT_UNDERSTOOD)
        return page


async def test_an_operation_of_a_newer_hub_stops_the_cursor_before_it_until_the_update() -> None:
    clock, cache = FakeClock(), MemoryCache()
    hub, line = NewerHub(clock, new_at=4), Line(clock, lambda _: None)
    line.greeted(hub.epoch, HubTime(clock.now(), clock.monotonic(), "boot-1"))
    cache.held_cursor = write_cursor(FeedCursor(hub.epoch, 0))
    hub.publish(*(CardPut(identifier=f"{number:032x}", points=number) for number in range(1, 7)))
    async with running(Puller(cache, hub, line, lambda _: None, clock).run()):
        await clock.advance(1_800)
        assert cache.held_cursor == write_cursor(FeedCursor(hub.epoch, 3))
        assert sorted(cache.points.values()) == [1, 2, 3]
        assert fault_shown(line.state.upload_fault, line.state.download_fault) in (UPDATE_NEEDED, "no_hello_yet")
        assert line.state.download_fault == NOT_UNDERSTOOD
        assert cache.snapshots == 0

        hub.new_at = None  # the update
        await clock.advance(120)

    assert sorted(cache.points.values()) == [1, 2, 3, 4, 5, 6]


async def test_a_till_that_is_too_old_for_downloads_goes_on_uploading() -> None:
    rig = PusherRig()
    cache = MemoryCache()
    cache.held_cursor = write_cursor(FeedCursor(rig.hub.epoch, 0))
    rig.hub.fail("feed", HubRefused("upgrade_required", {"min_agent": "0.9"}), times=100_000)
    async with running(rig.pusher.run(), Puller(cache, rig.hub, rig.line, lambda _: None, rig.clock).run()):
        for _ in range(5):
            rig.journal.commit(3)
            await rig.clock.advance(600)
        state = rig.line.state

    assert rig.all_at_hub()
    assert (state.upload_fault, state.download_fault) == (None, "upgrade_required")
    assert fault_shown(state.upload_fault, state.download_fault) == UPDATE_NEEDED
    assert sum(call.startswith("feed") for call in rig.hub.calls) <= 3_000 / 20


async def test_a_reason_of_a_newer_hub_is_shown_as_it_is_and_blocks_nothing(tmp_path: Path) -> None:
    verdicts = [{"seq": 1, "outcome": "parked", "reason": "of_next_year"}, {"seq": 2, "outcome": "applied"}]
    said = {"hub_epoch": shop.EPOCH, "applied_through": 2, "results": verdicts}
    async with shop.open_till(tmp_path) as store:
        await shop.credit(store, "s-1")
        await shop.credit(store, "s-2")

        await store.journal.settle(shop.INC, UploadAnswer.model_validate_json(json.dumps(said)))

        (held,) = (await store.outbox.rows(EntryState.PARKED)).rows
        assert (held.seq, held.reason) == (1, "of_next_year")
        assert store.outbox.figures().waiting == 0
    assert Verdict.model_validate_json('{"seq": 1, "outcome": "parked", "reason": "fork"}').reason is Reason.FORK
    assert "of_next_year" in reason_wording("of_next_year").en
