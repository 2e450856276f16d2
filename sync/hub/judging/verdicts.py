"""Verdicts: what one fact means, given what the books say of its sale. Pure: no SQL, no clock.

An identical fact twice is harmless, a different one under the same id is refused, and what cannot be judged yet is
parked. The points of a sale are figured anew by the rules it was made under; the terminal's word is never taken.
"""

from dataclasses import dataclass

from sync.contract.events import Flag, PointsEarned, PointsReversed
from sync.contract.ledger import take_back
from sync.contract.program import Program, earn
from sync.contract.protocol import Outcome, Reason


@dataclass(frozen=True, slots=True)
class Sale:
    """A credited sale in the books: its event, the identifier it was booked on, its points, and those taken back."""

    event: int
    identifier: str
    points: int
    taken_back: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a fact, and the points it books: more than 0 for a credit, less for a reversal."""

    outcome: Outcome
    reason: Reason | None = None
    points: int = 0


def judge_sale(fact: PointsEarned, identifier: str | None, program: Program | None, sale: Sale | None) -> Decision:
    """Return the verdict on a sale.

    Args:
        fact: what the terminal says happened.
        identifier: the event's subject; points need one to be booked on.
        program: the version of the rules that the fact names, or None where the hub never had it.
        sale: what the books hold under the same store and sale id already.
    """
    if identifier is None or not _adds_up(fact):
        return _rejected(Reason.BAD_EVENT)
    if program is None:
        return _rejected(Reason.UNKNOWN_PROGRAM)
    if fact.currency != program.currency:
        return _rejected(Reason.CURRENCY_MISMATCH)
    if tuple(line.points for line in fact.lines) != _points_due(fact, program):
        return _rejected(Reason.POINTS_MISMATCH)
    if sale is not None:
        return _rejected(Reason.SALE_ALREADY_CREDITED)
    return Decision(Outcome.APPLIED, points=fact.points)


def judge_reversal(fact: PointsReversed, sale: Sale | None, reversed_sale_id: str | None) -> Decision:
    """Return the verdict on a reversal.

    Args:
        fact: what the terminal says happened.
        sale: the sale it names, or None where the books do not hold it yet.
        reversed_sale_id: the sale that the books know the same reversal id for, if any.
    """
    if reversed_sale_id is not None and reversed_sale_id != fact.sale_id:
        return _rejected(Reason.REVERSAL_CONFLICT)
    if sale is None:
        return Decision(Outcome.PARKED, Reason.WAITS_FOR_SALE)
    return Decision(Outcome.APPLIED, points=-take_back(sale.points, sale.taken_back))


def _rejected(reason: Reason) -> Decision:
    return Decision(Outcome.REJECTED, reason)


def _adds_up(fact: PointsEarned) -> bool:
    return fact.net_minor == sum(line.net_minor for line in fact.lines) and fact.points == sum(
        line.points for line in fact.lines
    )


def _points_due(fact: PointsEarned, program: Program) -> tuple[int, ...]:
    """Return each line's points by the rules. A capped sale says itself where the cap lay; the rules spread it.

    Not "each line at most its due": by largest remainder a line may get more of a smaller total than of a larger one.
    """
    return earn(program, fact.lines, points_max=fact.points if Flag.POINTS_CAPPED in fact.flags else None)
