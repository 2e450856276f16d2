"""A till whose credential ended (revoked, lost, or unknown to a restored hub) is enrolled again and loses nothing."""

from pathlib import Path

import pytest

from sync.contract.protocol import EnrolAnswer, EnrolledBefore, IncarnationLength
from sync.contract.signing import SigningKey
from sync.hub.root import Hub, running
from sync.hub.terminals.roster import revoke
from sync.hub_client import enrol, open_session
from sync.hub_errors import HubRefused, TerminalRevoked
from sync.runtime.clock import SystemClock
from tests.support.hub_tills import config_of, till_of
from tests.support.wire_till import WireTill, enrolling

CARD = "9990000000000001"


async def again(
    hub: Hub,
    was: EnrolAnswer,
    store_id: str = "store-1",
    credential: str | None = None,
    key: SigningKey | None = None,
) -> EnrolAnswer:
    before = EnrolledBefore(terminal_id=was.terminal_id, store_id=was.store_id, credential=credential or was.credential)
    code = await hub.invite(store_id)
    return await enrol(hub.url, enrolling(code, before, key))


async def revoked(hub: Hub, terminal_id: str) -> None:
    await hub.writer.write(lambda connection: revoke(connection, terminal_id, SystemClock().now()))


async def test_what_waited_on_a_revoked_till_arrives_once_after_it_was_enrolled_again(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till, open_session() as session:
        stream = till.stream()
        stream.sale(CARD, 1_000)
        await stream.put()
        stream.sale(CARD, 2_000)
        await revoked(hub, till.enrolment.terminal_id)
        with pytest.raises(TerminalRevoked):
            await stream.put()

        answer = await again(hub, till.enrolment, key=till.key)
        stream.till = WireTill(hub.url, answer, session, till.key)
        await stream.till.hello(IncarnationLength(inc=stream.inc, length=2))
        await stream.put()

        assert answer.terminal_id == till.enrolment.terminal_id
        booked = await hub.reader.read(
            lambda connection: connection.execute("SELECT count(*), sum(points) FROM tallies").fetchone()
        )
        assert booked == (1, 30)
        with pytest.raises(TerminalRevoked, match="credential_unknown"):
            await till.hello()


async def test_a_lost_answer_to_an_enrolment_can_be_asked_for_again(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till, open_session() as session:
        await revoked(hub, till.enrolment.terminal_id)
        await again(hub, till.enrolment)

        answer = await again(hub, till.enrolment)

        assert answer.terminal_id == till.enrolment.terminal_id
        await WireTill(hub.url, answer, session).hello()


async def test_a_hub_that_forgot_the_till_takes_it_back_under_its_own_name(tmp_path: Path) -> None:
    async with running(config_of(tmp_path / "lost")) as hub, till_of(hub) as till:
        was = till.enrolment

    async with running(config_of(tmp_path / "restored")) as hub, open_session() as session:
        answer = await again(hub, was)

        assert (answer.terminal_id, answer.store_id) == (was.terminal_id, was.store_id)
        await WireTill(hub.url, answer, session).hello()


@pytest.mark.parametrize(("store_id", "credential"), [("store-2", None), ("store-1", "x" * 43)])
async def test_nobody_becomes_a_terminal_he_does_not_prove_to_be(
    tmp_path: Path, store_id: str, credential: str | None
) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        with pytest.raises(HubRefused, match="other_terminal"):
            await again(hub, till.enrolment, store_id, credential)

        await till.hello()


async def test_a_code_refused_to_another_terminal_is_not_used_up(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        code = await hub.invite("store-1")
        stranger = EnrolledBefore(terminal_id=till.enrolment.terminal_id, store_id="store-1", credential="x" * 43)
        with pytest.raises(HubRefused, match="other_terminal"):
            await enrol(hub.url, enrolling(code, stranger))

        new = await enrol(hub.url, enrolling(code))

        assert new.terminal_id != till.enrolment.terminal_id
