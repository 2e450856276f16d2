import errno
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync.hub.config import HubConfig, HubSection
from sync.hub.people.importing import (
    BATCH_ROWS_BESIDE_HUB,
    LINE_BYTES_MAX,
    Desk,
    Fault,
    ImportFileError,
    import_customers,
)
from sync.hub.root import desk
from tests.support.clock import FakeClock
from tests.support.importer import BreaksOff, Importer

NDJSON = {
    "customer_id": "C-1",
    "given_name": "Zoé",
    "language": "fr",
    "identifiers": [{"scheme": "card", "value": "9990000000012348"}, {"scheme": "phone", "value": "514 555-0123"}],
    "points": 120,
}


@pytest.fixture
async def importer(tmp_path: Path) -> AsyncIterator[Importer]:
    async with desk(HubConfig(hub=HubSection(state=tmp_path / "hub"))) as (writer, founding):
        yield Importer(writer, founding.identifier_key, tmp_path)


def lines(*documents: dict[str, Any]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


HEADER = "customer_id,given_name,language,card,phone,points\n"
TWO = HEADER + "C-1,Zoé,fr,9990000000012348,514-555-0123,120\nC-2,Ann,en,9990000000054321,,\n"


@pytest.mark.parametrize("name", ["customers.csv", "customers.ndjson"])
async def test_the_same_file_twice_changes_nothing(importer: Importer, name: str) -> None:
    text = TWO if name.endswith(".csv") else lines(NDJSON)
    await importer(text, name)
    before = await importer.everything()

    again = await importer(text, name)

    assert (again.new, again.changed, again.bad, again.warnings) == (0, 0, 0, 0)
    assert again.same == again.rows > 0
    assert await importer.everything() == before


async def test_the_two_forms_say_the_same(importer: Importer) -> None:
    await importer(lines(NDJSON), "a.ndjson")

    again = await importer(HEADER + "C-1,Zoé,fr,9990 0000 0001 2348,+1 (514) 555-0123,120\n")

    assert (again.same, again.rows) == (1, 1)


async def test_bad_rows_are_named_by_line_and_field_and_good_ones_kept(importer: Importer) -> None:
    text = HEADER + (
        "C-1,Zoé,fr,9990000000012348,,120\n"
        "C-2,,de,12,,many\n"
        "\n"
        'C-3,"An\n\tn",en,,,\n'
        "C-4,Ann,en,,\n"
        'C-5,"A"nn,en,,,\n'
        "C-6,Bob,en,,,7\n"
    )

    done = await importer(text)

    assert (done.new, done.bad) == (2, 4)
    assert [(fault.line, fault.field) for fault in importer.faults] == [
        (3, "given_name"),
        (3, "language"),
        (3, "points"),
        (3, "card"),
        (5, "given_name"),
        (7, "the row"),
        (8, "the row"),
    ]
    assert await importer.rows("SELECT customer_id FROM customers ORDER BY 1") == [("C-1",), ("C-6",)]


async def test_what_is_wrong_with_an_opening_balance_is_said_in_plain_words(importer: Importer) -> None:
    await importer(HEADER + "C-1,Zoé,fr,,,-5\nC-2,Ann,en,,,5.5\nC-3,Bob,en,,,many\n")

    assert [(fault.line, fault.words) for fault in importer.faults] == [
        (2, "Input should be greater than or equal to 0"),
        (3, "is no whole number such as 120"),
        (4, "is no whole number such as 120"),
    ]


@pytest.mark.parametrize("character", ["\u2028", "\u202e", "\u2067"])
async def test_a_name_that_turns_the_screen_around_is_a_bad_row(importer: Importer, character: str) -> None:
    done = await importer(HEADER + f"C-1,An{character}evil,en,,,\n")

    assert (done.bad, importer.faults) == (1, [Fault(2, "given_name", "holds a control character")])


async def test_a_quote_that_is_never_closed_costs_its_own_row_only(importer: Importer) -> None:
    rows = "".join(f"C-{number},Ann,en,,,\n" for number in range(2, 60))

    done = await importer(HEADER + 'C-1,"Ann,en,,,\n' + rows)

    assert (done.new, done.bad) == (58, 1)
    assert [fault.line for fault in importer.faults] == [2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"customer_id": "C-\xff"}', "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": "' + b"x" * LINE_BYTES_MAX + b'"}', f"is longer than {LINE_BYTES_MAX} bytes"),
    ],
)
async def test_a_line_that_is_no_object_is_a_bad_row(importer: Importer, line: bytes, words: str) -> None:
    good = json.dumps(NDJSON).encode()

    done = await importer(line + b"\n\n" + good, "c.ndjson")

    assert (done.new, done.bad) == (1, 1)
    assert importer.faults == [Fault(1, "the row", words)]


