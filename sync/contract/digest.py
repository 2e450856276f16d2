"""The digest of what a terminal's cache must hold as of one position of the feed: 256 sums, the same on both ends.

A row of a cache is one of three facts: a customer has points, an identifier leads to a customer, points wait on a
bare card. Each fact is a number of 128 bits, and a bucket is the sum of its facts. A sum has no order, so each end
reads its rows as they lie, in pieces; and a single bucket can be compared and repaired by itself.

Profiles are no part of it. Their texts gain fields from version to version, and an older terminal that leaves a field
out would differ for ever; what decides which person a card shows and how many points they have does not change.

    K(customer)   = the first 16 bytes of SHA-256(the customer's id in UTF-8)
    the facts     = SHA-256("customer" K points), SHA-256("identifier" I K), SHA-256("card" I points)
                    with I the 16 bytes of an identifier's id, and points as ASCII decimals
    a fact counts as its first 16 bytes, as an unsigned number with the most significant byte first
    its bucket    = the first byte of K, for a card the first byte of I
    a sum         = the sum of the bucket's facts, modulo 2**128, in 32 hexadecimal digits
"""

import hashlib
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from sync.contract.customers import Code, Value
from sync.contract.protocol import CardPut, CustomerPut

BUCKETS = 256
KEY_BYTES = 16
_MODULUS = 1 << 128

_sha256 = hashlib.sha256

BucketSum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class DigestAnswer(Value):
    """`GET /v1/digest?cursor`: the sums as of a position that is not before the cursor."""

    hub_epoch: Code
    cursor: str = Field(max_length=200)
    as_of: AwareDatetime
    buckets: tuple[BucketSum, ...] = Field(min_length=BUCKETS, max_length=BUCKETS)


class BucketAnswer(Value):
    """`GET /v1/digest/{bucket}`: all rows of one bucket as of a position, as changes of the feed."""

    hub_epoch: Code
    cursor: str = Field(max_length=200)
    bucket: int = Field(ge=0, lt=BUCKETS)
    changes: tuple[Annotated[CustomerPut | CardPut, Field(discriminator="op")], ...]


class Sums:
    """The sums of the facts so far."""

    def __init__(self) -> None:
        self._sums = [0] * BUCKETS

    def add_customer(self, key: bytes, points: int) -> None:
        """Add that a customer has points; `key` is `customer_key` of it."""
        self._sums[key[0]] += int.from_bytes(_sha256(b"customer%b%d" % (key, points)).digest()[:16])

    def add_identifier(self, identifier: bytes, key: bytes) -> None:
        """Add that an identifier leads to a customer."""
        self._sums[key[0]] += int.from_bytes(_sha256(b"identifier%b%b" % (identifier, key)).digest()[:16])

    def add_card(self, identifier: bytes, points: int) -> None:
        """Add that points wait on an identifier itself."""
        self._sums[identifier[0]] += int.from_bytes(_sha256(b"card%b%d" % (identifier, points)).digest()[:16])

    def buckets(self) -> tuple[str, ...]:
        """Return the sums as they are written."""
        return tuple(f"{number % _MODULUS:032x}" for number in self._sums)


def customer_key(customer_id: str) -> bytes:
    """Return the 16 bytes that stand for a customer; the first one is its bucket."""
    return _sha256(customer_id.encode()).digest()[:KEY_BYTES]
