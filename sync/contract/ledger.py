"""The ledger's arithmetic: how posted and pending points become what is shown. Pure, and the same on both ends."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Balance:
    """Two honest numbers: `posted` by the hub, and `pending` here until a hub balance covers it."""

    posted: int
    pending: int

    @property
    def shown(self) -> int:
        """The points as the customer would count them."""
        return self.posted + self.pending


def fold(posted: int, deltas: Iterable[int]) -> Balance:
    """Return the balance: the hub's figure plus each local delta that figure does not cover.

    Coverage decides what counts as pending, never the larger of two sums: with a maximum, points were overspent
    in the random model of the rules.
    """
    return Balance(posted, sum(deltas))


def take_back(earned: int, already_taken_back: int) -> int:
    """Return the points a reversal takes: what the sale earned less what earlier reversals took, never below 0."""
    return max(earned - already_taken_back, 0)
