"""What the pusher does besides carrying events, and what it says of the line."""

from itertools import groupby

import pytest

from sync.contract.identifiers import Identifier, Scheme
from sync.contract.protocol import PresentedIdentifier
from sync.hub_errors import HubRefused, HubUnreachable
from tests.support.pump_fakes import running
from tests.support.pusher_rig import PusherRig


@pytest.fixture
def rig() -> PusherRig:
    return PusherRig()


async def test_presented_cards_are_asked_about_once_and_after_the_money(rig: PusherRig) -> None:
    rig.journal.commit()
    for digit in "12":
        rig.journal.present(presented(digit))
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert rig.hub.calls == ["hello", "upload", "identifiers"]
    assert rig.journal.known == ["1" * 32]


async def test_a_refused_question_about_a_card_does_not_hold_up_money(rig: PusherRig) -> None:
    rig.hub.fail("identifiers", HubRefused("body_invalid"), times=100)
    rig.journal.present(presented("1"))
    async with running(rig.pusher.run()):
        await rig.clock.settle()
        rig.journal.commit()
        await rig.clock.settle()

        assert rig.all_at_hub()
        assert rig.hub.calls == ["hello", "identifiers", "upload"]
        assert rig.journal.presented == [presented("1")]


async def test_a_new_credential_is_kept_when_the_hub_asks_for_one(rig: PusherRig) -> None:
    rig.hub.rotate_credential_wanted = True
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert rig.hub.calls == ["hello", "credentials"]
    assert rig.credentials == ["new-credential-of-the-till"]


async def test_a_hub_of_another_protocol_gets_nothing(rig: PusherRig) -> None:
    rig.hub.protocol = "storesync/2"
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.clock.advance(300)

    assert set(rig.hub.calls) == {"hello"}
    assert rig.line.state.upload_fault == "protocol_unknown"


async def test_the_state_says_what_is_wrong_since_when_and_when_it_is_well_again(rig: PusherRig) -> None:
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


async def test_an_idle_pusher_claims_no_contact(rig: PusherRig) -> None:
    start = rig.clock.now()
    async with running(rig.pusher.run()):
        await rig.clock.advance(3500)

    assert rig.hub.calls == ["hello"]
    assert rig.line.state.last_contact_at == start


async def test_a_line_that_holds_for_long_says_hello_each_hour(rig: PusherRig) -> None:
    async with running(rig.pusher.run()):
        await rig.clock.advance(24 * 3600)

    assert 22 <= rig.hub.calls.count("hello") <= 25


async def test_the_hubs_time_is_known_by_the_monotonic_clock(rig: PusherRig) -> None:
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


async def test_a_fault_is_logged_once_and_the_recovery_once(rig: PusherRig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig.hub.fail("upload", HubUnreachable("not_json"), times=20)
    rig.journal.commit()
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=20 * 61)

    assert [record.getMessage() for record in caplog.records if "not_json" in record.getMessage()] == [
        "hub lost: direction=upload fault=not_json",
        "hub back: direction=upload fault=not_json",
    ]


async def test_a_supervised_restart_says_hello_again(rig: PusherRig) -> None:
    for _ in range(2):
        async with running(rig.pusher.run()):
            await rig.clock.settle()

    assert rig.hub.calls == ["hello", "hello"]


def presented(digit: str) -> PresentedIdentifier:
    return PresentedIdentifier(id=digit * 32, identifier=Identifier(scheme=Scheme.CARD, value="99900000"))
