import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store import Store, cache, loading
from agent.store.loading import SnapshotBroken
from sync.contract.identifiers import Scheme
from sync.contract.ledger import Balance
from sync.contract.protocol import BalancePut, CardPut, CustomerGone, CustomerPut
from sync.runtime.sqlite_file import Connection, DatabaseUnreadable
from tests.support import shop
from tests.support.clock import FakeClock

SHARED_PHONE = shop.ref(Scheme.PHONE, "+15145550123")


def person(number: int, points: int = 10) -> CustomerPut:
    """Customer c-<number> with card number <number>; all share one phone."""
    who = shop.customer(f"c-{number:03}", given_name=f"Given{number}", family_name="Roy")
    return shop.put(who, points, [shop.ref(Scheme.CARD, shop.card(number)), SHARED_PHONE])


def chunks_of(count: int, size: int = 3) -> list[bytes]:
    people = [person(number) for number in range(count)]
    return [shop.chunk(*people[start : start + size]) for start in range(0, count, size)]


async def load(store: Store, chunks: list[bytes], **manifest: object) -> None:
    named = shop.manifest(chunks, **manifest)  # type: ignore[arg-type]
    loaded = await store.cache.begin_snapshot(named)
    for number, data in enumerate(chunks[loaded:], start=loaded + 1):
        await store.cache.load_chunk(number, data)
    await store.cache.finish_snapshot(named)


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("cache-*.db"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path) as opened:
        yield opened


async def test_a_snapshot_takes_the_place_of_the_live_cache_whole(store: Store, tmp_path: Path) -> None:
    await store.cache.apply(shop.page(shop.put(shop.customer("gone"), 5)))
    await shop.credit(store, "s-1", 1_000, shop.card(4))

    await load(store, chunks_of(7), position=9, covered={"00000000000000ff": 3}, program=shop.program(4))

    assert store.customers.by_id("gone") is None
    assert store.customers.by_id("c-006") is not None
    assert shop.balance(store, shop.card(4)) == Balance(10, 10)
    assert len(store.customers.by_identifier(SHARED_PHONE.id).people) == 7
    assert len((await store.customers.search("given3 roy")).people) == 1
    assert store.cache.program == shop.program(4)
    assert await store.cache.cursor() == shop.cursor(9)
    assert caches(tmp_path) == ["cache-2.db"]


async def test_the_feed_goes_on_where_the_snapshot_ends(store: Store) -> None:
    await load(store, chunks_of(2))
    await store.cache.apply(shop.page(BalancePut(customer_id="c-001", points=77), position=2))
    await load(store, chunks_of(3), snapshot_id="snapshot-2", position=3)
    await store.cache.apply(shop.page(BalancePut(customer_id="c-002", points=78), position=4))

    assert shop.balance(store, shop.card(1)) == Balance(10, 0)
    assert shop.balance(store, shop.card(2)) == Balance(78, 0)


async def test_the_old_cache_answers_until_the_new_one_is_whole(store: Store) -> None:
    await store.cache.apply(shop.page(person(1, 40)))
    chunks = chunks_of(6)
    manifest = shop.manifest(chunks)
    await store.cache.begin_snapshot(manifest)
    await store.cache.load_chunk(1, chunks[0])

    assert shop.balance(store, shop.card(1)) == Balance(40, 0)
    with pytest.raises(SnapshotBroken, match="1 of 2"):
        await store.cache.finish_snapshot(manifest)
    assert shop.balance(store, shop.card(1)) == Balance(40, 0)


async def test_a_load_that_was_cut_goes_on_with_the_next_chunk(tmp_path: Path) -> None:
    chunks = chunks_of(9)
    async with shop.open_till(tmp_path) as store:
        await store.cache.begin_snapshot(shop.manifest(chunks[:2], complete=False))
        await store.cache.load_chunk(1, chunks[0])
        await store.cache.load_chunk(2, chunks[1])
    async with shop.open_till(tmp_path) as store:
        assert await store.cache.begin_snapshot(shop.manifest(chunks)) == 2
        await load(store, chunks)
        assert store.customers.by_id("c-008") is not None
        assert shop.balance(store, shop.card(0)) == Balance(10, 0)


