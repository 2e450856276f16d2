"""Two histories of one incarnation: what is a fork, what is none, and that nothing of either side is lost."""

import json
from dataclasses import replace

import pytest

from sync.contract.chain import CHAIN_LOST, GONE, chain_start, extend, link
from sync.contract.protocol import Outcome, OutcomePut, Reason
from sync.hub.root import Hub
from sync.hub_client import HubClient
from sync.hub_errors import HubRefused
from tests.support.hub_twins import (
    PARKED_FORK,
    PARKED_QUARANTINED,
    copied,
    is_quarantined,
    length,
    points,
    release,
    texts,
    twin,
    verdicts,
)
from tests.support.wire_till import Stream, WireTill, random_card


async def test_a_till_without_a_key_tells_one_at_its_hello_and_needs_it_from_then_on(hub: Hub, till: WireTill) -> None:
    await hub.writer.write(lambda connection: connection.execute("UPDATE terminals SET public_key = NULL"))
    stream = till.stream()
    stream.sale(random_card())
    before = HubClient(till.session, till.url, till.enrolment.terminal_id, lambda: till.credential)
    assert verdicts(await before.upload(stream.batch(), till.epoch)) == [(Outcome.APPLIED, None)]

    await till.hello(length(stream))

    stream.sale(random_card())
    with pytest.raises(HubRefused, match="signature_invalid"):
        await before.upload(stream.batch(2), till.epoch)
    assert verdicts(await stream.put(2)) == [(Outcome.APPLIED, None)]
    stranger = WireTill(till.url, till.enrolment, till.session, run=till.run)
    await stranger.hello()
    with pytest.raises(HubRefused, match="signature_invalid"):
        await copied(stream, stranger).put(2)


async def test_two_machines_that_go_on_from_one_image_are_a_fork_and_both_sides_are_kept(
    hub: Hub, till: WireTill
) -> None:
    cursor = await till.feed_start()
    ours = till.stream()
    ours.sale(random_card(), 1_000)
    ours.sale(random_card(), 1_000)
    await ours.put()
    other = twin(till, till.run)
    theirs = copied(ours, other)
    ours.sale(random_card(), 2_000)
    theirs.sale(random_card(), 4_000)
    theirs.sale(random_card(), 8_000)
    await ours.put(3)
    await other.hello(length(theirs))

    assert verdicts(await theirs.put(2)) == [(Outcome.DUPLICATE, None), PARKED_FORK, PARKED_FORK]

    assert await is_quarantined(hub)
    assert await texts(hub) == {*ours.events, *theirs.events}
    assert await points(hub) == 40
    ours.sale(random_card(), 16_000)
    assert verdicts(await ours.put(4)) == [PARKED_QUARANTINED]
    theirs.sale(random_card(), 32_000)
    assert verdicts(await theirs.put(5)) == [PARKED_FORK]
    assert verdicts(await theirs.put(1)) == [(Outcome.DUPLICATE, None)] * 2 + [PARKED_FORK] * 3
    assert await points(hub) == 40

    assert await release(hub, till) == 4
    assert not await is_quarantined(hub)
    assert await points(hub) == 40 + 40 + 80 + 160 + 320
    told = [
        (change.inc, change.verdict.seq)
        for page in await till.pages(cursor)
        for change in page.changes
        if isinstance(change, OutcomePut)
    ]
    assert sorted(told) == sorted([(ours.inc, 3), (ours.inc, 4), (ours.inc, 4), (ours.inc, 5)])
    assert [page.covered for page in await till.pages(cursor)][-1].keys() <= {ours.inc}


async def test_a_third_history_gets_a_place_of_its_own(hub: Hub, till: WireTill) -> None:
    ours = till.stream()
    ours.sale(random_card())
    others = [copied(ours, till) for _ in range(2)]
    for stream in (ours, *others):
        stream.sale(random_card())
        stream.sale(random_card())
    mixed = Stream(till, ours.inc, others[0].events[:2])
    mixed.sale(random_card())

    for stream in (ours, *others, mixed):
        await stream.put()

    kept = {*ours.events, *mixed.events, *(event for stream in others for event in stream.events)}
    assert await texts(hub) == kept
    again = [verdicts(await stream.put()) for stream in (*others, mixed)]
    assert again == [[(Outcome.DUPLICATE, None), PARKED_FORK, PARKED_FORK]] * 3
    assert await texts(hub) == kept


