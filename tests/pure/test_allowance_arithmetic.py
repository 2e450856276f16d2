import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sync.contract.allowance import AllowancesRequest, Spend, draw, free, remaining
from sync.contract.events import PointsRedeemed, Share
from sync.contract.program import RedemptionRule
from sync.contract.protocol import CHANGE, AllowancesPut

INC, OTHER = "0" * 16, "1" * 16

spends = st.lists(
    st.builds(Spend, st.sampled_from([INC, OTHER]), st.integers(1, 9), st.integers(-20, 60) | st.none()), max_size=8
)


def test_what_is_left_is_the_hubs_word_less_the_spends_it_does_not_contain() -> None:
    made = [Spend(INC, 1, 10), Spend(INC, 2, 20), Spend(OTHER, 1, 5)]

    assert remaining(100, 0, made, {}) == 65
    assert remaining(100, 10, made, {INC: 1}) == 65
    assert remaining(100, 35, made, {INC: 2, OTHER: 1}) == 65


def test_an_allowance_that_was_returned_is_spent() -> None:
    assert remaining(100, 0, [Spend(INC, 1, 10), Spend(INC, 2, None)], {}) == 0
    assert remaining(100, 0, [Spend(INC, 2, None), Spend(INC, 3, -10)], {}) == 0


def test_a_redemption_taken_back_lets_its_allowance_grow_when_the_hub_says_so_and_not_before() -> None:
    """Another till may have taken it back first, and then the points were free for everybody."""
    assert remaining(50, 0, [Spend(INC, 1, 30), Spend(INC, 2, -30)], {}) == 20
    assert remaining(50, 30, [Spend(INC, 1, 30), Spend(INC, 2, -30)], {INC: 1}) == 20
    assert remaining(50, 0, [Spend(INC, 1, 30), Spend(INC, 2, -30)], {INC: 2}) == 50


@given(amount=st.integers(1, 100), spent=st.integers(0, 100), made=spends, through=st.integers(0, 9))
def test_a_word_that_comes_late_or_twice_never_gives_more(
    amount: int, spent: int, made: list[Spend], through: int
) -> None:
    left = remaining(amount, spent, made, {INC: through})

    assert left == remaining(amount, spent, list(reversed(made)), {INC: through})
    assert left >= 0
    later = [Spend(INC, 10, 7)]
    assert remaining(amount, spent, [*made, *later], {INC: through}) == max(left - 7, 0) or left == 0


@given(points=st.integers(0, 200), rests=st.lists(st.integers(0, 60), max_size=6))
def test_shares_take_in_order_and_never_more_than_there_is(points: int, rests: list[int]) -> None:
    shares = draw(points, [(f"a-{number}", rest) for number, rest in enumerate(rests)])

    assert sum(share.points for share in shares) == min(points, sum(rests))
    for share in shares:
        assert 1 <= share.points <= rests[int(share.allowance_id[2:])]
    assert [share.allowance_id for share in shares] == sorted(share.allowance_id for share in shares)


def test_points_that_are_reserved_are_not_free() -> None:
    assert [free(100, 40), free(40, 40), free(30, 40)] == [60, 0, 0]


def test_a_redemption_adds_up() -> None:
    share = {"allowance_id": "a-1", "points": 40}
    known = {"redemption_id": "r-1", "points": 50, "program_version": 1, "shares": [share], "goodwill": 10}
    assert PointsRedeemed.model_validate(known).shares == (Share(allowance_id="a-1", points=40),)

    changes: list[dict[str, object]] = [
        {"points": 51},
        {"goodwill": 0},
        {"shares": [share, share], "points": 90},
        {"shares": []},
    ]
    for wrong in changes:
        with pytest.raises(ValidationError):
            PointsRedeemed.model_validate(known | wrong)


def test_the_wire_knows_the_wishes_and_the_call_to_ask_again() -> None:
    assert CHANGE.validate_json('{"op":"allowances"}') == AllowancesPut()
    assert AllowancesRequest.model_validate({}).want == ()
    with pytest.raises(ValidationError):
        AllowancesRequest.model_validate({"want": [{"customer_id": "C-1", "points": 0}]})


def test_a_program_without_a_rule_gives_no_goodwill() -> None:
    assert RedemptionRule().goodwill_points_max == 0
