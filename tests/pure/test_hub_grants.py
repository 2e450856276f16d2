from hypothesis import given
from hypothesis import strategies as st

from sync.contract.customers import Wording
from sync.contract.program import EarnRule, Program, RedemptionRule, Reward
from sync.hub.escrow.grants import Purse, grant_of, prefetch_of

points = st.integers(0, 300)
COOKIE = Reward(reward_id="cookie", points=50, text=Wording(en="a cookie", fr="un biscuit"))
PROGRAM = Program(
    version=1,
    currency="CAD",
    earn=EarnRule(points=1, per_minor=100),
    rewards=(COOKIE,),
    redemption=RedemptionRule(per_customer_offline_max=120),
)


@st.composite
def purses(draw: st.DrawFn) -> Purse:
    reserved = draw(points)
    held_at_store = draw(st.integers(0, reserved))
    return Purse(draw(points), reserved, draw(st.integers(0, held_at_store)), held_at_store)


def test_a_grant_is_what_is_missing_as_far_as_it_is_free_and_allowed() -> None:
    table = [
        (Purse(100, 0, 0), 40, 1_000, 40),
        (Purse(100, 30, 30), 40, 1_000, 10),
        (Purse(100, 40, 40), 40, 1_000, 0),
        (Purse(100, 90, 0), 40, 1_000, 10),
        (Purse(100, 100, 0), 40, 1_000, 0),
        (Purse(100, 120, 0), 40, 1_000, 0),
        (Purse(100, 0, 0), 90, 50, 50),
        (Purse(100, 60, 60), 90, 50, 0),
    ]
    assert [grant_of(purse, wanted, at_most) for purse, wanted, at_most, _ in table] == [row[3] for row in table]


@given(purse=purses(), wanted=st.integers(1, 300), at_most=points)
def test_a_grant_never_reserves_more_than_is_posted(purse: Purse, wanted: int, at_most: int) -> None:
    grant = grant_of(purse, wanted, at_most)

    assert 0 <= grant <= purse.free
    assert grant == 0 or purse.reserved + grant <= purse.posted
    after = Purse(purse.posted, purse.reserved + grant, purse.held + grant)
    assert grant_of(after, wanted, at_most) == 0


@given(purse=purses(), tills=st.integers(1, 5))
def test_a_prefetch_is_worth_a_reward_or_nothing_and_stays_as_it_is(purse: Purse, tills: int) -> None:
    grant = prefetch_of(purse, PROGRAM, tills)

    assert 0 <= grant <= purse.free
    assert grant == 0 or COOKIE.points <= purse.held + grant <= 120
    after = Purse(purse.posted, purse.reserved + grant, purse.held + grant, purse.held_at_store + grant)
    assert prefetch_of(after, PROGRAM, tills) == 0


def test_without_a_reward_nobody_is_expected() -> None:
    assert prefetch_of(Purse(100, 0, 0), PROGRAM.model_copy(update={"rewards": ()}), 1) == 0
