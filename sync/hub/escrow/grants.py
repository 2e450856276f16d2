"""Grants: how many points of a customer a terminal may get. Pure.

Only free points are ever granted: posted ones that no other allowance holds. So whatever every till does with what it
holds, in whatever order the hub hears of it, the sum of all spends stays within what was posted.
"""

from dataclasses import dataclass

from sync.contract.allowance import free
from sync.contract.program import Program


@dataclass(frozen=True, slots=True)
class Purse:
    """A customer's points as the books stand: posted, reserved in all, of that for the asking terminal, and its store.

    What is held by allowances that were recalled, or whose life is over, counts as reserved and as held by nobody.
    """

    posted: int
    reserved: int
    held: int
    held_at_store: int = 0

    @property
    def free(self) -> int:
        """The posted points that no allowance holds."""
        return free(self.posted, self.reserved)


def grant_of(purse: Purse, wanted: int, at_most: int) -> int:
    """Return the points to reserve so that a terminal holds what it wants, or as much of it as is free."""
    missing = min(wanted, at_most) - purse.held
    return max(min(missing, purse.free), 0)


def prefetch_of(purse: Purse, program: Program, tills: int) -> int:
    """Return the points to reserve for a likely visitor: an even share of what the store's tills could hold.

    Nothing where the terminal would not hold enough for the cheapest reward, or has its share.
    """
    if not program.rewards:
        return 0
    cheapest = min(reward.points for reward in program.rewards)
    even = (purse.free + purse.held_at_store) // max(tills, 1)
    grant = grant_of(purse, max(even, cheapest), program.redemption.per_customer_offline_max)
    return grant if purse.held + grant >= cheapest else 0
