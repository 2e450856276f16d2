import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sync.runtime.bodies import ERRORS_MAX, read_body, read_json, read_query, validate_json
from sync.runtime.http_server import ServedAt, serve
from sync.runtime.problems import CODES, KINDS, Kind, Problem, codes, problem_middleware

LIMIT = 2000
CANARY = "canary-4711"


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    net_minor: int = Field(ge=0)


class Sale(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    sale_id: str = Field(max_length=10)
    lines: tuple[Line, ...] = ()
    ref: UUID | None = None
    kind: Literal["sale", "refund"] = "sale"

    @field_validator("sale_id")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "no":
            raise ValueError("is not a sale id")
        return value


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = Field(default=10, le=20)


async def take_sale(request: web.Request) -> web.Response:
    sale = await read_json(request, Sale, limit=LIMIT)
    return web.json_response({"lines": len(sale.lines)})


async def take_batch(request: web.Request) -> web.Response:
    raw = await read_body(request, limit=LIMIT, media_types=("application/batch+json",), gzip=True)
    return web.json_response({"bytes": len(raw)})


async def page(request: web.Request) -> web.Response:
    return web.json_response({"limit": read_query(request, Page).limit})


async def broken(_: web.Request) -> web.Response:
    try:
        return web.json_response(dict[str, str]()[CANARY])
    except KeyError as error:
        raise RuntimeError(f"could not find {CANARY}") from error


async def refused(_: web.Request) -> web.Response:
    raise Problem(Kind(409, "sale_id_reused", "Taken."), "Choose another.", members={"status": 1, "sale_id": "s1"})


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPSeeOther("/page")


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half ")
    raise RuntimeError(CANARY)


async def half_socket(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    raise RuntimeError(CANARY)


@asynccontextmanager
async def door() -> AsyncIterator[aiohttp.ClientSession]:
    app = web.Application(middlewares=[problem_middleware])
    app.router.add_post("/sales", take_sale)
    app.router.add_post("/batch", take_batch)
    app.router.add_get("/page", page)
    app.router.add_get("/broken", broken)
    app.router.add_get("/refused", refused)
    app.router.add_get("/elsewhere", elsewhere)
    app.router.add_get("/half", half)
    app.router.add_get("/half-socket", half_socket)
    async with serve(app, "127.0.0.1", 0) as at, aiohttp.ClientSession(base(at)) as session:
        yield session


def base(at: ServedAt) -> str:
    return f"http://{at.host}:{at.port}"


async def problem(answer: aiohttp.ClientResponse) -> dict[str, object]:
    document: dict[str, object] = await answer.json(content_type="application/problem+json")
    assert document["status"] == answer.status
    assert document["type"] == f"urn:loyalty:problem:{document['code']}"
    assert document["title"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    return document


async def post(body: bytes | str, content_type: str | None = "application/json") -> tuple[int, dict[str, object]]:
    headers = {"Content-Type": content_type} if content_type else {}
    async with (
        door() as session,
        session.post("/sales", data=body, headers=headers, skip_auto_headers=["Content-Type"]) as answer,
    ):
        if answer.status == 200:
            return 200, await answer.json()
        return answer.status, await problem(answer)


async def test_good_body_becomes_a_model() -> None:
    assert await post('{"sale_id": "s1", "lines": [{"net_minor": 5}]}') == (200, {"lines": 1})
    assert await post('{"sale_id": "s1"}', "application/json; charset=UTF-8") == (200, {"lines": 0})


async def test_wrong_fields_are_named_and_values_never_repeated() -> None:
    status, document = await post(
        json.dumps(
            {
                "sale_id": CANARY * 2,
                "lines": [{"net_minor": -1}, {"net_minor": CANARY}, {"net_minor": True}],
                "ref": CANARY,
                "kind": CANARY,
                "a/b~c": CANARY,
            }
        )
    )
    assert (status, document["code"]) == (422, "body_invalid")
    assert CANARY not in json.dumps(document)
    errors = document["errors"]
    assert isinstance(errors, list)
    assert {error["pointer"]: error["detail"] for error in errors} == {
        "#/sale_id": "String should have at most 10 characters",
        "#/lines/0/net_minor": "Input should be greater than or equal to 0",
        "#/lines/1/net_minor": "Input should be a valid integer",
        "#/lines/2/net_minor": "Input should be a valid integer",
        "#/ref": "must be a UUID",
        "#/kind": "Input should be 'sale' or 'refund'",
        "#/a~1b~0c": "Extra inputs are not permitted",
    }


def test_a_list_whose_only_item_is_wrong_is_not_called_too_short() -> None:
    class Basket(BaseModel):
        lines: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = Field(min_length=1)

    def pointers(text: bytes) -> list[str]:
        with pytest.raises(Problem) as refused:
            validate_json(text, Basket)
        errors: Any = refused.value.members["errors"]
        return [error["pointer"] for error in errors]

    assert pointers(b'{"lines": [-1]}') == ["#/lines/0"]
    assert pointers(b'{"lines": []}') == ["#/lines"]


async def test_rule_of_ours_is_told_in_our_words() -> None:
    _, document = await post('{"sale_id": "no"}')
    assert document["errors"] == [{"pointer": "#/sale_id", "detail": "is not a sale id"}]


async def test_flood_of_faults_gets_a_short_answer() -> None:
    _, document = await post(json.dumps({"sale_id": "s", **{f"{n:03}" + "x" * 10: 1 for n in range(90)}}))
    errors = document["errors"]
    assert isinstance(errors, list)
    assert len(errors) == ERRORS_MAX
    _, document = await post(json.dumps({"sale_id": "s", "y" * 1000: 1}))
    assert document["errors"] == [{"pointer": "#/" + "y" * 64, "detail": "Extra inputs are not permitted"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"sale_id": "s1"} x',
        b'{"sale_id": "caf\xe9"}',
        b'{"sale_id": "\\ud800"}',
        b'{"sale_id": "s1", "lines": [{"net_minor": 1.0}]}',
        b'{"sale_id": "s1", "lines": [{"net_minor": 1e3}]}',
        b'{"sale_id": "s1", "lines": [{"net_minor": NaN}]}',
        b'{"sale_id": "s1", "lines": [{"net_minor": -Infinity}]}',
        b'{"sale_id": "s1", "sale_id": "s2"}',
        b'{"sale_id": ' + b"9" * 1900 + b"e",
        b"[" * 1900,
        b"\xef\xbb\xbf{}",
        b'{"sale_id": "a\x00b"}',
    ],
)
async def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    status, document = await post(body)
    assert (status, document["code"]) == (400, "body_not_json")


async def test_number_of_thousands_of_digits_is_refused_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "LIMIT", 10_000)
    status, document = await post(b'{"sale_id": ' + b"9" * 5000 + b"}")
    assert (status, document["code"]) == (400, "body_not_json")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_other_content_types_are_refused(content_type: str | None) -> None:
    status, document = await post('{"sale_id": "s1"}', content_type)
    assert (status, document["code"]) == (415, "content_type_refused")


async def test_large_body_is_refused_whether_its_length_is_told_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    for body in (b" " * (LIMIT + 1), chunks()):
        async with (
            door() as session,
            session.post("/sales", data=body, headers={"Content-Type": "application/json"}) as answer,
        ):
            document = await problem(answer)
            assert (answer.status, document["code"], document["limit_bytes"]) == (413, "body_too_large", LIMIT)


async def test_packed_body_is_unpacked_only_where_asked_and_only_to_the_limit() -> None:
    batch = {"Content-Type": "application/batch+json"}
    async with door() as session:
        async with session.post("/batch", data=b" " * LIMIT, headers=batch, compress="gzip") as answer:
            assert await answer.json() == {"bytes": LIMIT}
        async with session.post("/batch", data=b" " * 1_000_000, headers=batch, compress="gzip") as answer:
            assert (await problem(answer))["code"] == "body_too_large"
        async with session.post("/sales", json={"sale_id": "s"}, headers={"Content-Encoding": "gzip"}) as answer:
            assert (await problem(answer))["code"] == "content_type_refused"


async def test_query_is_checked_like_a_body() -> None:
    async with door() as session:
        async with session.get("/page?limit=5") as answer:
            assert await answer.json() == {"limit": 5}
        for query, pointer in (("limit=21", "#/limit"), ("limit=x", "#/limit"), ("limt=5", "#/limt")):
            async with session.get(f"/page?{query}") as answer:
                document = await problem(answer)
                assert (answer.status, document["code"]) == (422, "query_invalid")
                assert [error["pointer"] for error in document["errors"]] == [pointer]  # type: ignore[attr-defined]
        async with session.get("/page?limit=1&limit=2") as answer:
            assert (await problem(answer))["detail"] == "A parameter stands twice."


async def test_aiohttps_own_refusals_are_problems_too() -> None:
    async with door() as session:
        async with session.get("/nowhere") as answer:
            assert (await problem(answer))["code"] == "not_found"
        async with session.put("/page") as answer:
            assert (await problem(answer))["code"] == "method_not_allowed"
            assert answer.headers["Allow"] == "GET,HEAD"
        async with session.get("/page", headers={"Expect": "the unexpected"}) as answer:
            assert (await problem(answer))["code"] == "expectation_refused"


async def test_problem_carries_its_members_but_none_replaces_the_standard_ones() -> None:
    async with door() as session, session.get("/refused") as answer:
        assert await problem(answer) == {
            "type": "urn:loyalty:problem:sale_id_reused",
            "code": "sale_id_reused",
            "title": "Taken.",
            "status": 409,
            "detail": "Choose another.",
            "sale_id": "s1",
        }


async def test_redirect_passes() -> None:
    async with door() as session, session.get("/elsewhere", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/page")


async def test_bug_is_logged_by_place_and_told_by_incident_without_a_value(caplog: pytest.LogCaptureFixture) -> None:
    async with door() as session, session.get(f"/broken?q={CANARY}") as answer:
        document = await problem(answer)
    assert (answer.status, document["code"]) == (500, "internal")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    text = record.getMessage()
    assert str(document["incident"]) in text
    assert "route=/broken" in text
    assert "builtins.RuntimeError at" in text
    assert "builtins.KeyError at" in text
    assert "in broken" in text
    assert CANARY not in caplog.text + json.dumps(document)


async def test_answer_that_had_begun_is_cut_not_mixed_with_a_second_one() -> None:
    async with door() as session:
        async with session.get("/half") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        async with session.ws_connect("/half-socket") as ws:
            message = await ws.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
            assert ws.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


def test_codes_are_unique_and_documented() -> None:
    assert set(CODES) == {kind.code for kind in KINDS}
    assert list(CODES) == sorted(CODES)
    with pytest.raises(ValueError, match="share the code x"):
        codes([Kind(400, "x", "One."), Kind(409, "x", "Two.")])
