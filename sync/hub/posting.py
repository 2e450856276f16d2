"""Posting: what a run of events does to the books, worked out in memory before anything is written. Pure.

`Known` holds all that the books say of the sales, identifiers and balances that the run touches; the events are
judged one after the other against it, each seeing what the ones before it did. What comes out is rows to write.

Positions: each booking appends one feed row, and an event that books nothing gets the position of the next row of the
same run (a `head` row where none follows). So within a stream positions never fall, and a page of the feed that ends at
P covers exactly the events up to the last one whose position is at most P.
"""

from dataclasses import dataclass, field

from sync.contract.events import PointsEarned, PointsReversed, event_id
from sync.contract.program import Program
from sync.contract.protocol import Outcome, Reason, Verdict
from sync.hub.batch import Item
from sync.hub.verdicts import Decision, Sale, judge_reversal, judge_sale

SEQ_BITS = 32
SEQ_MAX = (1 << SEQ_BITS) - 1


def event_number(stream: int, seq: int) -> int:
    """Return the one integer an event is kept under."""
    return stream << SEQ_BITS | seq


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event came from: its stream, and the terminal and incarnation that the stream is of."""

    stream: int
    terminal_id: str
    inc: str


@dataclass(frozen=True, slots=True)
class Parked:
    """A reversal that waits for its sale."""

    number: int
    origin: Origin
    seq: int
    fact: PointsReversed


@dataclass(slots=True)
class Known:
    """What the books say of everything a run of events touches. A posting works on it in place.

    `owners` has an identifier only where it leads to exactly one customer; `closed` has those of people who were
    erased. Sales, reversals and waiting ones are those of one store.
    """

    last_pos: int
    programs: dict[int, Program] = field(default_factory=dict)
    sales: dict[str, Sale] = field(default_factory=dict)
    reversals: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, list[Parked]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    tallies: dict[str, int] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)


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
        self.tallies: set[str] = set()
        self.balances: set[str] = set()

    @property
    def known(self) -> Known:
        """The books as they stand after the events so far."""
        return self._known

    def add(self, origin: Origin, item: Item) -> Verdict:
        """Judge an event that comes for the first time, and return its verdict."""
        number = event_number(origin.stream, item.seq)
        decision, identifier = self._judge(origin, number, item)
        if decision.points:
            self.fresh.append(Kept(number, item, decision, identifier, self._book(identifier, decision.points)))
        else:
            self._unplaced.append((number, item, decision, None))
        if isinstance(item.fact, PointsEarned) and decision.outcome is Outcome.APPLIED:
            self._settle_waiting(item.fact.sale_id)
        return Verdict(seq=item.seq, outcome=decision.outcome, reason=decision.reason)

    def settle(self, origin: Origin, item: Item) -> None:
        """Judge an event anew that was parked before, and say its verdict on the feed if it is final now."""
        number = event_number(origin.stream, item.seq)
        decision, identifier = self._judge(origin, number, item)
        if decision.outcome is Outcome.PARKED:
            self.settled.append(Kept(number, item, decision, None, 0))
            return
        self._settle(number, origin, item, decision, identifier)
        if isinstance(item.fact, PointsEarned) and decision.outcome is Outcome.APPLIED:
            self._settle_waiting(item.fact.sale_id)

    def close(self, terminal_id: str) -> None:
        """Give the last events a position, by a row that only says that this terminal's head moved."""
        if self._unplaced:
            self._append("head", terminal_id)

    def _judge(self, origin: Origin, number: int, item: Item) -> tuple[Decision, str | None]:
        """Return the verdict and the identifier it books on; write sales and reversals down as known."""
        if isinstance(item.fact, PointsEarned):
            return self._judge_sale(number, item.fact, item.subject), item.subject
        if isinstance(item.fact, PointsReversed):
            return self._judge_reversal(Parked(number, origin, item.seq, item.fact))
        if item.fault is Reason.BAD_EVENT:
            return Decision(Outcome.REJECTED, Reason.BAD_EVENT), None
        return Decision(Outcome.PARKED, Reason.UNKNOWN_TYPE), None  # a type that is judged by a later version

    def _judge_sale(self, number: int, fact: PointsEarned, identifier: str | None) -> Decision:
        known = self._known
        program = known.programs.get(fact.program_version)
        decision = judge_sale(fact, identifier, program, known.sales.get(fact.sale_id))
        if decision.outcome is Outcome.APPLIED and identifier is not None:
            known.sales[fact.sale_id] = Sale(number, identifier, fact.points, 0)
            self.sales.add(fact.sale_id)
        return decision

    def _judge_reversal(self, parked: Parked) -> tuple[Decision, str | None]:
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

    def _settle_waiting(self, sale_id: str) -> None:
        """Apply the reversals that came before their sale."""
        for parked in self._known.waiting.pop(sale_id, []):
            item = Item(parked.seq, "", "", fact=parked.fact)
            decision, identifier = self._judge_reversal(parked)
            self.waits_over.append((sale_id, parked.number))
            self._settle(parked.number, parked.origin, item, decision, identifier)

    def _settle(self, number: int, origin: Origin, item: Item, decision: Decision, identifier: str | None) -> None:
        """Book first, then say the verdict: a page that ends between the two shows the event as held, once."""
        pos = self._book(identifier, decision.points) if decision.points else 0
        self.settled.append(Kept(number, item, decision, identifier if decision.points else None, pos))
        self._append("outcome", event_id(origin.terminal_id, origin.inc, item.seq))

    def _book(self, identifier: str | None, points: int) -> int:
        """Add points to the account of an identifier and return the position of the row that says so."""
        if identifier is None:
            raise ValueError("points cannot be booked without an identifier")
        known = self._known
        known.tallies[identifier] = known.tallies.get(identifier, 0) + points
        self.tallies.add(identifier)
        owner = known.owners.get(identifier)
        if owner is None and identifier in known.closed:
            return self._append("head", identifier)
        if owner is None:
            return self._append("card", identifier, known.tallies[identifier])
        known.balances[owner] = known.balances.get(owner, 0) + points
        self.balances.add(owner)
        return self._append("balance", owner, known.balances[owner])

    def _append(self, kind: str, key: str, points: int | None = None) -> int:
        self._known.last_pos += 1
        pos = self._known.last_pos
        self.feed.append(FeedRow(pos, kind, key, points))
        self.fresh += [
            Kept(number, item, decision, identifier, pos) for number, item, decision, identifier in self._unplaced
        ]
        self._unplaced.clear()
        return pos
