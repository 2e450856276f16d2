import asyncio
import gzip
import json
from typing import Any

import pytest

from sync.contract.events import canonical_json
from sync.contract.protocol import CardPut, Outcome, OutcomePut, Reason
from sync.hub_errors import HubRefused
from tests.support.wire_till import Stream, WireTill, random_card, random_inc


async def points_of(till: WireTill, cursor: str, card: str) -> int | None:
    """Return the points of a card by the newest word of the feed, or None where it says nothing of it."""
    told = [
        change.points
        for page in await till.pages(cursor)
        for change in page.changes
        if isinstance(change, CardPut) and change.identifier == till.card_id(card)
    ]
    return told[-1] if told else None


async def test_a_sale_is_applied_and_its_points_stand_on_the_feed(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    stream.sale(card, 1_234)

    answer = await stream.put()

    assert answer.hub_epoch == till.epoch
    assert answer.applied_through == 1
    assert [(verdict.seq, verdict.outcome) for verdict in answer.results] == [(1, Outcome.APPLIED)]
    assert await points_of(till, cursor, card) == 12


async def test_the_same_range_any_number_of_times_has_one_effect(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    for _ in range(3):
        stream.sale(card)
    await stream.put()

    for _ in range(5):
        again = await stream.put()
        assert {verdict.outcome for verdict in again.results} == {Outcome.DUPLICATE}
        assert again.applied_through == 3

    assert await points_of(till, cursor, card) == 30


async def test_a_range_delivered_many_times_at_once_has_one_effect(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    for _ in range(20):
        stream.sale(card)

    answers = await asyncio.gather(*(stream.put() for _ in range(8)))

    applied = [verdict for answer in answers for verdict in answer.results if verdict.outcome is Outcome.APPLIED]
    assert sorted(verdict.seq for verdict in applied) == list(range(1, 21))
    assert await points_of(till, cursor, card) == 200


async def test_a_range_that_overlaps_applies_only_what_is_new(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    for _ in range(5):
        stream.sale(card)
    await stream.put(1, 3)

    answer = await stream.put(2, 5)

    assert [verdict.outcome for verdict in answer.results] == [Outcome.DUPLICATE] * 2 + [Outcome.APPLIED] * 2
    assert answer.applied_through == 5
    assert await points_of(till, cursor, card) == 50


async def test_an_old_range_that_arrives_late_changes_nothing(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    for _ in range(5):
        stream.sale(card)
    await stream.put()

    late = await stream.put(1, 2)

    assert late.applied_through == 5
    assert await points_of(till, cursor, card) == 50


async def test_a_gap_is_refused_whole_with_the_seq_to_go_on_from(till: WireTill) -> None:
    stream = till.stream()
    for _ in range(4):
        stream.sale(random_card())
    await stream.put(1, 1)

    with pytest.raises(HubRefused, match="gap") as raised:
        await stream.put(3, 4)

    assert raised.value.members["applied_through"] == 1
    assert (await stream.put(2, 4)).applied_through == 4


async def test_an_answer_to_another_epoch_is_refused_before_anything_is_applied(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    stream.sale(card)

    with pytest.raises(HubRefused, match="hello_required"):
        await stream.put(epoch="an-epoch-before-the-restore")
    status, problem = await till.raw_put(
        f"{till.enrolment.terminal_id}/{stream.inc}/1", f"[{stream.events[0]}]".encode(), Hub_Epoch=""
    )

    assert (status, problem["code"]) == (409, "hello_required")
    assert await points_of(till, cursor, card) is None


WRONG_SALES = [
    ({"points": 11}, Reason.BAD_EVENT),
    ({"net_minor": 999}, Reason.BAD_EVENT),
    ({"net_minor": -1_000}, Reason.BAD_EVENT),
    ({"net_minor": 1000.5}, Reason.BAD_EVENT),
    ({"sale_id": "has a space"}, Reason.BAD_EVENT),
    ({"lines": []}, Reason.BAD_EVENT),
    ({"staff_ref": "has a space"}, Reason.BAD_EVENT),
    ({"lines": [{"quantity": "1", "net_minor": 1_000, "points": 11}], "points": 11}, Reason.POINTS_MISMATCH),
    ({"lines": [{"quantity": "1", "net_minor": 1_000, "points": 9}], "points": 9}, Reason.POINTS_MISMATCH),
    ({"currency": "XTS"}, Reason.CURRENCY_MISMATCH),
    ({"program_version": 1_000_000}, Reason.UNKNOWN_PROGRAM),
]


async def test_a_field_that_only_a_newer_terminal_knows_is_no_reason_to_refuse_a_sale(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    stream.sale(card, weather="rain", flags=["told_by_voice"])

    assert [verdict.outcome for verdict in (await stream.put()).results] == [Outcome.APPLIED]
    assert await points_of(till, cursor, card) == 10


@pytest.mark.parametrize(("changes", "reason"), WRONG_SALES)
async def test_a_wrong_sale_is_rejected_with_its_reason_and_the_line_moves_on(
    till: WireTill, changes: dict[str, Any], reason: Reason
) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    stream.sale(card, **changes)
    stream.sale(card, 500)

    first = await stream.put()
    again = await stream.put()

    assert [(verdict.outcome, verdict.reason) for verdict in first.results] == [
        (Outcome.REJECTED, reason),
        (Outcome.APPLIED, None),
    ]
    assert (again.results[0].outcome, again.results[0].reason) == (Outcome.REJECTED, reason)
    assert await points_of(till, cursor, card) == 5


WRONG_ENVELOPES = [
    {"time": "yesterday"},
    {"source": "/stores/another/terminals/another"},
    {"specversion": "0.3"},
    {"subject": "a name"},
    {"data": ["no object"]},
    {"type": "a\ttab"},
    {"monoms": "1"},
]


@pytest.mark.parametrize("wrong", WRONG_ENVELOPES, ids=lambda wrong: next(iter(wrong)))
async def test_a_wrong_envelope_is_rejected_too_and_the_line_moves_on(till: WireTill, wrong: dict[str, Any]) -> None:
    stream = till.stream()
    stream.sale(random_card())
    stream.events[0] = canonical_json(json.loads(stream.events[0]) | wrong)
    stream.sale(random_card())

    assert [(verdict.outcome, verdict.reason) for verdict in (await stream.put()).results] == [
        (Outcome.REJECTED, Reason.BAD_EVENT),
        (Outcome.APPLIED, None),
    ]


async def test_a_capped_sale_may_earn_less_and_never_more(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    for points in (4, 11):
        line = {"quantity": "1", "net_minor": 1_000, "points": points}
        stream.sale(card, lines=[line], points=points, flags=["card_unknown", "points_capped"])

    answer = await stream.put()

    assert [verdict.outcome for verdict in answer.results] == [Outcome.APPLIED, Outcome.REJECTED]
    assert await points_of(till, cursor, card) == 4


async def test_a_sale_is_credited_once_whatever_stream_brings_it(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, one, other = random_card(), till.stream(), till.stream()
    sale_id = one.sale(card)
    other.sale(card, sale_id=sale_id)

    await one.put()
    answer = await other.put()

    assert answer.results[0].reason is Reason.SALE_ALREADY_CREDITED
    assert await points_of(till, cursor, card) == 10


async def test_an_unknown_type_is_parked_and_the_line_moves_on(till: WireTill) -> None:
    card, stream = random_card(), till.stream()
    stream.write("loyalty.from.the.future.v9", {"idea": 1})
    stream.sale(card)

    for _ in range(2):
        answer = await stream.put()
        assert (answer.results[0].outcome, answer.results[0].reason) == (Outcome.PARKED, Reason.UNKNOWN_TYPE)
        assert answer.applied_through == 2


async def test_a_reversal_takes_back_what_the_sale_earned_and_once(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream, other = random_card(), till.stream(), till.stream()
    sale_id = stream.sale(card)
    stream.sale(card, 700)
    reversal_id = stream.reversal(sale_id)
    stream.reversal(sale_id, reversal_id)
    other.reversal(sale_id, reversal_id)
    other.reversal(sale_id)

    answers = [await stream.put(), await other.put()]

    assert {verdict.outcome for answer in answers for verdict in answer.results} == {Outcome.APPLIED}
    assert await points_of(till, cursor, card) == 7


async def test_a_reversal_id_of_another_sale_is_a_conflict(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, stream = random_card(), till.stream()
    one, other = stream.sale(card), stream.sale(card)
    reversal_id = stream.reversal(one)
    stream.reversal(other, reversal_id)

    answer = await stream.put()

    assert answer.results[3].reason is Reason.REVERSAL_CONFLICT
    assert await points_of(till, cursor, card) == 10


async def test_a_reversal_before_its_sale_waits_and_is_settled_when_the_sale_comes(till: WireTill) -> None:
    cursor = await till.feed_start()
    card, early, late = random_card(), till.stream(), till.stream()
    sale_id = late.sale(card)
    early.reversal(sale_id)

    answer = await early.put()
    assert (answer.results[0].outcome, answer.results[0].reason) == (Outcome.PARKED, Reason.WAITS_FOR_SALE)
    await late.put()

    outcomes = [
        change for page in await till.pages(cursor) for change in page.changes if isinstance(change, OutcomePut)
    ]
    assert [(change.inc, change.verdict.seq, change.verdict.outcome) for change in outcomes] == [
        (early.inc, 1, Outcome.APPLIED)
    ]
    assert await points_of(till, cursor, card) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b"null",
        b"[",
        b"\xff\xfe",
        b'[{"seq": NaN}]',
        b"[" * 100_000,
        b'["' + b"x" * 100 + b'"]',
    ],
)
async def test_a_body_that_is_no_batch_is_refused_whole(till: WireTill, body: bytes) -> None:
    status, problem = await till.raw_put(f"{till.enrolment.terminal_id}/{random_inc()}/1", body)

    assert 400 <= status < 500
    assert problem["code"]


async def test_a_packed_body_that_is_broken_or_a_bomb_is_refused(till: WireTill) -> None:
    path = f"{till.enrolment.terminal_id}/{random_inc()}/1"
    for body in (b"no gzip", bomb()):
        status, problem = await till.raw_put(path, body, Content_Encoding="gzip")
        assert 400 <= status < 500
        assert problem["code"]


@pytest.mark.parametrize("change", [{"inc": "f" * 16}, {"seq": 2}, {"id": "t/other/1"}])
async def test_an_event_of_another_place_is_refused_with_its_batch(till: WireTill, change: dict[str, Any]) -> None:
    stream = till.stream()
    stream.sale(random_card())
    event = json.loads(stream.events[0]) | change

    status, problem = await till.raw_put(f"{till.enrolment.terminal_id}/{stream.inc}/1", json.dumps([event]).encode())

    assert (status, problem["code"]) == (409, "wrong_stream")


async def test_a_terminal_cannot_write_the_stream_of_another(till: WireTill, other_till: WireTill) -> None:
    stream = Stream(other_till)
    stream.sale(random_card())

    status, problem = await till.raw_put(
        f"{other_till.enrolment.terminal_id}/{stream.inc}/1", f"[{stream.events[0]}]".encode()
    )

    assert 400 <= status < 500
    assert problem["code"]
    assert (await stream.put()).results[0].outcome is Outcome.APPLIED


# A hub that allows more at once is not asked for it: no till sends so much.
TESTED_EVENTS_MAX, TESTED_BYTES_MAX = 2_000, 16_000_000


async def test_more_events_than_a_batch_may_hold_are_refused(till: WireTill) -> None:
    most = (await till.raw_hello())[1]["max_batch_events"]
    if most > TESTED_EVENTS_MAX:
        pytest.skip(f"this hub takes {most} events at once")
    stream = till.stream()
    for _ in range(most + 1):
        stream.write("loyalty.from.the.future.v9", {})

    assert await refused(till, stream) == (413, "body_too_large")
    assert (await stream.put(1, most)).applied_through == most


async def test_more_bytes_than_a_batch_may_hold_are_refused(till: WireTill) -> None:
    hello = (await till.raw_hello())[1]
    most = hello["max_batch_bytes"]
    if most > TESTED_BYTES_MAX:
        pytest.skip(f"this hub takes {most} bytes at once")
    stream = till.stream()
    # Beyond the limit also where the brackets and commas of a full list count.
    stream.write("loyalty.from.the.future.v9", {"idea": "x" * (most + hello["max_batch_events"] + 2)})

    assert await refused(till, stream) == (413, "body_too_large")


async def refused(till: WireTill, stream: Stream) -> tuple[int, str]:
    """Put a whole stream at once; return how it was refused."""
    body = gzip.compress(f"[{','.join(stream.events)}]".encode())
    path = f"{till.enrolment.terminal_id}/{stream.inc}/1"
    status, problem = await till.raw_put(path, body, Content_Encoding="gzip")
    return status, problem["code"]


def bomb() -> bytes:
    return gzip.compress(b" " * 50_000_000)
