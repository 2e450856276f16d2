import itertools
import json
import logging

import pytest
from aiohttp import web

from agent.web.guard import Caller, page_address, set_session_cookie
from agent.web.sessions import SESSION_LIFE_S
from sync.runtime.http_server import serve
from tests.support.guarded_till import ACCESS, BEARER, JSON, KEY, Header, open_till

ALL_ROUTES = [
    *ACCESS,
    ("GET", "/api/v1/forgotten"),
    ("GET", "/nowhere"),
    ("PUT", "/healthz"),
    ("OPTIONS", "/api/v1/scans"),
    ("TRACE", "/"),
]


async def test_foreign_host_reaches_no_route_at_all() -> None:
    async with open_till() as till:
        page = till.page_headers(till.session())[1:]
        for method, path in ALL_ROUTES:
            for hosts in (
                ["evil"],
                [f"evil:{till.port}"],
                [f"127.0.0.1.evil:{till.port}"],
                [f"localhost.:{till.port}"],
                ["127.0.0.1"],
                [f"127.0.0.1:{till.port + 1}"],
                [f"[::2]:{till.port}"],
                [],
                [till.host, till.host],
                [till.host, "evil"],
            ):
                headers = [*(("Host", host) for host in hosts), BEARER, JSON, *page]
                status, answered, body = await till.ask(method, path, headers)
                assert status in (421, 400), (method, path, hosts)
                assert answered["Content-Type"].startswith("application/problem+json")
                if status == 421:
                    assert json.loads(body)["code"] == "host_refused"
                else:
                    assert len(hosts) != 1  # the parser itself refuses no Host and two
        assert till.reached == []


async def test_each_own_name_is_taken() -> None:
    async with open_till() as till:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert await till.code("GET", "/api/v1/outbox", [("Host", f"{name}:{till.port}"), BEARER]) == "ok"


async def test_absolute_target_cannot_overrule_the_host() -> None:
    async with open_till() as till:
        headers = [("Host", till.host), BEARER]
        assert await till.code("GET", "http://evil/api/v1/outbox", headers) == "host_refused"
        assert await till.code("GET", f"http://{till.host}/api/v1/outbox", headers) == "host_refused"


