"""The hub client over real sockets: what it sends, and that it believes no answer that is not the hub's own."""

import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from sync.contract.protocol import (
    FeedPage,
    HelloAnswer,
    HelloRequest,
)
from sync.hub_client import HubClient, enrol, open_session
from sync.hub_errors import (
    NOT_UNDERSTOOD,
    HubBusy,
    HubError,
    HubRefused,
    HubUnreachable,
    MessageTooLarge,
    TerminalRevoked,
)
from sync.hub_line import ANSWER_BYTES_MAX, RETRY_AFTER_S_MAX, retry_after_s
from tests.support.proxy import Fault, FaultProxy, fault_proxy
from tests.support.scripted_hub import BATCH, FAST, INC, VERDICTS, ScriptedHub, served
from tests.support.wire_till import enrolling

NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)


@pytest.fixture
async def door() -> AsyncIterator[ScriptedHub]:
    async with served(ScriptedHub()) as door:
        yield door


@pytest.fixture
async def client(door: ScriptedHub) -> AsyncIterator[HubClient]:
    async with open_session() as session:
        yield HubClient(session, door.url, "t1", lambda: "secret-credential", FAST)


@pytest.fixture
async def proxy(door: ScriptedHub) -> AsyncIterator[FaultProxy]:
    door.answers(VERDICTS)
    async with fault_proxy(door.url) as proxy:
        yield proxy


@pytest.fixture
async def spoilt(proxy: FaultProxy) -> AsyncIterator[HubClient]:
    """A client whose way to the hub goes through a proxy."""
    async with open_session() as session:
        yield HubClient(session, proxy.url, "t1", lambda: "secret-credential", FAST)


async def test_upload_puts_the_range_gzipped_with_epoch_and_credential(door: ScriptedHub, client: HubClient) -> None:
    door.answers(VERDICTS)

    assert await client.upload(BATCH, "epoch-1") == VERDICTS

    method, path, headers, body = door.requests[0]
    assert (method, path) == ("PUT", f"/v1/streams/t1/{INC}/1")
    assert headers["Hub-Epoch"] == "epoch-1"
    assert headers["Authorization"] == "Bearer secret-credential"
    assert headers["Content-Type"] == "application/cloudevents-batch+json"
    assert headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(body)) == [{"seq": 1}, {"seq": 2}]


async def test_a_packed_answer_is_read(door: ScriptedHub, client: HubClient) -> None:
    door.answers(VERDICTS, packed=True)

    assert await client.upload(BATCH, "e") == VERDICTS


async def test_hello_travels_whole(door: ScriptedHub, client: HubClient) -> None:
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


async def test_the_feed_may_be_silent_for_as_long_as_it_was_asked_to_wait(door: ScriptedHub, client: HubClient) -> None:
    page = FeedPage(hub_epoch="e", changes=(), covered={INC: 4}, cursor="c2", more=False, as_of=NOW)
    door.answers(page)

    assert await client.feed("c 1&x", "e", limit=10, wait_s=25) == page
    assert door.requests[0][1] == "/v1/feed?cursor=c+1%26x&limit=10&wait=25"


async def test_a_chunk_comes_as_it_lies_at_the_hub(door: ScriptedHub, client: HubClient) -> None:
    packed = gzip.compress(b'{"op":"card"}')
    for headers in ({}, {"Content_Encoding": "gzip"}):
        door.sends(200, packed, "application/x-ndjson", **headers)
        assert await client.snapshot_chunk("e", "s1", 3) == packed

    assert door.requests[0][1] == "/v1/snapshots/s1/3"


async def test_the_credential_is_asked_for_before_each_call(door: ScriptedHub) -> None:
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


async def test_a_redirect_is_not_followed(proxy: FaultProxy, spoilt: HubClient, door: ScriptedHub) -> None:
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


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_carries_the_hubs_own_word(door: ScriptedHub, client: HubClient, status: int) -> None:
    door.sends(status, b'{"code": "busy"}', "application/problem+json", Retry_After="7")
    with pytest.raises(HubBusy) as raised:
        await client.upload(BATCH, "e")
    assert raised.value.retry_after_s == 7.0


