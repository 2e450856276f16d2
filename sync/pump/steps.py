"""The protocol's steps as pure functions: which answers are believed, and what an error asks for next."""

import hashlib
import json
from collections.abc import Sequence
from enum import Enum, auto

from sync.contract.chain import CHAIN_LOST, WITHHELD, digest, extend
from sync.contract.events import canonical_json
from sync.contract.protocol import (
    AppliedThrough,
    FeedPage,
    HeldEvent,
    HelloAnswer,
    IncarnationLength,
    OutcomePut,
    SnapshotChunk,
    SnapshotManifest,
    UploadAnswer,
)
from sync.hub_errors import HubBusy, HubError, HubUnreachable, MessageTooLarge
from sync.pump.ports import Batch

# A message smaller than this that is refused for its size is no event's fault: something answers 413 to everything.
REFUSAL_BYTES_MIN = 4096
WITHHELD_REASON = "message_too_large"
# The fault of a manifest that contradicts itself, or what it said before.
WRONG_MANIFEST = "wrong_manifest"


class AfterError(Enum):
    """What an upload's error asks for, besides waiting."""

    SAME_AGAIN = auto()  # the connection stands; the same range again
    HELLO = auto()  # ask the hub what it holds before anything else
    LESS = auto()  # the same events in smaller batches
    WITHHOLD = auto()  # the batch is one event, and too large for the way


def after_upload_error(error: HubError, batch: Batch) -> AfterError:
    """Return what to do after an upload failed. Nothing here ever says: drop it."""
    if isinstance(error, MessageTooLarge):
        if batch.size_bytes < REFUSAL_BYTES_MIN:
            return AfterError.HELLO
        return AfterError.LESS if len(batch.events) > 1 else AfterError.WITHHOLD
    return AfterError.SAME_AGAIN if isinstance(error, HubBusy) else AfterError.HELLO


def applied_of(asked: Sequence[IncarnationLength], answer: HelloAnswer) -> tuple[AppliedThrough, ...]:
    """Return the hub's word on each incarnation that it was told of; one it does not name it has nothing of."""
    words = {word.inc: word for word in answer.applied}
    return tuple(words.get(told.inc, AppliedThrough(inc=told.inc, through=0)) for told in asked)


def outcomes_of(held: Sequence[HeldEvent], answer: HelloAnswer) -> tuple[OutcomePut, ...]:
    """Return the final verdicts on the held events that the hub was asked about, and on no others."""
    asked = {(one.inc, one.seq) for one in held}
    return tuple(put for put in answer.outcomes if (put.inc, put.verdict.seq) in asked)


def believed_upload(batch: Batch, answer: UploadAnswer, hub_epoch: str) -> UploadAnswer:
    """Return the verdicts on a batch, no more than were asked for.

    A hub may judge only the first part of a range. `applied_through` is cut to the last verdict, so that nothing is
    settled that has none.

    Raises:
        HubUnreachable: the answer is from another epoch of the hub, or to another question.
    """
    if answer.hub_epoch != hub_epoch:
        raise HubUnreachable("foreign_epoch")
    seqs = [verdict.seq for verdict in answer.results]
    asked = list(range(batch.first, batch.last + 1))
    if not seqs or seqs != asked[: len(seqs)] or answer.applied_through < seqs[-1]:
        raise HubUnreachable("wrong_range")
    chain = answer.chain if answer.applied_through == seqs[-1] else None
    return answer.model_copy(update={"applied_through": seqs[-1], "chain": chain})


def believed_page(cursor: str, page: FeedPage, hub_epoch: str) -> FeedPage:
    """Return a page that continues the feed.

    Raises:
        HubUnreachable: it is from another epoch of the hub, or it does not move the cursor and says there is more.
    """
    if page.hub_epoch != hub_epoch:
        raise HubUnreachable("foreign_epoch")
    if page.cursor == cursor and (page.more or page.changes):
        raise HubUnreachable("feed_stands_still")
    return page


def believed_manifest(known: SnapshotManifest | None, seen: SnapshotManifest, hub_epoch: str) -> SnapshotManifest:
    """Return a manifest that is of this hub, and continues the one that is being loaded.

    Raises:
        HubUnreachable: it does not.
    """
    if seen.hub_epoch != hub_epoch:
        raise HubUnreachable("foreign_epoch")
    if [chunk.number for chunk in seen.chunks] != list(range(1, len(seen.chunks) + 1)):
        raise HubUnreachable(WRONG_MANIFEST)
    if known is None:
        return seen
    same = (known.snapshot_id, known.cursor, known.chunks) == (
        seen.snapshot_id,
        seen.cursor,
        seen.chunks[: len(known.chunks)],
    )
    if not same:
        raise HubUnreachable(WRONG_MANIFEST)
    return seen


def believed_chunk(chunk: SnapshotChunk, data: bytes) -> bytes:
    """Return a chunk whose bytes have the manifest's hash.

    Raises:
        HubUnreachable: they have not.
    """
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise HubUnreachable("wrong_chunk")
    return data


def settled_chain(batch: Batch, answer: UploadAnswer) -> bytes | None:
    """Return the chain behind the last event that an answer settles.

    Our own reckoning, and not the hub's word: only so would a fork be seen. But of an event that was lost here with its
    digest the hub alone may know.
    """
    links = batch.links[: answer.applied_through - batch.first + 1]
    if batch.before != CHAIN_LOST and all(one.is_known for one in links):
        return extend(batch.before, links)
    return bytes.fromhex(answer.chain) if answer.chain is not None else None


def withheld_marker(event: str) -> str:
    """Return the event that goes in place of one the network refuses: same identity, its type, size and digest."""
    envelope = json.loads(event)
    marker = {
        **{name: value for name, value in envelope.items() if name != "subject"},
        "type": WITHHELD,
        "data": {"type": envelope["type"], "size": len(event.encode()), "digest": digest(event).hex()},
    }
    return canonical_json(marker)
