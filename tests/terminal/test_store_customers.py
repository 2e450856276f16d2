from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from agent.sales import SaleResult
from agent.store import Store
from agent.store.customers import _BY_ID, _FOUND, CANDIDATES_MAX, SEARCH_ROWS_MAX
from sync.contract.identifiers import Scheme
from sync.contract.ledger import Balance
from sync.contract.protocol import BalancePut, CardPut, CustomerGone, ProgramPut
from sync.runtime.sqlite_file import Connection
from tests.support import shop

PHONE = shop.ref(Scheme.PHONE, "+15145550123")
CARD_1 = shop.ref(Scheme.CARD, shop.card(1))
CARD_2 = shop.ref(Scheme.CARD, shop.card(2))
ANNA = shop.customer("anna", given_name="Anna", family_name="Roy")
BEN = shop.customer("ben", given_name="Ben", family_name="Roy")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path) as opened:
        yield opened


def ids(store: Store, identifier: str) -> set[str]:
    return {person.customer.customer_id for person in store.customers.by_identifier(identifier).people}


async def names(store: Store, text: str) -> list[str]:
    hits = await store.customers.search(text)
    return [put.customer.customer_id for put in hits.people]


async def test_a_customer_is_found_by_each_identifier_and_by_id(store: Store) -> None:
    whole = shop.whole_customer("anna")
    await store.cache.apply(shop.page(shop.put(whole, 120, [CARD_1, PHONE])))

    for identifier in (CARD_1, PHONE):
        (person,) = store.customers.by_identifier(identifier.id).people
        assert person.customer == whole
        assert person.identifiers == (CARD_1, PHONE)
        assert person.account.balance == Balance(120, 0)
        assert person.account.as_of == shop.MORNING
    by_id = store.customers.by_id("anna")
    assert by_id is not None
    assert by_id.customer == whole
    assert store.customers.by_id("nobody") is None


async def test_an_empty_cache_knows_nobody_and_says_so(store: Store) -> None:
    found = store.customers.by_identifier(CARD_1.id)

    assert (found.people, found.card.balance, found.card.as_of) == ((), Balance(0, 0), None)
    assert await store.cache.cursor() is None


async def test_an_identifier_of_two_customers_leads_to_both(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 1, [CARD_1, PHONE]), shop.put(BEN, 2, [CARD_2, PHONE])))

    assert ids(store, PHONE.id) == {"anna", "ben"}
    assert ids(store, CARD_1.id) == {"anna"}
    by_phone = {holder.customer_id: holder for holder in store.holders.of_identifier(PHONE.id)}
    assert {name: holder.basis.posted for name, holder in by_phone.items()} == {"anna": 1, "ben": 2}
    assert store.holders.shared([ref.id for ref in by_phone["anna"].refs]) == {PHONE.id}


async def test_points_on_a_shared_card_belong_to_the_card_until_a_person_decides(store: Store) -> None:
    await store.cache.apply(
        shop.page(
            shop.put(ANNA, 10, [CARD_1]),
            shop.put(BEN, 20, [CARD_1]),
            CardPut(identifier=CARD_1.id, points=7),
        )
    )
    await shop.credit(store, "s-1", 500, shop.card(1))

    found = store.customers.by_identifier(CARD_1.id)
    assert found.card.balance == Balance(7, 5)
    assert [person.account.balance for person in found.people] == [Balance(10, 0), Balance(20, 0)]


async def test_a_sale_answers_without_the_points_that_wait_on_a_shared_card(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 10, [CARD_1, CARD_2]), shop.put(BEN, 20, [CARD_1])))
    await shop.credit(store, "s-1", 500, shop.card(1))
    await shop.credit(store, "s-2", 300, shop.card(2))
    third = await shop.credit(store, "s-3", 100, shop.card(2))

    assert isinstance(third.answer, SaleResult)
    assert (third.answer.balance.posted, third.answer.balance.pending) == (10, 4)


async def test_a_change_of_one_sharing_customer_leaves_the_cards_points_alone(store: Store) -> None:
    await store.cache.apply(
        shop.page(shop.put(ANNA, 10, [CARD_1]), shop.put(BEN, 20, [CARD_1]), CardPut(identifier=CARD_1.id, points=7))
    )
    await store.cache.apply(shop.page(shop.put(ANNA, 11, [CARD_1]), position=2))

    assert store.customers.by_identifier(CARD_1.id).card.balance.posted == 7


