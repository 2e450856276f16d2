"""How the pusher carries events: in order, once, and for as long as it takes."""

import pytest

from sync.contract.protocol import Outcome
from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, TerminalRevoked
from tests.support.pump_fakes import INC, event_json, running
from tests.support.pusher_rig import PusherRig

OTHER = "b" * 16


@pytest.fixture
def rig() -> PusherRig:
    return PusherRig()


async def test_a_waiting_event_reaches_the_hub_at_once_and_hello_comes_first(rig: PusherRig) -> None:
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit(3)
        await rig.clock.settle()

        assert rig.hub.calls == ["hello", "upload"]
        assert rig.hub.streams[INC] == rig.journal.events[INC]
        assert set(rig.journal.verdicts.values()) == {Outcome.APPLIED}


async def test_hello_tells_what_waits_and_since_when(rig: PusherRig) -> None:
    rig.journal.commit(3)
    await rig.clock.advance(90)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    hello = rig.hub.hellos[0]
    assert (hello.waiting, hello.oldest_waiting_s, hello.cursor) == (3, 90, "cursor-1")
    assert (hello.wall, hello.bootid, hello.monoms) == (rig.clock.now(), "boot-1", 1_090_000)
    assert [(told.inc, told.length) for told in hello.incarnations] == [(INC, 3)]


async def test_a_backlog_goes_in_order_one_request_at_a_time_and_in_growing_batches(rig: PusherRig) -> None:
    rig.journal.commit(700)
    rig.journal.commit(5, OTHER)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert rig.all_at_hub()
    assert [(batch.inc, batch.first, len(batch.events)) for batch in rig.hub.batches] == [
        (INC, 1, 100),
        (INC, 101, 150),
        (INC, 251, 200),
        (INC, 451, 250),
        (OTHER, 1, 5),
    ]


async def test_response_lost_after_the_commit_leaves_one_effect(rig: PusherRig) -> None:
    rig.hub.fail("upload", HubUnreachable("timeout"), answer_lost=True)
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=1.5)

    assert rig.hub.streams[INC] == rig.journal.events[INC]
    assert set(rig.journal.verdicts.values()) == {Outcome.DUPLICATE}
    assert rig.hub.calls == ["hello", "upload", "hello", "upload"]


async def test_a_rejection_whose_answer_got_lost_is_still_heard(rig: PusherRig) -> None:
    rig.hub.outcomes[(INC, 2)] = Outcome.REJECTED
    rig.hub.fail("upload", HubUnreachable("cut_body"), answer_lost=True)
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=1.5)

    assert rig.journal.verdicts[(INC, 2)] is Outcome.REJECTED


@pytest.mark.parametrize(
    "error",
    [
        HubUnreachable("no_connection"),
        HubUnreachable("status_500"),
        HubBusy(None),
        HubRefused("gap", {"applied_through": 0}),
        HubRefused("something_new"),
    ],
)
async def test_no_error_and_no_number_of_them_loses_an_event(rig: PusherRig, error: HubError) -> None:
    rig.journal.commit(3)
    rig.hub.fail("upload", error, times=50)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=50 * 61)

    assert rig.hub.calls.count("upload") == 51


async def test_a_hub_that_is_down_for_days_is_found_within_a_minute_of_its_return(rig: PusherRig) -> None:
    rig.hub.fail("hello", HubUnreachable("no_connection"), times=10**6)
    async with running(rig.pusher.run()):
        for _ in range(3):
            rig.journal.commit(10)
            await rig.clock.advance(24 * 3600)
        assert not rig.hub.streams

        rig.hub.faults.clear()
        await rig.clock.advance(61)

    assert rig.all_at_hub()
    assert rig.hub.calls.count("hello") < 3 * 24 * 3600 / 20


async def test_retry_after_is_kept_and_jitter_only_adds_to_it(rig: PusherRig) -> None:
    rig.hub.fail("upload", HubBusy(120.0))
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.advance(119.9)
        assert rig.hub.calls == ["hello", "upload"]
        await rig.clock.advance(31)
        assert rig.hub.calls == ["hello", "upload", "upload"]


async def test_after_a_success_the_ladder_starts_from_the_bottom(rig: PusherRig) -> None:
    async with running(rig.pusher.run()):
        for _ in range(3):
            rig.hub.fail("upload", HubUnreachable("status_500"))
            rig.journal.commit()
            await rig.clock.settle()
            assert not rig.all_at_hub()
            await rig.clock.advance(1.0)
            assert rig.all_at_hub()