@pytest.mark.parametrize(
    "identifiers", [5, [{"scheme": ["card"], "value": "9990000000012348"}], [{"scheme": {}, "value": None}]]
)
async def test_identifiers_of_the_wrong_type_are_a_bad_row(importer: Importer, identifiers: Any) -> None:
    done = await importer(lines(NDJSON | {"customer_id": "C-2", "identifiers": identifiers}, NDJSON), "c.ndjson")

    assert (done.new, done.bad) == (1, 1)
    assert {(fault.line, fault.field) for fault in importer.faults} == {(1, "identifiers")}


async def test_csv_that_is_not_utf8_is_a_bad_row(importer: Importer) -> None:
    done = await importer(HEADER.encode() + b"C-1,Zo\xe9,fr,,,\nC-2,Ann,en,,,\n")

    assert (done.new, importer.faults) == (1, [Fault(2, "the row", "is not UTF-8")])


async def test_a_file_of_a_spreadsheet_with_its_mark_and_line_ends_is_read(importer: Importer) -> None:
    done = await importer(b"\xef\xbb\xbf" + TWO.replace("\n", "\r\n").encode())

    assert (done.new, done.bad) == (2, 0)


async def test_a_customer_who_stands_twice_is_a_fault_of_the_second_row(importer: Importer) -> None:
    text = HEADER + "C-1,Zoé,fr,,,1\nC-2,Ann,en,,,\nC-1,Zoë,fr,,,2\n"
    await importer(text)
    before = await importer.everything()

    again = await importer(text)

    assert importer.faults == [Fault(4, "customer_id", "the same customer stands on line 2 already")]
    assert (again.same, again.bad) == (2, 1)
    assert await importer.everything() == before


async def test_a_customer_who_stands_twice_in_different_batches_is_seen(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.people.importing.BATCH_ROWS", 2)
    rows = "".join(f"C-{number},Ann,en,,,\n" for number in (1, 2, 3, 4, 1, 5, 3))

    done = await importer(HEADER + rows)

    assert (done.new, done.bad) == (5, 2)
    assert [fault.line for fault in importer.faults] == [6, 8]
    assert importer.progress == sorted(importer.progress)
    assert importer.progress[-1] == len(HEADER + rows)


async def test_an_opening_balance_is_booked_once_and_a_difference_is_said_aloud(importer: Importer) -> None:
    await importer(TWO)

    done = await importer(TWO.replace(",120\n", ",500\n"))

    assert (done.same, done.warnings) == (2, 1)
    assert [(warning.line, warning.field) for warning in importer.warnings] == [(2, "points")]
    assert await importer.rows("SELECT customer_id, points FROM balances") == [("C-1", 120), ("C-2", 0)]
    assert await importer.rows("SELECT customer_id, points FROM openings") == [("C-1", 120)]


async def test_an_opening_balance_that_differs_is_told_of_the_row_that_was_kept(importer: Importer) -> None:
    await importer(TWO)

    await importer(HEADER + "C-1,Zoé,fr,9990000000012348,514-555-0123,500\n" + "C-1,Zoé,fr,,,120\n")

    assert [warning.line for warning in importer.warnings] == [2]
    assert [fault.line for fault in importer.faults] == [3]


async def test_a_row_is_the_whole_truth_about_its_customer(importer: Importer) -> None:
    await importer("customer_id,given_name,language,tier,card\nC-1,Zoé,fr,gold,9990000000012348\n")

    done = await importer("customer_id,given_name,language\nC-1,Zoé,fr\n")

    assert done.changed == 1
    wire, refs = (await importer.rows("SELECT wire, refs FROM customers"))[0]
    assert (json.loads(wire), json.loads(refs)) == (
        {"customer_id": "C-1", "given_name": "Zoé", "language": "fr"},
        [],
    )
    assert await importer.rows("SELECT * FROM identifiers") == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("customer_id,given_nam,language\n", 'there is no column "given_nam"; did you mean "given_name"?'),
        ("given_name,language\n", "the column customer_id is missing"),
        ("customer_id,given_name,given_name\n", "a column stands twice"),
        ("", "the column customer_id is missing"),
        ('"customer_id\n', "is not CSV"),
    ],
)
async def test_a_header_that_is_wrong_stops_the_import_before_anything(
    importer: Importer, header: str, words: str
) -> None:
    with pytest.raises(ImportFileError, match=words.replace("?", r"\?")):
        await importer(header + "C-1,Zoé,fr\n" if header else "")

    assert await importer.rows("SELECT * FROM customers") == []
    assert (await importer(TWO)).new == 2


