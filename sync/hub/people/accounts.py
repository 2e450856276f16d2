"""Accounts: whose the points are that were booked on an identifier. Pure.

They belong to the customer that the identifier leads to now. Where it leads to nobody, or to more than one, they wait
on the identifier itself until a person decides. So when identifiers change hands, whole tallies move and none is lost.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

# identifier id -> the customers it leads to
Leads = Mapping[str, AbstractSet[str]]


@dataclass(slots=True)
class Moves:
    """What a change of identifiers does to accounts.

    `customers` has what each gains (or loses, below 0); `cards` has what waits on an identifier from now on.
    """

    customers: dict[str, int] = field(default_factory=dict)
    cards: dict[str, int] = field(default_factory=dict)


def owner(customers: AbstractSet[str]) -> str | None:
    """Return the one customer that points go to, or None where there is none, or a choice."""
    return next(iter(customers)) if len(customers) == 1 else None


def move_points(before: Leads, after: Leads, tallies: Mapping[str, int]) -> Moves:
    """Return what changes when identifiers stop leading where they led `before` and lead where they do `after`.

    `tallies` has the points booked on each identifier; one that is missing has none. Every identifier of `before`
    stands in `after` too.
    """
    moves = Moves()
    for identifier, customers in after.items():
        points = tallies.get(identifier, 0)
        old, new = owner(before.get(identifier, frozenset())), owner(customers)
        if points == 0 or old == new:
            continue
        if old is not None:
            moves.customers[old] = moves.customers.get(old, 0) - points
        if new is not None:
            moves.customers[new] = moves.customers.get(new, 0) + points
        if old is None or new is None:
            moves.cards[identifier] = points if new is None else 0
    return moves