async def test_no_mixture_of_signs_reaches_a_handler_unless_it_is_allowed() -> None:
    """The whole matrix, each cell judged by rules written down here anew."""
    async with open_till() as till:
        session = till.session()
        cookie = ("Cookie", f"__Host-till-{till.port}={session.cookie}")
        token = ("Page-Token", session.page_token)
        credentials: dict[str, list[Header]] = {
            "none": [],
            "bearer": [BEARER],
            "wrong bearer": [("Authorization", "Bearer lapos_wrong"), cookie, token],
            "cookie alone": [cookie],
            "token alone": [token],
            "page": [cookie, token],
        }
        origins = {"absent": None, "own": till.origin, "null": "null", "evil": "https://evil.example"}
        origins["port"] = f"http://127.0.0.1:{till.port + 1}"
        fetch: dict[str, list[Header]] = {
            "absent": [],
            "own": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")],
            "cross": [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
            "sibling": [("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors")],
            "typed": [
                ("Sec-Fetch-Site", "none"),
                ("Sec-Fetch-Mode", "navigate"),
                ("Sec-Fetch-Dest", "document"),
            ],
        }
        types = {"json": "application/json", "text": "text/plain", "none": None}
        expected_reached = 0
        for route, who, origin, site, type_ in itertools.product(
            (("POST", "/api/v1/scans"), ("GET", "/api/v1/outbox"), ("DELETE", "/api/v1/scans")),
            credentials,
            origins,
            fetch,
            types,
        ):
            headers = [("Host", till.host), *credentials[who], *fetch[site]]
            if (value := origins[origin]) is not None:
                headers.append(("Origin", value))
            if (value := types[type_]) is not None:
                headers.append(("Content-Type", value))
            if route[0] != "GET":
                headers.append(("Content-Length", "0"))
            status, _, _ = await till.ask(*route, headers)
            is_own = origin in ("absent", "own") and site in ("absent", "own")
            has_sign = origin == "own" or site == "own"
            may = is_own and (who == "bearer" or (who == "page" and has_sign))
            may = may and (route[0] == "GET" or type_ == "json")
            if route[0] == "DELETE":
                assert status == (405 if may else status)
                assert status >= 400
            else:
                assert (status == 200) is may, (route, who, origin, site, type_, status)
                expected_reached += may
        assert len(till.reached) == expected_reached


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_stranger_cannot_learn_which_routes_there_are(method: str) -> None:
    async with open_till() as till:
        headers = [("Host", till.host), JSON, ("Content-Length", "0")]
        for path in ("/nowhere", "/api/v1/forgotten", "/api/v1/outbox"):
            status, answered, body = await till.ask(method, path, headers)
            assert (status, json.loads(body)["code"]) == (401, "credential_missing")
            assert answered["WWW-Authenticate"] == "Bearer"
        assert await till.code("GET", "/nowhere", [("Host", till.host), BEARER]) == "not_found"
        assert await till.code("DELETE", "/api/v1/outbox", [("Host", till.host), BEARER, JSON]) == "method_not_allowed"


async def test_no_answer_ever_carries_a_cors_header() -> None:
    async with open_till() as till:
        for method, path in ALL_ROUTES:
            for origin in (till.origin, "https://evil.example"):
                preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST"), BEARER, JSON]
                _, answered, _ = await till.ask(method, path, [("Host", till.host), *preflight])
                assert not [name for name in answered if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer \xe9",
        f"Bearer {KEY.upper()}",
    ],
)
async def test_wrong_key_is_refused_also_beside_a_good_page(authorization: str) -> None:
    async with open_till() as till:
        page = till.page_headers(till.session())
        for headers in ([("Host", till.host)], page):
            answer = await till.code("GET", "/api/v1/outbox", [*headers, ("Authorization", authorization)])
            assert answer == "credential_refused"


async def test_two_authorization_headers_are_refused() -> None:
    async with open_till() as till:
        headers = [("Host", till.host), BEARER, BEARER]
        assert await till.code("GET", "/api/v1/outbox", headers) == "credential_refused"


async def test_replaced_key_is_worth_nothing_at_once() -> None:
    async with open_till() as till:
        till.key.replace("lapos_new")
        headers = [("Host", till.host)]
        assert await till.code("GET", "/api/v1/outbox", [*headers, BEARER]) == "credential_refused"
        assert await till.code("GET", "/api/v1/outbox", [*headers, ("Authorization", "Bearer lapos_new")]) == "ok"
    assert KEY not in repr(vars(till.key))


async def test_key_in_the_address_is_no_key() -> None:
    async with open_till() as till:
        path = f"/api/v1/outbox?token={KEY}&access_token={KEY}"
        assert await till.code("GET", path, [("Host", till.host)]) == "credential_missing"


async def test_page_needs_cookie_and_token_and_a_browsers_word() -> None:
    async with open_till() as till:
        host, origin, cookie, token = till.page_headers(till.session())
        assert await till.code("GET", "/api/v1/outbox", [host, origin, cookie, token]) == "ok"
        assert await till.code("GET", "/api/v1/outbox", [host, origin, cookie]) == "credential_missing"
        assert await till.code("GET", "/api/v1/outbox", [host, origin, token]) == "credential_missing"
        assert await till.code("GET", "/api/v1/outbox", [host, cookie, token]) == "credential_missing"
        wrong = ("Page-Token", "wrong")
        assert await till.code("GET", "/api/v1/outbox", [host, origin, cookie, wrong]) == "credential_refused"


