"""What must be true of points at the hub, once a simulated shop rests. The model here adds up facts, and uses none of
the product's reckoning: a point per unit of money, a sale taken back once, a redemption paid once of what was there.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sync.contract.events import EARNED, REDEEMED, REDEMPTION_REVERSED, REVERSED
from sync.contract.protocol import Reason

if TYPE_CHECKING:
    from tests.chaos.simulation.world import World

# The name that a caller gave what it asked for, by the type of its event.
_NAMES = {
    EARNED: "sale_id",
    REVERSED: "reversal_id",
    REDEEMED: "redemption_id",
    REDEMPTION_REVERSED: "reversal_id",
}


class Fact(NamedTuple):
    """An event at the hub: `booked` is what it added to its identifier, `number` how the books call it."""

    number: int
    terminal_id: str
    type: str
    subject: str | None
    data: dict[str, Any]
    outcome: str
    reason: str | None
    booked: int

    @property
    def is_applied(self) -> bool:
        """Whether it took effect, or was known to have."""
        return self.outcome == "applied"

    @property
    def name(self) -> str | None:
        """The id that the caller brought, if one did."""
        key = _NAMES.get(self.type)
        return str(self.data[key]) if key is not None else None


def facts(world: "World") -> list[Fact]:
    """Return all events at the hub in the order in which they took effect."""
    rows = world.hub.rows(
        "SELECT number, terminal_id, raw, outcome, reason, points FROM events JOIN streams USING (stream)"
        " ORDER BY pos, number"
    )
    found = []
    for number, terminal_id, raw, *verdict in rows:
        event: dict[str, Any] = json.loads(raw)
        found.append(Fact(number, terminal_id, event["type"], event.get("subject"), event["data"], *verdict))
    return found


def each_answer_is_kept(world: "World") -> str | None:
    """What a point of sale was told is done is at the hub, unless its till lost what the disk was to keep."""
    lost = {name for till in world.tills if not till.times_set_back for name in till.answered}
    lost -= {fact.name for fact in facts(world)}
    return f"answered and nowhere: {sorted(lost)}" if lost else None


def each_refusal_is_due(world: "World") -> str | None:
    """All takes effect but what cannot: a sale that counts already, and a reversal of what nobody ever sent."""
    found = facts(world)
    counts = {fact.name for fact in found if fact.is_applied and fact.type in (EARNED, REDEEMED)}
    for fact in found:
        original = fact.data.get("sale_id", fact.data.get("redemption_id"))
        is_again = fact.reason == Reason.SALE_ALREADY_CREDITED and fact.type == EARNED and original in counts
        is_early = fact.outcome == "parked" and fact.type in (REVERSED, REDEMPTION_REVERSED) and original not in counts
        if not (fact.is_applied or is_again or is_early):
            return f"{fact.type} {fact.name} of {fact.terminal_id} is {fact.outcome}: {fact.reason}"
    return None


def each_fact_counts_once(world: "World") -> str | None:
    """No sale and no redemption has an effect twice."""
    times = Counter((fact.type, fact.name) for fact in facts(world) if fact.booked and fact.type in (EARNED, REDEEMED))
    twice = sorted(one for one, count in times.items() if count > 1)
    applied = Counter(fact.name for fact in facts(world) if fact.is_applied and fact.type == EARNED)
    again = sorted(str(name) for name, count in applied.items() if count > 1)
    return f"counts several times: {twice} {again}" if twice or again else None


def balances_equal_the_model(world: "World") -> str | None:
    """Points of every card are those of each sale that nobody took back, less those of each redemption likewise.

    What the hub books itself beside the events stands apart: debts, gifts after an unmerge, the store's risk.
    """
    found = [fact for fact in facts(world) if fact.is_applied]
    undone = {fact.data["sale_id"] for fact in found if fact.type == REVERSED}
    given_back = {fact.data["redemption_id"] for fact in found if fact.type == REDEMPTION_REVERSED}
    at_risk = dict(world.hub.rows("SELECT event, sum(points) FROM risks WHERE points > 0 GROUP BY event"))
    expected: Counter[str] = Counter()
    paid: set[str] = set()
    for fact in found:
        data = fact.data
        if fact.type == EARNED:
            due = data["net_minor"] // 100
            if data["points"] != due and "points_capped" not in data.get("flags", ()):
                return f"sale {data['sale_id']} of {data['net_minor']} was given {data['points']} points"
            if data["sale_id"] not in undone:
                expected[str(fact.subject)] += data["points"]
        elif fact.type == REDEEMED and data["redemption_id"] not in paid:
            paid.add(data["redemption_id"])
            if data["redemption_id"] not in given_back:
                expected[str(fact.subject)] -= data["points"] - at_risk.get(fact.number, 0)
    for identifier, points in world.hub.rows("SELECT identifier, points FROM entries"):
        expected[identifier] += points
    kept = dict(world.hub.rows("SELECT identifier, points FROM tallies WHERE points <> 0"))
    wanted = {card: points for card, points in expected.items() if points}
    return f"the hub has {kept}, the model {wanted}" if kept != wanted else None


def nothing_is_negative(world: "World") -> str | None:
    """No account is below zero, nor below what is reserved of it, and no debt is paid twice.

    A hub that forgot takes a till that forgot at its word, and keeps more for it than there may be.
    """
    below = world.hub.rows("SELECT customer_id, points, reserved FROM balances WHERE points < reserved OR points < 0")
    excused = set(world.customers) if {"till", "hub"} <= world.losses else world.doubted
    below = [row for row in below if row[0] not in excused or row[1] < 0]
    below += world.hub.rows(
        "SELECT identifier, points FROM tallies WHERE points < 0 AND identifier NOT IN (SELECT id FROM identifiers)"
    )
    below += world.hub.rows(
        "SELECT identifier, sum(points) FROM entries WHERE kind = 'debt' GROUP BY 1 HAVING sum(points) < 0"
    )
    return f"below zero: {below}" if below else None


def nobody_spends_what_was_not_there(world: "World") -> str | None:
    """The store pays for nothing, unless a person took the risk or two losses met; and then within what was at stake.

    Where a redemption and its reversal both come after a restore, the points that came back may be promised anew by
    then: the one is the store's for as long as it takes to judge the other.
    """
    rows: list[int] = [points for (points,) in world.hub.rows("SELECT points FROM risks")]
    at_stake = _at_stake(world) if world.may_have_risk else 0
    paid = sum(rows) if "hub" in world.losses else sum(points for points in rows if points > 0)
    return f"the store paid {paid}, and {at_stake} were at stake" if paid > at_stake else None


def _at_stake(world: "World") -> int:
    """Return what was redeemed at tills that forgot or ran twice, and by customers whose points nobody could know.

    Without those redemptions each other one would find its points, but those of sales that all have forgotten: also
    those that only a copied till knew, which is gone with its disk, and a hub that was brought back from before them.
    """
    found = facts(world)
    names = {fact.name for fact in found}
    doubted = [till for till in (*world.tills, *world.clones) if till.terminal_id in world.doubted_tills]
    ever: list[dict[str, Any]] = [json.loads(text)["data"] for till in doubted for text in till.ever.values()]
    forgotten = sum(data["points"] for data in ever if "lines" in data and data["sale_id"] not in names)
    redeemed = sum(
        fact.data["points"]
        for fact in found
        if fact.type == REDEEMED and (fact.terminal_id in world.doubted_tills or fact.subject in world.doubted_cards)
    )
    return int(forgotten + redeemed)


def spent_is_within_what_was_earned(world: "World") -> str | None:
    """What customers got for points is within what their sales ever earned them and what they opened with.

    One of two who are parted again may have spent what was the other's; the hub gives that to whom it was.
    """
    owner = dict(world.hub.rows("SELECT id, customer_id FROM identifiers"))
    left: Counter[str] = Counter()
    opened = "SELECT coalesce(root, customer_id), points FROM openings LEFT JOIN origins USING (customer_id)"
    for customer_id, points in world.hub.rows(opened):
        left[customer_id] += points
    for fact in facts(world):
        if fact.is_applied and fact.type in (EARNED, REDEEMED, REDEMPTION_REVERSED):
            row = world.hub.rows("SELECT identifier, points FROM events WHERE number = ?", fact.number)[0]
            left[owner.get(row[0], row[0])] += row[1]
    over = {account: points for account, points in left.items() if points < 0 and account not in world.doubted}
    return f"spent more than was earned: {over}" if over else None


def debts_are_paid_first(world: "World") -> str | None:
    """Whoever owes has no free points, but for a while: what is earned next pays.

    After a merge, and where a restored hub learns only later whose a card is, a debt comes to points that are there.
    """
    if world.merged:
        return None
    rows = world.hub.rows(
        "SELECT customer_id, points, reserved, debt FROM balances WHERE debt > 0 AND points > reserved"
    )
    rows = [row for row in rows if row[0] not in world.doubted]
    return f"free points beside a debt: {rows}" if rows else None


def tills_hold_what_is_reserved(world: "World") -> str | None:
    """All tills together can spend no more of a customer's points than the hub has, each no more than it reserved."""
    reserved = {
        (terminal_id, allowance_id): rest
        for terminal_id, allowance_id, rest in world.hub.rows(
            "SELECT terminal_id, allowance_id, amount - spent FROM allowances WHERE closed_ms IS NULL"
        )
    }
    for till in world.tills:
        assert till.life is not None
        for customer_id in world.customers:
            for held in till.life.store.allowances.purse(customer_id, ()).held:
                rest = reserved.get((till.terminal_id, held.allowance_id), 0)
                if held.remaining > rest:
                    return f"{till.terminal_id} may spend {held.remaining} of {held.allowance_id}, and {rest} are there"
    wrong = world.hub.rows(
        "SELECT customer_id, reserved FROM balances WHERE reserved <> (SELECT coalesce(sum(amount - spent), 0)"
        " FROM allowances WHERE account = balances.customer_id AND closed_ms IS NULL)"
    )
    return f"reserved, and held by nobody: {wrong}" if wrong else None


RULES_OF_MONEY: tuple[tuple[str, Callable[["World"], str | None]], ...] = (
    ("each answer is kept", each_answer_is_kept),
    ("each refusal is due", each_refusal_is_due),
    ("each fact counts once", each_fact_counts_once),
    ("balances equal the model", balances_equal_the_model),
    ("nothing is negative", nothing_is_negative),
    ("nobody spends what was not there", nobody_spends_what_was_not_there),
    ("spent is within what was earned", spent_is_within_what_was_earned),
    ("debts are paid first", debts_are_paid_first),
    ("tills hold what is reserved", tills_hold_what_is_reserved),
)