async def test_a_proxy_that_says_503_is_not_the_hub_being_busy(proxy: FaultProxy, spoilt: HubClient) -> None:
    """Else a line that leads to a maintenance page would look like a hub at work, for ever."""
    proxy.spoil("PUT", Fault.MAINTENANCE)
    with pytest.raises(HubUnreachable, match="status_503"):
        await spoilt.upload(BATCH, "e")


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
    door: ScriptedHub, client: HubClient, status: int, code: str, expected: type[HubError]
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
async def test_a_problem_without_a_code_is_no_word_of_the_hub(
    door: ScriptedHub, client: HubClient, body: bytes
) -> None:
    door.sends(409, body, "application/problem+json")
    with pytest.raises(HubUnreachable):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_answer_is_not_read_to_its_end(door: ScriptedHub, client: HubClient, *, packed: bool) -> None:
    size = ANSWER_BYTES_MAX + 1
    if packed:
        door.sends(200, gzip.compress(b" " * size), "application/json", Content_Encoding="gzip")
    else:
        door.sends(200, b" " * size, "application/json")
    with pytest.raises(HubUnreachable, match="answer_too_large"):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}")[:-4]], ids=["no gzip at all", "cut before its end"])
async def test_a_broken_packing_is_no_answer(door: ScriptedHub, client: HubClient, body: bytes) -> None:
    door.sends(200, body, "application/json", Content_Encoding="gzip")
    with pytest.raises(HubUnreachable, match="cut_body"):
        await client.upload(BATCH, "e")


@pytest.mark.parametrize(
    "change",
    [
        b'{"op": "balance", "customer_id": "c1", "points": "12"}',
        b'{"op": "balance", "customer_id": "c1", "points": 1.5}',
        b'{"op": "balance", "points": 1}',
    ],
)
async def test_a_page_with_one_change_of_a_wrong_shape_is_not_believed(
    door: ScriptedHub, client: HubClient, change: bytes
) -> None:
    page = b'{"hub_epoch":"e","changes":[%b],"covered":{},"cursor":"c","more":false,"as_of":"2026-03-09T09:00:00Z"}'
    door.sends(200, page % change, "application/json")
    with pytest.raises(HubUnreachable, match="wrong_shape") as raised:
        await client.feed("c", "e", limit=1, wait_s=0)

    assert "c1" not in str(raised.value) + repr(raised.value.__cause__)


async def test_an_operation_of_a_newer_hub_is_told_apart_from_a_broken_page(
    door: ScriptedHub, client: HubClient
) -> None:
    page = b'{"hub_epoch":"e","changes":[%b],"covered":{},"cursor":"c","more":false,"as_of":"2026-03-09T09:00:00Z"}'
    door.sends(200, page % b'{"op": "teleport", "customer_id": "c1"}', "application/json")
    with pytest.raises(HubUnreachable, match=NOT_UNDERSTOOD):
        await client.feed("c", "e", limit=1, wait_s=0)


async def test_unknown_fields_of_a_newer_hub_are_passed_over(door: ScriptedHub, client: HubClient) -> None:
    body = {**json.loads(VERDICTS.model_dump_json()), "fresh": {"idea": 1}}
    door.sends(200, json.dumps(body).encode(), "application/json; charset=utf-8")

    assert await client.upload(BATCH, "e") == VERDICTS


async def test_cookies_are_not_kept(door: ScriptedHub, client: HubClient) -> None:
    body = VERDICTS.model_dump_json().encode()
    door.sends(200, body, "application/json", Set_Cookie="track=1")
    await client.upload(BATCH, "e")
    await client.upload(BATCH, "e")

    assert all("Cookie" not in headers for _, _, headers, _ in door.requests)


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


async def test_enrolling_brings_what_a_terminal_keeps(door: ScriptedHub) -> None:
    body = {
        "terminal_id": "t1",
        "store_id": "s1",
        "credential": "c" * 40,
        "identifier_key": "0" * 64,
        "hub_epoch": "e",
        "program": {"version": 1, "currency": "CAD", "earn": {"points": 1, "per_minor": 100}},
    }
    door.sends(201, json.dumps(body).encode(), "application/json")

    answer = await enrol(door.url, enrolling("ABCD-EFGH"))

    assert (answer.terminal_id, answer.store_id) == ("t1", "s1")
    method, path, headers, _ = door.requests[0]
    assert (method, path) == ("POST", "/v1/enrolments")
    assert "Authorization" not in headers


async def test_a_used_code_is_refused_by_its_name(door: ScriptedHub) -> None:
    door.refuses(403, "code_used")
    with pytest.raises(HubRefused, match="code_used"):
        await enrol(door.url, enrolling("ABCD-EFGH"))
