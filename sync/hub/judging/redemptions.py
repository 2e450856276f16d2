"""Redemptions: what it means that a till gave something for points, given the books. Pure: no SQL, no clock.

A redemption is never refused for lack of points: the customer has the goods. What an allowance covers was reserved for
it; beyond that free points pay; the rest is the store's risk, and in nobody's balance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sync.contract.events import PointsRedeemed, RedemptionReversed
from sync.contract.protocol import Outcome, Reason
from sync.hub.judging.bookings import Accounts
from sync.hub.judging.verdicts import Decision


@dataclass(frozen=True, slots=True)
class Reserve:
    """An allowance in the books. `account` is the customer whose points it holds now; merges change it."""

    terminal_id: str
    account: str
    amount: int
    spent: int
    is_open: bool = True

    @property
    def rest(self) -> int:
        """The points that it still holds."""
        return self.amount - self.spent if self.is_open else 0


@dataclass(frozen=True, slots=True)
class Redemption:
    """A redemption in the books: `booked` points were the customer's, `covered` of them by allowances.

    `risk` is what was the store's, but for the goodwill.
    """

    event: int
    terminal_id: str
    identifier: str
    points: int
    reward_id: str | None
    booked: int
    goodwill: int = 0
    risk: int = 0
    covered: Mapping[str, int] = field(default_factory=dict)
    is_reversed: bool = False


@dataclass(frozen=True, slots=True)
class Redeeming:
    """The verdict on a redemption, what it leaves in the books, and the points that each allowance loses."""

    decision: Decision
    redemption: Redemption | None = None
    spent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Undoing:
    """The verdict on a redemption's reversal, and the points that each allowance gets back."""

    decision: Decision
    grown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A redemption as it came: its event's number, the terminal, and the identifier that was scanned."""

    event: int
    terminal_id: str
    identifier: str | None
    fact: PointsRedeemed


def judge_redemption(
    claim: Claim,
    earlier: Redemption | None,
    reserves: Mapping[str, Reserve],
    accounts: Accounts,
    *,
    is_recovering: bool = False,
) -> Redeeming:
    """Return the verdict on a redemption.

    Args:
        claim: what the terminal says happened.
        earlier: what the books hold under the same store and redemption id already.
        reserves: the allowances that it names, as far as the books know them.
        accounts: the points of the customer.
        is_recovering: not all allowances are known again, so what none covers cannot be judged yet.
    """
    identifier, fact = claim.identifier, claim.fact
    if identifier is None:
        return Redeeming(Decision(Outcome.REJECTED, Reason.BAD_EVENT))
    if earlier is not None:
        is_same = (earlier.identifier, earlier.points, earlier.reward_id) == (identifier, fact.points, fact.reward_id)
        conflict = Decision(Outcome.REJECTED, Reason.REDEMPTION_CONFLICT)
        return Redeeming(Decision(Outcome.APPLIED) if is_same else conflict)
    account = accounts.account(identifier)
    spent: dict[str, int] = {}
    for share in fact.shares:
        reserve = reserves.get(share.allowance_id)
        if reserve is not None and reserve.terminal_id == claim.terminal_id and reserve.rest:
            spent[share.allowance_id] = min(share.points, reserve.rest)
    # One that stands for somebody else by now, after an unmerge, counts as spent there, and pays nothing here.
    covered = {one: points for one, points in spent.items() if reserves[one].account == account}
    due, reserved = fact.points - fact.goodwill, sum(covered.values())
    if accounts.is_nobodys(identifier):
        booked = due
    else:
        backed = min(reserved, max(accounts.posted(account), 0))
        booked = backed + min(due - reserved, accounts.free(account))
        if is_recovering and (due > reserved or backed < reserved):
            return Redeeming(Decision(Outcome.PARKED, Reason.HUB_RECOVERING))
    redemption = Redemption(
        claim.event,
        claim.terminal_id,
        identifier,
        fact.points,
        fact.reward_id,
        booked,
        goodwill=fact.goodwill,
        risk=due - booked,
        covered=covered,
    )
    return Redeeming(Decision(Outcome.APPLIED, points=-booked), redemption, spent)


def judge_undoing(
    fact: RedemptionReversed,
    terminal_id: str,
    redemption: Redemption | None,
    undone_before: str | None,
    reserves: Mapping[str, Reserve],
    accounts: Accounts,
) -> Undoing:
    """Return the verdict on a redemption's reversal. Undone once, the points are back; again changes nothing.

    Args:
        fact: what the terminal says happened.
        terminal_id: the terminal that says so; only its own allowances grow back.
        redemption: what it names, or None where the books do not hold it yet.
        undone_before: the redemption that the books know the same reversal id for, if any.
        reserves: the allowances that covered it.
        accounts: the points of the customer.
    """
    if undone_before is not None and undone_before != fact.redemption_id:
        return Undoing(Decision(Outcome.REJECTED, Reason.REVERSAL_CONFLICT))
    if redemption is None:
        return Undoing(Decision(Outcome.PARKED, Reason.WAITS_FOR_REDEMPTION))
    if redemption.is_reversed:
        return Undoing(Decision(Outcome.APPLIED))
    decision = Decision(Outcome.APPLIED, points=redemption.booked)
    if not accounts.grows_back:
        return Undoing(decision)
    grown: dict[str, int] = {}
    left = 0 if accounts.is_nobodys(redemption.identifier) else redemption.booked
    account = accounts.account(redemption.identifier)
    for allowance_id, points in sorted(redemption.covered.items()):
        reserve = reserves.get(allowance_id)
        if reserve is None or not reserve.is_open or (reserve.terminal_id, reserve.account) != (terminal_id, account):
            continue
        if back := min(points, left):
            grown[allowance_id] = back
            left -= back
    return Undoing(decision, grown)
