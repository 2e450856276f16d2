"""The pusher over a journal and a hub in memory, on a clock that a test moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import pytest

from sync.contract.identifiers import Identifier, Scheme
from sync.contract.protocol import Outcome, PresentedIdentifier
from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, TerminalRevoked
from sync.pump.line import HubState, Line
from sync.pump.pusher import Pusher, Terminal
from tests.support.clock import FakeClock
from tests.support.pump_fakes import INC, MemoryHub, MemoryJournal, event_json, running

OTHER = "b" * 16


@dataclass
class Rig:
    clock: FakeClock = field(default_factory=FakeClock)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    states: list[HubState] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = MemoryHub(self.clock)
        self.line = Line(self.clock, self.states.append)
        terminal = Terminal("0.1.0", self._cursor, self._keep)
        self.pusher = Pusher(self.journal, self.hub, self.line, terminal, self.clock)

    async def _cursor(self) -> str | None:
        return "cursor-1"

    async def _keep(self, credential: str) -> None:
        self.credentials.append(credential)

    async def until(self, done: Callable[[], bool], within_s: float) -> None:
        """Let time pass until something is so; the assertion says that it came to be in time."""
        waited_s = 0.0
        await self.clock.settle()
        while not done() and waited_s < within_s:
            await self.clock.advance(0.25)
            waited_s += 0.25
        assert done()

    def all_at_hub(self) -> bool:
        return self.hub.streams == self.journal.events and len(self.journal.verdicts) == sum(
            map(len, self.journal.events.values())
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_waiting_event_reaches_the_hub_at_once_and_hello_comes_first(rig: Rig) -> None:
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit(3)
        await rig.clock.settle()

        assert rig.hub.calls == ["hello", "upload"]
        assert rig.hub.streams[INC] == rig.journal.events[INC]
        assert set(rig.journal.verdicts.values()) == {Outcome.APPLIED}


async def test_hello_tells_what_waits_and_since_when(rig: Rig) -> None:
    rig.journal.commit(3)
    await rig.clock.advance(90)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    hello = rig.hub.hellos[0]
    assert (hello.waiting, hello.oldest_waiting_s, hello.cursor) == (3, 90, "cursor-1")
    assert (hello.wall, hello.bootid, hello.monoms) == (rig.clock.now(), "boot-1", 1_090_000)
    assert [(told.inc, told.length) for told in hello.incarnations] == [(INC, 3)]


async def test_a_backlog_goes_in_order_one_request_at_a_time_and_in_growing_batches(rig: Rig) -> None:
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


async def test_response_lost_after_the_commit_leaves_one_effect(rig: Rig) -> None:
    rig.hub.fail("upload", HubUnreachable("timeout"), answer_lost=True)
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=1.5)

    assert rig.hub.streams[INC] == rig.journal.events[INC]
    assert set(rig.journal.verdicts.values()) == {Outcome.DUPLICATE}
    assert rig.hub.calls == ["hello", "upload", "hello", "upload"]


async def test_a_rejection_whose_answer_got_lost_is_still_heard(rig: Rig) -> None:
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
async def test_no_error_and_no_number_of_them_loses_an_event(rig: Rig, error: HubError) -> None:
    rig.journal.commit(3)
    rig.hub.fail("upload", error, times=50)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=50 * 61)

    assert rig.hub.calls.count("upload") == 51


async def test_a_hub_that_is_down_for_days_is_found_within_a_minute_of_its_return(rig: Rig) -> None:
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


async def test_retry_after_is_kept_and_jitter_only_adds_to_it(rig: Rig) -> None:
    rig.hub.fail("upload", HubBusy(120.0))
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.advance(119.9)
        assert rig.hub.calls == ["hello", "upload"]
        await rig.clock.advance(31)
        assert rig.hub.calls == ["hello", "upload", "upload"]


async def test_after_a_success_the_ladder_starts_from_the_bottom(rig: Rig) -> None:
    async with running(rig.pusher.run()):
        for _ in range(3):
            rig.hub.fail("upload", HubUnreachable("status_500"))
            rig.journal.commit()
            await rig.clock.settle()
            assert not rig.all_at_hub()
            await rig.clock.advance(1.0)
            assert rig.all_at_hub()


async def test_a_hub_that_lost_its_last_hours_gets_them_again(rig: Rig) -> None:
    rig.journal.commit(10)
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.hub.epoch = "epoch-2"
        rig.hub.streams[INC] = rig.hub.streams[INC][:4]
        rig.journal.commit()

        await rig.until(rig.all_at_hub, within_s=1.5)

    assert rig.hub.calls == ["hello", "upload", "upload", "hello", "upload"]
    assert rig.hub.batches[-1].first == 5
    assert rig.line.epoch == "epoch-2"


async def test_a_hub_that_forgot_the_incarnation_gets_all_of_it_again(rig: Rig) -> None:
    rig.journal.commit(10)
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.hub.epoch = "epoch-2"
        del rig.hub.streams[INC]
        rig.line.want_hello("epoch-1")
        await rig.clock.settle()

    assert rig.all_at_hub()


async def test_hello_never_raises_what_counts_as_delivered(rig: Rig) -> None:
    rig.hub.streams[INC] = [event_json(seq) for seq in (1, 2, 3)]
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert set(rig.journal.verdicts) == {(INC, 1), (INC, 2), (INC, 3)}


async def test_revoked_terminal_keeps_its_queue_and_asks_no_oftener_than_each_minute(rig: Rig) -> None:
    rig.hub.fail("hello", TerminalRevoked("terminal_revoked"), times=10)
    rig.journal.commit(5)
    async with running(rig.pusher.run()):
        await rig.clock.advance(600)
        assert 5 <= rig.hub.calls.count("hello") <= 10
        assert len(rig.journal.events[INC]) == 5
        assert rig.line.state.upload_fault == "terminal_revoked"

        await rig.clock.advance(1200)

    assert rig.all_at_hub()


async def test_a_way_that_carries_little_gets_little_at_a_time(rig: Rig) -> None:
    rig.hub.carries_bytes_max = 9_000
    rig.journal.commit(200)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert rig.all_at_hub()
    assert not rig.journal.withheld


async def test_an_event_too_large_for_the_way_is_withheld_and_the_line_moves_on(rig: Rig) -> None:
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


async def test_a_way_that_carries_nothing_withholds_no_ordinary_event(rig: Rig) -> None:
    rig.hub.carries_bytes_max = 10
    rig.journal.commit(20)
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)
        assert not rig.journal.withheld
        assert rig.line.state.upload_fault == "message_too_large"

        rig.hub.carries_bytes_max = 10**6
        await rig.clock.advance(61)

    assert rig.all_at_hub()


async def test_timeouts_shrink_the_batch(rig: Rig) -> None:
    rig.hub.fail("upload", HubUnreachable("timeout"), times=3)
    rig.journal.commit(500)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=15)

    assert len(rig.hub.batches[0].events) == 50


async def test_the_hubs_own_limit_is_kept(rig: Rig) -> None:
    rig.hub.max_batch_events = 7
    rig.journal.commit(30)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert {len(batch.events) for batch in rig.hub.batches} == {7, 2}


async def test_the_spread_is_waited_for_after_a_loss_and_not_at_the_first_hello(rig: Rig) -> None:
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


async def test_a_notice_during_the_upload_is_not_lost(rig: Rig) -> None:
    uploads = []

    async def settle_and_commit_more(inc: str, answer: object) -> None:
        uploads.append(inc)
        if len(uploads) < 3:
            rig.journal.commit()
        await settle(inc, answer)  # type: ignore[arg-type]

    settle = rig.journal.settle
    rig.journal.settle = settle_and_commit_more  # type: ignore[method-assign]
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit()
        await rig.clock.settle()

    assert rig.all_at_hub()


async def test_presented_cards_are_asked_about_once_and_after_the_money(rig: Rig) -> None:
    rig.journal.commit()
    for digit in "12":
        rig.journal.present(presented(digit))
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert rig.hub.calls == ["hello", "upload", "identifiers"]
    assert rig.journal.known == ["1" * 32]


async def test_a_refused_question_about_a_card_does_not_hold_up_money(rig: Rig) -> None:
    rig.hub.fail("identifiers", HubRefused("body_invalid"), times=100)
    rig.journal.present(presented("1"))
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit()
        await rig.clock.settle()

        assert rig.all_at_hub()
        assert rig.hub.calls == ["hello", "identifiers", "upload"]
        assert rig.journal.presented == [presented("1")]


async def test_a_new_credential_is_kept_when_the_hub_asks_for_one(rig: Rig) -> None:
    rig.hub.rotate_credential_wanted = True
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert rig.hub.calls == ["hello", "credentials"]
    assert rig.credentials == ["new-credential-of-the-till"]


async def test_a_hub_of_another_protocol_gets_nothing(rig: Rig) -> None:
    rig.hub.protocol = "storesync/2"
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert set(rig.hub.calls) == {"hello"}
    assert rig.line.state.upload_fault == "protocol_unknown"


async def test_the_state_says_what_is_wrong_since_when_and_when_it_is_well_again(rig: Rig) -> None:
    start = rig.clock.now()
    async with running(rig.pusher.run()):
        await rig.clock.advance(5)
        assert rig.line.state.is_reachable
        assert rig.line.state.since == start
        assert rig.line.state.last_contact_at == start

        await rig.clock.advance(5)
        lost_at = rig.clock.now()
        rig.hub.fail("upload", HubUnreachable("certificate"), times=2)
        rig.journal.commit()
        await rig.clock.settle()
        assert (rig.line.state.is_reachable, rig.line.state.since) == (False, lost_at)
        assert rig.line.state.upload_fault == "certificate"

        await rig.until(rig.all_at_hub, within_s=4)
        assert rig.line.state.is_reachable
        assert rig.line.state.last_ack_at == rig.line.state.last_contact_at == rig.line.state.since

    assert [reachable for reachable, _ in groupby(state.is_reachable for state in rig.states)] == [
        False,
        True,
        False,
        True,
    ]


async def test_an_idle_pusher_claims_no_contact(rig: Rig) -> None:
    start = rig.clock.now()
    async with running(rig.pusher.run()):
        await rig.clock.advance(3600)

    assert rig.hub.calls == ["hello"]
    assert rig.line.state.last_contact_at == start


async def test_the_hubs_time_is_known_by_the_monotonic_clock(rig: Rig) -> None:
    hub_time = rig.clock.now()
    async with running(rig.pusher.run()):
        await rig.clock.settle()
    known = rig.line.state.hub_time
    assert known is not None

    rig.clock.set_wall(hub_time.replace(year=1970))
    await rig.clock.advance(60)
    seen = known.now(rig.clock)
    assert seen is not None
    assert (seen - hub_time).total_seconds() == 60

    rig.clock.reboot("boot-2")
    assert known.now(rig.clock) is None


async def test_a_fault_is_logged_once_and_the_recovery_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig.hub.fail("upload", HubUnreachable("not_json"), times=20)
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=20 * 61)

    assert [record.getMessage() for record in caplog.records if "not_json" in record.getMessage()] == [
        "hub lost: direction=upload fault=not_json",
        "hub back: direction=upload fault=not_json",
    ]


async def test_a_supervised_restart_says_hello_again(rig: Rig) -> None:
    for _ in range(2):
        async with running(rig.pusher.run()):
            await rig.clock.settle()

    assert rig.hub.calls == ["hello", "hello"]


def presented(digit: str) -> PresentedIdentifier:
    return PresentedIdentifier(id=digit * 32, identifier=Identifier(scheme=Scheme.CARD, value="99900000"))
