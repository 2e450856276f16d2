import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.contract.chain import GONE, Link, chain_start, extend, link
from sync.contract.events import canonical_json
from sync.hub.uploads.forks import Agreement, History, agreement, fork_name

START = chain_start("till-1", "0" * 16)


def links(*names: str) -> list[Link]:
    return [link(canonical_json({"name": name})) for name in names]


LOST = link(canonical_json({"type": GONE, "data": {}}))


def compared(held: list[Link], first: int, sent: list[Link], before: bytes | None = None) -> Agreement:
    """Compare an upload with a history that begins at 1."""
    history = History(1, len(held), extend(START, held))
    if before is None:
        before = extend(START, held[: first - 1])
    return agreement(history, held[first - 1 :], first, sent, before)


@pytest.mark.parametrize(
    ("held", "first", "sent", "expected"),
    [
        ("", 1, "abc", Agreement(0, continues=True)),
        ("ab", 3, "cd", Agreement(0, continues=True)),
        ("ab", 2, "bcd", Agreement(1, continues=True)),
        ("abcd", 2, "bc", Agreement(2, continues=True)),
        ("abcd", 1, "abcd", Agreement(4, continues=True)),
        ("ab", 2, "xc", Agreement(0, continues=False)),
        ("abcd", 2, "bxd", Agreement(1, continues=False)),
        ("ab", 4, "d", Agreement(0, continues=False)),
    ],
)
def test_a_history_is_continued_where_all_that_both_have_is_the_same(
    held: str, first: int, sent: str, expected: Agreement
) -> None:
    assert compared(links(*held), first, links(*sent)) == expected


def test_what_follows_another_past_is_no_continuation_though_nothing_overlaps() -> None:
    other = extend(START, links("a", "y"))

    assert compared(links("a", "b"), 3, links("c"), other) == Agreement(0, continues=False)
    assert compared(links("a", "b"), 2, links("b", "c"), extend(START, links("y"))) == Agreement(1, continues=False)


def test_a_marker_for_an_event_that_is_lost_with_its_digest_contradicts_nothing() -> None:
    assert compared(links("a", "b"), 2, [LOST, *links("c")]) == Agreement(1, continues=True)


def test_an_event_that_comes_where_only_its_loss_was_told_is_another_history() -> None:
    assert compared([*links("a"), LOST], 2, links("b", "c")) == Agreement(0, continues=False)


@given(st.lists(st.sampled_from("ab"), max_size=6), st.lists(st.sampled_from("ab"), min_size=1, max_size=6), st.data())
def test_two_histories_agree_exactly_as_far_as_they_are_equal(
    held: list[str], own: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, len(own)))
    sent = own[first - 1 :]
    past = own[: first - 1]
    before = extend(START, links(*past))

    found = compared(links(*held), first, links(*sent), before) if first <= len(held) + 1 else None

    if found is not None:
        there = held[first - 1 :]
        equal = next((at for at, (one, other) in enumerate(zip(there, sent, strict=False)) if one != other), None)
        both = min(len(there), len(sent))
        assert found.same == (both if equal is None else equal)
        if found.same == both and len(sent) >= len(there):
            assert found.continues == (own[: len(held)] == held)


def test_a_fork_has_one_name_and_another_fork_another() -> None:
    (one, other) = links("a", "b")
    names = {
        fork_name("0" * 16, 3, one),
        fork_name("0" * 16, 4, one),
        fork_name("0" * 16, 3, other),
        fork_name("1" * 16, 3, one),
    }

    assert fork_name("0" * 16, 3, one) in names
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)