async def test_a_hub_that_lost_its_last_hours_gets_them_again(rig: PusherRig) -> None:
    """The hello that brings the news of another epoch may be older than that: the hub asks for one that names it."""
    rig.journal.commit(10)
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.hub.epoch, rig.hub.is_recovering = "epoch-2", True
        rig.hub.streams[INC] = rig.hub.streams[INC][:4]
        rig.journal.commit()

        await rig.until(rig.all_at_hub, within_s=1.5)

    assert rig.hub.calls == ["hello", "upload", "upload", "hello", "hello", "upload"]
    assert [hello.hub_epoch for hello in rig.hub.hellos] == [None, "epoch-1", "epoch-2"]
    assert rig.hub.batches[-1].first == 5
    assert rig.line.epoch == "epoch-2"


async def test_a_hub_that_forgot_the_incarnation_gets_all_of_it_again(rig: PusherRig) -> None:
    rig.journal.commit(10)
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.hub.epoch = "epoch-2"
        del rig.hub.streams[INC]
        rig.line.want_hello("epoch-1")
        await rig.clock.settle()

    assert rig.all_at_hub()


async def test_hello_never_raises_what_counts_as_delivered(rig: PusherRig) -> None:
    rig.hub.streams[INC] = [event_json(seq) for seq in (1, 2, 3)]
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert set(rig.journal.verdicts) == {(INC, 1), (INC, 2), (INC, 3)}


async def test_revoked_terminal_keeps_its_queue_and_asks_no_oftener_than_each_minute(rig: PusherRig) -> None:
    rig.hub.fail("hello", TerminalRevoked("terminal_revoked"), times=10)
    rig.journal.commit(5)
    async with running(rig.pusher.run()):
        await rig.clock.advance(600)
        assert 5 <= rig.hub.calls.count("hello") <= 10
        assert len(rig.journal.events[INC]) == 5
        assert rig.line.state.upload_fault == "terminal_revoked"

        await rig.clock.advance(1200)

    assert rig.all_at_hub()


async def test_a_way_that_carries_little_gets_little_at_a_time(rig: PusherRig) -> None:
    rig.hub.carries_bytes_max = 9_000
    rig.journal.commit(200)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert rig.all_at_hub()
    assert not rig.journal.withheld


async def test_an_event_too_large_for_the_way_is_withheld_and_the_line_moves_on(rig: PusherRig) -> None:
    rig.hub.carries_bytes_max = 9_000
    rig.journal.commit(3)
    rig.journal.commit(size=20_000)
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert rig.journal.withheld == {(INC, 4): "message_too_large"}
    assert len(rig.journal.events[INC][3]) > 20_000
    assert rig.journal.verdicts[(INC, 4)] is Outcome.PARKED
    assert len(rig.hub.streams[INC]) == 7
    assert "loyalty.withheld.v1" in rig.hub.streams[INC][3]


async def test_a_way_that_carries_nothing_withholds_no_ordinary_event(rig: PusherRig) -> None:
    rig.hub.carries_bytes_max = 10
    rig.journal.commit(20)
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)
        assert not rig.journal.withheld
        assert rig.line.state.upload_fault == "message_too_large"

        rig.hub.carries_bytes_max = 10**6
        await rig.clock.advance(61)

    assert rig.all_at_hub()


async def test_timeouts_shrink_the_batch(rig: PusherRig) -> None:
    rig.hub.fail("upload", HubUnreachable("timeout"), times=3)
    rig.journal.commit(500)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=15)

    assert len(rig.hub.batches[0].events) == 50


async def test_the_hubs_own_limit_is_kept(rig: PusherRig) -> None:
    rig.hub.max_batch_events = 7
    rig.journal.commit(30)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert {len(batch.events) for batch in rig.hub.batches} == {7, 2}


async def test_the_spread_is_waited_for_after_a_loss_and_not_at_the_first_hello(rig: PusherRig) -> None:
    rig.hub.reconnect_spread_s = 1000
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        assert rig.all_at_hub()

        rig.hub.fail("upload", HubUnreachable("no_connection"))
        rig.journal.commit()
        await rig.clock.advance(1.0)
        assert rig.hub.calls == ["hello", "upload", "upload", "hello"]
        assert rig.line.state.is_reachable
        await rig.clock.advance(1000)

    assert rig.all_at_hub()


async def test_a_notice_during_the_upload_is_not_lost(rig: PusherRig) -> None:
    uploads = []

    async def settle_and_commit_more(inc: str, answer: object, chain: bytes | None = None) -> None:
        uploads.append(inc)
        if len(uploads) < 3:
            rig.journal.commit()
        await settle(inc, answer, chain)  # type: ignore[arg-type]

    settle = rig.journal.settle
    rig.journal.settle = settle_and_commit_more  # type: ignore[method-assign]
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit()
        await rig.clock.settle()

    assert rig.all_at_hub()