async def test_a_changed_customer_is_found_by_the_new_identifiers_and_name_only(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 10, [CARD_1, PHONE])))
    renamed = shop.customer("anna", given_name="Hanna", family_name="Gagnon")
    touched = await store.cache.apply(shop.page(shop.put(renamed, 10, [CARD_2, PHONE]), position=2))

    assert touched == {"anna", CARD_1.id, CARD_2.id, PHONE.id}
    assert ids(store, CARD_1.id) == set()
    assert ids(store, CARD_2.id) == ids(store, PHONE.id) == {"anna"}
    assert await names(store, "roy") == []
    assert await names(store, "gagnon") == ["anna"]


async def test_an_erased_customer_is_gone_from_every_look_up(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 10, [CARD_1, PHONE])))
    touched = await store.cache.apply(shop.page(CustomerGone(customer_id="anna", reason="erased"), position=2))
    await store.cache.apply(shop.page(CustomerGone(customer_id="anna", reason="erased"), position=3))

    assert touched == {"anna", CARD_1.id, PHONE.id}
    assert ids(store, CARD_1.id) == ids(store, PHONE.id) == set()
    assert store.customers.by_id("anna") is None
    assert await names(store, "anna") == []


async def test_a_balance_alone_changes_nothing_else(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 10, [CARD_1])))
    touched = await store.cache.apply(shop.page(BalancePut(customer_id="anna", points=35), position=2))

    person = store.customers.by_id("anna")
    assert person is not None
    assert (person.customer, person.account.balance) == (ANNA, Balance(35, 0))
    assert touched == {"anna"}
    await store.cache.apply(shop.page(BalancePut(customer_id="out-of-scope", points=1), position=3))


async def test_a_card_that_gets_its_customer_takes_the_waiting_points_along(store: Store) -> None:
    await shop.credit(store, "s-1", 3_000, shop.card(1))
    await shop.settle_all(store)
    await store.cache.apply(shop.page(CardPut(identifier=CARD_1.id, points=30), covered={shop.INC: 1}))
    assert shop.balance(store) == Balance(30, 0)
    await shop.credit(store, "s-2", 1_000, shop.card(1))

    await store.cache.apply(shop.page(shop.put(ANNA, 130, [CARD_1]), position=2, covered={shop.INC: 1}))
    assert ids(store, CARD_1.id) == {"anna"}
    assert shop.balance(store) == Balance(130, 10)


async def test_the_end_of_a_cards_account_leaves_no_row(store: Store) -> None:
    await store.cache.apply(shop.page(CardPut(identifier=CARD_1.id, points=30)))
    touched = await store.cache.apply(shop.page(CardPut(identifier=CARD_1.id, points=0), position=2))

    assert touched == {CARD_1.id}
    assert shop.balance(store) == Balance(0, 0)


async def test_a_page_that_comes_twice_changes_nothing_the_second_time(store: Store) -> None:
    page = shop.page(
        shop.put(ANNA, 10, [CARD_1, PHONE]), CardPut(identifier=CARD_2.id, points=5), covered={shop.INC: 3}
    )
    for _ in range(2):
        await store.cache.apply(page)

    assert (ids(store, CARD_1.id), await names(store, "anna roy")) == ({"anna"}, ["anna"])
    assert await store.cache.cursor() == page.cursor


async def test_coverage_never_falls_within_one_cache(store: Store) -> None:
    await store.cache.apply(shop.page(shop.put(ANNA, 10, [CARD_1])))
    await shop.credit(store)
    await store.cache.apply(shop.page(shop.put(ANNA, 25, [CARD_1]), position=2, covered={shop.INC: 1}))
    await store.cache.apply(shop.page(position=3, covered={shop.INC: 0}))

    assert shop.balance(store) == Balance(25, 0)


