"""Members that a hub does not know are ignored, on each route that takes a message; missing ones refuse it."""

from typing import Any

import aiohttp

from sync.contract.protocol import EPOCH_HEADER
from tests.support.hubs import HubUnderTest
from tests.support.wire_till import WireTill, random_card, random_key

EXTRA = {"from_a_newer_terminal": {"of": ["any", 1]}}


async def post(session: aiohttp.ClientSession, url: str, message: dict[str, Any], **headers: str) -> int:
    """POST a message and return the status."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    async with session.post(url, json=message, headers=sent) as response:
        return response.status


async def tell(till: WireTill, route: str, message: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {till.credential}", EPOCH_HEADER: till.epoch}
    return await post(till.session, f"{till.url}/v1/{route}", message, **headers)


async def test_an_enrolment_may_have_more_members_and_not_less(
    hub: HubUnderTest, session: aiohttp.ClientSession
) -> None:
    asked = {"code": await hub.invite(), "agent_version": "9.0"}

    assert await post(session, f"{hub.url}/v1/enrolments", asked) == 422
    known = asked | {"public_key": random_key().public}
    assert await post(session, f"{hub.url}/v1/enrolments", known | EXTRA) == 201


async def test_a_hello_may_have_more_members_and_not_less(till: WireTill) -> None:
    more = {"incarnations": [{"inc": till.run, "length": 0} | EXTRA], "held": [{"inc": till.run, "seq": 1} | EXTRA]}

    assert (await till.raw_hello(**more, **EXTRA))[0] == 200
    assert (await till.raw_hello(bootid=None))[0] == 422


async def test_presented_identifiers_may_have_more_members_and_not_less(till: WireTill) -> None:
    one = till.presented(random_card()).model_dump(mode="json")
    one["identifier"] |= EXTRA

    assert await tell(till, "identifiers", {"presented": [one | EXTRA]} | EXTRA) == 200
    del one["identifier"]["value"]
    assert await tell(till, "identifiers", {"presented": [one]}) == 422


async def test_a_wish_for_allowances_may_have_more_members_and_not_less(till: WireTill) -> None:
    want = {"customer_id": "nobody", "points": 5}

    assert await tell(till, "allowances", {"want": [want | EXTRA], "prefetch": False} | EXTRA) == 200
    del want["points"]
    assert await tell(till, "allowances", {"want": [want]}) == 422
