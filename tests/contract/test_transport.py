"""What every answer of a hub says about itself, whatever it was asked."""

import aiohttp
import pytest

from sync.contract.protocol import EPOCH_HEADER
from tests.support.wire_till import WireTill

CALLS = [
    ("POST", "hello", 415),
    ("POST", "allowances", 415),
    ("GET", "feed", 409),
    ("GET", "feed?cursor=none", 409),
    ("GET", "digest", 409),
    ("GET", "digest/FF", 404),
    ("GET", "feed?cursor=none&limit=0", 422),
    ("GET", "snapshots/current", 200),
    ("GET", "nowhere", 404),
    ("PUT", "streams/nobody/not-an-incarnation/1", 404),
    ("PUT", "streams/nobody/0123456789abcdef/0", 404),
    ("DELETE", "hello", 405),
]


async def ask(till: WireTill, method: str, path: str) -> aiohttp.ClientResponse:
    headers = {"Authorization": f"Bearer {till.credential}", EPOCH_HEADER: till.epoch, "Content-Type": "text/plain"}
    async with till.session.request(
        method, f"{till.url}/v1/{path}", headers=headers, data=b"", allow_redirects=False
    ) as response:
        await response.read()
        return response


@pytest.mark.parametrize(("method", "path", "status"), CALLS)
async def test_nothing_on_the_way_may_keep_an_answer(till: WireTill, method: str, path: str, status: int) -> None:
    response = await ask(till, method, path)

    assert (response.status, response.headers["Cache-Control"]) == (status, "no-store")
    assert response.content_type == ("application/json" if status == 200 else "application/problem+json")


async def test_nothing_on_the_way_may_keep_that_nobody_was_let_in(till: WireTill) -> None:
    till.credential = "wrong"

    response = await ask(till, "GET", "snapshots/current")

    assert (response.status, response.headers["Cache-Control"]) == (401, "no-store")
