"""What two pages of one till see of acts, the lock, the shift and the scanner, over real sockets."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.root import Till
from agent.screen import CUSTOMER_SHOWN_S
from sync.contract.identifiers import Scheme
from sync.contract.protocol import Outcome, Reason, Verdict
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.tills import Pos, till_and_pos

State = dict[str, Any]
_UNDO = {"reversal_id": "undo-page-1", "occurred_at": "2026-03-09T09:00:05Z"}


def _sale(sale_id: str = "page-1", **changes: Any) -> dict[str, Any]:
    body = {
        "sale_id": sale_id,
        "customer_id": "c-1",
        "lines": [{"quantity": "1", "net_minor": 1000}],
        "net_minor": 1000,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
    }
    return body | changes


async def _ok(pos: Pos, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, answer = await pos.ask(method, path, body)
    assert status == 200, answer
    return answer


class Tab:
    """A page: every state that the till told it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self.told: list[State] = []

    async def until(self, holds: Callable[[State], bool]) -> State:
        while not self.told or not holds(self.told[-1]):
            self.told.append(await self._ws.receive_json(timeout=10))
        return self.told[-1]


@asynccontextmanager
async def _tab(pos: Pos) -> AsyncIterator[Tab]:
    async with pos.session.ws_connect(pos.url + "/api/v1/live") as ws:
        tab = Tab(ws)
        await tab.until(lambda _: True)
        yield tab


@asynccontextmanager
async def _two_tabs(folder: Path) -> AsyncIterator[tuple[Till, Pos, Tab, Tab]]:
    async with till_and_pos(folder) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        async with _tab(pos) as one, _tab(pos) as other:
            yield till, pos, one, other


def _is_credited(state: State) -> bool:
    return state["act"] is not None and state["act"]["sale_id"] == "page-1"


def _is_taken_back(state: State) -> bool:
    return state["act"] is not None and state["act"]["state"] == "taken_back"


def _is_shown(state: State) -> bool:
    return bool(state["view"]["kind"] == "customer")


def _moment(told: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(told["recorded_at"])


async def test_a_sale_and_its_undo_are_the_same_act_in_both_tabs_with_the_balance_beside_it(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (_, pos, one, other):
        result = await _ok(pos, "POST", "/api/v1/sales", _sale())
        for tab in (one, other):
            state = await tab.until(_is_credited)
            assert (state["view"]["customer_id"], state["view"]["balance"]["pending"]) == ("c-1", 10)
            assert _moment(result) - _moment(state["act"]) < timedelta(milliseconds=1)
            assert state["act"] == {
                "kind": "sale",
                "position": 1,
                "sale_id": "page-1",
                "redemption_id": None,
                "reward_id": None,
                "reward": None,
                "customer_id": "c-1",
                "hint": f"•• {shop.card()[-4:]}",
                "net_minor": 1000,
                "currency": "CAD",
                "points": 10,
                "state": "credited",
                "held": None,
                "recorded_at": state["act"]["recorded_at"],
            }
        first = await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO)
        assert await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO) == first
        for tab in (one, other):
            state = await tab.until(_is_taken_back)
            assert (state["view"]["balance"]["pending"], state["act"]["points"]) == (0, 10)
        by_seq = {state["seq"]: state for state in one.told}
        assert all(by_seq.get(state["seq"], state) == state for state in other.told)  # a slow one may skip numbers
        assert one.told[-1]["act"] == other.told[-1]["act"]
        listed = await _ok(pos, "GET", "/api/v1/acts")
        assert listed["rows"] == [state["act"]]


async def test_the_act_stays_when_somebody_else_is_scanned_and_its_undo_leaves_them_alone(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (_, pos, one, _other):
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
        await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card(2)})
        state = await one.until(lambda state: state["view"]["kind"] == "unknown_card")
        assert state["act"]["sale_id"] == "page-1"
        await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO)
        assert (await one.until(_is_taken_back))["view"] == state["view"]


async def test_a_sale_that_the_hub_refuses_says_so_on_the_screen_and_leaves_the_balance(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (till, pos, one, _other):
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
        refused = Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED)
        await shop.settle_all(till.store, {1: refused})
        state = await one.until(lambda state: state["act"]["held"] is not None)
        assert (state["act"]["held"], state["view"]["balance"]["pending"]) == ("rejected", 0)


