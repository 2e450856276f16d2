"""Two histories of one incarnation, and what both sides hear of how far the hub has them: nothing twice, nothing lost.

Both ask under one name, and nobody can tell which of them asks.
"""

import secrets
from datetime import UTC, datetime

from sync.contract.chain import chain_start, extend, link
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import AppliedThrough, HelloRequest, Outcome
from sync.contract.versions import PROTOCOLS
from sync.hub.founding import EPOCH_BYTES
from sync.hub.root import Hub
from tests.support.hub_twins import PARKED_FORK, copied, length, points, release, verdicts
from tests.support.wire_till import Stream, WireTill, random_card


async def two_sides(till: WireTill) -> tuple[Stream, Stream]:
    """One event that both have, one more here, and four more there; the hub has all of them."""
    ours = till.stream()
    ours.sale(random_card())
    theirs = copied(ours, till)
    ours.sale(random_card())
    for _ in range(4):
        theirs.sale(random_card())
    await ours.put()
    await theirs.put(1, 3)
    await theirs.put(4)
    return ours, theirs


async def told(till: WireTill, stream: Stream, cursor: str | None) -> AppliedThrough:
    """Say hello from a place on the feed; return how far the hub says that it has this side."""
    request = HelloRequest(
        protocols=PROTOCOLS,
        agent_version="0.1.0",
        event_types=EVENT_TYPES,
        cursor=cursor,
        incarnations=(length(stream),),
        waiting=0,
        oldest_waiting_s=0,
        wall=datetime.now(UTC),
        monoms=1,
        bootid="boot-1",
        running=till.run,
    )
    (held,) = (await till.client.hello(request)).applied
    return held


async def through(till: WireTill, stream: Stream, cursor: str | None) -> int:
    return (await told(till, stream, cursor)).through


async def test_neither_side_is_asked_for_anything_again_before_a_release_and_after_it(hub: Hub, till: WireTill) -> None:
    start = await till.feed_start()
    ours, theirs = await two_sides(till)
    cursor = await till.feed_start()
    assert {await through(till, side, cursor) for side in (ours, theirs)} == {5}

    assert await release(hub, till) == 4

    assert {await through(till, side, cursor) for side in (ours, theirs)} == {5}
    assert (await told(till, theirs, cursor)).chain == extend(
        chain_start(till.enrolment.terminal_id, theirs.inc), map(link, theirs.events)
    ).hex()
    assert (await till.pages(start))[-1].covered == {ours.inc: 5}
    assert await points(hub) == 60


async def test_coverage_reaches_the_further_side_and_never_falls_behind_it_again(hub: Hub, till: WireTill) -> None:
    start = await till.feed_start()
    ours, _ = await two_sides(till)
    seen = [page.covered[ours.inc] for page in await till.pages(start, limit=1) if page.covered]
    assert list(dict.fromkeys(seen)) == [1, 2, 3, 5]

    await release(hub, till)
    cursor = await till.feed_start()
    ours.sale(random_card())
    assert verdicts(await ours.put(3)) == [(Outcome.APPLIED, None)]

    assert (await till.pages(cursor))[-1].covered == {ours.inc: 5}


async def test_the_side_behind_sends_on_and_each_event_counts_once(hub: Hub, till: WireTill) -> None:
    ours, theirs = await two_sides(till)
    await release(hub, till)
    for side in (ours, theirs):
        side.sale(random_card())

    assert verdicts(await ours.put(3)) == [(Outcome.APPLIED, None)]
    assert verdicts(await theirs.put(6)) == [PARKED_FORK]
    assert await release(hub, till) == 1
    for side in (ours, theirs):
        assert {one.outcome for one in (await side.put()).results} == {Outcome.DUPLICATE}
    assert await points(hub) == 80


async def test_who_may_believe_what_a_restored_hub_has_lost_is_told_what_both_sides_share(till: WireTill) -> None:
    ours, theirs = await two_sides(till)
    here = await till.feed_start()
    elsewhere = write_cursor(FeedCursor(secrets.token_hex(EPOCH_BYTES), 1))
    beyond = write_cursor(FeedCursor(till.epoch, 1 << 40))

    for cursor in (None, elsewhere, beyond):
        assert {await through(till, side, cursor) for side in (ours, theirs)} == {1}
    assert await through(till, ours, here) == 5
    assert verdicts(await theirs.put(2)) == [PARKED_FORK] * 4
    assert verdicts(await ours.put(2)) == [(Outcome.DUPLICATE, None)]
