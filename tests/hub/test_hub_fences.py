"""Two processes of one terminal: a clone is a fork; a restart, a backup and a late message are none."""

import pytest

from sync.contract.chain import GONE
from sync.contract.protocol import INCARNATIONS_PER_HELLO_MAX, IncarnationLength, Outcome, Reason
from sync.hub.root import Hub
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
from tests.support.wire_till import Stream, WireTill, random_card, random_inc


async def test_a_cloned_disk_whose_copies_both_run_is_a_fork(hub: Hub, till: WireTill) -> None:
    ours = Stream(till, till.run)
    ours.sale(random_card(), 1_000)
    await till.hello(length(ours))
    await ours.put()
    clone = twin(till)
    theirs = Stream(clone, clone.run)
    theirs.sale(random_card(), 2_000)
    await clone.hello(length(ours), length(theirs))
    assert verdicts(await theirs.put()) == [(Outcome.APPLIED, None)]

    ours.sale(random_card(), 4_000)
    with pytest.raises(HubRefused, match="hello_required"):
        await ours.put(2)
    assert not await is_quarantined(hub)
    await till.hello(length(ours))
    assert verdicts(await ours.put(2)) == [PARKED_FORK]

    assert await is_quarantined(hub)
    theirs.sale(random_card(), 8_000)
    with pytest.raises(HubRefused, match="hello_required"):
        await theirs.put(2)
    await clone.hello(length(ours, 1), length(theirs))
    assert verdicts(await theirs.put(2)) == [PARKED_QUARANTINED]
    assert await texts(hub) == {*ours.events, *theirs.events}
    assert await points(hub) == 30
    assert await release(hub, till) == 2
    assert await points(hub) == 150


async def test_after_a_release_the_copy_that_stays_goes_on(hub: Hub, till: WireTill) -> None:
    ours = Stream(till, till.run)
    clone = twin(till)
    theirs = Stream(clone, clone.run)
    theirs.sale(random_card())
    await clone.hello(length(theirs))
    await theirs.put()
    ours.sale(random_card())
    await till.hello(length(ours))
    await ours.put()
    assert await is_quarantined(hub)
    await release(hub, till)

    for _ in range(3):
        ours.sale(random_card())
        await till.hello(length(ours))
        assert verdicts(await ours.put(len(ours.events))) == [(Outcome.APPLIED, None)]
    assert not await is_quarantined(hub)


async def test_copies_that_run_in_turn_are_a_fork_too(hub: Hub, till: WireTill) -> None:
    ours = Stream(till, till.run)
    ours.sale(random_card())
    await ours.put()
    clone = twin(till)
    theirs = Stream(clone, clone.run)
    theirs.sale(random_card())
    await clone.hello(length(theirs))
    await theirs.put()

    restarted = twin(till)
    later = Stream(restarted, restarted.run)
    later.sale(random_card())
    await restarted.hello(length(ours), length(later))

    assert not await is_quarantined(hub)
    assert verdicts(await later.put()) == [PARKED_FORK]


async def test_a_disk_that_came_back_from_a_backup_is_no_fork_until_the_lost_one_speaks(
    hub: Hub, till: WireTill
) -> None:
    kept, lost = till.stream(), Stream(till, till.run)
    kept.sale(random_card())
    for _ in range(3):
        lost.sale(random_card())
    await kept.put()
    await till.hello(length(kept), length(lost))
    await lost.put(1, 2)

    restored = twin(till)
    new = Stream(restored, restored.run)
    new.sale(random_card())
    await restored.hello(length(kept), length(new))
    assert verdicts(await new.put()) == [(Outcome.APPLIED, None)]
    again = twin(till)
    newer = Stream(again, again.run)
    newer.sale(random_card())
    await again.hello(length(kept), length(newer))
    assert verdicts(await newer.put()) == [(Outcome.APPLIED, None)]
    assert not await is_quarantined(hub)

    await till.hello(length(kept), length(lost))
    assert verdicts(await lost.put()) == [(Outcome.DUPLICATE, None)] * 2 + [PARKED_FORK]
    assert await is_quarantined(hub)


