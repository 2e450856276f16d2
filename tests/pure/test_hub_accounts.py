from hypothesis import given
from hypothesis import strategies as st

from sync.hub.people.accounts import move_points, owner

IDS = ("a", "b", "c")
CUSTOMERS = ("C-1", "C-2", "C-3")
LEADS = st.fixed_dictionaries(dict.fromkeys(IDS, st.sets(st.sampled_from(CUSTOMERS)))).map(
    lambda leads: {identifier: frozenset(customers) for identifier, customers in leads.items()}
)
TALLIES = st.dictionaries(st.sampled_from(IDS), st.integers(-50, 50))


def balances(leads: dict[str, frozenset[str]], tallies: dict[str, int]) -> dict[str, int]:
    """The accounts figured anew: a customer's, and under the identifier what belongs to no one customer."""
    accounts = dict.fromkeys((*IDS, *CUSTOMERS), 0)
    for identifier, points in tallies.items():
        customers = leads[identifier]
        accounts[next(iter(customers)) if len(customers) == 1 else identifier] += points
    return accounts


@given(before=LEADS, after=LEADS, tallies=TALLIES)
def test_moved_points_are_the_same_as_figured_anew(
    before: dict[str, frozenset[str]], after: dict[str, frozenset[str]], tallies: dict[str, int]
) -> None:
    moves = move_points(before, after, tallies)

    moved = balances(before, tallies)
    for customer_id, points in moves.customers.items():
        moved[customer_id] += points
    moved |= moves.cards
    assert moved == balances(after, tallies)


def test_an_identifier_of_two_customers_is_nobodys() -> None:
    assert owner({"C-1", "C-2"}) is None
    assert owner(set()) is None
    assert owner({"C-1"}) == "C-1"


def test_points_follow_an_identifier_that_is_claimed_by_a_second_customer_to_the_card() -> None:
    moves = move_points({"a": {"C-1"}}, {"a": {"C-1", "C-2"}}, {"a": 30})

    assert (moves.customers, moves.cards) == ({"C-1": -30}, {"a": 30})
