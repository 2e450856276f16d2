"""What the cashier's page asks of the local API, over real sockets, with no hub anywhere."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.root import Till
from agent.store import Store
from sync.contract.identifiers import Scheme
from sync.contract.program import EarnRule
from sync.contract.protocol import CustomerGone
from tests.support import shop
from tests.support.tills import Pos, till_and_pos

_CARD, _OTHER = shop.ref(Scheme.CARD, shop.card()), shop.ref(Scheme.CARD, shop.card(2))


def _sale(sale_id: str = "page-1", net_minor: int = 1000, **changes: Any) -> dict[str, Any]:
    """A sale as the page sends it: one line."""
    body = {
        "sale_id": sale_id,
        "lines": [{"quantity": "1", "net_minor": net_minor}],
        "net_minor": net_minor,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
    }
    return body | changes


async def _know(till: Till, *rows: Any, position: int = 1) -> None:
    await till.store.cache.apply(shop.page(*rows, position=position))


async def _wishes(store: Store) -> list[str]:
    return [presented.identifier.value for presented in await store.journal.unsent_identifiers(10)]


async def _ok(pos: Pos, path: str, body: Any) -> dict[str, Any]:
    status, answer = await pos.post(path, body)
    assert status == 200, answer
    return answer


async def _until(till: Till, kind: str) -> dict[str, Any]:
    state = till.screen.state
    while state.view.kind != kind:
        state = await till.screen.beyond(state.seq)
    return state.view.model_dump()


async def test_an_unknown_card_is_credited_by_the_id_of_its_view_and_the_number_is_not_sent_again(
    tmp_path: Path,
) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        view = await _ok(pos, "/api/v1/scans", {"text": shop.card()})
        assert view["card_id"] == _CARD.id
        assert shop.card() not in str(view)
        sale = _sale(card_id=view["card_id"])
        first = await _ok(pos, "/api/v1/sales", sale)
        assert (first["state"], first["points"], first["flags"]) == ("kept_for_card", 10, ["card_unknown"])
        assert await _ok(pos, "/api/v1/sales", sale) == first
        assert await _ok(pos, "/api/v1/sales", _sale(card=shop.card())) == first
        assert await _wishes(till.store) == [shop.card()]
        (event,) = (await till.store.outbox.export()).events
        assert _CARD.id in event
        shown = await _ok(pos, "/api/v1/scans", {"text": shop.card()})
        assert (shown["balance"]["pending"], shown["hint"]) == (10, view["hint"])


async def test_a_card_that_became_known_meanwhile_is_credited_to_its_customer_by_the_id_too(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        view = await _ok(pos, "/api/v1/scans", {"text": shop.card()})
        await _know(till, shop.put())
        result = await _ok(pos, "/api/v1/sales", _sale(card_id=view["card_id"]))
        assert (result["state"], result["customer_id"]) == ("credited", "c-1")


async def test_a_card_whose_customer_left_while_it_was_shown_is_still_credited_by_its_id(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _know(till, shop.put())
        await _ok(pos, "/api/v1/scans", {"text": shop.card()})
        await _know(till, CustomerGone(customer_id="c-1", reason="erased"), position=2)
        till.screen.touched(None)
        view = await _until(till, "unknown_card")
        assert (await _ok(pos, "/api/v1/sales", _sale(card_id=view["card_id"])))["state"] == "kept_for_card"


async def test_a_customer_on_the_screen_who_is_merged_is_shown_as_the_winner_and_after_the_unmerge_too(
    tmp_path: Path,
) -> None:
    gone = CustomerGone(customer_id="anna", reason="out_of_scope", merged_into="ben")
    anna = shop.put(shop.customer("anna"), 100, [_CARD])
    async with till_and_pos(tmp_path) as (till, pos):
        await _know(till, anna, shop.put(shop.customer("ben"), 20, [_OTHER]))
        await _ok(pos, "/api/v1/screen/customer", {"customer_id": "anna"})
        await _know(till, shop.put(shop.customer("ben"), 120, [_OTHER, _CARD]), gone, position=2)
        till.screen.touched(frozenset({"anna", "ben"}))
        merged = await _beyond(till, till.screen.state.seq)
        assert (merged["customer_id"], merged["balance"]["posted"]) == ("ben", 120)
        await _know(till, anna, shop.put(shop.customer("ben"), 20, [_OTHER]), position=3)
        till.screen.touched(frozenset({"anna", "ben"}))
        parted = await _beyond(till, till.screen.state.seq)
        assert (parted["customer_id"], parted["balance"]["posted"]) == ("ben", 20)


async def _beyond(till: Till, seq: int) -> dict[str, Any]:
    return (await till.screen.beyond(seq)).view.model_dump()


async def test_a_page_that_outlived_the_till_credits_the_card_it_still_shows(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        view = await _ok(pos, "/api/v1/scans", {"text": shop.card()})
    async with till_and_pos(tmp_path) as (till, pos):
        assert (await _ok(pos, "/api/v1/sales", _sale(card_id=view["card_id"])))["points"] == 10
        shown = await _until(till, "unknown_card")
        assert (shown["card_id"], shown["hint"]) == (view["card_id"], "••")
        assert await _wishes(till.store) == [shop.card()]


async def test_the_id_of_a_card_that_was_never_here_gathers_no_points(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        for path, body in (
            ("/api/v1/sales", _sale(card_id=_CARD.id)),
            ("/api/v1/quotes", {"net_minor": 1000, "currency": "CAD", "card_id": _CARD.id}),
        ):
            status, problem = await pos.post(path, body)
            assert (status, problem["code"]) == (404, "card_id_unknown"), path
        assert till.store.outbox.figures().waiting == 0


@pytest.mark.parametrize(
    ("change", "status", "code", "said"),
    [
        ({"card_id": _CARD.id, "card": shop.card()}, 422, "body_invalid", "its card once"),
        ({"card_id": _CARD.id.upper()}, 422, "body_invalid", "card_id"),
        ({"card_id": _CARD.id[:-1]}, 422, "body_invalid", "card_id"),
        ({"card_id": "x" * 32}, 422, "body_invalid", "card_id"),
        ({"card_id": shop.card()}, 422, "body_invalid", "card_id"),
        ({"net_minor": -1}, 422, "body_invalid", "net_minor"),
        ({"net_minor": 10.5}, 400, "body_not_json", "fraction"),
        ({"net_minor": True}, 422, "body_invalid", "net_minor"),
        ({"net_minor": 1_000_000_001}, 422, "body_invalid", "net_minor"),
        ({"currency": "USD", "card_id": None, "card": shop.card()}, 422, "currency_refused", "CAD"),
        ({"currency": "cad"}, 422, "body_invalid", "currency"),
        ({"customer_id": "nobody", "card_id": None}, 404, "customer_unknown", "customer"),
        ({"card_id": None, "card": "4006381333931"}, 422, "not_a_card", "product"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/sales", "/api/v1/quotes"])
async def test_who_and_how_much_are_held_to_the_same_rules_in_a_sale_and_in_a_quote(
    tmp_path: Path, path: str, change: dict[str, Any], status: int, code: str, said: str
) -> None:
    asked: dict[str, Any] = {"net_minor": 1000, "currency": "CAD", "card_id": _CARD.id} | change
    body = _sale(**asked) if path.endswith("sales") else asked
    async with till_and_pos(tmp_path) as (till, pos):
        await _ok(pos, "/api/v1/scans", {"text": shop.card()})
        answer = await pos.post(path, body)
        assert (answer[0], answer[1]["code"]) == (status, code)
        assert said in str(answer[1])
        assert _CARD.id not in str(answer[1])
        assert till.store.outbox.figures().waiting == 0


async def test_a_quote_is_what_the_sale_then_credits_for_everybody_it_can_be_for(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        both, own, third = shop.card(3), shop.ref(Scheme.CARD, shop.card(4)), shop.card(5)
        shared = shop.ref(Scheme.CARD, both)
        await till.store.cache.keep_program(shop.program(2, earn=EarnRule(points=7, per_minor=300)))
        await _know(
            till,
            shop.put(),
            shop.put(shop.customer("c-2"), identifiers=[shared, own]),
            shop.put(shop.customer("c-3"), identifiers=[shared]),
        )
        unknown = await _ok(pos, "/api/v1/scans", {"text": third})
        number = 0
        buyers: list[dict[str, Any]] = [
            {"card": shop.card()},
            {"customer_id": "c-1"},
            {"card": both, "customer_id": "c-2"},
            {"customer_id": "c-3"},  # none of their own: the points wait on the shared card
            {"card_id": unknown["card_id"]},
            {"card": third},
        ]
        for who in buyers:
            for net_minor in (0, 42, 43, 12_345, 20_000):
                quoted = await _ok(pos, "/api/v1/quotes", {"net_minor": net_minor, "currency": "CAD", **who})
                number += 1
                result = await _ok(pos, "/api/v1/sales", _sale(f"page-{number}", net_minor, **who))
                assert (quoted["points"], quoted["program_version"]) == (result["points"], 2), (who, net_minor)
                assert quoted["capped"] == ("points_capped" in result["flags"]), (who, net_minor)
        before = till.screen.state.outbox
        anybody = await _ok(pos, "/api/v1/quotes", {"net_minor": 99_900, "currency": "CAD"})
        assert (anybody["points"], anybody["capped"]) == (2331, False)
        assert (await pos.post("/api/v1/quotes", {"net_minor": 1, "currency": "CAD", "card": both}))[0] == 409
        assert before.waiting <= number
        assert till.store.outbox.figures().waiting == number


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/quotes", {"net_minor": 1, "currency": "CAD"}),
        ("POST", "/api/v1/shifts", {}),
        ("POST", "/api/v1/screen/customer", {"customer_id": "c-1"}),
        ("POST", "/api/v1/screen/clear", {}),
        ("POST", "/api/v1/screen/lock", {}),
        ("POST", "/api/v1/screen/unlock", {}),
        ("PUT", "/api/v1/scanner", {"gap_ms": 35}),
        ("GET", "/api/v1/acts", None),
    ],
)
async def test_a_page_of_this_till_may_and_a_page_of_another_origin_may_not(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with till_and_pos(tmp_path) as (till, pos), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as web:
        await _know(till, shop.put())
        code = (await _ok(pos, "/api/v1/page-links", {}))["url"].partition("#")[2]
        own = {"Origin": pos.url}
        async with web.post(pos.url + "/api/v1/sessions", headers=own, json={"code": code}) as answer:
            token = (await answer.json())["page_token"]
            cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in answer.cookies.items())
        page = {"Cookie": cookies, "Page-Token": token}
        before = till.screen.state.model_copy(update={"seq": 0})
        evil = {"Origin": "http://evil.example"}
        async with web.request(method, pos.url + path, headers=page | evil, json=body) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (403, "origin_refused")
        async with web.request(method, pos.url + path, headers=page | own | {"Content-Type": "text/plain"}) as answer:
            assert answer.status == (200 if method == "GET" else 415)
        assert till.screen.state.model_copy(update={"seq": 0, "hub": before.hub}) == before
        async with web.request(method, pos.url + path, headers=page | own, json=body) as answer:
            assert answer.status == 200


async def test_a_quote_shows_and_records_nothing(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        before = till.screen.state.view
        await _ok(pos, "/api/v1/quotes", {"net_minor": 1000, "currency": "CAD", "card": shop.card()})
        assert till.screen.state.view == before
        assert till.store.outbox.figures().waiting == 0
        assert await _wishes(till.store) == []