async def test_a_large_shop_is_placed_part_by_part_and_a_cut_between_two_parts_loses_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = 40
    chunks = chunks_of(people)
    monkeypatch.setattr(loading, "_ROWS_PLACED_AT_ONCE", people - 1)
    placed: list[str] = []

    def place(connection: Connection, parts: str) -> None:
        if len(placed) == 5:
            raise RuntimeError("power")
        placed.append(parts)
        loading.place_identifiers(connection, parts)

    monkeypatch.setattr(cache, "place_identifiers", place)
    async with shop.open_till(tmp_path) as store:
        with pytest.raises(RuntimeError, match="power"):
            await load(store, chunks)
    assert placed == list("01234")

    monkeypatch.setattr(cache, "place_identifiers", loading.place_identifiers)
    async with shop.open_till(tmp_path, inc="00000000000000a2") as store:
        await load(store, chunks)
        for number in range(people):
            assert shop.balance(store, shop.card(number)) == Balance(10, 0)


async def test_another_snapshot_is_begun_from_its_first_chunk(store: Store) -> None:
    await store.cache.begin_snapshot(shop.manifest(chunks_of(3)))
    await store.cache.load_chunk(1, chunks_of(3)[0])

    other = chunks_of(2)
    assert await store.cache.begin_snapshot(shop.manifest(other, snapshot_id="snapshot-2")) == 0
    await load(store, other, snapshot_id="snapshot-2")
    assert store.customers.by_id("c-002") is None


async def test_a_load_from_before_a_restart_of_the_machine_is_thrown_away(tmp_path: Path) -> None:
    """It was never synced: a power cut may have left holes in it."""
    chunks = chunks_of(6)
    clock = FakeClock(shop.MORNING)
    async with shop.open_till(tmp_path, clock) as store:
        await store.cache.begin_snapshot(shop.manifest(chunks))
        await store.cache.load_chunk(1, chunks[0])
    clock.reboot("boot-2")
    async with shop.open_till(tmp_path, clock) as store:
        assert await store.cache.begin_snapshot(shop.manifest(chunks)) == 0


async def test_a_half_loaded_file_that_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "cache-2.db").write_bytes(b"power cut" * 1_000)
    async with shop.open_till(tmp_path) as store:
        await load(store, chunks_of(2))
        assert store.customers.by_id("c-001") is not None


async def test_a_chunk_that_comes_again_changes_nothing_and_one_out_of_order_is_refused(store: Store) -> None:
    chunks = chunks_of(9)
    manifest = shop.manifest(chunks)
    await store.cache.begin_snapshot(manifest)
    await store.cache.load_chunk(1, chunks[0])
    await store.cache.load_chunk(1, chunks[0])

    with pytest.raises(SnapshotBroken, match="does not follow"):
        await store.cache.load_chunk(3, chunks[2])
    assert await store.cache.begin_snapshot(manifest) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>captive portal</html>",
        chunks_of(3)[0][:-20],
        gzip.compress(b"not json\n"),
        gzip.compress(b'{"op":"balance","customer_id":"c","points":1}\n'),
        gzip.compress(b'{"op":"something new"}\n'),
        gzip.compress(b'{"op":"customer","points":"' + b"9" * 300_000 + b'"}\n'),
        shop.chunk(person(1), person(1)),
        gzip.compress("".join(person(number).model_dump_json() + "\n" for number in range(600)).encode() + b"{"),
    ],
    ids=["empty", "html", "cut", "text", "other row", "unknown row", "endless line", "twice", "bad at its end"],
)
async def test_a_chunk_that_is_no_chunk_loads_nothing_of_itself(store: Store, data: bytes) -> None:
    good = chunks_of(3)[0]
    manifest = shop.manifest([good])
    await store.cache.begin_snapshot(manifest)

    if data:  # an empty chunk holds no rows, and is no fault
        with pytest.raises(SnapshotBroken):
            await store.cache.load_chunk(1, data)
        await store.cache.load_chunk(1, good)
        await store.cache.finish_snapshot(manifest)
        assert store.customers.by_id("c-002") is not None
        assert store.customers.by_id("c-003") is None


