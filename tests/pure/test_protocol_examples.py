"""The worked examples and the limits of sync/PROTOCOL.md are those of the product's own code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from sync import hub_client, hub_line
from sync.contract import allowance, customers, events, identifiers, protocol
from sync.contract.chain import Stretch, chain_start, digest, extend, link, statement, write_proof
from sync.contract.digest import Sums, customer_key
from sync.contract.events import EARNED, REVERSED, canonical_json, event_id, event_source
from sync.contract.identifiers import Scheme, hint, identifier_id
from sync.contract.program import RedemptionRule, spread
from sync.contract.signing import Prover, SigningKey, is_proven
from sync.hub.web import routes

PAGE = (Path(__file__).parents[2] / "sync" / "PROTOCOL.md").read_text(encoding="utf-8")
LIMITS = PAGE[PAGE.index("## 16. Formats and limits") : PAGE.index("## 17. Worked examples")]
ROWS = dict(re.findall(r"^\| (.+?) \| (.+) \|$", LIMITS, re.MULTILINE))
EXAMPLES = PAGE[PAGE.index("## 17. Worked examples") :]

KEY = bytes(range(32))
TERMINAL, STORE, INC = "0195a7c8-3f00-7000-8000-000000000001", "store-1", "0123456789abcdef"
CARD, CUSTOMER = "9990000000000015", "C-1"
EMAIL, PHONE = "zoé@example.com", "+15145550123"
ID = identifier_id(KEY, Scheme.CARD, CARD)


def event(seq: int, kind: str, data: dict[str, object], subject: str | None) -> str:
    envelope = {
        "specversion": "1.0",
        "id": event_id(TERMINAL, INC, seq),
        "source": event_source(STORE, TERMINAL),
        "type": kind,
        "subject": subject,
        "time": "2026-03-09T09:00:00+00:00",
        "datacontenttype": "application/json",
        "inc": INC,
        "seq": seq,
        "bootid": "boot-1",
        "monoms": 1000 * seq,
        "data": data,
    }
    return canonical_json({name: value for name, value in envelope.items() if value is not None})


SALE = {
    "sale_id": "S-1",
    "program_version": 1,
    "currency": "CAD",
    "net_minor": 1050,
    "tax_minor": 157,
    "lines": [
        {"quantity": "1", "net_minor": 700, "points": 7},
        {"quantity": "0.350", "net_minor": 350, "points": 3},
    ],
    "points": 10,
}


def examples() -> Iterator[tuple[str, str]]:
    """Yield what the page works out, by its names there."""
    sale = event(1, EARNED, SALE, ID)
    undone = event(2, REVERSED, {"reversal_id": "R-1", "sale_id": "S-1", "note": "café\t"}, None)
    yield "identifier_key", KEY.hex()
    yield f"id of card {CARD}", ID
    yield f"id of phone {PHONE}", identifier_id(KEY, Scheme.PHONE, PHONE)
    yield f"id of email {EMAIL}", identifier_id(KEY, Scheme.EMAIL, EMAIL)
    yield "their hints", ", ".join((hint(Scheme.CARD, CARD), hint(Scheme.PHONE, PHONE), hint(Scheme.EMAIL, EMAIL)))
    nets = (195, 52, 52)
    parts = ", ".join(map(str, spread(sum(nets) // 100, nets)))
    yield "points of three lines of 195, 52 and 52, by 1 for each 100", parts
    yield "event 1", sale
    yield "event 2", undone
    links = [link(sale), link(undone)]
    yield "digest(event 1)", digest(sale).hex()
    yield "digest(event 2)", digest(undone).hex()
    chain = chain_start(TERMINAL, INC)
    yield "chain(0)", chain.hex()
    yield "chain(1)", extend(chain, links[:1]).hex()
    yield "chain(2)", extend(chain, links).hex()
    key, stretch = SigningKey(KEY), Stretch(TERMINAL, INC, 1, links)
    proof = Prover(INC, key).proof(stretch, chain, 7)
    assert is_proven(key.public, stretch, proof)
    yield "private key (seed)", KEY.hex()
    yield "public_key", key.public
    yield "signed lines, each LF written as \\n", statement(stretch, proof).decode().replace("\n", "\\n")
    yield "Upload-Proof", write_proof(proof)
    sums = Sums()
    sums.add_customer(customer_key(CUSTOMER), 42)
    sums.add_identifier(bytes.fromhex(ID), customer_key(CUSTOMER))
    bucket = customer_key(CUSTOMER)[0]
    yield f"K({CUSTOMER})", customer_key(CUSTOMER).hex()
    yield f"bucket {bucket:02x} (number {bucket}): {CUSTOMER} has 42 points and that card", sums.buckets()[bucket]
    bare = Sums()
    bare.add_card(bytes.fromhex(ID), 5)
    number = int(ID[:2], 16)
    yield f"bucket {ID[:2]} (number {number}): 5 points wait on that card, which is nobody's", bare.buckets()[number]


@pytest.mark.parametrize(("name", "value"), list(examples()), ids=lambda text: text[:24])
def test_a_worked_example_is_what_the_code_works_out(name: str, value: str) -> None:
    assert f"\n    {name} = {value}\n" in EXAMPLES


def test_the_page_works_out_nothing_else() -> None:
    assert re.findall(r"^    (.+?) = ", EXAMPLES, re.MULTILINE) == [name for name, _ in examples()]


def test_the_events_of_the_examples_are_events() -> None:
    for name, text in examples():
        if name.startswith("event "):
            events.read_fact(events.Event.model_validate(json.loads(text)))


PATTERNS: dict[str, Any] = {
    "id": customers.Code,
    "quantity": events.Quantity,
    "currency": customers.Currency,
    "inc": events.Incarnation,
    "identifier id": events.IdentifierId,
    "32 bytes": protocol.Digest,
}
BOUNDS = {
    "`seq`, `length`, `through`": (events.SEQ_MAX,),
    "`monoms`, `waiting`, `oldest_waiting_s`": (events.COUNT_MAX,),
    "amounts: `net_minor`, `tax_minor`, `from_minor`": (events.MONEY_MINOR_MAX,),
    "`points` of an event, `amount`, `spent`, `goodwill`": (events.POINTS_MAX,),
    "`lines`": (events.LINES_MAX,),
    "`shares`": (events.SHARES_MAX,),
    "names": (customers.NAME_CHARS_MAX,),
    "sentences, `hint`": (customers.SENTENCE_CHARS_MAX,),
    "lists of a customer": (customers.ROWS_PER_CUSTOMER_MAX, 100),
    "`value` of an identifier": (
        identifiers.IDENTIFIER_VALUE_CHARS_MAX,
        identifiers.PHONE_DIGITS_MIN,
        identifiers.PHONE_DIGITS_MAX,
    ),
    "lists of a hello": (
        protocol.INCARNATIONS_PER_HELLO_MAX,
        protocol.HELD_PER_HELLO_MAX,
        allowance.ALLOWANCES_PER_TERMINAL_MAX,
    ),
    "`presented`, `want`, `allowances`": (
        protocol.IDENTIFIERS_PER_CALL_MAX,
        allowance.WANTS_PER_CALL_MAX,
        allowance.ALLOWANCES_PER_TERMINAL_MAX,
    ),
    "what our till sends at once": (protocol.BATCH_EVENTS_MAX, protocol.BATCH_BYTES_MAX),
    "what our till waits at most": (protocol.RECONNECT_SPREAD_S_MAX, int(hub_line.RETRY_AFTER_S_MAX)),
    "a page of the feed": (protocol.FEED_CHANGES_MAX, protocol.FEED_WAIT_S_MAX),
    "answers, as our till reads them": (
        hub_line.ANSWER_BYTES_MAX,
        hub_line.PROBLEM_BYTES_MAX,
        hub_client.CHUNK_BYTES_MAX,
    ),
    "requests, as our hub reads them": (
        routes._ENROLMENT_BYTES_MAX,
        routes._HELLO_BYTES_MAX,
        routes._IDENTIFIERS_BYTES_MAX,
        routes._WANTS_BYTES_MAX,
    ),
    "a program": (10_000, 1_000_000, 24 * 31, 500),
}


@pytest.mark.parametrize("row", BOUNDS)
def test_the_page_says_each_limit_that_the_code_keeps(row: str) -> None:
    for bound in BOUNDS[row]:
        assert re.search(rf"(?<!\d)(?<!\d,){bound:,}(?!,?\d)", ROWS[row])


@pytest.mark.parametrize("name", PATTERNS)
def test_the_page_says_each_pattern_that_the_code_keeps(name: str) -> None:
    assert f"\n    {name} = {TypeAdapter(PATTERNS[name]).json_schema()['pattern']}\n" in LIMITS


def test_the_limits_of_a_program_are_still_those() -> None:
    RedemptionRule(hours_since_hello_max=744, allowance_ttl_h=744, prefetch_customers_max=500)
    for wrong in ({"hours_since_hello_max": 745}, {"allowance_ttl_h": 745}, {"prefetch_customers_max": 501}):
        with pytest.raises(ValueError, match="less than or equal"):
            RedemptionRule.model_validate(wrong)
