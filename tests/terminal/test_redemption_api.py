"""Redemptions over the local API of a whole till: real sockets, no hub anywhere."""

from pathlib import Path
from typing import Any

from agent.root import Till
from sync.contract.program import RedemptionRule
from tests.support import shop
from tests.support.allowances import allowance, hear, word
from tests.support.tills import Pos, till_and_pos
from tests.support.waiting import eventually

_PATH = "/api/v1/redemptions"


def _redemption(redemption_id: str = "d-1", **changes: Any) -> dict[str, Any]:
    body = {
        "redemption_id": redemption_id,
        "card": shop.card(),
        "reward_id": "cookie",
        "occurred_at": "2026-03-09T09:00:00Z",
        "staff_ref": "s-7",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def _reversal(reversal_id: str = "g-1", **changes: Any) -> dict[str, Any]:
    return {"reversal_id": reversal_id, "occurred_at": "2026-03-09T09:05:00Z"} | changes


async def _known(till: Till, points: int = 300, held: int = 100) -> None:
    await till.store.cache.apply(shop.page(shop.put(points=points)))
    await hear(till.store, word(allowance(held)))


async def _view(pos: Pos) -> dict[str, Any]:
    view: dict[str, Any] = (await pos.get("/api/v1/screen"))[1]["view"]
    return view


async def test_a_redemption_is_answered_shown_and_can_be_undone(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till)
        status, answer = await pos.post(_PATH, _redemption())
        assert status == 200
        assert {name: answer[name] for name in ("state", "points", "reward_id", "goodwill", "spendable")} == {
            "state": "redeemed",
            "points": 50,
            "reward_id": "cookie",
            "goodwill": 0,
            "spendable": 50,
        }
        assert (answer["balance"]["posted"], answer["balance"]["pending"]) == (300, -50)
        await eventually(lambda: till.screen.state.act is not None)
        state = (await pos.get("/api/v1/screen"))[1]
        assert (state["act"]["kind"], state["act"]["redemption_id"], state["act"]["state"]) == (
            "redemption",
            "d-1",
            "redeemed",
        )
        assert (state["view"]["balance"]["shown"], state["view"]["spendable"]) == (250, 50)
        display = (await pos.get("/api/v1/display"))[1]
        assert (display["kind"], display["points"], display["pending"], display["earned"]) == (
            "welcome",
            300,
            -50,
            None,
        )

        status, back = await pos.post(f"{_PATH}/d-1/reversals", _reversal())
        assert (status, back["state"], back["points"]) == (200, "given_back", 50)
        await eventually(lambda: till.screen.state.act is not None and till.screen.state.act.state == "given_back")
        view = await _view(pos)
        assert (view["balance"]["shown"], view["spendable"]) == (300, 50)  # more, once the hub has heard
        rows = (await pos.get("/api/v1/acts"))[1]["rows"]
        assert [(row["kind"], row["redemption_id"], row["state"]) for row in rows] == [
            ("redemption", "d-1", "given_back")
        ]


async def test_the_same_redemption_again_is_the_same_and_another_body_is_refused(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till)
        first = await pos.post(_PATH, _redemption())
        assert await pos.post(_PATH, _redemption()) == first
        status, problem = await pos.post(_PATH, _redemption(staff_ref="s-8"))
        assert (status, problem["code"]) == (409, "redemption_id_reused")
        await pos.post(f"{_PATH}/d-1/reversals", _reversal())
        status, problem = await pos.post(f"{_PATH}/d-2/reversals", _reversal())
        assert (status, problem["code"]) == (409, "reversal_id_reused")


async def test_what_cannot_be_spent_is_said_with_what_can(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till, held=40)
        status, problem = await pos.post(_PATH, _redemption())
        assert (status, problem["code"]) == (409, "not_spendable")
        assert (problem["asked"], problem["spendable"], problem["waiting"], problem["reason"]) == (
            50,
            40,
            260,
            "no_allowance",
        )
        view = (await pos.post("/api/v1/scans", {"text": shop.card()}))[1]
        assert (view["spendable"], view["spendable_reason"]) == (40, "no_allowance")
        assert (await pos.get("/api/v1/outbox"))[1]["rows"] == []


async def test_what_can_be_spent_is_pushed_to_whoever_is_shown(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await till.store.cache.apply(shop.page(shop.put(points=300)))
        view = (await pos.post("/api/v1/scans", {"text": shop.card()}))[1]
        assert (view["spendable"], view["spendable_reason"]) == (None, "no_allowance")
        await hear(till.store, word(allowance(300)))
        await eventually(lambda: getattr(till.screen.state.view, "spendable", None) == 300)
        assert (await _view(pos))["spendable_reason"] is None


# What is changed in a redemption -> how it is refused.
_REFUSED: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"reward_id": None}, 422, "body_invalid"),
    ({"points": 10}, 422, "body_invalid"),
    ({"reward_id": None, "points": 0}, 422, "body_invalid"),
    ({"reward_id": None, "points": -5}, 422, "body_invalid"),
    ({"reward_id": None, "points": 1.5}, 400, "body_not_json"),
    ({"reward_id": None, "points": "10"}, 422, "body_invalid"),
    ({"reward_id": None, "points": True}, 422, "body_invalid"),
    ({"reward_id": None, "points": 10**12}, 422, "body_invalid"),
    ({"redemption_id": "a b"}, 422, "body_invalid"),
    ({"redemption_id": "x" * 65}, 422, "body_invalid"),
    ({"card": None}, 422, "body_invalid"),
    ({"card_id": "ab" * 16}, 422, "body_invalid"),
    ({"occurred_at": "2026-03-09T09:00:00"}, 422, "body_invalid"),
    ({"goodwill": 50}, 422, "body_invalid"),
    ({"reward_id": "yacht"}, 422, "reward_unknown"),
    ({"card": "4006381333931"}, 422, "not_a_card"),
    ({"card": None, "customer_id": "nobody"}, 404, "customer_unknown"),
    ({"customer_id": "c-2"}, 409, "card_mismatch"),
    ({"card": None, "card_id": "ab" * 16}, 404, "card_id_unknown"),
    ({"card": shop.card(9)}, 409, "not_spendable"),
    ({"reward_id": None, "points": 301}, 409, "not_spendable"),
)


