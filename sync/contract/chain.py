"""The chain over an incarnation's events, and the proof that an upload carries: nothing on the way can change it. Pure.

    chain at 0 = sha256("storesync/1 <terminal_id> <inc>")
    chain at n = sha256(chain at n-1, digest of event n)

The digest of an event is the sha256 of its canonical JSON. A marker that goes in an event's place names the digest of
that event and links with it, so the chain is the same whichever of the two was sent. A marker for an event that is lost
with its digest links with its own: `is_known` is False, and it says nothing about what stood in its place.

A terminal signs the head of the chain of each upload, and the body as it is sent, because of two bodies with one chain
(an event, or its marker) only one was meant.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# The types of the markers. No hub knows them as events: it parks a marker and goes on with the next event.
# For an event that the network refuses to carry: the terminal keeps it.
WITHHELD = "loyalty.withheld.v1"
# For an event that the terminal keeps no more: pruned, or lost with a damaged file.
GONE = "loyalty.gone.v1"

# The header of an upload that carries its proof: a dictionary of RFC 9651.
PROOF_HEADER = "Upload-Proof"

DIGEST_BYTES = 32
SIGNATURE_BYTES = 64
# In the place of the chain before an upload, where the terminal lost it together with the digest of an event.
CHAIN_LOST = bytes(DIGEST_BYTES)

_MARKS = tuple(f'"type":"{kind}"' for kind in (WITHHELD, GONE))
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_INC = re.compile(r"[0-9a-f]{16}")
_MEMBER = re.compile(
    r'\s*(?P<key>[a-z][a-z0-9_.*-]*)=(?:"(?P<text>[^"\\]{0,200})"|:(?P<octets>[A-Za-z0-9+/=]{0,200}):'
    r"|(?P<number>[0-9]{1,15})|(?P<token>[A-Za-z?][^\s,;]{0,200}))\s*(?:,|$)"
)


class Link(NamedTuple):
    """What one event, or its marker, adds to the chain; `sent` is the hash of the text that was sent for it."""

    digest: bytes
    sent: bytes
    is_known: bool = True


def digest(event: str) -> bytes:
    """Return the digest of an event given as its canonical JSON."""
    return hashlib.sha256(event.encode()).digest()


def link(text: str) -> Link:
    """Return the link of an event or a marker given as its canonical JSON."""
    own = digest(text)
    # The quotes of a value are escaped in JSON, so these letters are a member wherever they stand.
    if not any(mark in text for mark in _MARKS):
        return Link(own, own)
    document = json.loads(text)
    if document.get("type") not in (WITHHELD, GONE):
        return Link(own, own)
    named = _named(document.get("data"))
    return Link(own, own, is_known=False) if named is None else Link(named, own)


def chain_start(terminal_id: str, inc: str) -> bytes:
    """Return the chain before the first event of an incarnation."""
    return hashlib.sha256(f"storesync/1 {terminal_id} {inc}".encode()).digest()


def extend(chain: bytes, links: Iterable[Link]) -> bytes:
    """Return the chain behind these links."""
    for one in links:
        chain = hashlib.sha256(chain + one.digest).digest()
    return chain


class Stretch(NamedTuple):
    """Consecutive events of one incarnation, by their links, as one upload sends them."""

    terminal_id: str
    inc: str
    first: int
    links: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Proof:
    """What an upload carries besides its events: the chain before them, and a signature.

    `by` is the incarnation of the process that sends, which need not be the one whose events they are; `fence` is the
    number that the hub gave it at its last hello. `before` is CHAIN_LOST where the terminal does not know it any more.
    """

    by: str
    fence: int
    before: bytes
    signature: bytes = b""


def statement(stretch: Stretch, proof: Proof) -> bytes:
    """Return what the signature of an upload is over."""
    last = stretch.first + len(stretch.links) - 1
    body = hashlib.sha256(b"".join(one.sent for one in stretch.links))
    lines = (
        "storesync/1 upload",
        stretch.terminal_id,
        stretch.inc,
        str(stretch.first),
        str(last),
        proof.by,
        str(proof.fence),
        proof.before.hex(),
        extend(proof.before, stretch.links).hex(),
        body.hexdigest(),
    )
    return "\n".join(lines).encode()


def write_proof(proof: Proof) -> str:
    """Return the value of the proof's header."""
    before, signature = (base64.b64encode(octets).decode() for octets in (proof.before, proof.signature))
    return f'by="{proof.by}", fence={proof.fence}, before=:{before}:, signature=:{signature}:'


def read_proof(header: str) -> Proof | None:
    """Return what a proof's header says, or None where it is none. Members in any order, unknown ones ignored."""
    members: dict[str, str | int | bytes] = {}
    place = 0
    while place < len(header):
        found = _MEMBER.match(header, place)
        if found is None:
            return None
        try:
            members[found["key"]] = _value(found)
        except binascii.Error:
            return None
        place = found.end()
    match members:
        case {"by": str(by), "fence": int(fence), "before": bytes(before), "signature": bytes(signature)}:
            is_whole = _INC.fullmatch(by) and len(before) == DIGEST_BYTES and len(signature) == SIGNATURE_BYTES
            return Proof(by, fence, before, signature) if is_whole else None
    return None


def _value(found: re.Match[str]) -> str | int | bytes:
    if found["octets"] is not None:
        return base64.b64decode(found["octets"], validate=True)
    return int(found["number"]) if found["number"] is not None else found["text"] or ""


def _named(data: Mapping[str, Any] | None) -> bytes | None:
    """Return the digest that a marker's data names, or None."""
    named = data.get("digest") if isinstance(data, dict) else None
    return bytes.fromhex(named) if isinstance(named, str) and _HEX_DIGEST.fullmatch(named) else None
