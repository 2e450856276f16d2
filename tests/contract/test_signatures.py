"""Signed uploads: what was changed on the way is refused, and only the running process of a terminal is listened to."""

import json
from dataclasses import replace

import pytest

from sync.contract.chain import (
    CHAIN_LOST,
    GONE,
    PROOF_HEADER,
    WITHHELD,
    Proof,
    Stretch,
    chain_start,
    extend,
    link,
    write_proof,
)
from sync.contract.events import canonical_json
from sync.contract.protocol import Outcome, Reason
from sync.contract.signing import Prover
from sync.hub_errors import HubRefused
from tests.support.hub_twins import copied, length, twin, verdicts
from tests.support.wire_till import Stream, WireTill, random_card, random_key


async def good_proof(till: WireTill, stream: Stream) -> Proof:
    batch = stream.batch()
    fence = (await till.hello(length(stream))).fence
    stretch = Stretch(till.enrolment.terminal_id, stream.inc, 1, batch.links)
    return Prover(till.run, till.key).proof(stretch, batch.before, fence)


async def put(till: WireTill, stream: Stream, events: list[str], proof: str) -> tuple[int, str | None]:
    path = f"{till.enrolment.terminal_id}/{stream.inc}/1"
    status, answer = await till.raw_put(path, f"[{','.join(events)}]".encode(), **{PROOF_HEADER: proof})
    return status, answer.get("code")


async def test_a_changed_upload_is_refused_whole_and_the_right_one_is_taken_after_it(till: WireTill) -> None:
    stream = till.stream()
    for _ in range(2):
        stream.sale(random_card())
    proof = await good_proof(till, stream)
    one, two = stream.events
    marker = canonical_json(json.loads(one) | {"type": WITHHELD, "data": {"digest": link(one).digest.hex()}})
    extra = till.stream()
    extra.inc, extra.events = stream.inc, list(stream.events)
    extra.sale(random_card())
    for sent in (
        [one, two.replace('"net_minor":1000', '"net_minor":9000', 1)],
        [one],
        extra.events,
        [marker, two],
    ):
        assert await put(till, stream, sent, write_proof(proof)) == (400, "signature_invalid")
    for wrong in (
        replace(proof, signature=bytes(64)),
        replace(proof, before=bytes(32)),
        replace(proof, fence=proof.fence + 1),
        Prover(till.run, random_key()).proof(
            Stretch(till.enrolment.terminal_id, stream.inc, 1, stream.batch().links), proof.before, proof.fence
        ),
    ):
        assert await put(till, stream, stream.events, write_proof(wrong)) == (400, "signature_invalid")
    for header in ("", "nonsense", f'by="{till.run}"'):
        assert await put(till, stream, stream.events, header) == (400, "signature_invalid")

    assert await put(till, stream, stream.events, write_proof(proof)) == (200, None)
    assert (await stream.put()).results[0].outcome is Outcome.DUPLICATE


async def test_members_of_the_proof_may_come_in_any_order_and_unknown_ones_with_them(till: WireTill) -> None:
    stream = till.stream()
    stream.sale(random_card())
    members = write_proof(await good_proof(till, stream)).split(", ")

    assert await put(till, stream, stream.events, ", ".join(["alg=ed25519", *reversed(members)])) == (200, None)


async def test_the_hub_says_the_chain_where_it_stands(till: WireTill) -> None:
    stream = till.stream()
    for _ in range(3):
        stream.sale(random_card())
    chain = extend(chain_start(till.enrolment.terminal_id, stream.inc), map(link, stream.events))

    answer = await stream.put()
    (held,) = (await till.hello(length(stream))).applied

    assert (answer.chain, held.through, held.chain) == (chain.hex(), 3, chain.hex())


async def test_a_till_that_lost_its_chain_goes_on_and_is_told_it(till: WireTill) -> None:
    stream = till.stream()
    for _ in range(4):
        stream.sale(random_card())
    await stream.put(1, 3)

    answer = await stream.put(2, before=CHAIN_LOST)

    assert verdicts(answer) == [(Outcome.DUPLICATE, None)] * 2 + [(Outcome.APPLIED, None)]
    chain = extend(chain_start(till.enrolment.terminal_id, stream.inc), map(link, stream.events))
    assert answer.chain == chain.hex()


@pytest.mark.parametrize("kind", [WITHHELD, GONE])
async def test_a_marker_goes_in_an_events_place_and_the_chain_is_the_same(till: WireTill, kind: str) -> None:
    stream = till.stream()
    for _ in range(2):
        stream.sale(random_card())
    marked = copied(stream, till)
    stands_for = json.loads(stream.events[0])
    del stands_for["subject"]
    data = {"digest": link(stream.events[0]).digest.hex()}
    marked.events[0] = canonical_json(stands_for | {"type": kind, "data": data})

    assert verdicts(await marked.put(1, 1)) == [(Outcome.PARKED, Reason.UNKNOWN_TYPE)]
    assert verdicts(await stream.put(2)) == [(Outcome.APPLIED, None)]


async def test_a_restarted_process_sends_what_is_left_and_the_dead_one_is_not_listened_to(till: WireTill) -> None:
    old = Stream(till, till.run)
    for _ in range(3):
        old.sale(random_card())
    await old.put(1, 1)
    restarted = twin(till)
    fence = (await restarted.hello(length(old))).fence

    assert (await restarted.hello(length(old))).fence == fence
    for _ in range(2):
        with pytest.raises(HubRefused, match="hello_required"):
            await old.put(2)
    new = Stream(restarted, restarted.run)
    new.sale(random_card())
    assert verdicts(await copied(old, restarted).put(1)) == [(Outcome.DUPLICATE, None)] + [(Outcome.APPLIED, None)] * 2
    assert verdicts(await new.put()) == [(Outcome.APPLIED, None)]
