"""What must be true in a simulated shop. To add a promise, add a row to `ALWAYS` or `AT_REST`.

A check returns None where its promise holds, and else says what is wrong. The model here knows the program's one rule
(a point per unit of money, a cap for unknown cards) and what a reversal is; it uses none of the product's reckoning.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sync.contract.events import EARNED, REDEEMED
from tests.chaos.simulation.money import RULES_OF_MONEY, facts
from tests.chaos.simulation.till_side import TillSide, card_id

if TYPE_CHECKING:
    from tests.chaos.simulation.world import World

CARDS = 5


class Always(NamedTuple):
    """A promise that holds at every moment of a running till."""

    name: str
    check: Callable[["World", TillSide], str | None]


class AtRest(NamedTuple):
    """A promise that holds once nothing is left to do."""

    name: str
    check: Callable[["World"], str | None]


def shown_is_posted_and_uncovered(world: "World", till: TillSide) -> str | None:
    """A till shows what the hub had posted where the till's cache stands, and its own events beyond that."""
    assert till.life is not None
    place = till.place()
    epoch_name, pos = place or ("", 0)
    epoch = world.oracle.epochs.get(epoch_name)
    if place is not None and epoch is None:
        return f"{till.terminal_id} stands in an epoch that never was: {epoch_name}"
    journal = [
        event
        for event in till.journal()
        if event.counts and not (epoch and epoch.holds((till.terminal_id, event.inc, event.seq), pos))
    ]
    for card in range(CARDS):
        found = till.life.store.customers.by_identifier(card_id(card))
        person = found.people[0] if found.people else None
        subjects = {one.id for one in person.identifiers} if person else {card_id(card)}
        account = person.customer.customer_id if person else card_id(card)
        posted = epoch.points(account, pos) if epoch else 0
        pending = sum(event.points for event in journal if event.subject in subjects)
        balance = (person.account if person else found.card).balance
        if (balance.posted, balance.pending) != (posted, pending):
            return (
                f"{till.terminal_id} shows {balance.posted} + {balance.pending} pending for card {card},"
                f" and at {epoch_name[:4]}/{pos} it is {posted} + {pending}"
            )
    return None


def no_comparison_finds_a_fault(_: "World", till: TillSide) -> str | None:
    """Whatever happens, a cache is what the hub's was where the cache stands: a comparison raises no false alarm."""
    assert till.life is not None
    accounts = till.life.comparer.accounts
    return f"{till.terminal_id} found {accounts} accounts otherwise than the hub" if accounts else None


def each_event_is_at_the_hub_once(world: "World") -> str | None:
    """All that stands in a journal is at the hub as it was written, and nothing is there that nobody wrote."""
    hub = _hub_events(world)
    ever: dict[tuple[str, str, int], str] = {}
    for clone in world.clones:
        ever |= clone.ever
    for till in world.tills:
        ever |= till.ever
        for event in till.journal():
            identity = (till.terminal_id, event.inc, event.seq)
            ever[identity] = event.text
            if hub.get(identity) != event.text:
                held = "another event" if identity in hub else "nothing"
                return f"{identity} was committed and the hub holds {held} there"
    made_up = sorted(set(hub) - set(ever))
    return f"the hub holds events that nobody made: {made_up}" if made_up else None


def caches_equal_the_hub(world: "World") -> str | None:
    """Each till has the hub's customers and cards, and nothing pending."""
    balances = dict(
        world.hub.rows("SELECT customer_id, balances.points FROM balances JOIN customers USING (customer_id)")
    )
    owned = {row[0] for row in world.hub.rows("SELECT id FROM identifiers")}
    cards = {
        card: points
        for card, points in world.hub.rows("SELECT identifier, points FROM tallies WHERE points <> 0")
        if card not in owned
    }
    for till in world.tills:
        has = dict(till.glance("SELECT customer_id, points FROM cache.customers"))
        waits = dict(till.glance("SELECT lower(hex(id)), points FROM cache.cards"))
        if (has, waits) != (balances, cards):
            return f"{till.terminal_id} has {has} {waits}, the hub {balances} {cards}"
        assert till.life is not None
        for card in range(CARDS):
            found = till.life.store.customers.by_identifier(card_id(card))
            if found.card.balance.pending:
                return f"{till.terminal_id} still has {found.card.balance.pending} pending for card {card}"
    return None


def outboxes_are_empty(world: "World") -> str | None:
    """Nothing waits, and what is held is a reversal of what is nowhere."""
    known = {fact.name for fact in facts(world) if fact.type in (EARNED, REDEEMED)}
    for till in world.tills:
        assert till.life is not None
        figures = till.life.store.outbox.figures()
        if figures.waiting:
            return f"{till.terminal_id} has {figures.waiting} waiting"
        held = till.glance("SELECT j.event FROM set_aside a JOIN journal j USING (position) WHERE a.state = 'parked'")
        for (text,) in held:
            event: dict[str, Any] = json.loads(text)
            data = event["data"]
            if event["type"] == REDEEMED or data.get("sale_id", data.get("redemption_id")) in known:
                return f"{till.terminal_id} has {data} held, and the hub could judge it"
    return None


def nobody_is_quarantined(world: "World") -> str | None:
    """No till was taken for two, whatever came late, twice or from a dead process: none runs on two machines."""
    taken = world.hub.quarantined()
    return f"taken for two: {sorted(taken)}" if taken else None


def _hub_events(world: "World") -> dict[tuple[str, str, int], str]:
    rows = world.hub.rows("SELECT terminal_id, inc, seq, raw FROM events JOIN streams USING (stream)")
    return {(terminal_id, inc, seq): raw for terminal_id, inc, seq, raw in rows}


ALWAYS = (
    Always("shown is posted and uncovered", shown_is_posted_and_uncovered),
    Always("no comparison finds a fault", no_comparison_finds_a_fault),
)
AT_REST = (
    AtRest("nobody is quarantined", nobody_is_quarantined),
    AtRest("each event is at the hub once", each_event_is_at_the_hub_once),
    AtRest("caches equal the hub", caches_equal_the_hub),
    AtRest("outboxes are empty", outboxes_are_empty),
    *(AtRest(name, check) for name, check in RULES_OF_MONEY),
)