async def test_a_past_that_the_hub_does_not_know_is_a_fork_although_no_event_came_twice(
    hub: Hub, till: WireTill
) -> None:
    ours = till.stream()
    ours.sale(random_card())
    theirs = till.stream()
    theirs.inc = ours.inc
    theirs.sale(random_card())
    theirs.sale(random_card())
    await ours.put()

    assert verdicts(await theirs.put(2)) == [PARKED_FORK]
    assert await is_quarantined(hub)


async def test_a_sale_that_both_sides_have_counts_once_after_a_release(hub: Hub, till: WireTill) -> None:
    ours, card = till.stream(), random_card()
    theirs = copied(ours, till)
    sale_id = ours.sale(card)
    theirs.sale(random_card())
    theirs.sale(card, sale_id=sale_id)
    theirs.reversal(sale_id)
    await ours.put()
    await theirs.put()

    assert await release(hub, till) == 3
    assert {one.outcome for one in (await theirs.put()).results} == {Outcome.DUPLICATE, Outcome.REJECTED}
    assert await points(hub) == 10


async def test_a_type_that_nobody_knows_stays_held_after_a_release(hub: Hub, till: WireTill) -> None:
    ours = till.stream()
    theirs = copied(ours, till)
    ours.sale(random_card())
    theirs.write("loyalty.from.the.future.v9", {"idea": 1})
    await ours.put()
    await theirs.put()

    await release(hub, till)

    assert verdicts(await theirs.put()) == [(Outcome.PARKED, Reason.UNKNOWN_TYPE)]
    assert not await is_quarantined(hub)


async def test_a_marker_for_a_lost_event_takes_the_hubs_word_for_the_chain(hub: Hub, till: WireTill) -> None:
    stream = till.stream()
    for _ in range(3):
        stream.sale(random_card())
    await stream.put(1, 2)
    salvaged = copied(stream, till)
    salvaged.events[0] = json.dumps(
        json.loads(stream.events[0]) | {"type": GONE, "data": {}}, sort_keys=True, separators=(",", ":")
    )

    answer = await salvaged.put()

    assert verdicts(answer) == [(Outcome.DUPLICATE, None)] * 2 + [(Outcome.APPLIED, None)]
    chain = extend(chain_start(till.enrolment.terminal_id, stream.inc), map(link, stream.events))
    assert answer.chain == chain.hex()
    assert not await is_quarantined(hub)


@pytest.mark.parametrize("sent_in", [(3, 3), (2, 4), (3, 5)])
async def test_a_till_that_lost_its_chain_goes_on_though_an_answer_was_lost_too(
    hub: Hub, till: WireTill, sent_in: tuple[int, int]
) -> None:
    stream = till.stream()
    for _ in range(5):
        stream.sale(random_card())
    await stream.put(1, 3)

    first, last = sent_in
    batch = replace(stream.batch(first, last), before=CHAIN_LOST)
    answer = await till.client.upload(batch, till.epoch)
    assert await is_quarantined(hub) is False
    if last == answer.applied_through:
        chain = extend(chain_start(till.enrolment.terminal_id, stream.inc), map(link, stream.events[:last]))
        assert answer.chain == chain.hex()

    stream.events[3] = stream.events[3].replace("boot-1", "boot-2")
    if last > 3:
        again = replace(stream.batch(first), before=CHAIN_LOST)
        assert PARKED_FORK in verdicts(await till.client.upload(again, till.epoch))
        assert await is_quarantined(hub)


async def test_a_stream_from_before_chains_were_kept_goes_on(hub: Hub, till: WireTill) -> None:
    stream = till.stream()
    for _ in range(4):
        stream.sale(random_card())
    await stream.put(1, 3)
    await hub.writer.write(lambda connection: connection.execute("UPDATE streams SET chain = NULL"))

    assert verdicts(await stream.put(4)) == [(Outcome.APPLIED, None)]


async def test_a_fork_that_has_run_ahead_needs_no_hello_between_two_batches(till: WireTill) -> None:
    ours = till.stream()
    ours.sale(random_card())
    theirs = copied(ours, till)
    ours.sale(random_card())
    for _ in range(6):
        theirs.sale(random_card())
    await ours.put()
    await theirs.put(1, 5)

    assert verdicts(await theirs.put(6)) == [PARKED_FORK] * 2
    unknown = copied(ours, till)
    for _ in range(6):
        unknown.sale(random_card())
    with pytest.raises(HubRefused, match="gap") as raised:
        await unknown.put(6)
    assert raised.value.members["applied_through"] == 2
