"""The API's description, held against the running server: same routes, and real answers that fit their schemas."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
from openapi_spec_validator import validate

from agent import texts
from agent.screen import CUSTOMER_SHOWN_S
from sync.runtime.supervise import Loop, State
from tests.support import allowances, shop
from tests.support.clock import FakeClock
from tests.support.tills import Pos, till_and_pos

_SALE = {
    "sale_id": "s-1",
    "card": shop.card(),
    "lines": [{"quantity": "1", "net_minor": 500}],
    "net_minor": 500,
    "currency": "CAD",
    "occurred_at": "2026-03-09T09:00:00Z",
}
_REDEMPTION = {
    "redemption_id": "d-1",
    "card": shop.card(),
    "reward_id": "cookie",
    "occurred_at": "2026-03-09T09:00:00Z",
}
_REVERSAL = {"reversal_id": "r-1", "occurred_at": "2026-03-09T09:00:00Z"}
# operation -> path, body, status
_CALLS: dict[str, tuple[str, Any, int]] = {
    "scan": ("/api/v1/scans", {"text": shop.card()}, 200),
    "creditSale": ("/api/v1/sales", _SALE, 200),
    "reverseSale": ("/api/v1/sales/s-1/reversals", _REVERSAL, 200),
    "redeemPoints": ("/api/v1/redemptions", _REDEMPTION, 200),
    "reverseRedemption": ("/api/v1/redemptions/d-1/reversals", _REVERSAL, 200),
    "searchCustomers": ("/api/v1/customers/search", {"text": "tremblay"}, 200),
    "getCustomer": ("/api/v1/customers/c-1", None, 200),
    "getScreen": ("/api/v1/screen", None, 200),
    "compareCache": ("/api/v1/cache/comparison", {}, 200),
    "getCacheComparison": ("/api/v1/cache/comparison", None, 200),
    "quoteSale": ("/api/v1/quotes", {"net_minor": 500, "currency": "CAD", "card": shop.card()}, 200),
    "listActs": ("/api/v1/acts?limit=3", None, 200),
    "beginShift": ("/api/v1/shifts", {}, 200),
    "setScanner": ("/api/v1/scanner", {"gap_ms": 40, "prefix": "]C1", "end": "tab", "chars_min": 8}, 200),
    "showCustomer": ("/api/v1/screen/customer", {"customer_id": "c-1"}, 200),
    "clearScreen": ("/api/v1/screen/clear", {}, 200),
    "lockScreen": ("/api/v1/screen/lock", {}, 200),
    "unlockScreen": ("/api/v1/screen/unlock", {}, 200),
    "listOutbox": ("/api/v1/outbox?after=0", None, 200),
    "getDisplay": ("/api/v1/display", None, 200),
    "newPageLink": ("/api/v1/page-links", {}, 200),
    "getHealth": ("/healthz", None, 200),
    "getReadiness": ("/readyz", None, 200),
}
_SOCKETS = {"followScreen": "/api/v1/live", "followDisplay": "/api/v1/display/live"}
_REFUSALS: dict[str, tuple[str, Any, int]] = {
    "scan": ("/api/v1/scans", {"texts": ""}, 422),
    "creditSale": ("/api/v1/sales", _SALE | {"net_minor": 1}, 422),
    "redeemPoints": ("/api/v1/redemptions", _REDEMPTION | {"redemption_id": "d-2", "reward_id": "coffee"}, 409),
    "getCustomer": ("/api/v1/customers/nobody", None, 404),
    "showCustomer": ("/api/v1/screen/customer", {"customer_id": "nobody"}, 404),
    "listOutbox": ("/api/v1/outbox?after=-1", None, 422),
    "openSession": ("/api/v1/sessions", {"code": "used"}, 401),
    "lockScreen": ("/api/v1/screen/lock", {"for": "ever"}, 422),
    "quoteSale": ("/api/v1/quotes", {"net_minor": 500, "currency": "USD"}, 422),
    "listActs": ("/api/v1/acts?limit=201", None, 422),
    "setScanner": ("/api/v1/scanner", {"gap_ms": 120}, 422),
}


async def _described(pos: Pos) -> dict[str, Any]:
    status, document = await pos.get("/openapi.json")
    assert status == 200
    return document


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation | {"method": method}
        for methods in document["paths"].values()
        for method, operation in methods.items()
    }


def _check(document: dict[str, Any], operation: dict[str, Any], status: int, answer: Any) -> None:
    (content,) = operation["responses"][str(status)]["content"].values()
    schema = content["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)


async def test_the_description_is_valid_openapi_3_1(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        document = await _described(pos)
        assert document["openapi"].startswith("3.1")
        validate(document)


async def test_every_operation_answers_as_described(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(shop.whole_customer())))
        await allowances.hear(till.store, allowances.word(allowances.allowance(60)))
        document = await _described(pos)
        operations = _operations(document)
        for name, (path, body, status) in [*_CALLS.items(), *_REFUSALS.items()]:
            answer = await pos.ask(operations[name]["method"], path, body)
            assert answer[0] == status, (name, answer)
            _check(document, operations[name], *answer)


async def test_no_get_is_an_act(tmp_path: Path) -> None:
    """A GET for a customer put them on the page: a point of sale that polled one kept the till from ever locking."""
    clock = FakeClock(shop.MORNING)
    async with till_and_pos(tmp_path, clock, page={"lock_after_minutes": 2}) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(), shop.put(shop.customer("c-2"), identifiers=[])))
        operations = _operations(await _described(pos))
        paths = [path for name, (path, _, _) in _CALLS.items() if operations[name]["method"] == "get"]
        assert "/api/v1/customers/c-1" in paths
        assert (await pos.post("/api/v1/screen/customer", {"customer_id": "c-2"}))[0] == 200
        shown = till.screen.state.view

        async def ask_all() -> None:
            showing = till.screen.showing
            for path in paths:
                assert (await pos.get(path))[0] == 200, path
            assert till.screen.showing == showing

        await clock.advance(CUSTOMER_SHOWN_S - 1)
        await ask_all()
        assert till.screen.state.view == shown
        await clock.advance(1)
        assert till.screen.state.view.kind == "nothing"
        await clock.advance(120 - CUSTOMER_SHOWN_S - 1)
        await ask_all()
        assert not till.screen.state.locked
        await clock.advance(1)
        assert till.screen.state.locked


async def test_the_live_sockets_tell_what_is_described(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        document = await _described(pos)
        operations = _operations(document)
        for name, path in _SOCKETS.items():
            async with pos.session.ws_connect(pos.url + path) as ws:
                _check(document, operations[name], 101, await ws.receive_json())


async def test_a_till_that_is_not_ready_says_so_as_described(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        document = await _described(pos)
        till.board.put("scanner", Loop(State.RESTARTING, datetime.now(UTC)))
        status, answer = await pos.get("/readyz")
        assert (status, answer["loops"]["scanner"]) == (503, "restarting")
        _check(document, _operations(document)["getReadiness"], status, answer)


async def test_no_operation_is_left_untried(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        # Answered in other forms than JSON, or tried in test_api.py.
        elsewhere = {"exportOutbox", "getMetrics", "getDescription", "rotateKey", "openSession"}
        assert set(_operations(await _described(pos))) == set(_CALLS) | elsewhere | set(_SOCKETS)


# What the page asks for where it says a refusal by its code, and which refusals it cannot meet there, and why.
_OF_THE_PAGE = {
    "scan",
    "searchCustomers",
    "showCustomer",
    "creditSale",
    "reverseSale",
    "redeemPoints",
    "reverseRedemption",
    "beginShift",
    "setScanner",
}
_NOT_MET_BY_THE_PAGE = {
    "body_invalid": "its fields hold no more than the till takes",
    "body_not_json": "it sends nothing else",
    "body_too_large": "as body_invalid",
    "currency_refused": "it asks in the till's own currency; one that has just changed is there for the second try",
    "not_a_card": "it names a card by its id",
    "not_found": "it asks for ids that the till gave it",
    "not_spendable": "told by its reason",
    "redemption_id_reused": "a new id for each",
    "reversal_id_reused": "the same act is taken back, and is told as that",
    "sale_from_the_future": "its clock is the till's",
    "sale_id_reused": "a new id for each",
}


async def test_what_the_page_may_be_refused_for_is_said_in_words_of_its_own(tmp_path: Path) -> None:
    """ "Nothing was lost; try again" stood for what no second try helps against."""
    async with till_and_pos(tmp_path) as (_, pos):
        operations = _operations(await _described(pos))
    answers = [answer for name in _OF_THE_PAGE for answer in operations[name]["responses"].values()]
    refused = {code for answer in answers for code in re.findall(r"`(\w+)`: ", answer["description"])}
    said = {key.removeprefix("problem.") for key in texts.load("en") if key.startswith("problem.")}
    assert refused - set(_NOT_MET_BY_THE_PAGE) == said - {"other"}


async def test_every_operation_but_health_refuses_a_caller_without_a_credential(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos), aiohttp.ClientSession() as stranger:
        document = await _described(pos)
        for path, methods in document["paths"].items():
            url = pos.url + path.replace("{sale_id}", "s-1").replace("{customer_id}", "c-1")
            url = url.replace("{redemption_id}", "d-1")
            for method in methods:
                async with stranger.request(method, url, json=None if method == "get" else {}) as answer:
                    assert answer.status == (200 if path == "/healthz" else 401), path


async def test_the_front_page_lists_every_operation_for_a_point_of_sale(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    listed = {
        ("GET" if method == "WS" else method, re.sub(r"\{\w+\}", "{}", path))
        for method, path in re.findall(r"`(GET|POST|PUT|WS) (/[\w/{}.-]*)`", readme)
    }
    async with till_and_pos(tmp_path) as (_, pos):
        paths = (await _described(pos))["paths"]
    served = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in paths.items()
        for method in methods
        # The page's own way in, and what the command line does for its user.
        if path not in ("/api/v1/sessions", "/api/v1/page-links", "/api/v1/pos-key", "/api/v1/cache/comparison")
    }
    assert listed == served
