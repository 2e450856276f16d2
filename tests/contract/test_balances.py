"""What a sale, its reversal and a redemption do to a balance, as the feed says it: whole, once, and never below 0."""

import secrets
from typing import Any

import pytest

from sync.contract.protocol import CardPut, Outcome, Reason
from tests.support.hub_twins import verdicts
from tests.support.wire_till import Stream, WireTill, random_card

APPLIED = (Outcome.APPLIED, None)


class Purse:
    """A card that leads to nobody, and what the feed says of its points."""

    def __init__(self, till: WireTill, cursor: str) -> None:
        self._till, self._cursor = till, cursor
        self.card = random_card()
        self.told: list[int] = []

    async def points(self) -> int:
        """Return its points by the newest word of the feed."""
        for page in await self._till.pages(self._cursor):
            changes = [change for change in page.changes if isinstance(change, CardPut)]
            self.told += [change.points for change in changes if change.identifier == self._till.card_id(self.card)]
            self._cursor = page.cursor
        return self.told[-1]


@pytest.fixture
async def purse(till: WireTill) -> Purse:
    return Purse(till, await till.feed_start())


@pytest.fixture
def stream(till: WireTill) -> Stream:
    return till.stream()


def nobodys() -> str:
    """Return the id of an allowance that no hub ever granted."""
    return f"nobody-{secrets.token_hex(6)}"


async def test_what_no_allowance_covers_is_paid_by_free_points_and_the_rest_is_no_balances(
    purse: Purse, stream: Stream
) -> None:
    stream.sale(purse.card, 1_000)
    stream.redemption(purse.card, {nobodys(): 4})
    assert verdicts(await stream.put()) == [APPLIED] * 2
    assert await purse.points() == 6

    stream.redemption(purse.card, {nobodys(): 50})
    assert verdicts(await stream.put(3)) == [APPLIED]
    assert await purse.points() == 0

    stream.sale(purse.card, 200)  # the store's risk is not a debt of the customer
    await stream.put(4)
    assert await purse.points() == 2
    assert min(purse.told) == 0


async def test_a_redemption_under_any_rules_and_the_return_of_nothing_are_applied(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, 1_000)
    stream.redemption(purse.card, {nobodys(): 4}, program_version=1_000_000)
    stream.give_back(nobodys())

    assert verdicts(await stream.put()) == [APPLIED] * 3
    assert await purse.points() == 6


async def test_the_same_redemption_again_is_booked_once(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, 1_000)
    redemption_id = stream.redemption(purse.card, {nobodys(): 4})
    stream.redemption(purse.card, {nobodys(): 4}, redemption_id)

    assert verdicts(await stream.put()) == [APPLIED] * 3
    assert await purse.points() == 6


async def test_a_redemption_that_is_undone_gives_back_what_it_took_and_once(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, 1_000)
    redemption_id = stream.redemption(purse.card, {nobodys(): 15})
    for _ in range(2):
        stream.undoing(redemption_id)

    assert verdicts(await stream.put()) == [APPLIED] * 4
    assert await purse.points() == 10


async def test_goodwill_is_the_stores_and_not_taken_from_a_balance(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, 1_000)
    stream.redemption(purse.card, {nobodys(): 3}, points=5, goodwill=2)
    stream.redemption(purse.card, {}, points=4, goodwill=4)

    assert verdicts(await stream.put()) == [APPLIED] * 3
    assert await purse.points() == 7


async def test_a_reversal_takes_what_is_there_and_later_earnings_pay_the_rest(purse: Purse, stream: Stream) -> None:
    sale_id = stream.sale(purse.card, 1_000)
    stream.redemption(purse.card, {nobodys(): 7})
    stream.reversal(sale_id)
    assert verdicts(await stream.put()) == [APPLIED] * 3
    assert await purse.points() == 0

    stream.sale(purse.card, 500)
    assert verdicts(await stream.put(4)) == [APPLIED]
    assert await purse.points() == 0

    stream.sale(purse.card, 500)
    assert verdicts(await stream.put(5)) == [APPLIED]
    assert await purse.points() == 3
    assert min(purse.told) == 0


async def test_the_two_kinds_of_reversals_have_ids_of_their_own(purse: Purse, stream: Stream) -> None:
    sale_id = stream.sale(purse.card, 1_000)
    redemption_id = stream.redemption(purse.card, {nobodys(): 4})
    stream.undoing(redemption_id, stream.reversal(sale_id))

    assert verdicts(await stream.put()) == [APPLIED] * 4
    assert await purse.points() == 0


def lines(*points: int) -> dict[str, Any]:
    """A sale of 2.99 in three lines, with the points of each."""
    nets = (195, 52, 52)
    return {
        "net_minor": sum(nets),
        "lines": [{"quantity": "1", "net_minor": net, "points": one} for net, one in zip(nets, points, strict=True)],
        "points": sum(points),
    }


async def test_points_are_spread_over_the_lines_by_largest_remainder(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, **lines(1, 1, 0))
    for wrong in ((2, 0, 0), (1, 0, 1), (0, 1, 1)):
        stream.sale(purse.card, **lines(*wrong))
    stream.sale(purse.card, **lines(1, 0, 0), flags=["points_capped"])

    results = verdicts(await stream.put())

    assert results == [APPLIED] + [(Outcome.REJECTED, Reason.POINTS_MISMATCH)] * 3 + [APPLIED]
    assert await purse.points() == 3


async def test_a_sale_that_cost_nothing_earns_nothing(purse: Purse, stream: Stream) -> None:
    stream.sale(purse.card, 0)
    stream.sale(purse.card, 100)

    assert verdicts(await stream.put()) == [APPLIED] * 2
    assert await purse.points() == 1