async def test_cookie_of_another_port_opens_nothing() -> None:
    async with open_till() as till:
        host, origin, (_, cookie), token = till.page_headers(till.session())
        other = ("Cookie", cookie.replace(str(till.port), str(till.port + 1)))
        assert await till.code("GET", "/api/v1/outbox", [host, origin, other, token]) == "credential_missing"


async def test_page_may_not_do_what_is_the_point_of_sales() -> None:
    async with open_till() as till:
        page = [*till.page_headers(till.session()), JSON]
        assert await till.code("POST", "/api/v1/page-links", page) == "credential_missing"
        assert await till.code("POST", "/api/v1/page-links", [("Host", till.host), BEARER, JSON]) == "ok"


async def test_command_without_a_body_is_refused_with_what_to_send() -> None:
    async with open_till() as till:
        status, _, body = await till.ask("POST", "/api/v1/page-links", [("Host", till.host), BEARER])
        document = json.loads(body)
        assert (status, document["code"]) == (415, "content_type_refused")
        assert "Content-Type: application/json; the body is {}" in document["detail"]


async def test_session_is_opened_by_the_own_page_or_the_key_only() -> None:
    async with open_till() as till:
        host = ("Host", till.host)
        assert await till.code("POST", "/api/v1/sessions", [host, ("Origin", till.origin), JSON]) == "ok"
        assert await till.code("POST", "/api/v1/sessions", [host, BEARER, JSON]) == "ok"
        assert await till.code("POST", "/api/v1/sessions", [host, JSON]) == "credential_missing"
        foreign = [host, ("Origin", "http://127.0.0.1:1"), JSON]
        assert await till.code("POST", "/api/v1/sessions", foreign) == "origin_refused"


async def test_session_ends_after_its_shift() -> None:
    async with open_till() as till:
        page = till.page_headers(till.session())
        await till.clock.advance(SESSION_LIFE_S)
        assert await till.code("GET", "/api/v1/outbox", page) == "credential_refused"


async def test_open_routes_need_no_credential_and_know_no_caller() -> None:
    async with open_till() as till:
        for path in ("/", "/healthz"):
            status, _, body = await till.ask("GET", path, [("Host", till.host)])
            assert (status, json.loads(body)["caller"]) == (200, None)


async def test_cookie_is_sealed_in_every_way() -> None:
    async with open_till() as till:
        app = web.Application()

        async def give(request: web.Request) -> web.Response:
            response = web.Response()
            set_session_cookie(response, request, till.session().cookie)
            return response

        app.router.add_get("/", give)
        async with serve(app, "127.0.0.1", 0) as at:
            till.port = at.port
            _, answered, _ = await till.ask("GET", "/", [("Host", till.host)])
    name, *attributes = (part.strip() for part in answered["Set-Cookie"].split(";"))
    assert name.startswith(f"__Host-till-{at.port}=")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]


def test_code_of_a_link_stands_where_no_server_sees_it() -> None:
    assert page_address(8710, "abc") == "http://127.0.0.1:8710/#abc"


async def test_refusals_are_counted_and_logged_once_a_minute_without_what_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with open_till() as till:
        caplog.clear()
        for _ in range(50):
            await till.ask("GET", "/canary-4711", [("Host", till.host), ("Authorization", "Bearer canary-4711")])
        assert len(caplog.records) == 1
        await till.clock.advance(60)
        await till.ask("GET", "/", [("Host", "canary-4711")])
        await till.ask("GET", "/canary-4711", [("Host", till.host), ("Authorization", "Bearer canary-4711")])
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "canary" not in caplog.text
    text, _ = till.metrics.render()
    assert b'loyalty_requests_refused_total{code="credential_refused"} 51.0' in text
    assert b'loyalty_requests_refused_total{code="host_refused"} 1.0' in text


def test_caller_of_a_page_is_named_by_session_never_by_secret() -> None:
    assert repr(Caller("page", "ab12")) == "Caller(kind='page', session_id='ab12', key_number=None)"
