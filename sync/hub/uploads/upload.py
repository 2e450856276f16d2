"""An upload as it came in: whose events, what they say, and the proof that they are all that was sent, as it was sent.

Pure. A terminal whose key the hub knows proves each upload; one that was enrolled before terminals had keys does not
need to, until its first hello told the hub its key.
"""

from dataclasses import dataclass

from sync.contract.chain import Link, Proof, Stretch, link, read_proof
from sync.contract.signing import is_proven
from sync.hub.uploads.batch import Item, Sender, read_batch


class SignatureInvalid(ValueError):
    """The upload is not as the terminal signed it, or it is not signed: nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Consecutive events of one incarnation, from seq `first` on; `proof` is None where none was needed."""

    sender: Sender
    first: int
    items: tuple[Item, ...]
    links: tuple[Link, ...]
    proof: Proof | None = None

    @property
    def last(self) -> int:
        """The seq of the last event."""
        return self.first + len(self.items) - 1


def read_upload(body: bytes, sender: Sender, first: int, proof: str = "") -> Upload:
    """Return an upload whose proof stands; `proof` is its header.

    Raises:
        NoBatch, TooMany, WrongPlace: it holds no events, too many, or another's (sync.hub.uploads.batch).
        SignatureInvalid: it is not proven, and should be.
    """
    items = read_batch(body, sender, first)
    links = tuple(link(item.raw) for item in items)
    if sender.public_key is None:
        return Upload(sender, first, items, links)
    proven = read_proof(proof)
    if proven is None:
        raise SignatureInvalid("the upload carries no proof, or one that cannot be read")
    if not is_proven(sender.public_key, Stretch(sender.terminal_id, sender.inc, first, links), proven):
        raise SignatureInvalid("the upload is not as the terminal signed it")
    return Upload(sender, first, items, links, proven)
