import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest

from agent.web.guard import FRAME_BYTES_MAX, SOCKET_TOKEN_S
from tests.support.guarded_till import BEARER, KEY, Header, Till, open_till


@asynccontextmanager
async def socket_to(till: Till, headers: Sequence[Header]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{till.origin}/api/v1/live", headers=dict(headers), max_msg_size=0) as ws,
    ):
        yield ws


async def closed_with(ws: aiohttp.ClientWebSocketResponse) -> object:
    """Return the code in the close frame; `close_code` tells of the client's own reply instead."""
    message = await ws.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE
    return message.data


async def handshake(till: Till, headers: Sequence[Header]) -> str:
    upgrade = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    return await till.code("GET", "/api/v1/live", [*headers, *upgrade])


async def test_foreign_page_cannot_open_a_socket_even_with_the_cookie() -> None:
    async with open_till() as till:
        host, _, cookie, token = till.page_headers(till.session())
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{till.port + 1}", f"https://{till.host}"):
            assert await handshake(till, [host, ("Origin", origin), cookie, token]) == "origin_refused"
        assert await handshake(till, [("Host", "rebind.test"), ("Origin", "http://rebind.test")]) == "host_refused"
        assert await handshake(till, [host, cookie, token]) == "credential_missing"
        assert till.reached == []


async def test_own_page_opens_a_socket_by_its_token() -> None:
    async with open_till() as till:
        session = till.session()
        _, origin, cookie, _ = till.page_headers(session)
        async with socket_to(till, [origin, cookie]) as ws:
            await ws.send_json({"token": session.page_token})
            assert await ws.receive_str() == "page"
            await ws.send_str("x" * 100)
            assert await ws.receive_str() == "echo " + "x" * 100
        assert till.reached == ["/api/v1/live"]


async def test_point_of_sale_opens_a_socket_by_its_key_in_either_place() -> None:
    async with open_till() as till:
        async with socket_to(till, [BEARER]) as ws:
            assert await ws.receive_str() == "pos"
        async with socket_to(till, [("Origin", till.origin)]) as ws:
            await ws.send_json({"token": KEY})
            assert await ws.receive_str() == "pos"


@pytest.mark.parametrize(
    "first",
    ["", "{}", '{"token": ""}', '{"token": null}', '{"token": "wrong"}', "[]", "[" * 5000, "PAGE", '"PAGE"', b"PAGE"],
)
async def test_socket_with_a_wrong_first_message_is_closed_and_told_nothing(first: str | bytes) -> None:
    async with open_till() as till:
        session = till.session()
        _, origin, cookie, _ = till.page_headers(session)
        async with socket_to(till, [origin, cookie]) as ws:
            if isinstance(first, str):
                await ws.send_str(first.replace("PAGE", session.page_token))
            else:
                await ws.send_bytes(json.dumps({"token": session.page_token}).encode())
            assert await closed_with(ws) == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert till.reached == []


async def test_token_without_its_cookie_opens_no_socket() -> None:
    async with open_till() as till:
        async with socket_to(till, [("Origin", till.origin)]) as ws:
            await ws.send_json({"token": till.session().page_token})
            assert await closed_with(ws) == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert till.reached == []


async def test_silent_socket_is_closed_after_two_seconds() -> None:
    async with open_till() as till:
        _, origin, cookie, _ = till.page_headers(till.session())
        async with socket_to(till, [origin, cookie]) as ws:
            await till.clock.until_asleep()
            await till.clock.advance(SOCKET_TOKEN_S - 0.1)
            assert not ws.closed
            await till.clock.advance(0.1)
            assert await closed_with(ws) == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert till.reached == []
        assert till.clock.sleepers == ()


async def test_frame_above_the_limit_closes_the_socket() -> None:
    async with open_till() as till, socket_to(till, [BEARER]) as ws:
        assert await ws.receive_str() == "pos"
        await ws.send_str("x" * (FRAME_BYTES_MAX + 1))
        assert await closed_with(ws) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
