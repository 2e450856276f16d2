"""The purse: what this till may spend for a customer here and now, and why not more. Pure.

Points are spent only out of allowances that the hub has reserved for this till, so no till can spend what another one
spends too, line or no line. What the program lets the store give beyond them is the last resort: nothing of it counts
before everything else was tried, and a customer gets no more of it in any 24 hours than the program says.
"""

from dataclasses import dataclass
from enum import StrEnum

from sync.contract.program import RedemptionRule

# Two readings of one wall clock that are closer than this are not a clock that was set back.
CLOCK_SET_BACK_MAX_MS = 2 * 60 * 1000
# So long goodwill counts towards the most that a customer gets.
GOODWILL_COUNTS_MS = 24 * 3_600_000


class WhyNot(StrEnum):
    """Why fewer points can be spent here and now than the customer has."""

    TOO_FEW_POINTS = "too_few_points"
    """The customer does not have as many."""
    NO_ALLOWANCE = "no_allowance"
    """The hub has not reserved as many for this till; with the line up it may."""
    LIMIT = "limit"
    """More than the program lets anybody spend at once."""
    OFFLINE_LIMIT = "offline_limit"
    """More than the program lets one customer, or this till, spend without hearing from the hub."""
    FROZEN = "frozen"
    """What was spent here is not known for certain until the hub is heard: a restored file, a clock set back."""
    TOO_LONG_WITHOUT_HUB = "too_long_without_hub"
    """The hub was not heard from for longer than the program allows."""
    RESERVED_ELSEWHERE = "reserved_elsewhere"
    """Another till holds them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at both clocks. Wall in milliseconds since 1970; monotonic means nothing in another boot."""

    wall_ms: int
    monotonic_ms: int
    boot_id: str

    def elapsed_ms(self, since: "Reading") -> int:
        """Return how long ago `since` was, by whichever clock says longer; below 0 where the wall was set back."""
        wall_ms = self.wall_ms - since.wall_ms
        return max(wall_ms, self.monotonic_ms - since.monotonic_ms) if self.boot_id == since.boot_id else wall_ms

    def surely_elapsed_ms(self, since: "Reading") -> int:
        """Return how long ago `since` was, by whichever clock says shorter: putting the wall forward gains nothing."""
        wall_ms = self.wall_ms - since.wall_ms
        return min(wall_ms, self.monotonic_ms - since.monotonic_ms) if self.boot_id == since.boot_id else wall_ms


@dataclass(frozen=True, slots=True)
class Trust:
    """What this till knows of itself: whether its file is believed, when it heard the hub, the latest time it saw.

    `latest_ms` is the latest wall time that was written down since the hub was heard.
    """

    is_frozen: bool
    heard: Reading | None
    latest_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is left of one allowance."""

    allowance_id: str
    remaining: int


@dataclass(frozen=True, slots=True)
class Given:
    """Goodwill that a customer was given at this till, and when."""

    points: int
    when: Reading


@dataclass(frozen=True, slots=True)
class Purse:
    """What this till may count on for one customer, as one state of its file has it at `now`.

    `held` are living allowances, the soonest to end first. Spent is what the hub's last word does not contain, goodwill
    included: of this customer, and of everybody here. `given` is this customer's goodwill of a day or more, contained
    or not, and also of redemptions that were taken back. `is_online`: the hub's word came in for this very act, so the
    limits of a till on its own do not bind. `is_last_resort`: nothing else is left to try, so goodwill may be given.
    """

    now: Reading
    trust: Trust
    held: tuple[Held, ...] = ()
    spent: int = 0
    spent_by_all: int = 0
    given: tuple[Given, ...] = ()
    reserved_elsewhere: int = 0
    is_online: bool = False
    is_last_resort: bool = False

    @property
    def remaining(self) -> int:
        """The points that the allowances still cover."""
        return sum(one.remaining for one in self.held)


@dataclass(frozen=True, slots=True)
class Room:
    """How many points can be spent here now; None where nobody can tell. `reason` says why not all, None: all."""

    points: int | None
    reason: WhyNot | None


def bar(purse: Purse, rule: RedemptionRule) -> WhyNot | None:
    """Return what keeps this till from spending anything, or None."""
    trust, now = purse.trust, purse.now
    if trust.heard is None:
        return WhyNot.NO_ALLOWANCE
    latest_ms = max(trust.latest_ms, trust.heard.wall_ms)
    if trust.is_frozen or now.wall_ms < latest_ms - CLOCK_SET_BACK_MAX_MS:
        return WhyNot.FROZEN
    if now.elapsed_ms(trust.heard) > rule.hours_since_hello_max * 3_600_000:
        return WhyNot.TOO_LONG_WITHOUT_HUB
    return None


def room(purse: Purse, rule: RedemptionRule, shown: int) -> Room:
    """Return what a customer with `shown` points can spend here now, goodwill left out."""
    barred = bar(purse, rule)
    if barred is not None:
        return Room(None, barred)
    limit = _limit(purse, rule)
    points = max(min(purse.remaining, limit, shown), 0)
    if points >= shown:
        return Room(points, None)
    return Room(points, _beyond(points + 1, purse, rule) or _not_held(purse))


def why_not(asked: int, purse: Purse, rule: RedemptionRule, shown: int) -> WhyNot | None:
    """Return what stands against so many points here now, or None where they can be spent.

    Goodwill is counted in where it is the last resort.
    """
    return _refusal(asked, purse, rule, room(purse, rule, shown), shown)


def goodwill(purse: Purse, rule: RedemptionRule) -> int:
    """Return how many points the store may give the customer beyond the allowances: none but as the last resort.

    No more than the program's `goodwill_points_max` in any 24 hours, whatever the hub has heard of meanwhile. What was
    given for a redemption that was taken back stays counted: the day ends that too.
    """
    if not purse.is_last_resort:
        return 0
    lately = [one.points for one in purse.given if purse.now.surely_elapsed_ms(one.when) < GOODWILL_COUNTS_MS]
    return max(rule.goodwill_points_max - sum(lately), 0)


def _refusal(asked: int, purse: Purse, rule: RedemptionRule, room_now: Room, shown: int) -> WhyNot | None:
    if room_now.points is None:
        return room_now.reason
    if asked > shown:
        return WhyNot.TOO_FEW_POINTS
    beyond = _beyond(asked, purse, rule)
    if beyond is not None:
        return beyond
    return _not_held(purse) if asked > purse.remaining + goodwill(purse, rule) else None


def _beyond(asked: int, purse: Purse, rule: RedemptionRule) -> WhyNot | None:
    if asked > rule.per_redemption_max:
        return WhyNot.LIMIT
    return WhyNot.OFFLINE_LIMIT if asked > _limit(purse, rule) else None


def _limit(purse: Purse, rule: RedemptionRule) -> int:
    if purse.is_online:
        return rule.per_redemption_max
    return min(
        rule.per_redemption_max,
        rule.per_customer_offline_max - purse.spent,
        rule.per_terminal_offline_max - purse.spent_by_all,
    )


def _not_held(purse: Purse) -> WhyNot:
    return WhyNot.RESERVED_ELSEWHERE if purse.reserved_elsewhere > 0 else WhyNot.NO_ALLOWANCE
