"""One simulated shop: a hub, two or three tills, five cards, and a seed that decides all that happens to them.

First chaos: acts of `acts.ACTS` at random moments, on a network of `wire.FAULTS`. Then everything is made whole again,
and the shop must come to rest. `checks` says what must be true all the time, and what at the end.
"""

import asyncio
import gc
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.codes import make_card_number
from sync.hub.feed.digests import sum_up
from sync.hub.people.customer_rows import CustomerRow, to_row
from tests.chaos.simulation import wire
from tests.chaos.simulation.acts import ACTS, KINDS, Act
from tests.chaos.simulation.checks import ALWAYS, AT_REST
from tests.chaos.simulation.hub_side import IDENTIFIER_KEY, Door, HubSide
from tests.chaos.simulation.oracle import Oracle
from tests.chaos.simulation.shelf import copy_folder
from tests.chaos.simulation.stage import KNOWN_TILL, NEW_TILL, TERMINALS, blank_files, ram, simulated
from tests.chaos.simulation.till_side import TillSide, card_id
from tests.chaos.simulation.virtual import Machine, SimClock, Stuck, as_any, pass_time, run

# Few, so that the tills meet on them. The last two never become anybody's.
CUSTOMERS = {"C-1": (0, 1), "C-2": (2,)}
# What customers bring from elsewhere: so little that each till can hold all of it.
OPENINGS = {"C-1": 30, "C-2": 10}
PAUSES_S = (0.0, 0.0, 0.01, 0.1, 0.5, 3.0, 15.0, 40.0)
# A seed takes some 3,000 rounds of the loop; one that asks again and again without end takes any number.
ROUNDS_MAX = 50_000
# Longer than the time between two snapshots and the longest backoff together, several times.
REST_WITHIN_S = 1800.0
# How long a person waits for a hub that waits for a till.
PATIENCE_S = 900.0


_HUB_WAITS = (
    "SELECT 1 FROM hub WHERE recovery_until_ms IS NOT NULL"
    " UNION ALL SELECT 1 FROM events WHERE outcome = 'parked' AND reason = 'hub_recovering'"
)
_HELD = "SELECT 1 FROM main.set_aside WHERE state = 'parked'"


class Broken(Exception):
    """A promise does not hold; the message says which, where and how."""


