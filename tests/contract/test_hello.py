from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync.contract.protocol import IncarnationLength
from sync.contract.versions import PROTOCOLS
from sync.hub_errors import HubRefused, TerminalRevoked
from tests.support.wire_till import WireTill, random_card, random_inc


async def test_hello_says_who_the_hub_is_and_what_it_takes(till: WireTill) -> None:
    answer = await till.hello()

    assert answer.protocol == PROTOCOLS[0]
    assert answer.hub_epoch == till.epoch
    assert answer.max_batch_events >= 1
    assert answer.max_batch_bytes >= 1024
    assert abs(answer.server_time - datetime.now(UTC)) < timedelta(minutes=5)


async def test_hello_says_how_far_the_hub_holds_each_incarnation(till: WireTill) -> None:
    stream = till.stream()
    for _ in range(3):
        stream.sale(random_card())
    await stream.put(1, 2)

    told = (IncarnationLength(inc=stream.inc, length=3), IncarnationLength(inc=random_inc(), length=9))
    answer = await till.hello(*told)

    assert {word.inc: word.through for word in answer.applied if word.through} == {stream.inc: 2}


async def test_hello_again_changes_nothing(till: WireTill) -> None:
    first, second = await till.hello(), await till.hello()

    assert first.hub_epoch == second.hub_epoch


async def test_hello_is_answered_whichever_epoch_it_names(till: WireTill) -> None:
    """A terminal of another hub or of the time before a restore has to hear which epoch it is now."""
    for named in (till.epoch, "0123456789abcdef"):
        assert (await till.hello(hub_epoch=named)).hub_epoch == till.epoch


async def test_a_newer_protocol_beside_ours_is_no_hindrance(till: WireTill) -> None:
    assert (await till.hello(protocols=("storesync/9", *PROTOCOLS))).protocol == PROTOCOLS[0]


async def test_a_hub_that_speaks_none_of_the_protocols_says_so(till: WireTill) -> None:
    with pytest.raises(HubRefused, match="protocol_unknown") as raised:
        await till.hello(protocols=("storesync/9",))

    assert raised.value.members["protocols"] == list(PROTOCOLS)


@pytest.mark.parametrize("credential", ["wrong", "", "ü", "a" * 5000])
async def test_a_wrong_credential_is_told_apart_from_a_lost_line(till: WireTill, credential: str) -> None:
    till.credential = credential
    with pytest.raises(TerminalRevoked, match="credential_unknown"):
        await till.hello()


@pytest.mark.parametrize(
    "wrong",
    [
        {"monoms": 2**53},
        {"monoms": 2**63},
        {"waiting": 2**63},
        {"oldest_waiting_s": 2**63},
        {"incarnations": [{"inc": "0" * 16, "length": 2**63}]},
        {"held": [{"inc": "0" * 16, "seq": 2**63}]},
        {"allowances": [{"allowance_id": "a", "customer_id": "c", "amount": 2**63, "spent": 0}]},
    ],
)
async def test_a_number_beyond_the_limits_is_refused_by_its_name(till: WireTill, wrong: dict[str, Any]) -> None:
    assert (await till.raw_hello())[0] == 200

    status, problem = await till.raw_hello(**wrong)

    assert (status, problem["code"]) == (422, "body_invalid")


async def test_null_says_of_a_text_or_an_object_that_it_is_missing(till: WireTill) -> None:
    status, answer = await till.raw_hello(cursor=None, hub_epoch=None)

    assert (status, answer["hub_epoch"]) == (200, till.epoch)


@pytest.mark.parametrize("wrong", [{"waiting": 1.5}, {"waiting": 1e20}, {"bootid": "\ud800"}])
async def test_a_text_that_two_readers_could_read_differently_is_refused(till: WireTill, wrong: dict[str, Any]) -> None:
    status, problem = await till.raw_hello(**wrong)

    assert (status, problem["code"]) == (400, "body_not_json")
