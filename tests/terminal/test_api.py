"""The local API of a whole till, over real sockets, with no hub anywhere."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.root import Till
from sync.contract.identifiers import Scheme
from sync.contract.protocol import SnapshotManifest
from sync.runtime.database import Reader, Work
from sync.runtime.sqlite_file import DatabaseBusy
from tests.support import shop
from tests.support.tills import Pos, till_and_pos


def _sale(sale_id: str = "s-1", **changes: Any) -> dict[str, Any]:
    body = {
        "sale_id": sale_id,
        "card": shop.card(),
        "lines": [{"quantity": "1", "net_minor": 525}, {"quantity": "0.350", "net_minor": 475}],
        "net_minor": 1000,
        "tax_minor": 150,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00Z",
        "staff_ref": "s-7",
    }
    return body | changes


async def _load(till: Till, *rows: Any) -> SnapshotManifest:
    chunk = shop.chunk(*rows)
    manifest = shop.manifest([chunk])
    await till.store.cache.begin_snapshot(manifest)
    await till.store.cache.load_chunk(1, chunk)
    await till.store.cache.finish_snapshot(manifest)
    return manifest


async def test_a_scan_shows_who_it_is_with_no_network(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(shop.whole_customer()))
        status, view = await pos.post("/api/v1/scans", {"text": shop.card(), "symbology": "QR"})
        assert status == 200
        assert (view["kind"], view["name"], view["balance"]["shown"]) == ("customer", "Mimi", 100)
        assert view["preferences"][0]["text"]["en"] == "Oat flat white"
        assert view["value"]["band"] == "loyal"
        assert "1200" not in str(view)
        assert (await pos.get("/api/v1/screen"))[1]["view"] == view


async def test_without_consent_points_work_and_nothing_else_is_told(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(shop.whole_customer(consents=())))
        _, view = await pos.post("/api/v1/scans", {"text": shop.card()})
        assert (view["preferences"], view["value"]) == (None, None)
        assert view["balance"]["shown"] == 100
        assert "Oat" not in str(view)


async def test_a_sale_is_credited_once_however_often_it_is_sent(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(points=100))
        first = await pos.post("/api/v1/sales", _sale())
        again = await pos.post("/api/v1/sales", _sale())
        assert first == again
        assert (first[0], first[1]["points"], first[1]["balance"]["pending"]) == (200, 10, 10)
        _, view = await pos.post("/api/v1/scans", {"text": shop.card()})
        assert (view["balance"]["posted"], view["balance"]["pending"]) == (100, 10)


async def test_another_sale_under_the_same_id_is_refused(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        await pos.post("/api/v1/sales", _sale())
        status, problem = await pos.post("/api/v1/sales", _sale(tax_minor=151))
        assert (status, problem["code"]) == (409, "sale_id_reused")
        assert (await pos.get("/api/v1/outbox"))[1]["rows"][0]["sale_id"] == "s-1"


async def test_a_sale_on_a_card_nobody_is_known_for_keeps_its_points(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        status, result = await pos.post("/api/v1/sales", _sale())
        assert (status, result["state"], result["flags"]) == (200, "kept_for_card", ["card_unknown"])
        _, view = await pos.post("/api/v1/scans", {"text": shop.card()})
        assert (view["kind"], view["balance"]["pending"], view["asked"]) == ("unknown_card", 10, "waiting")
        large = _sale("s-2", lines=[{"quantity": "1", "net_minor": 90_000}], net_minor=90_000)
        _, capped = await pos.post("/api/v1/sales", large)
        assert (capped["points"], capped["flags"]) == (490, ["card_unknown", "points_capped"])


async def test_a_sale_is_taken_back_once(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(points=100))
        await pos.post("/api/v1/sales", _sale())
        body = {"reversal_id": "r-1", "occurred_at": "2026-03-09T09:05:00Z"}
        first = await pos.post("/api/v1/sales/s-1/reversals", body)
        assert first == await pos.post("/api/v1/sales/s-1/reversals", body)
        assert (first[1]["state"], first[1]["points"]) == ("taken_back", 10)
        second = await pos.post("/api/v1/sales/s-1/reversals", body | {"reversal_id": "r-2"})
        assert (second[1]["state"], second[1]["points"]) == ("already_taken_back", 0)
        _, view = await pos.post("/api/v1/scans", {"text": shop.card()})
        assert view["balance"]["pending"] == 0
        unknown = await pos.post("/api/v1/sales/other-till-1/reversals", body | {"reversal_id": "r-3"})
        assert unknown[1]["state"] == "sale_not_known_here"


async def test_a_card_of_two_customers_is_a_choice_and_never_a_guess(tmp_path: Path) -> None:
    own = shop.ref(Scheme.CARD, shop.card(2))
    shared = shop.ref(Scheme.CARD, shop.card())
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(
            till,
            shop.put(shop.customer("c-1"), identifiers=[shared]),
            shop.put(shop.customer("c-2", given_name="Paul"), identifiers=[shared, own]),
        )
        _, view = await pos.post("/api/v1/scans", {"text": shop.card()})
        assert (view["kind"], [person["customer_id"] for person in view["people"]]) == ("choice", ["c-1", "c-2"])
        status, problem = await pos.post("/api/v1/sales", _sale())
        assert (status, problem["code"]) == (409, "choice_needed")
        status, result = await pos.post("/api/v1/sales", _sale(customer_id="c-2"))
        assert (status, result["state"], result["customer_id"]) == (200, "credited", "c-2")
        _, chosen = await pos.get("/api/v1/customers/c-2")
        assert chosen["balance"]["pending"] == 10


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("4006381333931", "product"),
        ("https://example.com/x?y=1", "url"),
        ("4111 1111 1111 1111", "bank_card"),
        ("9990000000000000", "unreadable"),
        ("x" * 10_000, "unreadable"),
        ("a\x00b", "unreadable"),
        ("<img src=x onerror=alert(1)>", "unknown"),
        ("'; DROP TABLE customers; --", "unknown"),
        ('=HYPERLINK("http://x")', "unknown"),
        ("", "unreadable"),
    ],
)
async def test_what_is_no_card_is_named_and_never_a_customer(tmp_path: Path, text: str, kind: str) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        status, view = await pos.post("/api/v1/scans", {"text": text})
        assert (status, view["kind"], view["meaning"]["kind"]) == (200, "other", kind)
        assert "4111111111111111" not in str(view).replace(" ", "")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"net_minor": 999}, 422, "body_invalid"),
        ({"net_minor": -5}, 422, "body_invalid"),
        ({"net_minor": 10.5}, 400, "body_not_json"),
        ({"net_minor": "1000"}, 422, "body_invalid"),
        ({"currency": "USD"}, 422, "currency_refused"),
        ({"card": "4006381333931"}, 422, "not_a_card"),
        ({"card": None}, 422, "body_invalid"),
        ({"card": None, "customer_id": "nobody"}, 404, "customer_unknown"),
        ({"customer_id": "nobody"}, 409, "card_mismatch"),
        ({"sale_id": "a b"}, 422, "body_invalid"),
        ({"occurred_at": "2026-03-09T09:00:00"}, 422, "body_invalid"),
        ({"lines": []}, 422, "body_invalid"),
        ({"extra": 1}, 422, "body_invalid"),
    ],
)
async def test_a_sale_that_cannot_be_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, change: dict[str, Any], status: int, code: str
) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        answer = await pos.post("/api/v1/sales", _sale(**change))
        assert (answer[0], answer[1]["code"]) == (status, code)
        assert (await pos.get("/api/v1/outbox"))[1]["rows"] == []


async def test_searching_is_limited_and_finds_by_name_phone_and_email(tmp_path: Path) -> None:
    refs = [shop.ref(Scheme.PHONE, "+15145550123"), shop.ref(Scheme.EMAIL, "marie@example.com")]
    async with till_and_pos(tmp_path, api={"searches_per_minute": 5}) as (till, pos):
        await _load(till, shop.put(shop.customer(given_name="Élodie"), identifiers=refs))
        for text in ("elo", "TREMBLAY elod", "514 555-0123", "Marie@Example.com"):
            status, found = await pos.post("/api/v1/customers/search", {"text": text})
            assert (status, [row["customer_id"] for row in found["people"]]) == (200, ["c-1"]), text
        assert (await pos.post("/api/v1/customers/search", {"text": "el"}))[0] == 422
        assert (await pos.post("/api/v1/customers/search", {"text": "nobody"}))[1]["people"] == []
        status, problem = await pos.post("/api/v1/customers/search", {"text": "elo"})
        assert (status, problem["code"]) == (429, "too_many_searches")


async def test_the_outbox_is_listed_and_exported_with_no_personal_data(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(shop.whole_customer()))
        for number in range(3):
            await pos.post("/api/v1/sales", _sale(f"s-{number}"))
        _, page = await pos.get("/api/v1/outbox")
        assert [row["state"] for row in page["rows"]] == ["waiting"] * 3
        assert {(row["net_minor"], row["currency"]) for row in page["rows"]} == {(_sale("s-0")["net_minor"], "CAD")}
        async with pos.session.get(pos.url + "/api/v1/outbox/export") as answer:
            text = await answer.text()
        assert text.count("\n") == 3
        assert not any(word in text for word in ("Mimi", "Marie", "Tremblay", shop.card()))


async def test_health_readiness_and_metrics_tell_how_the_till_does(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        assert await pos.get("/healthz") == (200, {"ok": True})
        status, ready = await pos.get("/readyz")
        assert (status, set(ready["loops"])) == (
            200,
            {"upload", "download", "allowances", "scanner", "ballast", "prune", "wipe"},
        )
        await pos.post("/api/v1/sales", _sale())
        async with pos.session.get(pos.url + "/metrics") as answer:
            text = await answer.text()
        assert "loyalty_sales_total 1.0" in text
        assert shop.card() not in text


async def test_the_live_socket_tells_each_change_in_order(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(points=100))
        async with pos.session.ws_connect(pos.url + "/api/v1/live") as ws:
            first = await ws.receive_json()
            await pos.post("/api/v1/scans", {"text": shop.card()})
            seen = [first, await ws.receive_json()]
            while seen[-1]["view"]["kind"] != "customer":
                seen.append(await ws.receive_json())
            assert [state["seq"] for state in seen] == list(range(first["seq"], first["seq"] + len(seen)))


async def test_a_page_opens_once_by_its_link_and_then_needs_cookie_and_token(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        _, link = await pos.post("/api/v1/page-links", {})
        code = link["url"].partition("#")[2]
        assert await _open_page(pos, code) == 200
        assert await _open_page(pos, code) == 401


async def _open_page(pos: Pos, code: str) -> int:
    async with (
        aiohttp.ClientSession(headers={"Origin": pos.url}) as page,
        page.post(pos.url + "/api/v1/sessions", json={"code": code}) as answer,
    ):
        return answer.status


async def test_a_rotated_key_ends_the_old_one_at_once(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (_, pos):
        assert (await pos.post("/api/v1/pos-key", {}))[0] == 200
        status, problem = await pos.get("/api/v1/screen")
        assert (status, problem["code"]) == (401, "credential_refused")


@pytest.mark.parametrize("path", ["/api/v1/live", "/api/v1/display/live"])
async def test_a_live_socket_that_the_old_key_opened_hears_no_more_once_it_is_rotated(
    tmp_path: Path, path: str
) -> None:
    """Whoever had the old key went on hearing of every customer for as long as the socket stood."""
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(points=100))
        key = pos.session.headers["Authorization"].removeprefix("Bearer ")
        async with aiohttp.ClientSession(headers={"Origin": pos.url}) as page:
            by_header, by_message = await pos.session.ws_connect(pos.url + path), await page.ws_connect(pos.url + path)
            await by_message.send_json({"token": key})
            for ws in (by_header, by_message):
                assert (await ws.receive()).type is aiohttp.WSMsgType.TEXT
            assert (await pos.post("/api/v1/pos-key", {}))[0] == 200
            await till.counter.scan(shop.card())
            for ws in (by_header, by_message):
                assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/customers/search", {"text": "tremblay"}),
        ("GET", "/api/v1/outbox", None),
        ("GET", "/api/v1/outbox/export", None),
        ("GET", "/api/v1/acts", None),
    ],
)
async def test_a_list_that_the_database_refuses_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    async def refuse(_: Reader, __: Work[Any]) -> None:
        raise DatabaseBusy("till.db is busy")

    async with till_and_pos(tmp_path) as (_, pos):
        monkeypatch.setattr(Reader, "read", refuse)
        status, problem = await pos.ask(method, path, body)
        assert (status, problem["code"]) == (503, "storage_failed")
        assert "till.db" not in str(problem)


async def test_a_sale_credited_before_is_answered_again_whatever_became_of_its_card(tmp_path: Path) -> None:
    one, two = shop.ref(Scheme.CARD, shop.card()), shop.ref(Scheme.CARD, shop.card(2))
    async with till_and_pos(tmp_path) as (till, pos):
        await _load(till, shop.put(shop.customer("c-1"), identifiers=[one]))
        first = await pos.post("/api/v1/sales", _sale())
        shared = shop.put(shop.customer("c-2"), identifiers=[one, two])
        await till.store.cache.apply(shop.page(shared, position=2))
        assert (await pos.post("/api/v1/sales", _sale("s-2")))[1]["code"] == "choice_needed"
        assert await pos.post("/api/v1/sales", _sale()) == first
        assert (await pos.post("/api/v1/sales", _sale(tax_minor=1)))[1]["code"] == "sale_id_reused"
