import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sync.contract.cursors import FeedCursor, read_cursor, write_cursor
from sync.contract.customers import Consent, Customer, Purpose
from sync.contract.events import (
    EARNED,
    Event,
    PointsEarned,
    UnknownEventType,
    canonical_json,
    event_id,
    event_source,
    read_fact,
)
from sync.contract.identifiers import Scheme, hint, identifier_id, normalise, normalise_email, normalise_phone
from sync.contract.ledger import Balance, fold, take_back
from sync.contract.protocol import CHANGE, CustomerGone, CustomerPut, HelloAnswer
from sync.runtime.clock import new_id

_NOW = datetime(2026, 3, 9, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("514 555-0123", "+15145550123"),
        ("(514) 555-0123", "+15145550123"),
        ("+33 6 12 34 56 78", "+33612345678"),
        ("0033612345678", "+33612345678"),
        ("1 514 555 0123", "+15145550123"),
        ("12345", None),
        ("not a phone", None),
        ("+1234567890123456", None),
        ("514\x00555 0123", None),
    ],
)
def test_a_phone_is_written_one_way(text: str, e164: str | None) -> None:
    assert normalise_phone(text) == e164


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" Zoé@Example.COM ", "zoé@example.com"),
        ("a@b", None),
        ("a b@example.com", None),
        ("<a@example.com>", None),
        ("", None),
    ],
)
def test_an_email_is_written_one_way(text: str, address: str | None) -> None:
    assert normalise_email(text) == address


HELLO = {
    "protocol": "storesync/1",
    "hub_epoch": "0" * 16,
    "applied": [],
    "max_batch_events": 500,
    "max_batch_bytes": 524_288,
    "reconnect_spread_s": 0,
    "server_time": "2026-03-09T09:00:00Z",
}


@pytest.mark.parametrize(
    ("limit", "most"), [("max_batch_events", 500), ("max_batch_bytes", 524_288), ("reconnect_spread_s", 3_600)]
)
def test_a_hub_that_allows_more_than_a_terminal_uses_is_understood(limit: str, most: int) -> None:
    for told in (most - 1, most, most + 1, 2**53):
        answer = HelloAnswer.model_validate_json(json.dumps(HELLO | {limit: told}), strict=True)
        assert getattr(answer, limit) == min(told, most)


def test_a_customer_leaves_for_a_reason_that_only_a_newer_hub_knows() -> None:
    for reason in ("erased", "out_of_scope", "moved_away"):
        told = CHANGE.validate_python({"op": "gone", "customer_id": "C-1", "reason": reason})
        assert isinstance(told, CustomerGone)
        assert told.reason == reason


@pytest.mark.parametrize(
    ("said", "read"), [("en", "en"), ("fr", "fr"), ("fr-CA", "fr"), ("FR", "fr"), ("en-GB", "en"), ("de", "en")]
)
def test_a_customer_of_a_language_without_words_does_not_stop_the_feed(said: str, read: str) -> None:
    consent = {"purpose": "marketing", "granted": True, "decided_at": "2026-01-01T00:00:00Z", "wording_version": "1"}
    customer = {"customer_id": "C-1", "given_name": "Zoé", "language": said, "consents": [consent | {"language": said}]}
    told = CustomerPut.model_validate_json(
        json.dumps({"op": "customer", "customer": customer, "points": 1}), strict=True
    )

    assert (told.customer.language, told.customer.consents[0].language) == (read, read)
    with pytest.raises(ValidationError, match="language"):
        CustomerPut.model_validate({"customer": customer | {"language": 7}, "points": 1})


def test_a_cursor_whose_position_no_hub_could_have_is_none() -> None:
    assert read_cursor(write_cursor(FeedCursor("e", 2**63 - 1))) == FeedCursor("e", 2**63 - 1)
    assert read_cursor(write_cursor(FeedCursor("e", 2**63))) is None


@given(st.sampled_from(Scheme), st.text(max_size=300))
def test_normalising_twice_changes_nothing(scheme: Scheme, text: str) -> None:
    once = normalise(scheme, text)
    assert once is None or normalise(scheme, once) == once


def test_an_identifier_id_needs_the_key_and_tells_schemes_apart() -> None:
    card = identifier_id(b"k" * 32, Scheme.CARD, "9990000000000011")
    assert card != identifier_id(b"j" * 32, Scheme.CARD, "9990000000000011")
    assert card != identifier_id(b"k" * 32, Scheme.PHONE, "9990000000000011")
    assert (len(card), "9990" in card) == (32, False)


def test_a_hint_tells_two_apart_and_gives_neither_away() -> None:
    assert hint(Scheme.PHONE, "+15145550123") == "•• 0123"
    assert hint(Scheme.EMAIL, "elodie@example.com") == "e•••@example.com"


