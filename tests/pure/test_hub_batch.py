import json
from typing import Any

import pytest

from sync.contract.events import EARNED, PointsEarned
from sync.contract.protocol import BATCH_EVENTS_MAX, Reason
from sync.hub.uploads.batch import Item, NoBatch, TooMany, WrongPlace, read_batch, read_item
from tests.support.hub_events import CARD, SENDER, body, event, sale, sale_data


def read_one(**changes: Any) -> Item:
    document = event(SENDER, 1, EARNED, sale_data("s-1", 1_000), subject=CARD) | changes
    (item,) = read_batch(json.dumps([document]).encode(), SENDER, 1)
    return item


def test_a_batch_is_read_in_order_with_the_texts_as_journalled() -> None:
    journalled = [sale(SENDER, 5, "s-5"), sale(SENDER, 6, "s-6")]

    items = read_batch(body(*journalled), SENDER, 5)

    assert [item.raw for item in items] == journalled
    assert [item.seq for item in items] == [5, 6]
    assert [item.fact.sale_id for item in items if isinstance(item.fact, PointsEarned)] == ["s-5", "s-6"]


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "yesterday"},
        {"subject": "not-an-id"},
        {"data": {"sale_id": "s-1"}},
        {"data": sale_data("s-1", 1_000) | {"points": 10.5}},
        {"data": sale_data("s-1", 1_000) | {"net_minor": -1}},
        {"data": sale_data("s-1", 1_000) | {"flags": "card_unknown"}},
        {"data": [1]},
        {"source": "/stores/store-2/terminals/till-1"},
        {"type": None},
        {"type": "a\nb"},
        {"specversion": "2.0"},
    ],
)
def test_an_event_that_cannot_be_read_is_a_verdict_and_not_a_blocked_line(changes: dict[str, Any]) -> None:
    assert read_one(**changes).fault is Reason.BAD_EVENT


def test_an_event_of_an_unknown_type_is_kept_as_it_came() -> None:
    item = read_one(type="loyalty.points.redeemed.v7", data={"half": 0.5}, shape="new")

    assert item.fault is Reason.UNKNOWN_TYPE
    assert json.loads(item.raw)["data"] == {"half": 0.5}


@pytest.mark.parametrize("changes", [{"inc": "1" * 16}, {"seq": 2}, {"seq": "1"}, {"id": "till-2/x/1"}, {"seq": None}])
def test_an_event_of_another_place_is_refused_with_its_batch(changes: dict[str, Any]) -> None:
    with pytest.raises(WrongPlace):
        read_one(**changes)


@pytest.mark.parametrize(
    "raw",
    [b"", b"x", b"{}", b"[]", b"[1]", b'["a"]', b"\xff", b"[NaN]", b"[" * 5_000, b"[" + b"9" * 5_000 + b"]"],
)
def test_a_body_that_is_no_list_of_events_is_refused(raw: bytes) -> None:
    with pytest.raises(NoBatch):
        read_batch(raw, SENDER, 1)


@pytest.mark.parametrize("value", ["1e999", '"\\ud800"'])
def test_a_value_that_cannot_be_kept_is_refused(value: str) -> None:
    raw = sale(SENDER, 1, "s-1").replace('"tax_minor":0', f'"tax_minor":{value}')
    assert value in raw

    with pytest.raises(NoBatch):
        read_batch(body(raw), SENDER, 1)


def test_more_events_than_one_upload_may_hold_are_refused() -> None:
    with pytest.raises(TooMany):
        read_batch(json.dumps([{}] * (BATCH_EVENTS_MAX + 1)).encode(), SENDER, 1)


def test_a_kept_event_reads_the_same_again() -> None:
    item = read_one()

    assert read_item(item.raw, SENDER.store_id, SENDER.terminal_id, 1) == item
