"""Placing: which stream each event of an upload belongs to, and which of them the books hold already.

Most uploads continue their incarnation. One of another history is kept in a fork beside it, under the seqs it came
with, so that nothing of either side is lost or mixed up.
"""

from typing import NamedTuple

from sync.contract.chain import CHAIN_LOST, extend
from sync.hub.uploads.forks import Agreement, History, agreement, fork_name
from sync.hub.uploads.streams import Stream, begin_fork, forks_of, kept_links, open_stream
from sync.hub.uploads.upload import Upload
from sync.runtime.sqlite_file import Connection

_NONE = Agreement(0, continues=False)


class Gap(Exception):
    """The range begins beyond the next seq: send from `applied_through` + 1."""

    def __init__(self, applied_through: int) -> None:
        super().__init__(f"the hub holds this incarnation through {applied_through}")
        self.applied_through = applied_through


class Piece(NamedTuple):
    """A run of an upload's events, from index `first` to before `end`, and the stream of them.

    The books hold the first `repeated` of them.
    """

    stream: Stream
    first: int
    repeated: int
    end: int


def place(connection: Connection, upload: Upload) -> list[Piece]:
    """Return where the events of an upload belong, in their order. A fork that is new is begun.

    Raises:
        Gap: the range begins beyond the next seq.
    """
    sender, end = upload.sender, len(upload.items)
    stream = open_stream(connection, sender.terminal_id, sender.inc)
    is_behind_a_gap = upload.first > stream.through + 1
    if upload.proof is None:
        if is_behind_a_gap:
            raise Gap(stream.through)
        return [Piece(stream, 0, min(stream.through - upload.first + 1, end), end)]
    found = _agreement(connection, stream, upload, 0)
    if found.continues:
        return [Piece(stream, 0, found.same, end)]
    pieces = [Piece(stream, 0, found.same, found.same)] if found.same else []
    return pieces + _forked(connection, upload, found.same, stream.through if is_behind_a_gap else None)


def _forked(connection: Connection, upload: Upload, at: int, gap_behind: int | None) -> list[Piece]:
    """Return where the events from index `at` on belong, which are not those of their incarnation.

    Raises:
        Gap: they continue no fork, and the incarnation ends at `gap_behind`.
    """
    sender, end = upload.sender, len(upload.items)
    forks = forks_of(connection, sender.terminal_id, sender.inc)
    pieces: list[Piece] = []
    while at < end:
        found = [(fork, _agreement(connection, fork, upload, at)) for fork in forks]
        fork, best = max(found, key=lambda one: (one[1].continues, one[1].same), default=(None, _NONE))
        if fork is None or not (best.continues or best.same):
            if gap_behind is not None and not pieces:
                raise Gap(gap_behind)
            fork, best = _new_fork(connection, upload, at), Agreement(0, continues=True)
        piece = Piece(fork, at, best.same, end if best.continues else at + best.same)
        pieces.append(piece)
        at = piece.end
    return pieces


def _agreement(connection: Connection, stream: Stream, upload: Upload, at: int) -> Agreement:
    """Compare an upload from index `at` on with what a stream holds."""
    first = upload.first + at
    held = kept_links(connection, stream, first, min(upload.last, stream.through)) if first <= stream.through else []
    history = History(stream.first, stream.through, stream.chain)
    return agreement(history, held, first, upload.links[at:], _chain_before(upload, at))


def _new_fork(connection: Connection, upload: Upload, at: int) -> Stream:
    sender, seq = upload.sender, upload.first + at
    name = fork_name(sender.inc, seq, upload.links[at])
    return begin_fork(connection, sender.terminal_id, sender.inc, name, seq, _chain_before(upload, at))


def _chain_before(upload: Upload, at: int) -> bytes:
    before = upload.proof.before if upload.proof is not None else b""
    return before if before == CHAIN_LOST else extend(before, upload.links[:at])