async def test_the_newest_program_is_in_force_after_a_restart_too(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        assert await store.journal.newest_program() is None
        await store.cache.apply(shop.page(ProgramPut(program=shop.program(3))))
        await store.cache.apply(shop.page(ProgramPut(program=shop.program(2)), position=2))
        assert store.cache.program == shop.program(3)
    async with shop.open_till(tmp_path) as store:
        assert store.cache.program == shop.program(3)


PEOPLE = {
    "zoe": ("Zoé", "Lebœuf-Côté", None, date(2026, 3, 1)),
    "jean": ("Jean-François", "D'Amours", None, date(2026, 2, 1)),
    "liz": ("Elizabeth", "Carter", "Liz", date(2026, 1, 1)),
    "bjorn": ("Bjørn", "Strauß", None, None),
    "mart": ("Mart", "Ina", None, date(2025, 1, 1)),
    "martin-old": ("Luc", "Martin", None, date(2024, 5, 1)),
    "martin-new": ("Anne", "Martin", None, date(2026, 3, 8)),
    "martinez": ("Eva", "Martinez", None, date(2026, 3, 9)),
}


async def fill(store: Store) -> None:
    puts = [
        shop.put(
            shop.customer(key, given_name=given, family_name=family, called=called, last_visit_on=visit), identifiers=()
        )
        for key, (given, family, called, visit) in PEOPLE.items()
    ]
    await store.cache.apply(shop.page(*puts))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("zoe leb", ["zoe"]),
        ("ZOÉ", ["zoe"]),
        ("leboeuf", ["zoe"]),
        ("cote zoe", ["zoe"]),
        ("d'amo", ["jean"]),
        ("jean francois damours", []),
        ("jean françois d amours", ["jean"]),
        ("liz", ["liz"]),
        ("carter e", ["liz"]),
        ("bjorn", ["bjorn"]),
        ("strauss", ["bjorn"]),
        ("martin", ["martin-new", "martin-old", "martinez"]),
        ("mart", ["mart", "martinez", "martin-new", "martin-old"]),
        ("martin luc", ["martin-old"]),
        ("nobody", []),
    ],
)
async def test_a_name_is_found_as_staff_type_it_whole_words_first_then_by_last_visit(
    store: Store, text: str, found: list[str]
) -> None:
    await fill(store)

    assert await names(store, text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        '"',
        "*",
        "a* OR b",
        "NEAR(a b)",
        "words:x",
        "^mart",
        "-mart",
        "' OR 1=1 --",
        "\0",
        "mart\x00in",
        "(",
        "日本",
    ],
)
async def test_nothing_that_staff_type_reaches_the_query_language(store: Store, text: str) -> None:
    await fill(store)

    hits = await store.customers.search(text)

    assert len(hits.people) <= SEARCH_ROWS_MAX


async def test_a_search_of_many_shows_a_page_and_says_there_are_more(store: Store) -> None:
    many = [
        shop.put(
            shop.customer(f"c-{number:03}", family_name="Roy", last_visit_on=date(2026, 1, 1) + timedelta(days=number)),
            identifiers=(),
        )
        for number in range(SEARCH_ROWS_MAX + 5)
    ]
    await store.cache.apply(shop.page(*many))

    hits = await store.customers.search("roy")
    assert (len(hits.people), hits.more) == (SEARCH_ROWS_MAX, True)
    assert hits.people[0].customer.customer_id == f"c-{SEARCH_ROWS_MAX + 4:03}"
    assert SEARCH_ROWS_MAX < CANDIDATES_MAX


@pytest.mark.parametrize("statement", [_FOUND, _BY_ID])
async def test_a_look_up_visits_no_row_in_vain(store: Store, statement: str) -> None:
    """A walk over a million rows would pass every other test of a small shop."""

    def explain(connection: Connection) -> list[str]:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (b"",))]

    plan = await store.customers._reader.read(explain)
    # `s` is the one row of the cache's state; the pending rows are only asked whether there is one.
    assert sorted(step for step in plan if step.startswith("SCAN")) == ["SCAN main.pending", "SCAN s"]


@pytest.mark.parametrize("statement", [_FOUND, _BY_ID])
async def test_a_look_up_sees_the_till_before_it_sees_the_cache(store: Store, statement: str) -> None:
    """The other way round, an event could be swept from the pending rows and not be in the balance that was read."""

    def explain(connection: Connection) -> list[int]:
        rows = connection.execute(f"EXPLAIN {statement}", (b"",))
        return [row[2] for row in rows if row[1] == "Transaction"]

    main, cache = 0, 2  # the numbers SQLite gives to a connection's own file and to the first attached one
    assert await store.customers._reader.read(explain) == [main, cache]