async def test_a_sale_of_the_point_of_sale_on_an_unknown_card_is_an_act_with_its_hint(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (till, pos, one, _other):
        unknown = shop.card(2)
        await _ok(pos, "POST", "/api/v1/sales", _sale(customer_id=None, card=unknown))
        state = await one.until(_is_credited)
        assert (state["act"]["state"], state["act"]["hint"]) == ("kept_for_card", f"•• {unknown[-4:]}")
        # The hub has the number now, and it is erased here; the screen still tells this card from another one.
        await till.store.journal.identifiers_sent([shop.card_id(unknown)], [])
        assert (await _ok(pos, "GET", "/api/v1/acts"))["rows"][0]["hint"] == f"•• {unknown[-4:]}"


async def test_points_that_wait_on_a_shared_identifier_show_the_customer_they_were_sold_to(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (till, pos, one, _other):
        shared = [shop.ref(Scheme.CARD, shop.card(3))]
        both = [shop.put(shop.customer(name), identifiers=shared) for name in ("c-2", "c-3")]
        await till.store.cache.apply(shop.page(*both, position=2))
        await _ok(pos, "POST", "/api/v1/sales", _sale(customer_id="c-2"))
        state = await one.until(_is_credited)
        assert (state["view"]["customer_id"], state["act"]["customer_id"]) == ("c-2", None)
        assert state["act"]["state"] == "kept_for_card"


async def test_a_till_started_again_has_its_shift_and_its_scanner_and_no_act_on_the_screen(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (_, pos, one, other):
        assert await _ok(pos, "PUT", "/api/v1/scanner", {"gap_ms": 35}) == {
            "gap_ms": 35,
            "prefix": "",
            "suffix": "",
            "end": "any",
            "chars_min": 6,
        }
        for tab in (one, other):
            assert (await tab.until(lambda state: state["scanner"]["gap_ms"] == 35))["scanner"]["end"] == "any"
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
    async with till_and_pos(tmp_path) as (_, pos):
        state = await _ok(pos, "GET", "/api/v1/screen")
        assert (state["act"], state["scanner"]["gap_ms"]) == (None, 35)
        assert [act["sale_id"] for act in (await _ok(pos, "GET", "/api/v1/acts"))["rows"]] == ["page-1"]


async def test_a_new_shift_lists_nothing_and_takes_the_last_act_from_both_tabs(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (_, pos, one, other):
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
        began = await _ok(pos, "POST", "/api/v1/shifts", {})
        assert (began["rows"], began["more"]) == ([], False)
        for tab in (one, other):
            state = await tab.until(lambda state: state["act"] is None and _is_shown(state))
            assert state["view"]["balance"]["pending"] == 10
        await _ok(pos, "POST", "/api/v1/sales", _sale("page-2"))
        listed = await _ok(pos, "GET", "/api/v1/acts")
        assert ([act["sale_id"] for act in listed["rows"]], listed["since"]) == (["page-2"], began["since"])


async def test_staff_clear_the_screen_and_can_still_undo(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (_, pos, one, other):
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
        state = await _ok(pos, "POST", "/api/v1/screen/clear", {})
        assert (state["view"]["kind"], state["act"]["sale_id"]) == ("nothing", "page-1")
        assert (await other.until(lambda told: told["seq"] >= state["seq"]))["view"]["kind"] == "nothing"
        await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO)
        await other.until(_is_taken_back)


async def test_behind_the_lock_a_scan_and_a_sale_answer_their_caller_and_show_nobody(tmp_path: Path) -> None:
    async with _two_tabs(tmp_path) as (till, pos, one, other):
        await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card()})
        state = await _ok(pos, "POST", "/api/v1/screen/lock", {})
        assert (state["locked"], state["view"]["kind"], state["act"]) == (True, "nothing", None)
        for tab in (one, other):
            await tab.until(lambda told: told["locked"])
            tab.told.clear()
        assert (await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card()}))["customer_id"] == "c-1"
        assert (await _ok(pos, "POST", "/api/v1/sales", _sale()))["points"] == 10
        assert (await _ok(pos, "POST", "/api/v1/screen/customer", {"customer_id": "c-1"}))["name"]
        await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO)
        till.screen.touched(None)
        state = await _ok(pos, "POST", "/api/v1/screen/unlock", {})
        assert not state["locked"]
        for tab in (one, other):
            await tab.until(lambda told: not told["locked"])
            assert all(told["view"]["kind"] == "nothing" and told["act"] is None for told in tab.told)
        assert (await _ok(pos, "GET", "/api/v1/acts"))["rows"][0]["state"] == "taken_back"
        await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card()})
        await one.until(_is_shown)


async def test_the_page_locks_itself_after_the_minutes_of_the_settings(tmp_path: Path) -> None:
    clock = FakeClock(shop.MORNING)
    async with till_and_pos(tmp_path, clock, page={"lock_after_minutes": 2, "sounds": False}) as (till, pos):
        assert not till.screen.state.sounds
        await clock.advance(119)
        await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card()})
        await clock.advance(119)
        assert not _locked(till)
        await clock.advance(1)
        assert _locked(till)
        assert (await _ok(pos, "GET", "/api/v1/screen"))["locked"]