async def test_a_redemption_that_cannot_be_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till)
        for change, status, code in _REFUSED:
            answered, problem = await pos.post(_PATH, _redemption(**change))
            assert (answered, problem["code"]) == (status, code), change
        assert (await pos.get("/api/v1/outbox"))[1]["rows"] == []
        assert (await pos.get("/api/v1/customers/c-1"))[1]["spendable"] == 100


async def test_a_till_without_a_hub_refuses_at_once(tmp_path: Path) -> None:
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till, held=10)
        began_s = till.counter.redeeming._clock.monotonic()
        assert (await pos.post(_PATH, _redemption()))[0] == 409
        assert till.counter.redeeming._clock.monotonic() - began_s < 0.5


async def test_a_till_without_a_hub_gives_goodwill_at_once_and_shows_none_of_it_as_spendable(tmp_path: Path) -> None:
    rules = shop.program(redemption=RedemptionRule(goodwill_points_max=45))
    async with till_and_pos(tmp_path) as (till, pos):
        await _known(till, held=10)
        await till.store.cache.keep_program(rules)
        assert (await pos.get("/api/v1/customers/c-1"))[1]["spendable"] == 10
        began_s = till.counter.redeeming._clock.monotonic()
        status, answer = await pos.post(_PATH, _redemption())
        assert till.counter.redeeming._clock.monotonic() - began_s < 0.5
        assert (status, answer["goodwill"], answer["balance"]["shown"]) == (200, 40, 290)
        status, problem = await pos.post(_PATH, _redemption("d-2", reward_id=None, points=6))
        assert (status, problem["reason"], problem["spendable"], problem["waiting"]) == (409, "no_allowance", 0, 290)
        assert (await pos.post(_PATH, _redemption("d-3", reward_id=None, points=5)))[1]["goodwill"] == 5
