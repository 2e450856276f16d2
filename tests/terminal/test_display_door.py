"""The customer display's way in, at a real till: its session opens two routes, and nothing else opens with it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from agent.root import running
from agent.web.sessions import ROTATION_GRACE_S
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.tills import Pos, enrol_by_hand, open_pos, settings, till_and_pos

DISPLAY = "/api/v1/display"
LIVE = "/api/v1/display/live"


@dataclass
class Browser:
    """What a browser brings: its cookies, its origin, and the page token of each window."""

    session: aiohttp.ClientSession
    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, token: str | None = None, body: Any = None, cookies: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        headers = self.headers(cookies)
        if token is not None:
            headers["Page-Token"] = token
        async with self.session.request(method, self.url + path, headers=headers, json=body) as answer:
            self.cookies |= {name: morsel.value for name, morsel in answer.cookies.items()}
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    async def open(self, **body: Any) -> str:
        """Return the page token of a new session, or of a cookie's."""
        status, answer = await self.ask("POST", "/api/v1/sessions", body=body)
        assert status == 200, answer
        return str(answer["page_token"])

    async def told(self, token: str, path: str = LIVE) -> dict[str, Any] | int:
        """Return the first state that a socket tells, or the code it is closed with."""
        async with self.session.ws_connect(self.url + path, headers=self.headers()) as socket:
            await socket.send_json({"token": token})
            message = await socket.receive(timeout=10)
            return json.loads(message.data) if message.type is WSMsgType.TEXT else socket.close_code or 0

    def headers(self, cookies: dict[str, str] | None = None) -> dict[str, str]:
        jar = self.cookies if cookies is None else cookies
        return {"Origin": self.url, "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}


@asynccontextmanager
async def browser(pos: Pos) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Browser(session, pos.url)


async def code(pos: Pos, **body: Any) -> str:
    """Return the code of a new link; the display's begins at its own address."""
    _, answer = await pos.post("/api/v1/page-links", body)
    address, _, made = str(answer["url"]).partition("#")
    assert address == f"{pos.url}/customer" if body.get("for") == "display" else address == f"{pos.url}/"
    return made


async def routes(pos: Pos) -> Sequence[tuple[str, str]]:
    """Return every route but the live sockets, which are asked in their own way."""
    _, document = await pos.get("/openapi.json")
    filled = {"{sale_id}": "s-1", "{customer_id}": "c-1"}
    found = []
    for path, methods in document["paths"].items():
        for name, value in filled.items():
            path = path.replace(name, value)  # noqa: PLW2901 - the path as it is asked for
        found += [(method.upper(), path) for method in methods if not path.endswith("/live")]
    return found


@pytest.mark.parametrize("by", ["link", "page's cookie"])
async def test_a_display_session_opens_its_two_routes_and_no_other(tmp_path: Path, by: str) -> None:
    async with till_and_pos(tmp_path) as (till, pos), browser(pos) as at:
        await till.store.cache.apply(shop.page(shop.put(shop.whole_customer())))
        if by == "link":
            token = await at.open(**{"for": "display", "code": await code(pos, **{"for": "display"})})
        else:
            await at.open(code=await code(pos))
            token = await at.open(**{"for": "display"})
        for method, path in await routes(pos):
            status, answer = await at.ask(method, path, token, None if method == "GET" else {})
            if path in (DISPLAY, "/healthz"):
                assert status == 200, path
            elif path != "/api/v1/sessions":
                assert (status, answer["code"]) in ((401, "credential_refused"), (401, "credential_missing")), path
        assert await at.told(token) == (await pos.get(DISPLAY))[1]
        assert await at.told(token, "/api/v1/live") == 1008


async def test_the_pages_token_does_not_open_the_display(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos), browser(pos) as at:
        page = await at.open(code=await code(pos))
        display = await at.open(**{"for": "display"})
        assert (await at.ask("GET", DISPLAY, page))[0] == 401
        assert await at.told(page) == 1008
        assert (await at.ask("GET", "/api/v1/screen", page))[0] == 200
        assert (await at.ask("GET", "/api/v1/screen", display))[0] == 401


async def test_a_token_needs_the_cookie_of_its_own_scope_beside_it(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos), browser(pos) as at:
        await at.open(code=await code(pos))
        token = await at.open(**{"for": "display"})
        cookies = dict(at.cookies)
        (page,) = (name for name in cookies if "display" not in name)
        (display,) = (name for name in cookies if "display" in name)
        assert (await at.ask("GET", DISPLAY, token, cookies={display: cookies[display]}))[0] == 200
        for jar in ({}, {page: cookies[page]}, {page: cookies[display]}, {display: cookies[page]}):
            assert (await at.ask("GET", DISPLAY, token, cookies=jar))[0] == 401, jar


async def test_the_display_goes_on_beside_a_page_that_is_reloaded_and_the_other_way_round(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos), browser(pos) as at:
        page = await at.open(code=await code(pos))
        display = await at.open(**{"for": "display"})
        for _ in range(3):
            page, display = await at.open(), await at.open(**{"for": "display"})
            assert (await at.ask("GET", "/api/v1/screen", page))[0] == 200
            assert (await at.ask("GET", DISPLAY, display))[0] == 200


async def test_a_cookie_that_a_stranger_used_for_a_display_ends_page_and_display(tmp_path: Path) -> None:
    clock = FakeClock()
    async with till_and_pos(tmp_path, clock) as (_, pos), browser(pos) as at, browser(pos) as stranger:
        page = await at.open(code=await code(pos))
        stranger.cookies = dict(at.cookies)
        watched = await stranger.open(**{"for": "display"})
        assert (await stranger.ask("GET", DISPLAY, watched))[0] == 200
        await clock.advance(ROTATION_GRACE_S)
        assert (await at.ask("GET", "/api/v1/screen", page))[0] == 401
        assert (await stranger.ask("GET", DISPLAY, watched))[0] == 401


async def test_without_any_session_a_display_is_told_so(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos), browser(pos) as at:
        status, answer = await at.ask("POST", "/api/v1/sessions", body={"for": "display"})
        assert (status, answer["code"]) == (401, "session_ended")
        status, answer = await at.ask("POST", "/api/v1/sessions", body={"for": "everything"})
        assert (status, answer["code"]) == (422, "body_invalid")


async def test_page_and_display_go_on_after_the_till_was_killed(tmp_path: Path) -> None:
    clock = FakeClock()
    of = settings(tmp_path)
    enrol_by_hand(of)
    async with running(of, clock) as till, open_pos(till, of) as pos, browser(pos) as at:
        page = await at.open(code=await code(pos))
        display = await at.open(**{"for": "display"})
        kept = of.sessions_file.read_bytes()
    async with running(of, clock):
        assert of.sessions_file.read_bytes() == kept
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            again = Browser(session, at.url, at.cookies)
            assert (await again.ask("GET", "/api/v1/screen", page))[0] == 200
            assert (await again.ask("GET", DISPLAY, display))[0] == 200
            assert isinstance(await again.told(page, "/api/v1/live"), dict)
            assert isinstance(await again.told(display), dict)