def test_the_newest_decision_per_purpose_counts_and_none_is_a_no() -> None:
    def decided(day: int, *, granted: bool) -> Consent:
        return Consent(
            purpose=Purpose.PREFERENCES,
            granted=granted,
            decided_at=datetime(2026, 1, day, tzinfo=UTC),
            wording_version="v1",
            language="fr",
        )

    customer = Customer(
        customer_id="c1",
        given_name="Zoé",
        language="fr",
        consents=(decided(2, granted=False), decided(1, granted=True)),
    )
    assert not customer.agrees_to(Purpose.PREFERENCES)
    assert not customer.agrees_to(Purpose.PROFILING)


@given(st.integers(-100, 1000), st.lists(st.integers(-50, 50)))
def test_shown_is_the_hub_balance_plus_what_it_does_not_cover(posted: int, deltas: list[int]) -> None:
    assert fold(posted, deltas) == Balance(posted, sum(deltas))
    assert fold(posted, deltas).shown == posted + sum(deltas)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_sale_is_never_taken_back_twice(earned: int, before: int) -> None:
    assert 0 <= take_back(earned, before) <= earned
    assert take_back(earned, take_back(earned, before) + before) == 0


def _event(data: object, event_type: str = EARNED) -> Event:
    return Event.model_validate(
        {
            "id": event_id("t1", "0" * 16, 1),
            "source": event_source("s1", "t1"),
            "type": event_type,
            "subject": "ab" * 16,
            "time": _NOW.isoformat(),
            "inc": "0" * 16,
            "seq": 1,
            "bootid": "b",
            "monoms": 5,
            "data": data,
        }
    )


_EARNED = {
    "sale_id": "S-1",
    "program_version": 1,
    "currency": "CAD",
    "net_minor": 500,
    "tax_minor": 75,
    "lines": [{"quantity": "0.350", "net_minor": 500, "points": 5}],
    "points": 5,
}


def test_a_known_event_is_read_as_its_fact() -> None:
    fact = read_fact(_event(_EARNED))
    assert isinstance(fact, PointsEarned)
    assert (fact.points, fact.lines[0].quantity) == (5, "0.350")


def test_an_event_of_a_later_version_is_told_apart_from_a_bad_one() -> None:
    with pytest.raises(UnknownEventType):
        read_fact(_event(_EARNED, "loyalty.points.earned.v2"))
    with pytest.raises(ValidationError):
        read_fact(_event(_EARNED | {"points": 5.5}))


@pytest.mark.parametrize("quantity", ["0", "-1", "1e3", "0.000", "1.2345", "٣", "", "01", "1000000"])
def test_a_quantity_is_a_plain_positive_decimal(quantity: str) -> None:
    line = {"quantity": quantity, "net_minor": 500, "points": 5}
    with pytest.raises(ValidationError):
        read_fact(_event(_EARNED | {"lines": [line]}))


def test_no_field_for_a_person_can_be_written_into_an_event() -> None:
    with pytest.raises(ValidationError):
        PointsEarned.model_validate(_EARNED | {"customer_name": "Zoé"})


def test_what_a_newer_terminal_adds_to_an_event_is_no_part_of_the_fact() -> None:
    assert read_fact(_event(_EARNED | {"weather": "rain", "flags": ["told_by_voice"]})) == read_fact(_event(_EARNED))


def test_canonical_json_is_one_way_to_write_an_object() -> None:
    assert canonical_json({"b": "é", "a": [1, {"d": None, "c": True}]}) == '{"a":[1,{"c":true,"d":null}],"b":"é"}'
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"a": float("nan")})
    assert json.loads(canonical_json({"a": "\u2028\x00"})) == {"a": "\u2028\x00"}


@given(st.text("abcdef0123456789-", max_size=36), st.integers(0, 2**63 - 1))
def test_a_cursor_comes_back_as_it_was_written(epoch: str, position: int) -> None:
    assert read_cursor(write_cursor(FeedCursor(epoch, position))) == FeedCursor(epoch, position)


@pytest.mark.parametrize("text", ["", "%%%", "AAAA", "e3wxfC0x", "\x00", "é", "x" * 5000])
def test_a_foreign_cursor_is_no_cursor(text: str) -> None:
    assert read_cursor(text) is None


def test_ids_are_uuid_version_7_and_sort_by_time() -> None:
    early, late = new_id(_NOW), new_id(datetime(2026, 3, 9, 14, 31, tzinfo=UTC))
    assert (early.version, early.variant) == (7, "specified in RFC 4122")
    assert early < late
    assert early.int >> 80 == int(_NOW.timestamp() * 1000)
