"""Points that a terminal may redeem on its own: granted once, spent once, and back when they are not used."""

import secrets
from collections.abc import AsyncIterator

import pytest

from sync.contract.allowance import Allowance, AllowancesWord, Want
from sync.contract.events import REDEEMED
from sync.contract.protocol import AllowancesPut, BalancePut, Outcome, OutcomePut, Reason
from sync.hub_errors import HubRefused
from tests.support.wire_till import KnownCustomer, Stream, WireTill


def held(word: AllowancesWord, customer: KnownCustomer) -> list[Allowance]:
    return [one for one in word.allowances if one.customer_id == customer.customer_id]


def rest(word: AllowancesWord, customer: KnownCustomer) -> int:
    return sum(one.amount - one.spent for one in held(word, customer))


async def want(till: WireTill, customer: KnownCustomer, points: int) -> AllowancesWord:
    return await till.allowances(Want(customer_id=customer.customer_id, points=points))


async def earn(till: WireTill, customer: KnownCustomer, points: int) -> Stream:
    """Sell to the customer, and return the stream with the sale in it."""
    await till.hello()
    stream = till.stream()
    stream.sale(customer.card, points * 100)
    await stream.put()
    return stream


async def posted(till: WireTill, stream: Stream, customer: KnownCustomer) -> int:
    """Upload what is new of a stream, and return the points that the customer has after it."""
    cursor = await till.feed_start()
    await stream.put(len(stream.events))
    told = [change for page in await till.pages(cursor) for change in page.changes if isinstance(change, BalancePut)]
    return [change.points for change in told if change.customer_id == customer.customer_id][-1]


async def give_all_back(till: WireTill, word: AllowancesWord) -> None:
    stream = till.stream()
    for one in word.allowances:
        stream.give_back(one.allowance_id)
    if stream.events:
        await stream.put()


@pytest.fixture
async def stream(till: WireTill, customer: KnownCustomer) -> AsyncIterator[Stream]:
    """A stream of a terminal that just sold for 60 points; in the end it holds nothing."""
    yield await earn(till, customer, 60)
    await give_all_back(till, await till.allowances())


async def test_hello_says_what_the_terminal_holds(till: WireTill, stream: Stream, customer: KnownCustomer) -> None:
    granted = await want(till, customer, 20)

    word = (await till.hello()).allowances

    assert stream
    assert word is not None
    assert [(one.allowance_id, one.amount, one.spent) for one in word.allowances] == [
        (one.allowance_id, one.amount, one.spent) for one in granted.allowances
    ]
    assert word.hub_epoch == till.epoch


