"""What a point of sale may send, and what a sale or a reversal becomes before anything is written."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.sales import (
    Buyer,
    ReversalResult,
    SaleHere,
    SaleRequest,
    SaleResult,
    Timing,
    fingerprint,
    judge_time,
    plan_reversal,
    plan_sale,
)
from agent.store.names import exact_query, fold, prefix_query
from sync.contract.events import Flag, PointsEarned, PointsReversed
from sync.contract.ledger import Balance
from sync.hub.judging.verdicts import judge_sale
from tests.support import shop

SUBJECT = shop.card_id(shop.card())
KNOWN = Buyer(SUBJECT, "c-1")
UNKNOWN = Buyer(SUBJECT, None, (Flag.CARD_UNKNOWN,))
HUNDRED = Balance(100, 0)
LINE = {"quantity": "1", "net_minor": 500}


def body(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "sale_id": "s-1",
        "card": shop.card(),
        "lines": [LINE],
        "net_minor": 500,
        "tax_minor": 75,
        "currency": "CAD",
        "occurred_at": "2026-03-09T09:00:00-05:00",
        "staff_ref": "ann",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def plan(request: SaleRequest, buyer: Buyer, before: Balance = HUNDRED) -> tuple[PointsEarned, SaleResult]:
    draft = plan_sale(request, shop.program(), buyer, before, as_of=shop.MORNING, recorded_at=shop.MORNING)
    assert isinstance(draft.answer, SaleResult)
    assert draft.points == draft.answer.points
    return PointsEarned.model_validate(draft.data), draft.answer


def test_a_whole_sale_is_taken_and_its_time_is_utc() -> None:
    request = SaleRequest.model_validate(body(occurred_at=datetime.fromisoformat("2026-03-09T09:00:00-05:00")))

    assert request.occurred_at == datetime(2026, 3, 9, 14, 0, tzinfo=UTC)
    assert request.occurred_at.tzinfo is UTC


@pytest.mark.parametrize(
    "changes",
    [
        {"net_minor": 501},
        {"net_minor": -500, "lines": [{"quantity": "1", "net_minor": -500}]},
        {"net_minor": 500.0},
        {"net_minor": "500"},
        {"net_minor": True},
        {"net_minor": 10**10, "lines": [{"quantity": "1", "net_minor": 10**10}]},
        {"tax_minor": -1},
        {"lines": []},
        {"lines": [LINE] * 501, "net_minor": 250_500},
        {"lines": [LINE | {"price": 1}]},
        {"lines": [LINE | {"quantity": "0"}]},
        {"lines": [LINE | {"quantity": "-1"}]},
        {"lines": [LINE | {"quantity": "1e3"}]},
        {"lines": [LINE | {"quantity": 1}]},
        {"lines": [LINE | {"sku": "a b"}]},
        {"currency": "cad"},
        {"currency": "Canadian dollars"},
        {"sale_id": ""},
        {"sale_id": "x" * 65},
        {"sale_id": "a/b"},
        {"sale_id": "a\nb"},
        {"staff_ref": "=cmd()"},
        {"card": ...},
        {"card": "9" * 513},
        {"card": ""},
        {"customer_id": "a b"},
        {"occurred_at": "2026-03-09T09:00:00"},
        {"occurred_at": 1_773_000_000},
        {"occurred_at": "tomorrow"},
        {"occurred_at": "9999-12-31T23:59:59-05:00"},
        {"occurred_at": "0001-01-01T00:00:00+05:00"},
        {"surprise": 1},
    ],
    ids=str,
)
def test_what_is_no_sale_is_refused_before_anything_happens(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SaleRequest.model_validate_json(json.dumps(body(**changes)))


def test_a_card_number_does_not_stand_in_what_a_log_would_print() -> None:
    assert shop.card() not in repr(shop.sale())


@given(
    st.lists(st.integers(0, 2_000_000), min_size=1, max_size=12),
    st.booleans(),
    st.integers(0, 700),
    st.integers(-50, 700),
)
def test_the_hub_finds_every_point_right_and_an_unknown_card_never_holds_more_than_its_cap(
    amounts: list[int], is_known: bool, posted: int, pending: int
) -> None:
    fact, answer = plan(shop.sale("s-1", *amounts), KNOWN if is_known else UNKNOWN, Balance(posted, pending))

    assert judge_sale(fact, SUBJECT, shop.program(), None).outcome == "applied"
    assert sum(line.points for line in fact.lines) == fact.points == answer.points
    assert answer.balance.shown == posted + pending + answer.points
    if is_known:
        assert fact.points == sum(amounts) // 100
    else:
        assert fact.points == min(sum(amounts) // 100, max(500 - posted - pending, 0))
        assert (Flag.POINTS_CAPPED in fact.flags) == (fact.points < sum(amounts) // 100)


def test_a_sale_for_nobody_known_says_so() -> None:
    fact, answer = plan(shop.sale(), UNKNOWN)

    assert (answer.state, answer.customer_id, answer.flags) == ("kept_for_card", None, (Flag.CARD_UNKNOWN,))
    assert fact.flags == (Flag.CARD_UNKNOWN,)


def test_an_event_names_neither_card_nor_customer() -> None:
    request = shop.sale(customer_id="c-1", card=shop.card())
    draft = plan_sale(request, shop.program(), KNOWN, Balance(0, 0), as_of=None, recorded_at=shop.MORNING)

    assert set(draft.data) == {
        "sale_id",
        "program_version",
        "currency",
        "net_minor",
        "tax_minor",
        "lines",
        "points",
        "staff_ref",
    }


@pytest.mark.parametrize(
    ("sale", "state", "points"),
    [
        (None, "sale_not_known_here", 0),
        (SaleHere(SUBJECT, 15, 0), "taken_back", 15),
        (SaleHere(SUBJECT, 15, 15), "already_taken_back", 0),
        (SaleHere(SUBJECT, 0, 0), "taken_back", 0),
        (SaleHere(SUBJECT, 0, 15), "already_taken_back", 0),
    ],
)
def test_a_reversal_takes_back_what_still_counts(sale: SaleHere | None, state: str, points: int) -> None:
    draft = plan_reversal("s-1", shop.reversal("r-1"), sale, flags=(), recorded_at=shop.MORNING)

    assert isinstance(draft.answer, ReversalResult)
    assert (draft.answer.state, draft.answer.points, draft.points) == (state, points, -points)
    assert PointsReversed.model_validate(draft.data).sale_id == "s-1"
    assert draft.subject == (SUBJECT if sale else None)


def test_a_request_has_one_fingerprint_and_every_change_another() -> None:
    same = {
        fingerprint(shop.sale("s-1", 500, card=text), SUBJECT) for text in (shop.card(), f" {shop.card()[:4]} rest")
    }
    eastern = shop.MORNING.astimezone(timezone(timedelta(hours=-5)))
    assert same == {fingerprint(shop.sale("s-1", 500, occurred_at=eastern), SUBJECT)}

    others = [
        fingerprint(shop.sale("s-1", 500), "another card"),
        fingerprint(shop.sale("s-1", 500), None),
        fingerprint(shop.sale("s-2", 500), SUBJECT),
        fingerprint(shop.sale("s-1", 501), SUBJECT),
        fingerprint(shop.sale("s-1", 250, 250), SUBJECT),
        fingerprint(shop.sale("s-1", 500, tax_minor=1), SUBJECT),
        fingerprint(shop.sale("s-1", 500, customer_id="c-1", card=shop.card()), SUBJECT),
        fingerprint(shop.sale("s-1", 500, staff_ref=None), SUBJECT),
        fingerprint(shop.sale("s-1", 500, occurred_at=shop.MORNING + timedelta(seconds=1)), SUBJECT),
    ]
    assert len({*same, *others}) == 1 + len(others)
    assert fingerprint(shop.reversal("r-1"), "s-1") != fingerprint(shop.reversal("r-1"), "s-2")


@pytest.mark.parametrize(
    ("ahead", "clock_off", "timing"),
    [
        (timedelta(minutes=2), timedelta(0), Timing.TRUSTED),
        (timedelta(minutes=2, seconds=1), timedelta(0), Timing.UNTRUSTED),
        (timedelta(0), timedelta(minutes=2), Timing.TRUSTED),
        (timedelta(0), timedelta(minutes=-2, seconds=-1), Timing.UNTRUSTED),
        (timedelta(days=-30), timedelta(0), Timing.TRUSTED),
        (timedelta(hours=24), timedelta(0), Timing.UNTRUSTED),
        (timedelta(hours=24, seconds=1), timedelta(0), Timing.FROM_THE_FUTURE),
        # our own clock is a month ahead: what happens now does happen
        (timedelta(days=30), timedelta(days=30), Timing.UNTRUSTED),
        (timedelta(days=30, minutes=2), timedelta(days=30), Timing.UNTRUSTED),
        (timedelta(days=30, minutes=2, seconds=1), timedelta(days=30), Timing.FROM_THE_FUTURE),
        (timedelta(days=9_999), None, Timing.UNTRUSTED),
    ],
)
def test_a_sale_is_refused_by_its_time_only_where_the_hub_proves_it_wrong(
    ahead: timedelta, clock_off: timedelta | None, timing: Timing
) -> None:
    hub_now = None if clock_off is None else shop.MORNING - clock_off

    assert judge_time((hub_now or shop.MORNING) + ahead, shop.MORNING, hub_now) is timing


@given(st.text(max_size=60))
def test_a_query_is_made_of_folded_words_only(text: str) -> None:
    words = fold(text)

    assert words == fold(" ".join(words))
    for query in (exact_query(words), prefix_query(words)):
        assert not set(query.replace('"', "").replace(" *", "")) & set("*^:(){}+-'\0")
