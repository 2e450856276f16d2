"""The hub client over real sockets: what it sends, and that it believes no answer that is not the hub's own."""

import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from sync.contract.customers import Value
from sync.contract.protocol import (
    EnrolRequest,
    FeedPage,
    HelloAnswer,
    HelloRequest,
    Outcome,
    UploadAnswer,
    Verdict,
)
from sync.hub_client import HubClient, enrol, hub_address, open_session
from sync.hub_errors import (
    HubBusy,
    HubError,
    HubRefused,
    HubSetupError,
    HubUnreachable,
    MessageTooLarge,
    TerminalRevoked,
)
from sync.hub_line import ANSWER_BYTES_MAX, RETRY_AFTER_S_MAX, Timeouts, retry_after_s
from sync.pump.ports import Batch
from sync.runtime.problems import Kind, Problem, problem_middleware
from tests.support.proxy import Fault, FaultProxy, fault_proxy

INC = "a" * 16
BATCH = Batch(INC, 1, ('{"seq":1}', '{"seq":2}'))
NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
FAST = Timeouts(connect_s=1.0, read_s=0.3, total_s=0.6)
VERDICTS = UploadAnswer(
    hub_epoch="e",
    applied_through=2,
    results=(Verdict(seq=1, outcome=Outcome.APPLIED), Verdict(seq=2, outcome=Outcome.DUPLICATE)),
)


