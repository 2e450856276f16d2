r"""The columns of a customers file: what they are called and mean, and how a row of cells becomes a customer's fields.

The same table documents the CSV form, reads it and writes it, so the three cannot part. Pure. Where a cell may hold
several values they are split by `|`; a `|` inside a value is written `\|`, a backslash `\\`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sync.contract.identifiers import Scheme

SEVERAL = "|"
# An unknown field is named to the person who wrote it; what is longer is no name.
FIELD_CHARS_MAX = 64


class Column(NamedTuple):
    """One column: its name in the header, what stands in it, and an example cell."""

    name: str
    meaning: str
    example: str


COLUMNS = (
    Column("customer_id", "the customer's id in the master data; required", "C-1001"),
    Column("given_name", "required", "Zoé"),
    Column("family_name", "", "Tremblay"),
    Column("called", "the name as the customer wants to be called", "Madame Tremblay"),
    Column("language", "en or fr; required", "fr"),
    Column("card", "card numbers, several split by |", "9990000000012348"),
    Column("phone", "phone numbers, several split by |", "+15145550123"),
    Column("email", "e-mail addresses, several split by |", "zoe@example.com"),
    Column("tier", "the code of a tier of the program", "gold"),
    Column("points", "opening balance; booked once, when the customer is first seen", "120"),
    Column("clv_minor", "lifetime value in minor units of clv_currency", "84500"),
    Column("clv_currency", "ISO 4217", "CAD"),
    Column("clv_as_of", "the day the value was figured", "2026-03-01"),
    Column("clv_model", "the code of the model that figured it", "bgnbd-1"),
    Column("preference_en", "what the customer likes, in English; several split by |", "oat flat white, no sugar"),
    Column("preference_fr", "the same in French, as many", "flat white à l'avoine, sans sucre"),
    Column("preference_source", "where each was learnt", "counter"),
    Column("preference_noted_on", "the day each was noted", "2026-02-11"),
    Column("offer_id", "codes of offers, several split by |", "birthday-2026"),
    Column("offer_en", "each offer in English", "A pastry on the house"),
    Column("offer_fr", "each offer in French", "Une viennoiserie offerte"),
    Column("offer_reason_en", "why each is offered, as staff may say it, in English", "Your birthday is this week"),
    Column("offer_reason_fr", "the same in French", "C'est votre anniversaire cette semaine"),
    Column("offer_state", "available, held or consumed; empty is available", "available"),
    Column("offer_ends_on", "the last day of each; empty where it does not end", "2026-03-31"),
    Column("caution", "kind:since, several split by |", "open_complaint:2026-03-02"),
    Column("last_visit_on", "", "2026-03-05"),
    Column(
        "consents",
        "purpose:granted:decided_at:wording:language, several split by |; purposes are preferences, profiling, "
        "marketing; granted is yes or no",
        "preferences:yes:2025-11-02T10:15:00Z:v3:fr",
    ),
    Column("gone", "erased or out_of_scope: the customer leaves every till; only customer_id is needed then", ""),
)
NAMES = tuple(column.name for column in COLUMNS)

_CAUTION = re.compile(r"(?P<kind>[a-z_]+):(?P<since>.+)")
_CONSENT = re.compile(
    r"(?P<purpose>[a-z]+):(?P<granted>yes|no):(?P<decided_at>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)):"
    r"(?P<wording_version>.+):(?P<language>[a-z]+)"
)
_SIMPLE = ("customer_id", "given_name", "family_name", "called", "language", "tier", "last_visit_on", "gone")
# Where pydantic found the fault -> the column a person has to look at.
_PLACES: Mapping[tuple[str, ...], str] = {
    ("clv", "amount_minor"): "clv_minor",
    ("clv", "currency"): "clv_currency",
    ("clv", "as_of"): "clv_as_of",
    ("clv", "model"): "clv_model",
    ("preferences", "text", "en"): "preference_en",
    ("preferences", "text", "fr"): "preference_fr",
    ("preferences", "source"): "preference_source",
    ("preferences", "noted_on"): "preference_noted_on",
    ("preferences",): "preference_en",
    ("offers", "offer_id"): "offer_id",
    ("offers", "text", "en"): "offer_en",
    ("offers", "text", "fr"): "offer_fr",
    ("offers", "reason", "en"): "offer_reason_en",
    ("offers", "reason", "fr"): "offer_reason_fr",
    ("offers", "state"): "offer_state",
    ("offers", "ends_on"): "offer_ends_on",
    ("offers",): "offer_id",
    ("cautions",): "caution",
}


class CellError(ValueError):
    """A cell cannot be read; `column` says which."""

    def __init__(self, column: str, fault: str) -> None:
        super().__init__(f"{column}: {fault}")
        self.column = column
        self.fault = fault


def to_fields(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a row's customer, with `identifiers` and `points`; empty cells are left out.

    Raises:
        CellError: a cell is not of its form, or columns that belong together hold different numbers of values.
    """
    filled = {name: restored(cell).strip() for name, cell in cells.items() if cell and cell.strip()}
    fields: dict[str, Any] = {name: filled[name] for name in _SIMPLE if name in filled}
    if "points" in filled:
        fields["points"] = _whole_number(filled["points"])
    identifiers = [
        {"scheme": scheme.value, "value": value} for scheme in Scheme for value in split(filled.get(scheme.value, ""))
    ]
    if identifiers:
        fields["identifiers"] = identifiers
    clv: dict[str, Any] = {name[4:]: cell for name, cell in filled.items() if name.startswith("clv_")}
    if clv:
        if "minor" in clv:
            clv["amount_minor"] = _whole_number(clv.pop("minor"))
        fields["clv"] = clv
    several = {
        "preferences": _preferences(filled),
        "offers": _offers(filled),
        "cautions": [_match(_CAUTION, "caution", part) for part in split(filled.get("caution", ""))],
        "consents": [_consent(part) for part in split(filled.get("consents", ""))],
    }
    return fields | {name: rows for name, rows in several.items() if rows}


