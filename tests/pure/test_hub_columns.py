import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.hub.people.columns import COLUMNS, NAMES, CellError, join, restored, safe, split, to_cells, to_fields
from sync.hub.people.customer_rows import CustomerRow, Leaving, RowError, to_row

KEY = b"k" * 32
EXAMPLE = {column.name: column.example for column in COLUMNS}


def row_of(cells: dict[str, str]) -> CustomerRow:
    row = to_row(to_fields(cells), KEY, "1")
    assert isinstance(row, CustomerRow)
    return row


def fields_of(row: CustomerRow) -> dict[str, Any]:
    identifiers = [{"scheme": one.scheme, "value": one.value} for one in row.identifiers]
    return {**json.loads(row.wire), "identifiers": identifiers, "points": row.points}


def faults_of(cells: dict[str, str]) -> set[str]:
    with pytest.raises(RowError) as raised:
        row_of(cells)
    return {field for field, _ in raised.value.faults}


def test_every_documented_example_is_read() -> None:
    row = row_of(EXAMPLE)

    wire = json.loads(row.wire)
    assert wire["called"] == "Madame Tremblay"
    assert wire["clv"] == {"amount_minor": 84500, "currency": "CAD", "as_of": "2026-03-01", "model": "bgnbd-1"}
    assert wire["consents"][0]["granted"] is True
    assert [one.scheme for one in row.identifiers] == ["card", "phone", "email"]
    assert row.points == 120


def test_what_is_written_reads_back_as_the_same() -> None:
    cells = EXAMPLE | {
        "offer_id": "a|b",
        "offer_en": r"One \| two|=SUM(A1)",
        "offer_fr": r"Un \| deux|@midi",
        "offer_reason_en": "x|y",
        "offer_reason_fr": "x|y",
        "offer_state": "consumed|",
        "offer_ends_on": "|2026-04-01",
        "consents": "preferences:yes:2025-11-02T10:15:00Z:v:3:fr|marketing:no:2025-11-02T10:15:00+02:00:w:en",
    }
    row = row_of(cells)

    assert row_of(to_cells(fields_of(row))) == row
    assert json.loads(row.wire)["offers"][0]["text"]["en"] == "One | two"
    assert json.loads(row.wire)["consents"][0]["wording_version"] == "v:3"


def test_the_same_fields_are_written_one_way() -> None:
    loose = EXAMPLE | {"card": " 9990-0000 0001 2348 ", "phone": "(514) 555-0123", "email": "ZOE@Example.com"}

    assert row_of(loose) == row_of(EXAMPLE)


def test_an_identifier_given_twice_counts_once() -> None:
    assert len(row_of(EXAMPLE | {"phone": "5145550123|+1 514 555 0123"}).identifiers) == 3


@given(st.lists(st.text(alphabet="ab|\\ =,\"'é", max_size=6).map(str.strip), min_size=2, max_size=4))
def test_values_of_one_cell_are_told_apart_again(values: list[str]) -> None:
    assert split(join(values)) == values


@given(st.text(alphabet="'=+-@\tab", max_size=6))
def test_no_cell_is_taken_for_a_formula_and_each_comes_back(cell: str) -> None:
    assert not safe(cell).startswith(("=", "+", "-", "@", "\t"))
    assert restored(safe(cell)) == cell


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"customer_id": ""}, {"customer_id"}),
        ({"customer_id": "C 1"}, {"customer_id"}),
        ({"given_name": "", "language": "de", "points": "-1"}, {"given_name", "language", "points"}),
        ({"points": "12.5"}, {"points"}),
        ({"card": "12", "phone": "call me", "email": "zoe"}, {"card", "phone", "email"}),
        ({"language": "", "card": "12"}, {"language", "card"}),
        ({"clv_minor": "lots"}, {"clv_minor"}),
        ({"clv_minor": ""}, {"clv_minor"}),
        ({"preference_fr": ""}, {"preference_fr"}),
        ({"preference_noted_on": "yesterday"}, {"preference_noted_on"}),
        ({"offer_ends_on": "2026-02-31"}, {"offer_ends_on"}),
        ({"caution": "bad_mood:2026-01-01"}, {"caution"}),
        ({"consents": "love:yes:2025-11-02T10:15:00Z:v3:fr"}, {"consents"}),
        ({"given_name": "Zo\u0000é"}, {"given_name"}),
        ({"family_name": "a\u0085b", "called": "x\ny"}, {"family_name", "called"}),
        ({"given_name": "x" * 81}, {"given_name"}),
        ({"gone": "perhaps"}, {"gone"}),
    ],
)
def test_a_bad_row_names_each_field_at_fault(change: dict[str, str], fields: set[str]) -> None:
    assert faults_of(EXAMPLE | change) == fields


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"caution": "open_complaint"}, "caution"),
        ({"consents": "marketing:maybe:2025-11-02T10:15:00Z:v3:fr"}, "consents"),
        ({"preference_en": "a|b"}, "preference_fr"),
    ],
)
def test_a_cell_that_is_not_of_its_form_is_named(change: dict[str, str], column: str) -> None:
    with pytest.raises(CellError) as raised:
        to_fields(EXAMPLE | change)

    assert raised.value.column == column


def test_no_fault_repeats_what_was_written() -> None:
    cells = EXAMPLE | {"phone": "my-secret-number", "email": "not an address", "language": "klingon"}
    with pytest.raises(RowError) as raised:
        row_of(cells)

    assert not any(value in str(raised.value) for value in ("secret", "not an", "klingon"))


def test_a_customer_who_leaves_needs_only_an_id() -> None:
    assert to_row(to_fields({"customer_id": "C-1", "gone": "erased"}), KEY, "1") == Leaving("C-1", "erased")


def test_an_unknown_field_is_a_fault() -> None:
    with pytest.raises(RowError, match="teir: unknown field"):
        to_row({**fields_of(row_of(EXAMPLE)), "teir": "gold"}, KEY, "1")


def test_column_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"given_name": "Zoé"}, ("language", "is missing")),
        ({"given_name": "Zoé", "language": "fr", "colour": "red"}, ("colour", "unknown field")),
        ({"given_name": "Zoé", "language": "fr", "tier": "very gold!"}, ("tier", "no code")),
        ({"given_name": "Zoé", "language": "fr", "last_visit_on": "yesterday"}, ("last_visit_on", "2026-03-05")),
    ],
)
def test_a_fault_says_what_to_write_in_words_of_the_shop(fields: dict[str, Any], fault: tuple[str, str]) -> None:
    with pytest.raises(RowError) as refused:
        to_row({"customer_id": "c-1", **fields}, bytes(32), "1")
    ((field, said),) = refused.value.faults
    assert field == fault[0]
    assert fault[1] in said


def test_a_bank_cards_number_is_never_taken_for_a_card_of_ours() -> None:
    with pytest.raises(RowError) as refused:
        row_of(EXAMPLE | {"card": "9990000000012348|4111 1111 1111 1111"})
    ((field, said),) = refused.value.faults
    assert (field, "bank card" in said, "4111" in said) == ("card", True, False)


def test_a_language_without_words_is_refused_where_somebody_can_mend_it() -> None:
    fields = fields_of(row_of(EXAMPLE))
    consent = {"purpose": "marketing", "granted": True, "decided_at": "2026-01-01T00:00:00Z", "wording_version": "1"}
    for wrong in ({"language": "frr"}, {"consents": [consent | {"language": "fr-CA"}]}):
        with pytest.raises(RowError, match=r"language|'en' or 'fr'"):
            to_row({**fields, **wrong}, KEY, "1")
