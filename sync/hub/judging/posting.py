"""Posting: what a run of events does to the books, worked out in memory before anything is written. Pure.

`Known` holds all that the books say of the sales, redemptions, allowances and accounts that the run touches; the events
are judged one after the other against it, each seeing what the ones before it did. What comes out is rows to write.

Positions: each booking appends one feed row, and an event that books nothing gets the position of the next row of the
same run (a `head` row where none follows). So within a stream positions never fall, and a page of the feed that ends at
P covers exactly the events up to the last one whose position is at most P.
"""

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from sync.contract.events import (
    AllowanceReturned,
    PointsEarned,
    PointsRedeemed,
    PointsReversed,
    RedemptionReversed,
    event_id,
)
from sync.contract.program import Program
from sync.contract.protocol import Outcome, Reason, Verdict
from sync.hub.judging.bookings import Accounts
from sync.hub.judging.redemptions import Claim, Redemption, Reserve, judge_redemption, judge_undoing
from sync.hub.judging.verdicts import Decision, Sale, judge_reversal, judge_sale
from sync.hub.uploads.batch import Item

SEQ_BITS = 32
SEQ_MAX = (1 << SEQ_BITS) - 1
# The faults of events that are kept to be judged later.
_HELD_BACK = frozenset({Reason.UNKNOWN_TYPE, Reason.FORK, Reason.QUARANTINED, Reason.HUB_FAULT})


def event_number(stream: int, seq: int) -> int:
    """Return the one integer an event is kept under."""
    return stream << SEQ_BITS | seq


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event came from: its stream, and the terminal and incarnation that the stream is of."""

    stream: int
    terminal_id: str
    inc: str


R = TypeVar("R", PointsReversed, RedemptionReversed)


@dataclass(frozen=True, slots=True)
class Parked(Generic[R]):
    """A reversal that waits for the sale or the redemption that it takes back."""

    number: int
    origin: Origin
    seq: int
    fact: R


@dataclass(slots=True)
class Known(Accounts):
    """What the books say of everything a run of events touches. A posting works on it in place.

    Sales, redemptions, their reversals and waiting ones are those of one store. `held_spends` has the allowances
    given back here that a redemption spends of which the hub fell over before.
    """

    last_pos: int
    programs: dict[int, Program] = field(default_factory=dict)
    sales: dict[str, Sale] = field(default_factory=dict)
    reversals: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, list[Parked[PointsReversed]]] = field(default_factory=dict)
    redemptions: dict[str, Redemption] = field(default_factory=dict)
    undoings: dict[str, str] = field(default_factory=dict)
    undoings_waiting: dict[str, list[Parked[RedemptionReversed]]] = field(default_factory=dict)
    reserves: dict[str, Reserve] = field(default_factory=dict)
    held_spends: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One row of the feed."""

    pos: int
    kind: str
    key: str
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """How an event is kept: its number, its verdict, and what it booked on which identifier."""

    number: int
    item: Item
    decision: Decision
    identifier: str | None
    pos: int


