"""F57: a cache that differs from the hub is found by its digest, and only the bucket that differs is pulled again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.store import Store
from agent.store.customers import Found
from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.digest import BUCKETS, BucketAnswer, DigestAnswer, Sums, customer_key
from sync.contract.identifiers import Scheme
from sync.contract.protocol import BalancePut, CardPut, Change, CustomerPut, FeedPage
from sync.hub_errors import HubError, HubRefused, HubUnreachable
from sync.pump.comparing import AGAIN_AFTER_S, EVERY_S, FIRST_AFTER_S, FIRST_SPREAD_S, Comparer, ReadingOn
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.clock import FakeClock

AS_OF = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
ANN, BOB = "c-1", "c-2"
WAITING_CARD = "9" * 32


def rows() -> list[CustomerPut | CardPut]:
    """Two customers in different buckets, and a card that waits."""
    return [
        shop.put(shop.customer(ANN), 100, [shop.ref(Scheme.CARD, shop.card(1))]),
        shop.put(shop.customer(BOB), 50, [shop.ref(Scheme.CARD, shop.card(2)), shop.ref(Scheme.CARD, shop.card(3))]),
        CardPut(identifier=WAITING_CARD, points=7),
    ]


def bucket_of(row: CustomerPut | CardPut) -> int:
    if isinstance(row, CardPut):
        return bytes.fromhex(row.identifier)[0]
    return customer_key(row.customer.customer_id)[0]


@dataclass
class StillHub:
    """A hub of these rows, and of changes that come while a till compares. Each call is written down."""

    rows: list[CustomerPut | CardPut] = field(default_factory=rows)
    log: list[Change] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    error: HubError | None = None
    before_bucket: Callable[[], None] = lambda: None
    stops: bool = True

    async def digest(self, cursor: str, hub_epoch: str) -> DigestAnswer:
        self.calls.append("digest")
        if self.error is not None:
            raise self.error
        assert (hub_epoch, read_cursor(cursor) is not None) == (shop.EPOCH, True)
        sums = Sums()
        for row in self.rows:
            if isinstance(row, CardPut):
                sums.add_card(bytes.fromhex(row.identifier), row.points)
                continue
            key = customer_key(row.customer.customer_id)
            sums.add_customer(key, row.points)
            for identifier in row.identifiers:
                sums.add_identifier(bytes.fromhex(identifier.id), key)
        return DigestAnswer(hub_epoch=shop.EPOCH, cursor=self.head, as_of=AS_OF, buckets=sums.buckets())

    async def bucket(self, number: int, hub_epoch: str) -> BucketAnswer:
        self.calls.append(f"bucket {number:02x}")
        self.before_bucket()
        changes = tuple(row for row in self.rows if bucket_of(row) == number)
        return BucketAnswer(hub_epoch=hub_epoch, cursor=self.head, bucket=number, changes=changes)

    async def feed_until(self, cursor: str, hub_epoch: str, *, limit: int, until: str) -> FeedPage:
        self.calls.append("feed")
        at, end = read_cursor(cursor), read_cursor(until)
        assert at is not None
        assert end is not None
        last = end.position if self.stops else at.position
        return shop.page(
            *self.log[at.position - 1 : min(last - 1, at.position - 1 + limit)], position=last, hub_epoch=hub_epoch
        )

    @property
    def head(self) -> str:
        """Position 1 is where the snapshot ended."""
        return write_cursor(FeedCursor(shop.EPOCH, len(self.log) + 1))

    def credit(self, points: int) -> None:
        """Let Bob's balance change, in the rows and on the feed."""
        bob = self.rows[1]
        assert isinstance(bob, CustomerPut)
        self.rows[1] = bob.model_copy(update={"points": points})
        self.log.append(BalancePut(customer_id=BOB, points=points))


class HurriedClock(FakeClock):
    """A clock on which a pause takes no time."""

    async def sleep(self, seconds: float) -> None:
        assert seconds < 1