def to_cells(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a customer given as its JSON fields: what `to_fields` reads back as the same."""
    cells = {name: str(fields[name]) for name in (*_SIMPLE, "points") if fields.get(name) is not None}
    for scheme in Scheme:
        values = [entry["value"] for entry in fields.get("identifiers", ()) if entry["scheme"] == scheme]
        cells[scheme.value] = join(values)
    if clv := fields.get("clv"):
        cells["clv_minor"] = str(clv["amount_minor"])
        cells |= {f"clv_{name}": str(clv[name]) for name in ("currency", "as_of", "model")}
    for name, rows, read in _WRITTEN:
        cells[name] = join([read(row) for row in fields.get(rows, ())])
    return {name: safe(cell) for name, cell in cells.items() if cell}


def place(loc: Iterable[int | str]) -> str:
    """Return the column (or the JSON field) where a model found a fault; the row, where no line can show its name."""
    path = tuple(part for part in loc if isinstance(part, str))
    for end in range(len(path), 0, -1):
        if path[:end] in _PLACES:
            return _PLACES[path[:end]]
    name = path[0] if path else ""
    return name if 0 < len(name) <= FIELD_CHARS_MAX and name.isprintable() else "the row"


def split(cell: str) -> list[str]:
    """Return the values of a cell; none where it is empty. A value between two `|` may be empty."""
    if not cell:
        return []
    if "\\" not in cell:
        return [value.strip() for value in cell.split(SEVERAL)]
    values = [""]
    for token in re.findall(r"\\.|.", cell, re.DOTALL):
        if token == SEVERAL:
            values.append("")
        else:
            values[-1] += token[1:] or token
    return [value.strip() for value in values]


def join(values: Iterable[str]) -> str:
    """Return the cell that `split` reads as these values."""
    return SEVERAL.join(re.sub(r"([|\\])", r"\\\1", value) for value in values)


def safe(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: one that begins like one gets an apostrophe before it."""
    return f"'{cell}" if re.match(r"'*[=+\-@\t\r]", cell) else cell


def restored(cell: str) -> str:
    """Return the cell that `safe` was given."""
    return cell[1:] if re.match(r"'+[=+\-@\t\r]", cell) else cell


def _whole_number(cell: str) -> int | str:
    """Return the number, or the cell as it is: the model then says what is wrong with it, beside all other faults."""
    return int(cell) if re.fullmatch(r"-?[0-9]{1,15}", cell) else cell


def _preferences(filled: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = _together(filled, ("preference_en", "preference_fr", "preference_source", "preference_noted_on"))
    return [{"text": {"en": en, "fr": fr}, "source": source, "noted_on": noted_on} for en, fr, source, noted_on in rows]


def _offers(filled: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = _together(
        filled,
        ("offer_id", "offer_en", "offer_fr", "offer_reason_en", "offer_reason_fr", "offer_state", "offer_ends_on"),
    )
    offers = []
    for offer_id, en, fr, reason_en, reason_fr, state, ends_on in rows:
        offer: dict[str, Any] = {
            "offer_id": offer_id,
            "text": {"en": en, "fr": fr},
            "reason": {"en": reason_en, "fr": reason_fr},
        }
        offer |= {name: value for name, value in (("state", state), ("ends_on", ends_on)) if value}
        offers.append(offer)
    return offers


def _together(filled: Mapping[str, str], columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the rows that these columns hold side by side; a column that is empty holds that many empty values."""
    lists = [split(filled.get(column, "")) for column in columns]
    number = max(map(len, lists))
    for column, values in zip(columns, lists, strict=True):
        if values and len(values) != number:
            raise CellError(column, f"holds {len(values)} values where {columns[0]} and its companions hold {number}")
    return list(zip(*(values or [""] * number for values in lists), strict=True))


def _match(pattern: re.Pattern[str], column: str, text: str) -> dict[str, Any]:
    found = pattern.fullmatch(text)
    if found is None:
        form = next(entry.meaning for entry in COLUMNS if entry.name == column)
        raise CellError(column, f"a value is not of the form {form}")
    return found.groupdict()


def _consent(text: str) -> dict[str, Any]:
    consent = _match(_CONSENT, "consents", text)
    return {**consent, "granted": consent["granted"] == "yes"}


def _consent_text(row: Mapping[str, Any]) -> str:
    granted = "yes" if row["granted"] else "no"
    return f"{row['purpose']}:{granted}:{row['decided_at']}:{row['wording_version']}:{row['language']}"


# column -> the field whose rows it shows, and how one row is written
_WRITTEN: tuple[tuple[str, str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("preference_en", "preferences", lambda row: str(row["text"]["en"])),
    ("preference_fr", "preferences", lambda row: str(row["text"]["fr"])),
    ("preference_source", "preferences", lambda row: str(row["source"])),
    ("preference_noted_on", "preferences", lambda row: str(row["noted_on"])),
    ("offer_id", "offers", lambda row: str(row["offer_id"])),
    ("offer_en", "offers", lambda row: str(row["text"]["en"])),
    ("offer_fr", "offers", lambda row: str(row["text"]["fr"])),
    ("offer_reason_en", "offers", lambda row: str(row["reason"]["en"])),
    ("offer_reason_fr", "offers", lambda row: str(row["reason"]["fr"])),
    ("offer_state", "offers", lambda row: str(row.get("state", "available"))),
    ("offer_ends_on", "offers", lambda row: str(row.get("ends_on") or "")),
    ("caution", "cautions", lambda row: f"{row['kind']}:{row['since']}"),
    ("consents", "consents", _consent_text),
)