async def test_a_customer_that_staff_choose_is_shown_and_puts_off_the_clearing_and_the_lock(tmp_path: Path) -> None:
    clock = FakeClock(shop.MORNING)
    async with till_and_pos(tmp_path, clock, page={"lock_after_minutes": 2}) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        for _ in range(4):
            view = await _ok(pos, "POST", "/api/v1/screen/customer", {"customer_id": "c-1"})
            assert (await _ok(pos, "GET", "/api/v1/screen"))["view"] == view
            await clock.advance(CUSTOMER_SHOWN_S - 1)
            assert till.screen.state.view.kind == "customer"
        await clock.advance(1)
        assert till.screen.state.view.kind == "nothing"
        assert not _locked(till)


async def test_a_customer_that_nobody_knows_is_refused_and_the_screen_stays(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(points=100)))
        await _ok(pos, "POST", "/api/v1/screen/customer", {"customer_id": "c-1"})
        before = till.screen.showing
        status, problem = await pos.post("/api/v1/screen/customer", {"customer_id": "nobody"})
        assert (status, problem["code"]) == (404, "customer_unknown")
        status, problem = await pos.post("/api/v1/screen/customer", {"customer_id": "no body"})
        assert (status, problem["code"]) == (422, "body_invalid")
        view = (await _ok(pos, "GET", "/api/v1/screen"))["view"]
        assert (view["customer_id"], till.screen.showing) == ("c-1", before)


def _locked(till: Till) -> bool:
    return till.screen.state.locked


async def test_the_state_names_the_shop_the_till_and_the_currency(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path, till={"shop": "Café Parallèle", "name": "Till 1"}) as (_, pos):
        state = await _ok(pos, "GET", "/api/v1/screen")
        assert state["shop"] == {"name": "Café Parallèle", "till": "Till 1", "currency": "CAD"}
        assert (state["sounds"], state["locked"], state["act"]) == (True, False, None)
    async with till_and_pos(tmp_path) as (_, pos):
        assert (await _ok(pos, "GET", "/api/v1/screen"))["shop"] == {"name": None, "till": None, "currency": "CAD"}


async def test_a_program_in_another_currency_reaches_every_page_within_a_second(tmp_path: Path) -> None:
    clock = FakeClock(shop.MORNING)
    async with till_and_pos(tmp_path, clock) as (till, _):
        await till.store.cache.keep_program(shop.program(2, currency="EUR"))
        await clock.advance(1)
        assert till.screen.state.shop.currency == "EUR"


@pytest.mark.parametrize(
    "body",
    [
        {"gap_ms": 19},
        {"gap_ms": 120},
        {"gap_ms": "90"},
        {"gap_ms": None},
        {"prefix": "x" * 17},
        {"suffix": "\x03"},
        {"end": "Enter"},
        {"chars_min": 0},
        {"more": 1},
    ],
)
async def test_a_scanner_that_cannot_be_is_refused_by_its_field_and_changes_nothing(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        before = till.screen.state.scanner
        status, problem = await pos.ask("PUT", "/api/v1/scanner", body)
        assert (status, problem["code"]) == (422, "body_invalid")
        assert [error["pointer"] for error in problem["errors"]] == [f"#/{next(iter(body))}"]
        assert till.screen.state.scanner == till.store.scanner.read() == before


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "after=1", "limit=1&limit=2"])
async def test_a_list_of_acts_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        status, problem = await pos.get(f"/api/v1/acts?{query}")
        assert (status, problem["code"]) == (422, "query_invalid")


async def test_nothing_that_the_page_does_writes_a_person_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with _two_tabs(tmp_path) as (till, pos, one, _other):
        await till.store.cache.apply(shop.page(shop.put(shop.whole_customer()), position=2))
        unknown = await _ok(pos, "POST", "/api/v1/scans", {"text": shop.card(2)})
        await _ok(pos, "POST", "/api/v1/quotes", {"net_minor": 1, "currency": "CAD", "card": shop.card()})
        await _ok(pos, "POST", "/api/v1/sales", _sale("page-2", customer_id=None, card_id=unknown["card_id"]))
        await _ok(pos, "POST", "/api/v1/sales", _sale())
        await one.until(_is_credited)
        await _ok(pos, "POST", "/api/v1/sales/page-1/reversals", _UNDO)
        for path in ("shifts", "screen/clear", "screen/lock", "screen/unlock"):
            await _ok(pos, "POST", f"/api/v1/{path}", {})
        await _ok(pos, "PUT", "/api/v1/scanner", {"prefix": "PREFIX"})
        assert "shift begun" in caplog.text
        for secret in ("Marie", "Mimi", "Tremblay", shop.card(), shop.card(2), shop.card(2)[-4:], "PREFIX"):
            assert secret not in caplog.text