async def test_f16_the_same_wish_again_reserves_nothing_more(
    till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    first, again = await want(till, customer, 20), await want(till, customer, 20)

    assert stream
    assert rest(first, customer) >= 20
    assert [one.allowance_id for one in again.allowances] == [one.allowance_id for one in first.allowances]
    assert all(one.ttl_s > 0 for one in held(first, customer))


async def test_a_redemption_inside_an_allowance_is_applied_and_contained_in_the_next_word(
    till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    before = rest(await want(till, customer, 20), customer)
    one = next(one for one in held(await till.allowances(), customer) if one.amount > one.spent)
    stream.redemption(customer.card, {one.allowance_id: 1})

    answer = await stream.put(2)
    again = await stream.put(2)

    word = await till.allowances()
    assert answer.results[0].outcome is Outcome.APPLIED
    assert again.results[0].outcome is Outcome.DUPLICATE
    assert rest(word, customer) == before - 1
    assert word.applied[stream.inc] == 2


async def test_f14_two_terminals_never_hold_the_same_points(
    till: WireTill, other_till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    stream.sale(customer.card, 100)
    points = await posted(till, stream, customer)
    await other_till.hello()

    words = [await want(till, customer, points), await want(other_till, customer, points)]

    assert sum(rest(word, customer) for word in words) <= points
    await give_all_back(other_till, words[1])


async def test_what_is_given_back_another_terminal_can_have(
    till: WireTill, other_till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    mine = await want(till, customer, 20)
    stream.sale(customer.card, 100)
    redemption_id = stream.redemption(customer.card, {"nobody": await posted(till, stream, customer)})
    left = await posted(till, stream, customer)  # what is free is gone, and all of this is held
    await other_till.hello()
    cursor = await till.feed_start()

    word = await want(other_till, customer, left)
    changes = [change for page in await till.pages(cursor) for change in page.changes]
    called = held(await till.allowances(), customer)

    assert rest(word, customer) == 0
    assert [(one.customer_id, one.points) for one in word.refused] == [(customer.customer_id, left)]
    assert word.refused[0].reserved_elsewhere == left >= rest(mine, customer)
    assert AllowancesPut() in changes
    assert sum(one.amount - one.spent for one in called if one.recalled) == rest(mine, customer)

    for one in called:
        stream.give_back(one.allowance_id)
    stream.undoing(redemption_id)
    await stream.put(len(stream.events) - len(called))
    word = await want(other_till, customer, 5)
    assert rest(word, customer) >= 5
    assert held(await till.allowances(), customer) == []
    await give_all_back(other_till, word)


async def test_nobody_else_can_spend_or_give_back_what_a_terminal_holds(
    till: WireTill, other_till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    mine = held(await want(till, customer, 20), customer)
    await other_till.hello()
    theirs = other_till.stream()
    for one in mine:
        theirs.redemption(customer.card, {one.allowance_id: 1})
        theirs.give_back(one.allowance_id)

    answer = await theirs.put()
    now = held(await till.allowances(), customer)

    assert stream
    assert {verdict.outcome for verdict in answer.results} == {Outcome.APPLIED}
    assert [(one.allowance_id, one.amount, one.spent) for one in now] == [
        (one.allowance_id, one.amount, one.spent) for one in mine
    ]


async def test_a_redemption_is_never_refused_for_lack_of_points(stream: Stream, customer: KnownCustomer) -> None:
    stream.redemption(customer.card, {f"nobody-{secrets.token_hex(6)}": 1})

    assert (await stream.put(2)).results[0].outcome is Outcome.APPLIED


async def test_another_redemption_under_the_same_id_is_refused(stream: Stream, customer: KnownCustomer) -> None:
    redemption_id = stream.redemption(customer.card, {"nobody": 1})
    stream.redemption(customer.card, {"nobody": 1}, redemption_id)
    stream.redemption(customer.card, {"nobody": 2}, redemption_id)

    results = (await stream.put(2)).results

    assert [one.outcome for one in results] == [Outcome.APPLIED, Outcome.APPLIED, Outcome.REJECTED]
    assert results[2].reason is Reason.REDEMPTION_CONFLICT


async def test_f13_a_reversal_waits_for_its_redemption_and_counts_once(
    till: WireTill, stream: Stream, customer: KnownCustomer
) -> None:
    redemption_id = f"redemption-{secrets.token_hex(6)}"
    other = till.stream()
    other.undoing(redemption_id)
    parked = (await other.put()).results[0]
    cursor = await till.feed_start()
    granted = next(one for one in held(await want(till, customer, 5), customer) if one.amount - one.spent >= 1)
    before = rest(await till.allowances(), customer)

    stream.redemption(customer.card, {granted.allowance_id: 1}, redemption_id)
    await stream.put(2)

    changes = [change for page in await till.pages(cursor) for change in page.changes]
    told = [change for change in changes if isinstance(change, OutcomePut)]
    assert AllowancesPut() in changes
    assert (parked.outcome, parked.reason) == (Outcome.PARKED, Reason.WAITS_FOR_REDEMPTION)
    assert [(one.inc, one.verdict.outcome) for one in told] == [(other.inc, Outcome.APPLIED)]
    assert rest(await till.allowances(), customer) == before


async def test_an_event_that_does_not_add_up_is_refused_and_blocks_nothing(
    stream: Stream, customer: KnownCustomer
) -> None:
    stream.redemption(customer.card, {"nobody": 5}, points=6)
    stream.write(REDEEMED, {"redemption_id": "r-1", "points": 1, "program_version": 1, "goodwill": 1})
    stream.redemption(customer.card, {"nobody": 1})

    results = (await stream.put(2)).results

    assert [one.reason for one in results] == [Reason.BAD_EVENT, Reason.BAD_EVENT, None]


async def test_who_the_hub_does_not_know_gets_nothing(till: WireTill) -> None:
    await till.hello()
    nobody = f"nobody-{secrets.token_hex(6)}"

    word = await till.allowances(Want(customer_id=nobody, points=5))

    assert [(one.customer_id, one.points) for one in word.refused] == [(nobody, 5)]


async def test_a_terminal_of_another_history_of_the_hub_says_hello_first(till: WireTill) -> None:
    till.epoch = "0" * 16
    with pytest.raises(HubRefused, match="hello_required"):
        await till.allowances()
