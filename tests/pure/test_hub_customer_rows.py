"""Whatever JSON a row holds, it becomes a row or faults with a field and words: never another error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.hub.people.columns import FIELD_CHARS_MAX
from sync.hub.people.customer_rows import CustomerRow, Leaving, RowError, to_row

KEY = b"k" * 32
TEXT = {"en": "a", "fr": "b"}
GOOD: dict[str, Any] = {
    "customer_id": "C-1",
    "given_name": "Zoé",
    "language": "fr",
    "identifiers": [{"scheme": "card", "value": "9990000000012348"}],
    "points": 1,
    "tier": "gold",
    "preferences": [{"text": TEXT, "source": "counter", "noted_on": "2026-02-11"}],
    "clv": {"amount_minor": 1, "currency": "CAD", "as_of": "2026-03-01", "model": "m"},
    "offers": [{"offer_id": "a", "text": TEXT, "reason": TEXT, "state": "held", "ends_on": "2026-03-01"}],
    "cautions": [{"kind": "recent_refund", "since": "2026-03-01"}],
    "consents": [
        {
            "purpose": "marketing",
            "granted": False,
            "decided_at": "2025-11-02T10:15:00Z",
            "wording_version": "v:3",
            "language": "en",
        }
    ],
}
Path = tuple[int | str, ...]

# With half a character of UTF-16, what ends a text in C, and what drives a terminal.
strings = st.text(st.characters() | st.sampled_from("\ud800\udfff\x00\x1b\\"), max_size=8)
names = st.sampled_from([*GOOD, "gone", "scheme", "value", "text"]) | strings
known = st.sampled_from(["card", "phone", "email", "erased", "en", "2026-01-01", "9990000000012348"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**40) | known | strings
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where something stands in a value, itself included."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in children:
        yield from places(inner, (*path, name))


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return a value with something else at a place of it."""
    if not path:
        return new
    name, *rest = path
    changed = value.copy()
    changed[name] = replaced(changed[name], tuple(rest), new)
    return changed


def kept_or_named(fields: dict[str, Any]) -> None:
    for field, words in faults_of(json.loads(json.dumps(fields))):
        assert field.isprintable()
        assert 0 < len(field) <= FIELD_CHARS_MAX
        assert words


def faults_of(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the faults of a row, at least one; none of a row that can be written."""
    try:
        row = to_row(fields, KEY, "1")
    except RowError as error:
        return error.faults or [("", "")]
    if isinstance(row, CustomerRow):
        assert json.loads(row.wire.encode())["customer_id"] == row.customer_id
        assert len(json.loads(row.refs.encode())) == len(row.identifiers)
    return []


@given(st.sampled_from([path for path in places(GOOD) if path]), documents)
def test_a_row_with_anything_at_any_place_is_kept_or_named(path: Path, new: Any) -> None:
    kept_or_named(replaced(GOOD, path, new))


@given(st.dictionaries(names, documents, max_size=8))
def test_an_object_of_anything_is_kept_or_named(fields: dict[str, Any]) -> None:
    kept_or_named(fields)


@given(st.dictionaries(names, documents, max_size=3))
def test_a_good_row_with_anything_beside_it_is_kept_or_named(more: dict[str, Any]) -> None:
    kept_or_named(GOOD | more)


def test_the_row_that_all_of_these_change_is_good() -> None:
    assert isinstance(to_row(GOOD, KEY, "1"), CustomerRow)
    assert to_row(GOOD | {"gone": "erased"}, KEY, "1") == Leaving("C-1", "erased")


@pytest.mark.parametrize(
    "identifiers", [5, True, "card", {"scheme": "card"}, [5], [{"scheme": ["card"], "value": "1"}]]
)
def test_identifiers_of_the_wrong_type_are_a_fault_of_that_field(identifiers: Any) -> None:
    assert {field for field, _ in faults_of(GOOD | {"identifiers": identifiers})} == {"identifiers"}


def test_what_is_ignored_may_be_as_deep_as_json_can_be() -> None:
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    row = to_row(
        replaced(GOOD, ("clv", "model"), "m") | {"clv": {**GOOD["clv"], "new": deep}, "called": "\\"}, KEY, "1"
    )

    assert isinstance(row, CustomerRow)
    assert "new" not in json.loads(row.wire)["clv"]


@pytest.mark.parametrize("name", ["", "x" * 65, "\x1b[2J", "\u202e"])
def test_a_field_whose_name_no_line_can_show_is_told_as_the_row(name: str) -> None:
    assert faults_of(GOOD | {name: 1}) == [("the row", "unknown field")]
