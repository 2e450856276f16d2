import base64
import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.contract.chain import (
    GONE,
    WITHHELD,
    Proof,
    Stretch,
    chain_start,
    digest,
    extend,
    link,
    read_proof,
    statement,
    write_proof,
)
from sync.contract.events import canonical_json
from sync.contract.signing import Prover, SigningKey, is_proven, is_signed

TERMINAL, INC = "till-1", "0" * 16
KEY = SigningKey(b"\x07" * 32)
PROVER = Prover("1" * 16, KEY)
EVENTS = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.integers()), min_size=1, max_size=6)


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def marker(kind: str, data: object) -> str:
    return canonical_json({"type": kind, "inc": INC, "seq": 2, "data": data})


def stretch(*texts: str, first: int = 1) -> Stretch:
    return Stretch(TERMINAL, INC, first, [link(text) for text in texts])


def test_the_chain_is_what_the_protocol_page_says() -> None:
    one, two = '{"seq":1}', '{"name":"Zoé","seq":2}'
    start = sha256(b"storesync/1 till-1 0000000000000000")
    first = sha256(start + sha256(one.encode()))

    assert chain_start(TERMINAL, INC) == start
    assert extend(start, [link(one), link(two)]) == sha256(first + sha256(two.encode()))


def test_the_statement_is_what_the_protocol_page_says() -> None:
    one, two = '{"seq":4}', '{"seq":5}'
    proof = Proof("1" * 16, 3, b"\x00" * 32)
    head = sha256(sha256(b"\x00" * 32 + sha256(one.encode())) + sha256(two.encode()))
    body = sha256(sha256(one.encode()) + sha256(two.encode()))

    assert statement(stretch(one, two, first=4), proof).decode().split("\n") == [
        "storesync/1 upload",
        TERMINAL,
        INC,
        "4",
        "5",
        "1" * 16,
        "3",
        "00" * 32,
        head.hex(),
        body.hex(),
    ]


@given(EVENTS, st.integers(min_value=1))
def test_a_stretch_cut_anywhere_has_the_same_chain(documents: list[dict[str, object]], cut: int) -> None:
    links = [link(canonical_json(document)) for document in documents]
    start = chain_start(TERMINAL, INC)

    assert extend(extend(start, links[:cut]), links[cut:]) == extend(start, links)


@given(EVENTS, st.data())
def test_whatever_is_altered_dropped_inserted_or_swapped_is_not_proven(
    documents: list[dict[str, object]], data: st.DataObject
) -> None:
    texts = [canonical_json(document | {"seq": seq}) for seq, document in enumerate(documents)]
    proof = PROVER.proof(stretch(*texts), chain_start(TERMINAL, INC), fence=2)
    place = data.draw(st.integers(0, len(texts) - 1))
    other = canonical_json({"another": 1})
    changed = {
        "altered": [*texts[:place], other, *texts[place + 1 :]],
        "dropped": [*texts[:place], *texts[place + 1 :]],
        "inserted": [*texts[:place], other, *texts[place:]],
        "swapped": texts[::-1],
    }

    assert is_proven(KEY.public, stretch(*texts), proof)
    for how, sent in changed.items():
        assert sent == texts or not is_proven(KEY.public, stretch(*sent), proof), how


@pytest.mark.parametrize(
    "change",
    [{"by": "2" * 16}, {"fence": 9}, {"before": b"\x01" * 32}, {"signature": b"\x00" * 64}, {"signature": b""}],
)
def test_no_member_of_a_proof_can_be_changed(change: dict[str, object]) -> None:
    sent = stretch('{"seq":1}')
    proof = PROVER.proof(sent, chain_start(TERMINAL, INC), fence=2)

    assert not is_proven(KEY.public, sent, replace(proof, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [{"terminal_id": "till-2"}, {"inc": "f" * 16}, {"first": 2}])
def test_a_proof_serves_at_its_own_place_only(place: dict[str, object]) -> None:
    sent = stretch('{"seq":1}')
    proof = PROVER.proof(sent, chain_start(TERMINAL, INC), fence=2)

    assert not is_proven(KEY.public, sent._replace(**place), proof)  # type: ignore[arg-type]


def test_another_key_and_a_text_that_is_no_key_prove_nothing() -> None:
    other = SigningKey(b"\x08" * 32)

    assert not is_signed(other.public, b"x", KEY.sign(b"x"))
    assert not is_signed("00" * 31, b"x", KEY.sign(b"x"))
    assert is_signed(KEY.public, b"x", KEY.sign(b"x"))


@pytest.mark.parametrize("kind", [GONE, WITHHELD])
def test_a_marker_links_like_the_event_that_it_stands_for(kind: str) -> None:
    event = '{"seq":2,"type":"loyalty.points.earned.v1"}'
    stands_for = marker(kind, {"digest": digest(event).hex()})

    assert link(stands_for).digest == link(event).digest
    assert link(stands_for).is_known
    assert extend(b"\x00" * 32, [link(stands_for)]) == extend(b"\x00" * 32, [link(event)])


def test_nobody_on_the_way_can_put_a_marker_in_an_events_place() -> None:
    event = '{"seq":1,"type":"loyalty.points.earned.v1"}'
    proof = PROVER.proof(stretch(event), chain_start(TERMINAL, INC), fence=0)

    assert not is_proven(KEY.public, stretch(marker(WITHHELD, {"digest": digest(event).hex()})), proof)


@pytest.mark.parametrize("data", [{}, {"digest": "00"}, {"digest": 7}, {"digest": "G" * 64}, [], None])
def test_a_marker_without_a_digest_links_with_its_own_and_says_so(data: object) -> None:
    text = marker(GONE, data)

    assert link(text) == (sha256(text.encode()), sha256(text.encode()), False)


def test_an_event_that_only_speaks_of_a_marker_is_none() -> None:
    text = canonical_json({"type": "loyalty.points.earned.v1", "data": {"type": GONE, "digest": "0" * 64}})

    assert link(text) == (digest(text), digest(text), True)
    assert link(json.dumps({"type": f'"type":"{GONE}"'})).is_known


def test_the_header_is_read_as_it_was_written() -> None:
    proof = PROVER.proof(stretch('{"seq":1}'), chain_start(TERMINAL, INC), fence=12)

    assert read_proof(write_proof(proof)) == proof


def test_the_header_may_be_written_in_any_order_and_say_more() -> None:
    signature, before = (base64.b64encode(octets).decode() for octets in (b"s" * 64, b"b" * 32))
    text = f'sent="at 7", signature=:{signature}:,alg=ed25519, fence=3,before=:{before}:,  by="{INC}"'

    assert read_proof(text) == Proof(INC, 3, b"b" * 32, b"s" * 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "by",
        f'by="{INC}"',
        f'by="{INC}", fence=x, before=:AA==:, signature=:AA==:',
        f'by="{INC}", fence=1, before=:AA==:, signature=:AA==:',
        f'by="{INC}", fence=1, before=:A:, signature=:A:',
        'by="nobody", fence=1',
        "\x00",
        "=" * 2_000,
    ],
)
def test_a_header_that_is_no_proof_is_none(text: str) -> None:
    assert read_proof(text) is None