@dataclass
class World:
    """A shop and its die."""

    die: random.Random
    folder: Path
    is_lossy: bool
    hub: HubSide
    tills: list[TillSide] = field(default_factory=list)
    oracle: Oracle = field(default_factory=Oracle)
    trace: list[str] = field(default_factory=list)
    wrong: str | None = None
    count: int = 0
    imported: set[str] = field(default_factory=set)
    imported_by: Door | None = None
    amounts_minor: tuple[int, ...] = (100, 700, 1_500, 30_000)
    kind: str = "any"
    merged: bool = False
    clones: list[TillSide] = field(default_factory=list)
    losses: set[str] = field(default_factory=set)
    """What was lost that had been promised to last: "till", "hub"; or "risk" where a person took it."""
    doubted: set[str] = field(default_factory=set)
    """Customers of whom nobody could tell for a while which points are theirs."""
    acts: tuple[Act, ...] = ACTS
    customers: dict[str, CustomerRow] = field(default_factory=lambda: {one: customer_row(one) for one in CUSTOMERS})

    @property
    def may_have_risk(self) -> bool:
        """Whether the store may have to pay for a redemption: two losses met, or a person took the risk.

        A till that forgot a spend and was set back to where it knew it again sends it when its points are another's.
        """
        is_twice = any(till.times_set_back > 1 for till in self.tills)
        return is_twice or "risk" in self.losses or {"till", "hub"} <= self.losses

    @property
    def doubted_tills(self) -> set[str]:
        """The tills that may have forgotten what they spent, or of which there were two."""
        return {clone.terminal_id for clone in self.clones} | {
            till.terminal_id for till in self.tills if till.times_set_back
        }

    @property
    def doubted_cards(self) -> set[str]:
        """The identifiers of the customers in doubt."""
        return {card_id(card) for one in self.doubted for card in CUSTOMERS[one]}

    @property
    def doubles(self) -> set[str]:
        """The tills that a hub may take for two: one was copied, or ran on one old state after the other."""
        return {clone.terminal_id for clone in self.clones} | {
            till.terminal_id for till in self.tills if till.times_set_back > 1
        }

    def note(self, line: str) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{asyncio.get_running_loop().time():10.3f}  {line}")

    def seen(self, till: TillSide, what: str) -> None:
        """Check what must be true at every moment of a till; called whenever what it shows may have changed."""
        self.note(f"{till.terminal_id} {what}")
        self.oracle.refresh(self.hub)
        for promise in ALWAYS:
            found = promise.check(self, till) if till.life is not None else None
            if found is not None and self.wrong is None:
                self.wrong = f"{promise.name}: {found}"
                self.note(f"WRONG  {self.wrong}")

    async def open(self) -> None:
        """Switch everything on."""
        await self.hub.start()
        await self._import()
        self.hub.keep_image()
        for till in self.tills:
            await till.start()

    async def chaos(self) -> None:
        """Let things happen."""
        kind = KINDS[self.kind]
        weights = [
            kind.get(act.name, act.weight) if self.is_lossy or not act.needs_lossy_disk else 0 for act in self.acts
        ]
        # Short stories are more, and easier to read; what takes many faults to meet is left to the long ones.
        for _ in range(7 + int(25 * self.die.random() ** 3)):
            act = self.die.choices(self.acts, weights)[0]
            await act.run(self)
            await pass_time(self.die.choice(PAUSES_S))
            self._still_right()

    async def rest(self) -> None:
        """Make everything whole, and wait until nothing is left to do."""
        self.note("--- everything is made whole ---")
        await self._make_whole()
        await self._come_to_rest()
        if self.clones or any(till.glance(_HELD) for till in self.tills):
            # What a till missed, as by an answer of yesterday or by its own copy, it hears at its hourly hello.
            self.note("--- an hour passes ---")
            for till in self.tills:
                assert till.life is not None
                till.life.line.ask_hello()
            await self._come_to_rest()

    async def _come_to_rest(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not await self._rests():
            if loop.time() > began_s + REST_WITHIN_S or as_any(loop).rounds > ROUNDS_MAX:
                raise Broken(f"no rest: {self._unrest()}")
            await self.do_what_people_do(is_patient=loop.time() < began_s + PATIENCE_S)
            for till in self.tills:
                for what in list(till.unanswered.values()):
                    await till.ask(what)
            await pass_time(7.0)
            self._still_right()

    async def _make_whole(self) -> None:
        for clone in self.clones:
            await clone.crash()
            self.tills.remove(clone)
        for till in self.tills:
            till.wire.is_calm, till.wire.down_until_s = True, 0.0
            if till.life is None:
                await till.start()
        if self.hub.door is None:
            await self.hub.start()

    async def do_what_people_do(self, *, is_patient: bool) -> None:
        """Import who was forgotten, release a till that runs once again, and end a wait for what a till has lost."""
        assert self.hub.door is not None
        if "till" in self.losses and not is_patient:
            await self.hub.door.end_recovery()
            self.losses.add("risk")
        for terminal_id in sorted(self.doubles):
            await self.hub.door.release(terminal_id)
        await self._import()

    async def _import(self) -> None:
        """Import everybody, once into each process of the hub: one that was brought back may have forgotten some."""
        assert self.hub.door is not None
        if self.imported_by is not self.hub.door:
            self.imported_by = self.hub.door
            await self.hub.door.put(*(self.customers[customer_id] for customer_id in sorted(self.imported)))

    async def check_at_rest(self) -> None:
        """Check what must be true in the end."""
        for till in self.tills:
            self.seen(till, "is at rest")
        self._still_right()
        for invariant in AT_REST:
            found = invariant.check(self)
            if found is not None:
                self.note(f"WRONG  {invariant.name}: {found}")
                raise Broken(f"{invariant.name}: {found}")

        await self._compare_digests()

    async def _compare_digests(self) -> None:
        """Check that the sums of each cache are the hub's, as of the one position where all stand."""
        assert self.hub.peek is not None
        pos, sums = sum_up(self.hub.peek)
        for till in self.tills:
            assert till.life is not None
            if await till.life.store.cache.buckets() != sums.buckets():
                raise Broken(f"the cache of {till.terminal_id} differs from the hub's digest at {pos}")

    async def close(self) -> None:
        """Switch everything off."""
        for task in wire.NETWORK:
            task.cancel()
        wire.NETWORK.clear()
        for till in [*self.tills, *self.clones]:
            await till.machine.kill()
        await self.hub.kill()

    def _still_right(self) -> None:
        if self.wrong is not None:
            raise Broken(self.wrong)
        for till in self.tills:
            till.machine.raise_failures()
        self.hub.machine.raise_failures()

    async def _rests(self) -> bool:
        """Tell whether nothing is left to do, nor was in the two seconds before: what was on its way has arrived."""
        for _ in range(2):
            if self._moves():
                return False
            await pass_time(1.0)
        return not self._moves()

    def _moves(self) -> bool:
        wire.NETWORK[:] = [task for task in wire.NETWORK if not task.done()]
        return bool(wire.NETWORK or self._unrest())

    def _unrest(self) -> str:
        door = self.hub.door
        assert door is not None
        for till in self.tills:
            assert till.life is not None
            waiting = till.life.store.outbox.figures().waiting
            if till.unanswered or waiting:
                return f"{till.terminal_id} has {waiting} events waiting, unanswered {sorted(till.unanswered)}"
            if till.life.line.hello_wanted.is_set():
                return f"{till.terminal_id} has a hello to say"
            if self.doubles & self.hub.quarantined():
                return "a till that may be two is in quarantine"
            if self.hub.rows(_HUB_WAITS):
                return "the hub waits for tills before it judges redemptions"
            if till.place() != (door.epoch, door.head.pos):
                return f"{till.terminal_id} stands at {till.place()}, the hub at {(door.epoch, door.head.pos)}"
        return ""


def customer_row(customer_id: str, points: int | None = None) -> CustomerRow:
    """Return a customer as an import hands it in, with what they open with."""
    cards = [{"scheme": "card", "value": make_card_number(card)} for card in CUSTOMERS[customer_id]]
    document: dict[str, Any] = {"customer_id": customer_id, "given_name": "Zoe", "language": "fr", "identifiers": cards}
    document |= {"points": points} if points is not None else {}
    row = to_row(document, IDENTIFIER_KEY, "1")
    assert isinstance(row, CustomerRow)
    return row


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a seed: `wrong` is None where every promise held."""

    seed: int
    wrong: str | None
    trace: tuple[str, ...]
    virtual_s: float = 0.0


def simulate(seed: int, kind: str | None = None) -> Result:
    """Run one seed from beginning to end, in a shop of that kind of `KINDS` or of any; the same does the same."""
    blank = blank_files()
    die = random.Random(seed)
    traces: list[list[str]] = []
    folder = Path(tempfile.mkdtemp(prefix="sim-", dir=ram()))

    async def main() -> float:
        world = _world(die, folder, blank)
        world.kind = kind or die.choice(tuple(KINDS))
        traces.append(world.trace)
        try:
            await world.open()
            await world.chaos()
            await world.rest()
            await world.check_at_rest()
            return asyncio.get_running_loop().time()
        finally:
            await world.close()

    wrong = None
    virtual_s = 0.0
    # A seed's objects are few and die with it; looking for rings among them takes a tenth of the time.
    gc.disable()
    try:
        with simulated(die):
            try:
                virtual_s = run(die, main)
            finally:
                # Before its files are closed: the last one out of a log would carry it over into what nobody reads.
                shutil.rmtree(folder, ignore_errors=True)
    except Broken as broken:
        wrong = str(broken)
    except Stuck as stuck:
        wrong = f"stuck: {stuck}"
    except Exception as error:  # noqa: BLE001 - a seed that breaks the product is what is looked for
        wrong = f"fell: {type(error).__name__}: {error}"
    finally:
        gc.enable()
    return Result(seed, wrong, tuple(traces[0]) if traces else (), virtual_s)


def _world(die: random.Random, folder: Path, blank: Path) -> World:
    terminals = TERMINALS[: die.choice((2, 2, 3))]
    copy_folder(blank / f"hub-{len(terminals)}", folder / "hub")
    hub = HubSide(folder / "hub", Machine("hub", die), SimClock("boot-hub"))
    world = World(die, folder, die.random() < 0.3, hub)
    if die.random() < 0.8:
        world.customers = {one: customer_row(one, OPENINGS[one]) for one in CUSTOMERS}
        world.imported = set(CUSTOMERS)
    if die.random() < 0.6:
        world.amounts_minor = world.amounts_minor[:-1]
    for terminal_id in terminals:
        copy_folder(blank / die.choice((NEW_TILL, KNOWN_TILL)), folder / terminal_id)
        way = wire.Wire(terminal_id, hub, Machine(terminal_id, die), world.note)
        till = TillSide(terminal_id, folder / terminal_id, Machine(terminal_id, die), way, world.seen)
        till.has_honest_disk = not world.is_lossy
        till.keep_image()
        world.tills.append(till)
    return world
