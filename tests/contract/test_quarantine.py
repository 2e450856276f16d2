"""Two histories of one terminal: what the hub takes for a fork and what not, and what a quarantine holds back.

The terminal of these tests exists twice. At a URL they share one, so it may be in quarantine before a test begins: a
new event of the first side is applied then or parked, and of the second side it is a fork all the same.
"""

import json

import pytest

from sync.contract.allowance import Want
from sync.contract.chain import GONE, chain_start, extend, link
from sync.contract.events import canonical_json
from sync.contract.protocol import IncarnationLength, Outcome, Reason
from tests.support.hub_twins import PARKED_FORK, PARKED_QUARANTINED, copied, length, twin, verdicts
from tests.support.wire_till import KnownCustomer, Stream, WireTill, random_card


def parted(stream: Stream, till: WireTill, seq: int) -> Stream:
    """A copy of a stream up to before `seq`, and another sale there."""
    other = copied(stream, till)
    del other.events[seq - 1 :]
    other.sale(random_card())
    return other


def chain_of(stream: Stream) -> str:
    start = chain_start(stream.till.enrolment.terminal_id, stream.inc)
    return extend(start, map(link, stream.events)).hex()


async def three_sales(till: WireTill) -> Stream:
    """A stream of three sales that the hub holds."""
    stream = till.stream()
    for _ in range(3):
        stream.sale(random_card())
    await stream.put()
    return stream


async def fork(till: WireTill) -> None:
    """Let another side of the terminal show."""
    assert verdicts(await parted(await three_sales(till), till, 3).put())[-1] == PARKED_FORK


async def test_two_processes_that_both_go_on_are_a_fork_and_nothing_is_lost(forked_till: WireTill) -> None:
    ours = Stream(forked_till, forked_till.run)
    clone = twin(forked_till)
    theirs = Stream(clone, clone.run)
    theirs.sale(random_card())
    await clone.hello(length(theirs))
    await theirs.put()
    ours.sale(random_card())
    await forked_till.hello(IncarnationLength(inc=ours.inc, length=1))

    assert verdicts(await ours.put()) == [PARKED_FORK]
    assert verdicts(await ours.put()) == [PARKED_FORK]
    ours.sale(random_card())
    assert (await ours.put()).applied_through == 2


async def test_another_event_under_a_known_seq_is_a_fork_and_the_answer_is_of_its_side(forked_till: WireTill) -> None:
    stream = await three_sales(forked_till)
    other = parted(stream, forked_till, 2)

    answer = await other.put()

    assert verdicts(answer)[1] == PARKED_FORK
    assert (answer.applied_through, answer.chain) == (2, chain_of(other))
    assert verdicts(await other.put())[1] == PARKED_FORK
    assert verdicts(await stream.put(2))[0] != PARKED_FORK


async def test_new_events_behind_another_past_are_a_fork(forked_till: WireTill) -> None:
    """The past itself is not sent: the signed chain before the range says that it is another."""
    stream = await three_sales(forked_till)
    other = parted(stream, forked_till, 1)
    for _ in range(3):
        other.sale(random_card())

    assert verdicts(await other.put(4)) == [PARKED_FORK]


async def test_copies_that_run_in_turn_are_a_fork(forked_till: WireTill) -> None:
    first = Stream(forked_till, forked_till.run)
    first.sale(random_card())
    await first.put()
    copy = twin(forked_till)
    await copy.hello()  # of a disk that lacks what the first one had
    beside = Stream(copy, copy.run)
    beside.sale(random_card())
    await beside.put()
    again = twin(forked_till)
    await again.hello(length(first))
    back = Stream(again, again.run)
    back.sale(random_card())

    assert verdicts(await back.put()) == [PARKED_FORK]


async def test_a_hello_of_two_sides_is_told_of_the_furthest_or_of_what_they_share(forked_till: WireTill) -> None:
    stream = await three_sales(forked_till)
    other = parted(stream, forked_till, 2)
    await other.put()
    start = await forked_till.feed_start()

    (far,) = (await forked_till.hello(length(stream), cursor=start)).applied
    (near,) = (await forked_till.hello(length(stream))).applied

    assert (far.through, far.chain) == (3, chain_of(stream))
    assert (near.through, near.chain) == (1, None)


async def test_a_terminal_in_quarantine_has_its_new_events_parked(forked_till: WireTill) -> None:
    await fork(forked_till)
    stream = forked_till.stream()
    stream.sale(random_card())
    stream.give_back("nobody")
    stream.redemption(random_card(), {"nobody": 1})

    assert verdicts(await stream.put()) == [PARKED_QUARANTINED] * 3


async def test_a_terminal_in_quarantine_is_granted_nothing_and_told_of_nothing(
    own_till: WireTill, customer: KnownCustomer
) -> None:
    stream = own_till.stream()
    stream.sale(customer.card, 1_000)
    await stream.put()
    want = Want(customer_id=customer.customer_id, points=5)
    held = await own_till.allowances(want)
    await fork(own_till)

    more = Want(customer_id=customer.customer_id, points=6)
    word = await own_till.allowances(more)
    told = (await own_till.hello()).allowances

    assert sum(one.amount for one in held.allowances) == 5
    assert word.allowances == ()
    assert [one.customer_id for one in word.refused] == [customer.customer_id]
    assert told is not None
    assert told.allowances == ()


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_marker_without_a_digest_contradicts_nothing(till: WireTill, seq: int) -> None:
    stream = till.stream()
    for _ in range(2):
        stream.sale(random_card())
    await stream.put()
    marked = copied(stream, till)
    lost = json.loads(stream.events[seq - 1])
    del lost["subject"]
    marked.events[seq - 1] = canonical_json(lost | {"type": GONE, "data": {}})

    assert verdicts(await marked.put(seq, seq)) == [(Outcome.DUPLICATE, None)]
    stream.sale(random_card())
    assert verdicts(await stream.put(3)) == [(Outcome.APPLIED, None)]


async def test_each_hello_of_another_process_raises_the_fence(till: WireTill) -> None:
    other = twin(till)

    fences = [(await one.hello()).fence for one in (till, other, other, till)]

    assert fences[0] < fences[1] == fences[2] < fences[3]


async def test_a_late_hello_of_a_process_that_sent_nothing_stops_nobody(till: WireTill) -> None:
    stream = Stream(till, till.run)
    for _ in range(2):
        stream.sale(random_card())
    await stream.put(1, 1)
    await twin(till).hello(length(stream, 1))
    await till.hello(length(stream))

    assert verdicts(await stream.put(2)) == [(Outcome.APPLIED, None)]
    assert Reason.FORK not in [one.reason for one in (await stream.put()).results]