async def test_a_file_that_cannot_be_read_is_told(importer: Importer, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="cannot be read"):
        await import_customers(tmp_path, importer.desk)


async def test_a_file_that_breaks_off_keeps_what_stands_before_and_says_so(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.people.importing.BATCH_ROWS", 2)
    text = HEADER + "".join(f"C-{number},Ann,en,,,\n" for number in range(5))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *_: io.BufferedReader(BreaksOff(text.encode())))
        with pytest.raises(ImportFileError, match="cannot be read after line 6: Input/output error"):
            await import_customers(Path("customers.csv"), importer.desk)

    assert await importer.rows("SELECT count(*) FROM customers") == [(5,)]
    assert importer.progress[-1] == len(text)
    assert (await importer(text)).same == 5


async def test_a_complaint_that_cannot_be_told_is_not_taken_for_the_files(importer: Importer, tmp_path: Path) -> None:
    def closed(_: Fault) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    path = tmp_path / "customers.csv"
    path.write_text(HEADER + "C-1,Ann,xx,,,\n", encoding="utf-8")

    with pytest.raises(BrokenPipeError):
        await import_customers(path, replace(importer.desk, on_fault=closed))


async def test_a_customer_who_leaves_is_taken_off_every_till(importer: Importer) -> None:
    await importer(TWO)

    done = await importer("customer_id,gone\nC-1,erased\nC-9,erased\n")

    assert (done.gone, done.same) == (1, 1)
    assert await importer.rows("SELECT customer_id FROM customers") == [("C-2",)]
    assert await importer.rows("SELECT kind, key FROM feed WHERE kind = 'erased'") == [("erased", "C-1")]


@pytest.mark.parametrize("name", ["out.ndjson", "out.csv"])
async def test_an_export_reads_back_as_the_same(importer: Importer, name: str, tmp_path: Path) -> None:
    await importer(TWO)
    rich = NDJSON | {
        "customer_id": "C-3",
        "given_name": "=HYPERLINK(1)",
        "called": "+Zoé | co",
        "preferences": [
            {"text": {"en": "a|b", "fr": "c\\d"}, "source": "counter", "noted_on": "2026-02-11"},
            {"text": {"en": "-x", "fr": "@y"}, "source": "app", "noted_on": "2026-02-12"},
        ],
        "clv": {"amount_minor": 1, "currency": "CAD", "as_of": "2026-03-01", "model": "m"},
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
    await importer(lines(rich), "rich.ndjson")
    exported = await importer.exported(name)

    again = await importer(exported, name)
    assert (again.same, again.rows, again.warnings) == (3, 3, 0)

    async with desk(HubConfig(hub=HubSection(state=tmp_path / "other"))) as (writer, founding):
        other = Importer(writer, founding.identifier_key, tmp_path)
        assert (await other(exported, name)).new == 3
        assert await other.exported(name) == exported


async def test_no_cell_of_an_export_is_taken_for_a_formula(importer: Importer) -> None:
    await importer(lines(NDJSON | {"given_name": "=1+1", "family_name": "@x", "called": "-1"}), "c.ndjson")

    cells = (await importer.exported("out.csv")).decode().splitlines()[1].split(",")

    assert not any(cell.lstrip('"').startswith(("=", "+", "-", "@")) for cell in cells)
    assert "'+15145550123" in cells


async def test_beside_a_running_hub_batches_are_short_with_a_pause_between(importer: Importer) -> None:
    clock = FakeClock()
    rows = "".join(f"C-{number},Ann,en,,,\n" for number in range(BATCH_ROWS_BESIDE_HUB + 1))
    path = importer.folder / "many.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    seen: list[int] = []
    old = importer.desk
    beside = Desk(
        old.writer, clock, old.identifier_key, "1", old.on_fault, old.on_warning, seen.append, beside_hub=True
    )
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    done = await import_customers(path, beside)

    assert (done.new, len(seen), len(sleeps)) == (BATCH_ROWS_BESIDE_HUB + 1, 2, 2)
    assert min(sleeps) >= 0.05