def is_due(comparer: Comparer) -> bool:
    return comparer.is_due


@dataclass
class Rig:
    store: Store
    hub: StillHub
    clock: FakeClock
    touched: list[frozenset[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.comparer = Comparer(self.store.cache, self.hub, self.clock, lambda: 0.5)

    async def compare(self) -> bool:
        async def take(_: str, page: FeedPage) -> None:
            await self.store.cache.apply(page)

        return await self.comparer.compare(shop.EPOCH, ReadingOn(take, self.touched.append))

    async def damage(self, sql: str, *values: Any) -> None:
        """Change the cache's file behind its back."""

        def work(connection: Connection) -> None:
            connection.execute(sql, values)

        await self.store.cache._live.writer.write(work)

    def found(self, number: int) -> Found:
        return self.store.customers.by_identifier(shop.card_id(shop.card(number)))


@pytest.fixture
async def rig(tmp_path: Path) -> Any:
    """A till that loaded the hub's rows, on a clock that goes by itself where it is waited for."""
    clock = HurriedClock(AS_OF)
    async with shop.open_till(tmp_path, clock) as store:
        hub = StillHub()
        data = shop.chunk(*hub.rows)
        manifest = shop.manifest([data])
        await store.cache.begin_snapshot(manifest)
        await store.cache.load_chunk(1, data)
        await store.cache.finish_snapshot(manifest)
        yield Rig(store, hub, clock)


async def test_a_cache_that_holds_what_it_must_is_left_alone(rig: Rig) -> None:
    assert await rig.compare()

    assert rig.hub.calls == ["digest"]
    assert rig.comparer.last is not None
    assert (rig.comparer.last.buckets, rig.comparer.accounts) == (0, 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE customers SET points = 51 WHERE customer_id = 'c-2'",
        "DELETE FROM identifiers WHERE customer = (SELECT number FROM customers WHERE customer_id = 'c-2')",
        "INSERT INTO identifiers SELECT randomblob(16), number FROM customers WHERE customer_id = 'c-2'",
    ],
)
async def test_a_digest_mismatch_seeded_in_the_cache_has_that_bucket_pulled_again_and_no_other(
    rig: Rig, sql: str
) -> None:
    await rig.damage(sql)
    assert await rig.compare()

    assert rig.hub.calls == ["digest", f"bucket {bucket_of(rig.hub.rows[1]):02x}"]
    assert BOB in rig.touched[0]
    for number in (2, 3):
        (person,) = rig.found(number).people
        assert (person.customer.customer_id, person.account.balance.posted) == (BOB, 50)
    rig.hub.calls.clear()
    await rig.compare()
    assert rig.hub.calls == ["digest"]


async def test_a_lost_customer_comes_back_and_what_still_led_to_nobody_goes(rig: Rig) -> None:
    await rig.damage("DELETE FROM customers WHERE customer_id = 'c-2'")
    assert await rig.compare()

    assert rig.hub.calls == ["digest", "bucket 00", f"bucket {bucket_of(rig.hub.rows[1]):02x}"]
    assert [person.customer.customer_id for person in rig.found(2).people] == [BOB]
    rig.hub.calls.clear()
    await rig.compare()
    assert rig.hub.calls == ["digest"]


async def test_a_customer_that_the_hub_does_not_have_leaves(rig: Rig) -> None:
    await rig.damage("UPDATE customers SET customer_id = 'c-9' WHERE customer_id = 'c-2'")
    assert await rig.compare()

    assert {call.partition(" ")[0] for call in rig.hub.calls} == {"digest", "bucket"}
    assert [person.customer.customer_id for person in rig.found(2).people] == [BOB]
    rig.hub.calls.clear()
    await rig.compare()
    assert rig.hub.calls == ["digest"]


@pytest.mark.parametrize("sql", ["UPDATE cards SET points = 8", "DELETE FROM cards"])
async def test_points_that_wait_on_a_card_are_put_right(rig: Rig, sql: str) -> None:
    await rig.damage(sql)
    await rig.compare()

    assert rig.touched == [frozenset({WAITING_CARD})]
    assert rig.store.customers.by_identifier(WAITING_CARD).card.balance.posted == 7


async def test_a_page_between_makes_no_false_alarm(rig: Rig) -> None:
    rig.hub.credit(60)
    rig.hub.credit(75)
    assert await rig.compare()

    assert rig.hub.calls == ["digest", "feed"]
    assert rig.comparer.accounts == 0
    assert rig.found(2).people[0].account.balance.posted == 75


async def test_a_sale_that_comes_while_a_bucket_is_pulled_is_no_fault_and_stays(rig: Rig) -> None:
    await rig.damage("UPDATE customers SET points = 1 WHERE customer_id = 'c-1'")
    rig.hub.before_bucket = lambda: rig.hub.credit(75)
    assert await rig.compare()

    assert rig.comparer.accounts == len(rig.touched[0])
    assert ANN in rig.touched[0]
    assert BOB not in rig.touched[0]
    assert rig.found(2).people[0].account.balance.posted == 75


async def test_a_hub_whose_feed_does_not_stop_where_asked_is_asked_again_in_an_hour(rig: Rig) -> None:
    rig.hub.credit(60)
    rig.hub.stops = False
    assert await rig.compare()

    assert rig.comparer.last is None
    assert not is_due(rig.comparer)
    await rig.clock.advance(AGAIN_AFTER_S)
    assert is_due(rig.comparer)


@pytest.mark.parametrize("error", [HubUnreachable("timeout"), HubRefused("not_found")])
async def test_a_hub_that_cannot_sum_up_troubles_nobody(rig: Rig, error: HubError) -> None:
    rig.hub.error = error

    assert await rig.compare()
    assert rig.comparer.last is None


@pytest.mark.parametrize("code", ["hello_required", "resync"])
async def test_a_hub_that_wants_something_first_is_heard(rig: Rig, code: str) -> None:
    rig.hub.error = HubRefused(code)
    with pytest.raises(HubRefused, match=code):
        await rig.compare()


async def test_a_cache_that_differs_everywhere_asks_for_a_snapshot(rig: Rig) -> None:
    rig.hub.rows = [
        shop.put(shop.customer(f"c-{number}"), 1, [shop.ref(Scheme.CARD, shop.card(number))]) for number in range(200)
    ]

    assert not await rig.compare()
    assert rig.hub.calls == ["digest"]


async def test_a_cache_is_compared_some_time_after_the_start_once_a_day_and_when_asked(rig: Rig) -> None:
    await rig.clock.advance(FIRST_AFTER_S + FIRST_SPREAD_S / 2 - 1)
    assert not is_due(rig.comparer)
    await rig.clock.advance(1)
    assert is_due(rig.comparer)
    await rig.compare()
    await rig.clock.advance(EVERY_S - 1)
    assert not is_due(rig.comparer)
    rig.comparer.ask()
    assert is_due(rig.comparer)


def test_the_sums_are_as_the_protocol_says() -> None:
    key = hashlib.sha256(b"c-1").digest()[:16]
    card = bytes.fromhex("0a" * 16)
    sums = Sums()
    sums.add_customer(customer_key("c-1"), -5)
    sums.add_identifier(card, customer_key("c-1"))
    sums.add_card(card, 12)
    facts = {key[0]: [b"customer" + key + b"-5", b"identifier" + card + key], card[0]: [b"card" + card + b"12"]}
    expected = [
        sum(int.from_bytes(hashlib.sha256(fact).digest()[:16], "big") for fact in facts.get(number, ())) % 2**128
        for number in range(BUCKETS)
    ]

    assert sums.buckets() == tuple(f"{number:032x}" for number in expected)
