"""A customer's fields, from whatever file, as the row that the hub keeps. Pure; every fault names its field.

One customer is one way to write it: the same fields give the same texts, so a file that comes twice is seen to change
nothing by comparing texts.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from sync.contract.bank_cards import is_bank_number
from sync.contract.customers import ROWS_PER_CUSTOMER_MAX, Code, Consent, Customer, Language
from sync.contract.events import Points, Strict
from sync.contract.identifiers import IDENTIFIER_VALUE_CHARS_MAX, Scheme, hint, identifier_id, normalise
from sync.hub.people.columns import place

IDENTIFIERS_MAX = 100

# C0, DEL and C1, the line ends of Unicode, and what turns the reading direction around for all that follows: no name or
# sentence holds one, and on a till's display or in a log they are not harmless.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class KeptIdentifier:
    """An identifier with its value. Personal data."""

    id: str
    scheme: str
    value: str


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer ready to be kept: `wire` and `refs` are JSON for the wire, `points` an opening balance or None."""

    customer_id: str
    wire: str
    refs: str
    identifiers: tuple[KeptIdentifier, ...]
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    """A customer who leaves every cache. What was booked stays in the ledger, under the identifiers' ids.

    One who is `merged` goes on as a part of another.
    """

    customer_id: str
    reason: Literal["erased", "out_of_scope", "merged"]


class RowError(ValueError):
    """A row cannot be kept. `faults` has the field and what is wrong with it, never the value."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {fault}" for field, fault in faults))
        self.faults = faults


class _GivenIdentifier(Strict):
    scheme: Scheme
    value: str = Field(min_length=1, max_length=IDENTIFIER_VALUE_CHARS_MAX)


class _GivenConsent(Consent):
    language: Language


class _GivenCustomer(Customer):
    """A customer with what belongs to it but travels apart: identifiers and an opening balance.

    A language without words is a typing error here, where somebody can mend it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Language
    consents: tuple[_GivenConsent, ...] = Field(default=(), max_length=ROWS_PER_CUSTOMER_MAX)
    identifiers: tuple[_GivenIdentifier, ...] = Field(default=(), max_length=IDENTIFIERS_MAX)
    points: Points | None = None


class _Gone(Strict):
    customer_id: Code
    gone: Literal["erased", "out_of_scope"]


_NOT_ON_THE_WIRE = {"identifiers", "points"}


def to_row(fields: Mapping[str, Any], identifier_key: bytes, country_code: str) -> CustomerRow | Leaving:
    """Return the row for a customer's fields.

    Args:
        fields: JSON names and values of a `Customer`, with `identifiers` and `points`; or `customer_id` and `gone`.
        identifier_key: the hub's.
        country_code: for phone numbers written without one.

    Raises:
        RowError: with every fault of the row.
    """
    try:
        if fields.get("gone") is not None:
            gone = _Gone.model_validate({name: fields[name] for name in ("customer_id", "gone") if name in fields})
            return Leaving(gone.customer_id, gone.gone)
        given = _GivenCustomer.model_validate(fields)
    except ValidationError as error:
        raise RowError([*_faults(error), *_written(_readable(fields), country_code)[1]]) from None
    wire = given.model_dump_json(exclude=_NOT_ON_THE_WIRE, exclude_defaults=True)
    if "\\" in wire or _CONTROL.search(wire):  # in JSON the others stand behind a backslash
        _refuse_control_characters(given)
    written, faults = _written([(one.scheme, one.value) for one in given.identifiers], country_code)
    if faults:
        raise RowError(faults)
    identifiers = tuple(
        KeptIdentifier(identifier_id(identifier_key, scheme, value), scheme.value, value) for scheme, value in written
    )
    return CustomerRow(given.customer_id, wire, _refs(identifiers), identifiers, given.points)


_DATE_FAULT = "is missing, or no date such as 2026-03-05"
_NUMBER_FAULT = "is no whole number such as 120"
# The library's own words name patterns; these name what to write.
_PLAIN_FAULTS = {
    "extra_forbidden": "unknown field",
    "int_from_float": _NUMBER_FAULT,
    "int_type": _NUMBER_FAULT,
    "missing": "is missing",
    "string_pattern_mismatch": "is missing, or no code: letters, digits and . _ : - only, 64 at most",
    "date_from_datetime_parsing": _DATE_FAULT,
    "date_parsing": _DATE_FAULT,
}


def _faults(error: ValidationError) -> list[tuple[str, str]]:
    details = error.errors(include_url=False, include_input=False)
    return [(place(detail["loc"]), _PLAIN_FAULTS.get(detail["type"], detail["msg"])) for detail in details]


def _refuse_control_characters(given: _GivenCustomer) -> None:
    """Look at what was understood: what was ignored beside it may be of any depth."""
    texts = _texts(given.model_dump(mode="json", exclude=_NOT_ON_THE_WIRE), ())
    faults = [(field, "holds a control character") for field, text in texts if _CONTROL.search(text)]
    if faults:
        raise RowError(faults)


def _texts(value: Any, loc: tuple[int | str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place(loc), value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*loc, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, loc)


def _readable(fields: Mapping[str, Any]) -> list[tuple[Scheme, str]]:
    """Return the identifiers that can be read where not all can; the model names the others, whatever they are."""
    given = fields.get("identifiers")
    entries = [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []
    pairs = [(entry.get("scheme"), entry.get("value")) for entry in entries]
    # A list of schemes, because only what can be hashed may be looked for in a set.
    return [(Scheme(scheme), text) for scheme, text in pairs if scheme in list(Scheme) and isinstance(text, str)]


def _written(
    given: Iterable[tuple[Scheme, str]], country_code: str
) -> tuple[list[tuple[Scheme, str]], list[tuple[str, str]]]:
    """Return identifiers as their schemes write them, each once, and the faults of those that are none."""
    written: dict[tuple[Scheme, str], None] = {}
    faults = []
    for scheme, text in given:
        value = normalise(scheme, text, country_code=country_code)
        if value is None:
            faults.append((scheme.value, _NOT_OF_THE_SCHEME[scheme]))
        elif scheme is Scheme.CARD and value.isdigit() and is_bank_number(value):
            faults.append((scheme.value, "is the number of a bank card, which is never kept here"))
        else:
            written[(scheme, value)] = None
    return list(written), faults


_NOT_OF_THE_SCHEME = {
    Scheme.CARD: "is no card number: 4 to 64 digits and capitals",
    Scheme.PHONE: "is no phone number",
    Scheme.EMAIL: "is no e-mail address",
}


def _refs(identifiers: tuple[KeptIdentifier, ...]) -> str:
    refs = [
        {"id": identifier.id, "scheme": identifier.scheme, "hint": hint(Scheme(identifier.scheme), identifier.value)}
        for identifier in identifiers
    ]
    return json.dumps(refs, separators=(",", ":"), ensure_ascii=False)