@dataclass
class Door:
    """A hub that answers what it is told to."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        assert self.answer
        return await self.answer(request)

    def answers(self, value: Value, *, packed: bool = False) -> None:
        async def answer(_: web.Request) -> web.Response:
            body = value.model_dump_json().encode()
            headers = {"Content-Type": "application/json"}
            if packed:
                return web.Response(body=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"})
            return web.Response(body=body, headers=headers)

        self.answer = answer

    def sends(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            return web.Response(status=status, body=body, headers={"Content-Type": content_type, **named})

        self.answer = answer

    def refuses(self, status: int, code: str, **members: object) -> None:
        async def answer(_: web.Request) -> web.Response:
            raise Problem(Kind(status, code, "No."), members=members)

        self.answer = answer


@contextlib.asynccontextmanager
async def served(door: Door, tls: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    app = web.Application(middlewares=[problem_middleware])
    app.router.add_route("*", "/{tail:.*}", door.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    door.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    try:
        yield door
    finally:
        await runner.cleanup()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with served(Door()) as door:
        yield door


@pytest.fixture
async def client(door: Door) -> AsyncIterator[HubClient]:
    async with open_session() as session:
        yield HubClient(session, door.url, "t1", lambda: "secret-credential", FAST)


@pytest.fixture
async def proxy(door: Door) -> AsyncIterator[FaultProxy]:
    door.answers(VERDICTS)
    async with fault_proxy(door.url) as proxy:
        yield proxy


@pytest.fixture
async def spoilt(proxy: FaultProxy) -> AsyncIterator[HubClient]:
    """A client whose way to the hub goes through a proxy."""
    async with open_session() as session:
        yield HubClient(session, proxy.url, "t1", lambda: "secret-credential", FAST)


async def test_upload_puts_the_range_gzipped_with_epoch_and_credential(door: Door, client: HubClient) -> None:
    door.answers(VERDICTS)

    assert await client.upload(BATCH, "epoch-1") == VERDICTS

    method, path, headers, body = door.requests[0]
    assert (method, path) == ("PUT", f"/v1/streams/t1/{INC}/1")
    assert headers["Hub-Epoch"] == "epoch-1"
    assert headers["Authorization"] == "Bearer secret-credential"
    assert headers["Content-Type"] == "application/cloudevents-batch+json"
    assert headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(body)) == [{"seq": 1}, {"seq": 2}]


async def test_a_packed_answer_is_read(door: Door, client: HubClient) -> None:
    door.answers(VERDICTS, packed=True)

    assert await client.upload(BATCH, "e") == VERDICTS


async def test_hello_travels_whole(door: Door, client: HubClient) -> None:
    request = HelloRequest(
        protocols=("storesync/1",),
        agent_version="0.1.0",
        event_types=("x",),
        waiting=0,
        oldest_waiting_s=0,
        wall=NOW,
        monoms=1,
        bootid="b",
    )
    answer = HelloAnswer(
        protocol="storesync/1",
        hub_epoch="e",
        max_batch_events=5,
        max_batch_bytes=2048,
        reconnect_spread_s=0,
        server_time=NOW,
    )
    door.answers(answer)

    assert await client.hello(request) == answer
    assert HelloRequest.model_validate_json(door.requests[0][3]) == request


async def test_the_feed_may_be_silent_for_as_long_as_it_was_asked_to_wait(door: Door, client: HubClient) -> None:
    page = FeedPage(hub_epoch="e", changes=(), covered={INC: 4}, cursor="c2", more=False, as_of=NOW)
    door.answers(page)

    assert await client.feed("c 1&x", "e", limit=10, wait_s=25) == page
    assert door.requests[0][1] == "/v1/feed?cursor=c+1%26x&limit=10&wait=25"


async def test_a_chunk_comes_as_it_lies_at_the_hub(door: Door, client: HubClient) -> None:
    packed = gzip.compress(b'{"op":"card"}')
    for headers in ({}, {"Content_Encoding": "gzip"}):
        door.sends(200, packed, "application/x-ndjson", **headers)
        assert await client.snapshot_chunk("e", "s1", 3) == packed

    assert door.requests[0][1] == "/v1/snapshots/s1/3"


async def test_the_credential_is_asked_for_before_each_call(door: Door) -> None:
    door.answers(VERDICTS)
    credentials = iter(["old", "new"])
    async with open_session() as session:
        client = HubClient(session, door.url, "t1", lambda: next(credentials), FAST)
        await client.upload(BATCH, "e")
        await client.upload(BATCH, "e")

    assert [headers["Authorization"] for _, _, headers, _ in door.requests] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.LOSE_ANSWER, "broken_connection"),
        (Fault.BLACK_HOLE, "timeout"),
        (Fault.BLACK_HOLE_AFTER, "timeout"),
        (Fault.DRIP, "timeout"),
        (Fault.RESET_MID_BODY, "cut_body"),
        (Fault.CUT_BODY, "cut_body"),
        (Fault.TRUNCATED_JSON, "not_json"),
        (Fault.EMPTY, "not_json"),
        (Fault.OTHER_JSON, "wrong_shape"),
        (Fault.HTML, "wrong_content_type"),
        (Fault.WRONG_TYPE, "wrong_content_type"),
        (Fault.REDIRECT, "status_302"),
        (Fault.SERVER_ERROR, "status_500"),
        (Fault.FOREIGN_403, "status_403"),
        (Fault.NOT_HTTP, "broken_connection"),
    ],
)
async def test_what_cannot_be_the_hubs_answer_leaves_the_outcome_unknown(
    proxy: FaultProxy, spoilt: HubClient, fault: Fault, code: str
) -> None:
    proxy.plan = lambda _: fault
    with pytest.raises(HubUnreachable) as raised:
        await spoilt.upload(BATCH, "e")
    assert raised.value.code == code

    proxy.plan = lambda _: Fault.PASS
    assert await spoilt.upload(BATCH, "e") == VERDICTS


async def test_a_redirect_is_not_followed(proxy: FaultProxy, spoilt: HubClient, door: Door) -> None:
    proxy.spoil("PUT", Fault.REDIRECT)
    with pytest.raises(HubUnreachable):
        await spoilt.upload(BATCH, "e")

    assert len(proxy.seen) == 1
    assert door.requests == []


async def test_nobody_listening_is_unreachable() -> None:
    async with open_session() as session:
        client = HubClient(session, "http://127.0.0.1:1", "t1", lambda: "c", FAST)
        with pytest.raises(HubUnreachable, match="no_connection"):
            await client.upload(BATCH, "e")


async def test_busy_carries_the_hubs_own_word(proxy: FaultProxy, spoilt: HubClient) -> None:
    proxy.spoil("PUT", Fault.BUSY)
    with pytest.raises(HubBusy) as raised:
        await spoilt.upload(BATCH, "e")
    assert raised.value.retry_after_s == 7.0


async def test_too_large_is_told_whoever_says_it(proxy: FaultProxy, spoilt: HubClient) -> None:
    proxy.spoil("PUT", Fault.TOO_LARGE)
    with pytest.raises(MessageTooLarge):
        await spoilt.upload(BATCH, "e")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "credential_unknown", TerminalRevoked),
        (403, "terminal_revoked", TerminalRevoked),
        (403, "something_new", HubRefused),
        (409, "gap", HubRefused),
        (409, "hello_required", HubRefused),
        (404, "not_found", HubRefused),
        (422, "body_invalid", HubRefused),
        (408, "body_too_slow", HubUnreachable),
        (429, "slow_down", HubBusy),
        (500, "internal", HubUnreachable),
    ],
)
async def test_the_hubs_own_problems_are_told_apart(
    door: Door, client: HubClient, status: int, code: str, expected: type[HubError]
) -> None:
    door.refuses(status, code, applied_through=7)
    with pytest.raises(expected) as raised:
        await client.upload(BATCH, "e")

    if isinstance(raised.value, HubRefused):
        assert raised.value.code == code
        assert raised.value.members["applied_through"] == 7


@pytest.mark.parametrize(
    "body", [b'{"code": 7}', b'{"title": "no"}', b"[]", b"", b'{"code": "Not One Of Ours"}', b"<html>"]
)
async def test_a_problem_without_a_code_is_no_word_of_the_hub(door: Door, client: HubClient, body: bytes) -> None:
    door.sends(409, body, "application/problem+json")
    with pytest.raises(HubUnreachable):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_answer_is_not_read_to_its_end(door: Door, client: HubClient, *, packed: bool) -> None:
    size = ANSWER_BYTES_MAX + 1
    if packed:
        door.sends(200, gzip.compress(b" " * size), "application/json", Content_Encoding="gzip")
    else:
        door.sends(200, b" " * size, "application/json")
    with pytest.raises(HubUnreachable, match="answer_too_large"):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}")[:-4]])
async def test_a_broken_packing_is_no_answer(door: Door, client: HubClient, body: bytes) -> None:
    door.sends(200, body, "application/json", Content_Encoding="gzip")
    with pytest.raises(HubUnreachable, match="cut_body"):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize(
    "change",
    [
        b'{"op": "teleport", "customer_id": "c1"}',
        b'{"op": "balance", "customer_id": "c1", "points": "12"}',
        b'{"op": "balance", "customer_id": "c1", "points": 1.5}',
        b'{"op": "balance", "points": 1}',
    ],
)
async def test_a_page_with_one_change_that_is_not_understood_is_not_believed(
    door: Door, client: HubClient, change: bytes
) -> None:
    page = b'{"hub_epoch":"e","changes":[%b],"covered":{},"cursor":"c","more":false,"as_of":"2026-03-09T09:00:00Z"}'
    door.sends(200, page % change, "application/json")
    with pytest.raises(HubUnreachable, match="wrong_shape") as raised:
        await client.feed("c", "e", limit=1, wait_s=0)

    assert "c1" not in str(raised.value) + repr(raised.value.__cause__)


async def test_unknown_fields_of_a_newer_hub_are_passed_over(door: Door, client: HubClient) -> None:
    body = {**json.loads(VERDICTS.model_dump_json()), "fresh": {"idea": 1}}
    door.sends(200, json.dumps(body).encode(), "application/json; charset=utf-8")

    assert await client.upload(BATCH, "e") == VERDICTS


async def test_cookies_are_not_kept(door: Door, client: HubClient) -> None:
    body = VERDICTS.model_dump_json().encode()
    door.sends(200, body, "application/json", Set_Cookie="track=1")
    await client.upload(BATCH, "e")
    await client.upload(BATCH, "e")

    assert all("Cookie" not in headers for _, _, headers, _ in door.requests)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def uploaded_over_tls(door: Door, ca_file: Path | None) -> UploadAnswer:
    async with open_session(ca_file) as session:
        return await HubClient(session, door.url, "t1", lambda: "secret-credential", FAST).upload(BATCH, "e")


async def test_a_private_authority_can_be_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    door = Door()
    door.answers(VERDICTS)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with served(door, tls_of(authority.issue_cert("localhost"))):
        assert await uploaded_over_tls(door, tmp_path / "ca.pem") == VERDICTS


@pytest.mark.parametrize("wrong", ["authority", "name", "expired", "system authorities only"])
async def test_a_wrong_certificate_is_told_not_a_byte(authority: trustme.CA, tmp_path: Path, wrong: str) -> None:
    door = Door()
    door.answers(VERDICTS)
    trusted = trustme.CA() if wrong == "authority" else authority
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    expires = datetime(2020, 1, 1, tzinfo=UTC) if wrong == "expired" else None
    certificate = authority.issue_cert("other.example" if wrong == "name" else "localhost", not_after=expires)
    ca_file = None if wrong.startswith("system") else tmp_path / "ca.pem"
    async with served(door, tls_of(certificate)):
        with pytest.raises(HubUnreachable, match="certificate"):
            await uploaded_over_tls(door, ca_file)

    assert door.requests == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_useless_authority_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HubSetupError, match=r"ca\.pem"):
        async with open_session(path):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "https://hub.example.com",
        "https://hub.example.com:8700/base",
        "http://127.0.0.1:8700",
        "http://localhost",
        "http://[::1]:8700",
        "http://127.9.9.9",
    ],
)
def test_https_and_this_machine_are_taken(address: str) -> None:
    assert str(hub_address(address)).startswith(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://hub.example.com",
        "http://192.168.1.5",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
        "ftp://x",
        "hub.example.com",
        "",
        "https://",
        "https://user:pw@hub.example.com",
        "https://h/?a=b",
        "https://h/#x",
        "https://h:99999",
        "http://[::1",
    ],
)
def test_any_other_address_is_refused_before_a_byte_is_sent(address: str) -> None:
    with pytest.raises(HubSetupError):
        hub_address(address)


DATE = "Mon, 09 Mar 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Mon, 09 Mar 2026 09:01:30 GMT", 90.0),
        ("Mon, 09 Mar 2026 08:00:00 GMT", 0.0),
        ("99999999", RETRY_AFTER_S_MAX),
        ("Mon, 09 Mar 2099 09:01:30 GMT", RETRY_AFTER_S_MAX),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 99 Mar 2026 09:01:30 GMT", None),
        ("Mon, 09 Mar 2026 09:01:30", None),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header, DATE) == expected


def test_a_date_without_the_answers_own_date_says_nothing() -> None:
    assert retry_after_s("Mon, 09 Mar 2026 09:01:30 GMT", None) is None


async def test_enrolling_brings_what_a_terminal_keeps(door: Door) -> None:
    body = {
        "terminal_id": "t1",
        "store_id": "s1",
        "credential": "c" * 40,
        "identifier_key": "0" * 64,
        "hub_epoch": "e",
        "program": {"version": 1, "currency": "CAD", "earn": {"points": 1, "per_minor": 100}},
    }
    door.sends(201, json.dumps(body).encode(), "application/json")

    answer = await enrol(door.url, EnrolRequest(code="ABCD-EFGH", agent_version="0.1.0"))

    assert (answer.terminal_id, answer.store_id) == ("t1", "s1")
    method, path, headers, _ = door.requests[0]
    assert (method, path) == ("POST", "/v1/enrolments")
    assert "Authorization" not in headers


async def test_a_used_code_is_refused_by_its_name(door: Door) -> None:
    door.refuses(403, "code_used")
    with pytest.raises(HubRefused, match="code_used"):
        await enrol(door.url, EnrolRequest(code="ABCD-EFGH", agent_version="0.1.0"))
