"""Who may speak to a hub, and whom a presented card leads to."""

import asyncio

import pytest

from sync.contract.identifiers import Identifier, Scheme
from sync.contract.protocol import IDENTIFIERS_PER_CALL_MAX, EnrolledBefore, PresentedIdentifier
from sync.hub_client import enrol
from sync.hub_errors import HubRefused, TerminalRevoked
from tests.support.hubs import HubUnderTest
from tests.support.wire_till import WireTill, enrolling, random_card


async def test_a_card_that_nobody_is_known_for_leads_nowhere_any_number_of_times(till: WireTill) -> None:
    presented = [till.presented(random_card()) for _ in range(3)]

    for _ in range(2):
        assert (await till.client.send_identifiers(till.epoch, presented)).known == ()


async def test_an_id_that_is_not_the_hash_of_its_value_is_refused(till: WireTill) -> None:
    wrong = PresentedIdentifier(id="0" * 32, identifier=Identifier(scheme=Scheme.CARD, value=random_card()))

    with pytest.raises(HubRefused, match="identifier_mismatch"):
        await till.client.send_identifiers(till.epoch, [wrong])


async def test_as_many_identifiers_as_a_call_may_hold_are_taken(till: WireTill) -> None:
    presented = [till.presented(random_card()) for _ in range(IDENTIFIERS_PER_CALL_MAX)]

    assert (await till.client.send_identifiers(till.epoch, presented)).known == ()


async def test_a_new_credential_serves_and_the_old_one_until_the_new_one_was_used(own_till: WireTill) -> None:
    old = own_till.credential
    lost = (await own_till.client.rotate_credential()).credential
    new = (await own_till.client.rotate_credential()).credential
    assert len({old, lost, new}) == 3
    await own_till.hello()

    own_till.credential = new
    await own_till.hello()

    for former in (old, lost):
        own_till.credential = former
        with pytest.raises(TerminalRevoked, match="credential_unknown"):
            await own_till.hello()
    own_till.credential = new
    await own_till.hello()


@pytest.mark.parametrize("code", ["AAAA-BBBB-CCCC-DDDD", "x" * 64, "--------", "' OR 1=1 --"])
async def test_a_made_up_code_enrols_nobody(hub: HubUnderTest, code: str) -> None:
    with pytest.raises(HubRefused, match="code_refused"):
        await enrol(hub.url, enrolling(code), hub.ca_file)


async def test_who_cannot_prove_to_have_been_a_terminal_does_not_become_it_and_the_code_stays_good(
    hub: HubUnderTest, till: WireTill
) -> None:
    code, known = await hub.invite(), till.enrolment
    wrong = "a-credential-that-nobody-ever-had"
    for before in (
        EnrolledBefore(terminal_id=known.terminal_id, store_id=known.store_id, credential=wrong),
        EnrolledBefore(terminal_id=known.terminal_id, store_id="another-store", credential=till.credential),
    ):
        with pytest.raises(HubRefused, match="other_terminal"):
            await enrol(hub.url, enrolling(code, before), hub.ca_file)

    await till.hello()  # the true one is what it was
    assert (await enrol(hub.url, enrolling(code), hub.ca_file)).terminal_id != known.terminal_id


async def test_a_code_serves_once_even_for_two_who_come_at_once(hub: HubUnderTest) -> None:
    request = enrolling(await hub.invite())

    results = await asyncio.gather(*(enrol(hub.url, request, hub.ca_file) for _ in range(3)), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["EnrolAnswer", "HubRefused", "HubRefused"]


async def test_a_revoked_terminal_is_told_so_by_every_call(hub: HubUnderTest, till: WireTill) -> None:
    cursor = await till.feed_start()
    stream = till.stream()
    stream.sale(random_card())
    await hub.revoke(till.enrolment.terminal_id)

    for call in (
        till.hello,
        stream.put,
        lambda: till.client.feed(cursor, till.epoch, limit=1, wait_s=0),
        lambda: till.client.snapshot_manifest(till.epoch),
        lambda: till.client.send_identifiers(till.epoch, [till.presented(random_card())]),
        till.client.rotate_credential,
    ):
        with pytest.raises(TerminalRevoked, match="terminal_revoked"):
            await call()
