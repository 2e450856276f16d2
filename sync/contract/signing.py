"""Ed25519 as the protocol uses it: a terminal signs with its key, the hub checks with the key it was told. Pure."""

from dataclasses import dataclass, replace
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sync.contract.chain import Proof, Stretch, statement

SEED_BYTES = 32


class SigningKey:
    """The private key of a terminal. `public` is its public half in 64 hex digits."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 random bytes that the key is (RFC 8032).

        Raises:
            ValueError: they are not 32.
        """
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw().hex()

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Return the key whose seed these hex digits are.

        Raises:
            ValueError: they are not 64 hex digits.
        """
        return cls(bytes.fromhex(text))

    def sign(self, statement: bytes) -> bytes:
        """Return the signature, 64 bytes; some 40 µs."""
        return self._key.sign(statement)


def is_signed(public: str, statement: bytes, signature: bytes) -> bool:
    """Tell whether the holder of the private half of `public` signed this; some 110 µs."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Prover:
    """What a process of a terminal signs its uploads with: its incarnation and the terminal's key."""

    by: str
    key: SigningKey

    def proof(self, stretch: Stretch, before: bytes, fence: int) -> Proof:
        """Return the proof of an upload of this stretch, signed."""
        proof = Proof(self.by, fence, before)
        return replace(proof, signature=self.key.sign(statement(stretch, proof)))


def is_proven(public: str, stretch: Stretch, proof: Proof) -> bool:
    """Tell whether the holder of the private half of `public` sent this stretch as it is."""
    return is_signed(public, statement(stretch, proof), proof.signature)