async def test_points_on_cards_come_with_the_snapshot(store: Store) -> None:
    unknown = shop.card_id(shop.card(8))
    await load(store, [shop.chunk(person(1), CardPut(identifier=unknown, points=33))])

    assert shop.balance(store, shop.card(8)) == Balance(33, 0)


async def test_a_row_of_a_newer_hub_is_read_without_what_is_new(store: Store) -> None:
    row = json.loads(person(1).model_dump_json())
    row["customer"]["favourite_colour"] = "green"
    row["reserved"] = 3
    await load(store, [gzip.compress(json.dumps(row).encode() + b"\n")])

    found = store.customers.by_id("c-001")
    assert found is not None
    assert found.customer == person(1).customer


async def test_an_empty_shop_has_a_snapshot_too(store: Store) -> None:
    await load(store, [])

    assert await store.cache.cursor() == shop.cursor(1)


async def test_caches_that_were_left_over_are_deleted_at_the_start(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await load(store, chunks_of(1))
    for name in ("cache-1.db", "cache-1.db-wal", "cache-7.db"):
        (tmp_path / name).write_bytes(b"old")
    async with shop.open_till(tmp_path):
        assert caches(tmp_path) == ["cache-2.db"]
        assert "cache-1.db-wal" not in contents(tmp_path)


async def test_a_damaged_cache_costs_no_sale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(person(1)))
        await shop.credit(store, "s-1", 1_000, shop.card(1))
    for name in contents(tmp_path):
        if name.startswith("cache"):
            (tmp_path / name).write_bytes(b"\x00rubbish" * 4_000)
    async with shop.open_till(tmp_path) as store:
        assert await store.cache.cursor() is None
        assert shop.balance(store, shop.card(1)) == Balance(0, 10)
        assert store.outbox.figures().waiting == 1
    assert "cache unreadable" in caplog.text


async def test_a_damaged_till_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "till.db").write_bytes(b"\x00rubbish" * 4_000)

    with pytest.raises(DatabaseUnreadable, match=r"till\.db"):
        async with shop.open_till(tmp_path):
            pass


CANARIES = ("Canarina", "Featherstone", "canarina", "Oat flat white", "c-canary", "canary-sale", "SQLite format 3")


async def test_nothing_of_a_customer_can_be_read_from_the_files(tmp_path: Path) -> None:
    number = shop.card(4)
    canary = shop.whole_customer("c-canary", given_name="Canarina", family_name="Featherstone")
    async with shop.open_till(tmp_path) as store:
        await load(store, [shop.chunk(shop.put(canary, 10, [shop.ref(Scheme.CARD, number), SHARED_PHONE]))])
        await store.cache.apply(shop.page(shop.put(canary, 11, [shop.ref(Scheme.CARD, number)]), position=2))
        await shop.credit(store, "canary-sale", 1_000, number)
        await shop.credit(store, "canary-sale-2", 1_000, shop.card(5))
        while_open = contents(tmp_path)
    files = [*while_open.items(), *contents(tmp_path).items()]

    assert any(name.endswith("-wal") and data for name, data in files)
    for name, data in files:
        assert [canary for canary in [*CANARIES, number, shop.card(5)] if canary.encode() in data] == [], name
        assert bytes.fromhex(shop.card_id(number)) not in data, name


async def test_the_words_of_an_erased_customer_leave_the_index_at_once(store: Store) -> None:
    await store.cache.apply(shop.page(person(1), shop.put(shop.customer("z", family_name="Zanzibar"), identifiers=())))

    def index(connection: Connection) -> bytes:
        return b"".join(bytes(row[0]) for row in connection.execute("SELECT block FROM cache.names_data"))

    assert b"zanzibar" in await store.customers._reader.read(index)
    await store.cache.apply(shop.page(CustomerGone(customer_id="z", reason="erased"), position=2))
    assert b"anzibar" not in await store.customers._reader.read(index)
