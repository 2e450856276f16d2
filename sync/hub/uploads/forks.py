"""Forks: does an upload continue a history that the hub holds, or did two processes go on from the same point? Pure.

Histories are told apart by their chains. What both have in common is repeated from the books; from the first event on
that differs, it is a fork, and is kept beside.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sync.contract.chain import CHAIN_LOST, Link, extend


class History(NamedTuple):
    """What the hub holds of one history: its events `first` to `through`, and the chain behind the last."""

    first: int
    through: int
    chain: bytes


class Agreement(NamedTuple):
    """How many of an upload's first events a history has as they are, and whether the rest continues it."""

    same: int
    continues: bool


def agreement(history: History, held: Sequence[Link], first: int, sent: Sequence[Link], before: bytes) -> Agreement:
    """Compare an upload with a history.

    Args:
        history: the one that the hub holds.
        held: the links of its events from seq `first` on, at least as far as both reach.
        first: the seq of the upload's first event.
        sent: the upload's links.
        before: the chain before them, as the terminal has it; where it lost it, what both have is compared alone.
    """
    if not history.first <= first <= history.through + 1:
        return Agreement(0, continues=False)
    both = min(len(sent), history.through - first + 1)
    # A marker for an event that is lost with its digest says nothing against what the hub holds.
    same = next(
        (at for at in range(both) if sent[at].is_known and sent[at].digest != held[at].digest),
        both,
    )
    if same < both:
        return Agreement(same, continues=False)
    is_all_held = len(sent) == same and history.through > first + same - 1
    is_believed = before == CHAIN_LOST or any(not link.is_known for link in sent[:same])
    return Agreement(same, is_all_held or is_believed or extend(before, sent[:same]) == history.chain)


def fork_name(inc: str, seq: int, link: Link) -> str:
    """Return the incarnation that a fork is kept under; the same fork gets the same."""
    return hashlib.sha256(f"storesync/1 fork {inc} {seq} {link.digest.hex()}".encode()).hexdigest()[:16]