class Posting:
    """Judges events in order and gathers the rows that they make."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._unplaced: list[tuple[int, Item, Decision, str | None]] = []
        self.fresh: list[Kept] = []
        self.settled: list[Kept] = []
        self.feed: list[FeedRow] = []
        self.sales: set[str] = set()
        self.reversals: set[str] = set()
        self.waits: list[tuple[str, int]] = []
        self.waits_over: list[tuple[str, int]] = []
        self.redemptions: set[str] = set()
        self.undoings: set[str] = set()
        self.undoing_waits: list[tuple[str, int]] = []
        self.undoing_waits_over: list[tuple[str, int]] = []
        self.reserves: set[str] = set()
        self.risks: list[tuple[int, str, int]] = []
        self._owed_paid: set[str] = set()
        self._grown: set[str] = set()

    @property
    def known(self) -> Known:
        """The books as they stand after the events so far."""
        return self._known

    def add(self, origin: Origin, item: Item) -> Verdict:
        """Judge an event that comes for the first time, and return its verdict."""
        number = event_number(origin.stream, item.seq)
        decision, identifier = self._judge(origin, number, item)
        if decision.points:
            self.fresh.append(Kept(number, item, decision, identifier, self._book(number, item, identifier, decision)))
        else:
            self._unplaced.append((number, item, decision, None))
        if decision.outcome is Outcome.APPLIED:
            self._follow_up(item)
        return Verdict(seq=item.seq, outcome=decision.outcome, reason=decision.reason)

    def settle(self, origin: Origin, item: Item) -> None:
        """Judge an event anew that was parked before, and say its verdict on the feed if it is final now."""
        number = event_number(origin.stream, item.seq)
        decision, identifier = self._judge(origin, number, item)
        if decision.outcome is Outcome.PARKED:
            self.settled.append(Kept(number, item, decision, None, 0))
            return
        self._settle(number, origin, item, decision, identifier)
        if decision.outcome is Outcome.APPLIED:
            self._follow_up(item)

    def close(self, terminal_id: str) -> None:
        """Give the last events a position, by a row that only says that this terminal's head moved."""
        if self._unplaced:
            self._append("head", terminal_id)

    def _judge(self, origin: Origin, number: int, item: Item) -> tuple[Decision, str | None]:
        """Return the verdict and the identifier it books on; write what it leaves in the books down as known."""
        fact = item.fact
        if isinstance(fact, PointsEarned):
            return self._judge_sale(number, fact, item.subject), item.subject
        if isinstance(fact, PointsReversed):
            return self._judge_reversal(Parked(number, origin, item.seq, fact))
        if isinstance(fact, PointsRedeemed):
            return self._judge_redemption(Claim(number, origin.terminal_id, item.subject, fact)), item.subject
        if isinstance(fact, RedemptionReversed):
            return self._judge_undoing(Parked(number, origin, item.seq, fact))
        if isinstance(fact, AllowanceReturned):
            return self._judge_return(number, origin.terminal_id, fact.allowance_id), None
        outcome = Outcome.PARKED if item.fault in _HELD_BACK else Outcome.REJECTED
        return Decision(outcome, item.fault or Reason.BAD_EVENT), None

    def _judge_sale(self, number: int, fact: PointsEarned, identifier: str | None) -> Decision:
        known = self._known
        program = known.programs.get(fact.program_version)
        decision = judge_sale(fact, identifier, program, known.sales.get(fact.sale_id))
        if decision.outcome is Outcome.APPLIED and identifier is not None:
            known.sales[fact.sale_id] = Sale(number, identifier, fact.points, 0)
            self.sales.add(fact.sale_id)
        return decision

    def _judge_reversal(self, parked: Parked[PointsReversed]) -> tuple[Decision, str | None]:
        known, fact = self._known, parked.fact
        sale = known.sales.get(fact.sale_id)
        decision = judge_reversal(fact, sale, known.reversals.get(fact.reversal_id))
        if decision.outcome is Outcome.REJECTED:
            return decision, None
        if fact.reversal_id not in known.reversals:
            known.reversals[fact.reversal_id] = fact.sale_id
            self.reversals.add(fact.reversal_id)
        if sale is None:
            known.waiting.setdefault(fact.sale_id, []).append(parked)
            self.waits.append((fact.sale_id, parked.number))
            return decision, None
        known.sales[fact.sale_id] = Sale(sale.event, sale.identifier, sale.points, sale.taken_back - decision.points)
        self.sales.add(fact.sale_id)
        return decision, sale.identifier

    def _judge_redemption(self, claim: Claim) -> Decision:
        known, redemption_id = self._known, claim.fact.redemption_id
        redeeming = judge_redemption(
            claim, known.redemptions.get(redemption_id), known.reserves, known, is_recovering=known.is_recovering
        )
        if redeeming.redemption is not None:
            known.redemptions[redemption_id] = redeeming.redemption
            self.redemptions.add(redemption_id)
            self._risk(claim.event, redeeming.redemption, 1)
            for allowance_id, points in redeeming.spent.items():
                self._spend(allowance_id, points)
        return redeeming.decision

    def _judge_undoing(self, parked: Parked[RedemptionReversed]) -> tuple[Decision, str | None]:
        known, fact = self._known, parked.fact
        redemption = known.redemptions.get(fact.redemption_id)
        undoing = judge_undoing(
            fact, parked.origin.terminal_id, redemption, known.undoings.get(fact.reversal_id), known.reserves, known
        )
        decision = undoing.decision
        if decision.outcome is Outcome.REJECTED:
            return decision, None
        if fact.reversal_id not in known.undoings:
            known.undoings[fact.reversal_id] = fact.redemption_id
            self.undoings.add(fact.reversal_id)
        if redemption is None:
            known.undoings_waiting.setdefault(fact.redemption_id, []).append(parked)
            self.undoing_waits.append((fact.redemption_id, parked.number))
            return decision, None
        if not redemption.is_reversed:
            known.redemptions[fact.redemption_id] = replace(redemption, is_reversed=True)
            self.redemptions.add(fact.redemption_id)
            self._risk(parked.number, redemption, -1)
            for allowance_id, points in undoing.grown.items():
                self._spend(allowance_id, -points)
                self._grown.add(parked.origin.terminal_id)
        return decision, redemption.identifier

    def _judge_return(self, number: int, terminal_id: str, allowance_id: str) -> Decision:
        """Let the points that an allowance still held go; they pay first what its customer owes.

        Where the hub fell over a redemption that spends of it, they are that one's, and the return is held behind it.
        """
        known = self._known
        reserve = known.reserves.get(allowance_id)
        if reserve is None or not reserve.is_open or reserve.terminal_id != terminal_id:
            return Decision(Outcome.APPLIED)
        if allowance_id in known.held_spends:
            return Decision(Outcome.PARKED, Reason.HUB_FAULT)
        known.reserve(reserve.account, -reserve.rest)
        known.reserves[allowance_id] = replace(reserve, is_open=False)
        self.reserves.add(allowance_id)
        if known.pay_debts(number, reserve.account, reserve.rest):
            self._owed_paid.add(reserve.account)
        return Decision(Outcome.APPLIED)

    def _spend(self, allowance_id: str, points: int) -> None:
        """Move points from what an allowance holds to what was spent of it (or, below 0, back)."""
        known = self._known
        reserve = known.reserves[allowance_id]
        known.reserves[allowance_id] = replace(reserve, spent=reserve.spent + points)
        known.reserve(reserve.account, -points)
        self.reserves.add(allowance_id)

    def _risk(self, number: int, redemption: Redemption, sign: int) -> None:
        parts = (("goodwill", redemption.goodwill), ("uncovered", redemption.risk))
        self.risks += [(number, kind, sign * points) for kind, points in parts if points]

    def _follow_up(self, item: Item) -> None:
        """Do what follows from an event that was applied: reversals that waited for it, debts that were paid, news."""
        if isinstance(item.fact, PointsEarned):
            self._settle_waiting(item.fact.sale_id)
        elif isinstance(item.fact, PointsRedeemed):
            self._settle_undoings(item.fact.redemption_id)
        for account in sorted(self._owed_paid):
            self._append("balance", account, self._known.posted(account))
        self._owed_paid.clear()
        for terminal_id in sorted(self._grown):
            self._append("allowances", terminal_id)
        self._grown.clear()

    def _settle_waiting(self, sale_id: str) -> None:
        """Apply the reversals that came before their sale."""
        for parked in self._known.waiting.pop(sale_id, []):
            item = Item(parked.seq, "", "", fact=parked.fact)
            decision, identifier = self._judge_reversal(parked)
            self.waits_over.append((sale_id, parked.number))
            self._settle(parked.number, parked.origin, item, decision, identifier)

    def _settle_undoings(self, redemption_id: str) -> None:
        """Apply the reversals that came before their redemption."""
        for parked in self._known.undoings_waiting.pop(redemption_id, []):
            item = Item(parked.seq, "", "", fact=parked.fact)
            decision, identifier = self._judge_undoing(parked)
            self.undoing_waits_over.append((redemption_id, parked.number))
            self._settle(parked.number, parked.origin, item, decision, identifier)

    def _settle(self, number: int, origin: Origin, item: Item, decision: Decision, identifier: str | None) -> None:
        """Book first, then say the verdict: a page that ends between the two shows the event as held, once."""
        pos = self._book(number, item, identifier, decision) if decision.points else 0
        self.settled.append(Kept(number, item, decision, identifier if decision.points else None, pos))
        self._append("outcome", event_id(origin.terminal_id, origin.inc, item.seq))

    def _book(self, number: int, item: Item, identifier: str | None, decision: Decision) -> int:
        """Book an event's points on an identifier and return the position of the row that says so."""
        if identifier is None:
            raise ValueError("points cannot be booked without an identifier")
        known, points = self._known, decision.points
        if isinstance(item.fact, PointsReversed):
            known.take(number, identifier, -points)
        elif isinstance(item.fact, PointsRedeemed):
            known.post(identifier, points)
        else:
            known.give(number, identifier, points)
        owner = known.owners.get(identifier)
        if owner is not None:
            return self._append("balance", owner, known.balances[owner])
        if identifier in known.closed:
            return self._append("head", identifier)
        return self._append("card", identifier, known.tallies[identifier])

    def _append(self, kind: str, key: str, points: int | None = None) -> int:
        self._known.last_pos += 1
        pos = self._known.last_pos
        self.feed.append(FeedRow(pos, kind, key, points))
        self.fresh += [
            Kept(number, item, decision, identifier, pos) for number, item, decision, identifier in self._unplaced
        ]
        self._unplaced.clear()
        return pos