async def test_what_a_dead_process_left_on_its_way_is_refused_and_harmless(hub: Hub, till: WireTill) -> None:
    old = Stream(till, till.run)
    for _ in range(4):
        old.sale(random_card())
    await till.hello(length(old))
    await old.put(1, 2)
    restarted = twin(till)
    await restarted.hello(length(old, 3))

    for first, last in ((1, 2), (3, 3), (3, 4), (4, 4)):
        with pytest.raises(HubRefused, match="hello_required"):
            await old.put(first, last)

    assert not await is_quarantined(hub)
    assert verdicts(await copied(old, restarted).put(3, 3)) == [(Outcome.APPLIED, None)]
    assert await points(hub) == 30


@pytest.mark.parametrize("was_heard", [True, False])
async def test_a_late_hello_of_a_dead_process_stops_nobody(hub: Hub, till: WireTill, was_heard: bool) -> None:
    dead = twin(till)
    if was_heard:
        await dead.hello()
    ours = Stream(till, random_inc())
    till = ours.till = twin(till, ours.inc)
    await till.hello()
    ours.sale(random_card())
    await ours.put()

    await dead.hello()

    ours.sale(random_card())
    with pytest.raises(HubRefused, match="hello_required"):
        await ours.put(2)
    await till.hello(length(ours))
    assert verdicts(await ours.put(2)) == [(Outcome.APPLIED, None)]
    assert not await is_quarantined(hub)


async def test_what_an_earlier_process_recorded_is_sent_by_the_next_up_to_what_it_told(
    hub: Hub, till: WireTill
) -> None:
    old = Stream(till, till.run)
    for _ in range(3):
        old.sale(random_card())
    restarted = twin(till)
    sent = copied(old, restarted)
    await restarted.hello(length(old, 2))

    answer = await sent.put()

    assert verdicts(answer) == [(Outcome.APPLIED, None)] * 2 + [PARKED_FORK]
    assert await is_quarantined(hub)


async def test_losses_that_a_salvaged_journal_tells_of_behind_a_fence_are_no_fork(hub: Hub, till: WireTill) -> None:
    old = Stream(till, till.run)
    old.sale(random_card())
    await till.hello(length(old))
    await old.put()
    restarted = twin(till)
    await restarted.hello(length(old))
    later = Stream(restarted, restarted.run)
    later.sale(random_card())
    await later.put()

    salvaged = twin(till)
    longer, new = copied(old, salvaged), Stream(salvaged, salvaged.run)
    longer.write(GONE, {})
    new.sale(random_card())
    await salvaged.hello(length(longer), length(new))

    assert verdicts(await longer.put()) == [(Outcome.DUPLICATE, None), (Outcome.PARKED, Reason.UNKNOWN_TYPE)]
    assert verdicts(await new.put()) == [(Outcome.APPLIED, None)]
    assert not await is_quarantined(hub)
    longer.sale(random_card())
    assert verdicts(await longer.put(3)) == [PARKED_FORK]


async def test_an_incarnation_for_which_a_hello_had_no_room_is_not_fenced(hub: Hub, till: WireTill) -> None:
    old = Stream(till, till.run)
    for _ in range(3):
        old.sale(random_card())
    await till.hello(length(old))
    await old.put(1, 2)
    others = [IncarnationLength(inc=random_inc(), length=1) for _ in range(INCARNATIONS_PER_HELLO_MAX)]

    for _ in range(2):
        restarted = twin(till)
        await restarted.hello(*others)
        assert verdicts(await copied(old, restarted).put(1, 1)) == [(Outcome.DUPLICATE, None)]
    assert verdicts(await copied(old, restarted).put(3)) == [(Outcome.APPLIED, None)]
    assert not await is_quarantined(hub)

    whole = twin(till)
    await whole.hello(length(old))
    old.sale(random_card())
    assert verdicts(await copied(old, whole).put(4)) == [PARKED_FORK]
