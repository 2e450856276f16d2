"""The number on the screen, whatever happens to uploads, answers, pages, processes and the hub.

A model of the hub and of the rules, kept in plain lists, says after each step what must be shown.
"""

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.store import Store
from sync.contract.identifiers import Scheme
from sync.contract.protocol import (
    AppliedThrough,
    BalancePut,
    CardPut,
    CustomerPut,
    Outcome,
    Reason,
    Verdict,
)
from tests.support import shop

# Cards 0 and 1 are Anna's, 2 is Ben's, nobody is known for 3.
OWNERS = {0: "anna", 1: "anna", 2: "ben", 3: None}
CARDS = {number: shop.card_id(shop.card(number)) for number in OWNERS}
ACCOUNTS = ((0, 1), (2,), (3,))
REASONS = {Outcome.REJECTED: Reason.BAD_EVENT, Outcome.PARKED: Reason.UNKNOWN_TYPE}


class ModelHub:
    """Holds events in the order they came, and judges each once. `outcomes` are used in turn; after them, applied."""

    def __init__(self, outcomes: Sequence[Outcome] = ()) -> None:
        self.log: list[tuple[str, dict[str, object], Outcome]] = []
        self._outcomes = list(outcomes)

    def take(self, inc: str, first: int, events: Sequence[str]) -> list[Verdict]:
        held = self.coverage()[inc]
        assert first <= held + 1, "a gap"
        for seq, text in enumerate(events, start=first):
            if seq > held:
                outcome = self._outcomes.pop() if self._outcomes else Outcome.APPLIED
                self.log.append((inc, json.loads(text), outcome))
        outcomes = [outcome for held_inc, _, outcome in self.log if held_inc == inc]
        return [
            Verdict(seq=seq, outcome=outcomes[seq - 1], reason=REASONS.get(outcomes[seq - 1]))
            for seq in range(first, first + len(events))
        ]

    def posted(self) -> dict[str, int]:
        """Return the points of each identifier: credits, less what reversals of credited sales took back."""
        points: dict[str, int] = defaultdict(int)
        credited: dict[str, tuple[str, int]] = {}
        for _, event, outcome in self.log:
            data = event["data"]
            assert isinstance(data, dict)
            if outcome is not Outcome.APPLIED:
                continue
            if "reversal_id" in data:
                subject, earned = credited.pop(data["sale_id"], ("", 0))
                points[subject] -= earned
            else:
                credited[data["sale_id"]] = (str(event["subject"]), data["points"])
                points[str(event["subject"])] += data["points"]
        return points

    def coverage(self) -> dict[str, int]:
        covered: dict[str, int] = defaultdict(int)
        for inc, _, _ in self.log:
            covered[inc] += 1
        return covered


@dataclass
class Fact:
    """An event as the till must have counted it."""

    inc: str
    seq: int
    number: int
    points: int
    is_set_aside: bool = False


class Run:
    """One till, one hub, and what was done so far."""

    def __init__(self, folder: Path, hub: ModelHub) -> None:
        self.folder = folder
        self.hub = hub
        self.position = 1
        self.facts: list[Fact] = []
        self.sales: dict[str, Fact] = {}
        self.starts = 0
        self._store: Store | None = None
        self._open = AsyncExitStack()
        # What the newest page said.
        self.posted: dict[str, int] = defaultdict(int)
        self.covered: dict[str, int] = defaultdict(int)

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    async def start(self) -> None:
        await self._open.aclose()
        self._open = AsyncExitStack()
        self.starts += 1
        opening = shop.open_till(self.folder, inc=f"{self.starts:016x}")
        self._store = await self._open.enter_async_context(opening)

    async def stop(self) -> None:
        await self._open.aclose()

    async def first_page(self) -> None:
        await self.store.cache.apply(shop.page(*self._people()))

    async def page(self) -> None:
        """Bring the hub's balances of now, and what they contain."""
        self._note_hub()
        posted = self.posted
        changes = (
            BalancePut(customer_id="anna", points=posted[CARDS[0]] + posted[CARDS[1]]),
            BalancePut(customer_id="ben", points=posted[CARDS[2]]),
            CardPut(identifier=CARDS[3], points=posted[CARDS[3]]),
        )
        await self.store.cache.apply(shop.page(*changes, position=self.position, covered=self.covered))

    async def sale(self, number: int, net_minor: int) -> None:
        sale_id = f"s-{len(self.facts) + 1}"
        points = net_minor // 100
        if OWNERS[number] is None:
            points = min(points, max(500 - self.must_show((number,)), 0))
        self.sales[sale_id] = self._fact(number, points)
        await shop.credit(self.store, sale_id, net_minor, shop.card(number))

    async def reversal(self, back: int) -> None:
        """Take back one of the newest sales, or one that this till never made."""
        sale_id = ([*self.sales][-1 - back :] or ["elsewhere"])[0]
        sale = self.sales.get(sale_id)
        taken = sale is not None and not sale.is_set_aside and sale.points
        self._fact(sale.number if sale else 0, -int(taken))
        if sale is not None and taken:
            self.sales[sale_id] = Fact(sale.inc, sale.seq, sale.number, 0)
        await shop.take_back(self.store, f"r-{len(self.facts)}", sale_id)

    async def upload(self, most: int, answered: int) -> None:
        batch = await self.store.journal.next_batch(most, 1_000_000)
        if batch is None:
            return
        verdicts = self.hub.take(batch.inc, batch.first, batch.events)
        if answered:
            await self.store.journal.settle(batch.inc, shop.verdicts(*verdicts))
            aside = {verdict.seq for verdict in verdicts if verdict.outcome is not Outcome.APPLIED}
            for fact in [*self.facts, *self.sales.values()]:
                fact.is_set_aside |= fact.inc == batch.inc and fact.seq in aside

    async def restore_hub(self, lost: int) -> None:
        """Give the hub a backup that lacks its newest events; the till says hello, and loads a snapshot."""
        self.hub.log = self.hub.log[: max(len(self.hub.log) - lost, 0)]
        held = self.hub.coverage()
        named = (await self.store.journal.state()).incarnations
        await self.store.journal.rewind([AppliedThrough(inc=one.inc, through=held[one.inc]) for one in named])
        self.check()
        self._note_hub()
        chunk = shop.chunk(*self._people(), CardPut(identifier=CARDS[3], points=self.posted[CARDS[3]]))
        manifest = shop.manifest([chunk], self.position, snapshot_id=f"snapshot-{self.position}", covered=self.covered)
        await self.store.cache.begin_snapshot(manifest)
        await self.store.cache.load_chunk(1, chunk)
        await self.store.cache.finish_snapshot(manifest)

    def must_show(self, numbers: Sequence[int]) -> int:
        """Return what the newest page said, and what happened here that it does not contain and nobody refused."""
        return sum(self.posted[CARDS[number]] for number in numbers) + sum(
            fact.points
            for fact in self.facts
            if fact.number in numbers and fact.seq > self.covered[fact.inc] and not fact.is_set_aside
        )

    def check(self) -> None:
        for numbers in ACCOUNTS:
            for number in numbers:
                assert shop.balance(self.store, shop.card(number)).shown == self.must_show(numbers)

    def check_nothing_flickers(self) -> None:
        """Where the hub refuses nothing, the number is all that ever happened here, at every moment."""
        self.check()
        for numbers in ACCOUNTS:
            assert self.must_show(numbers) == sum(fact.points for fact in self.facts if fact.number in numbers)

    def _fact(self, number: int, points: int) -> Fact:
        inc = f"{self.starts:016x}"
        fact = Fact(inc, 1 + sum(one.inc == inc for one in self.facts), number, points)
        self.facts.append(fact)
        return fact

    def _note_hub(self) -> None:
        self.position += 1
        self.posted, self.covered = defaultdict(int, self.hub.posted()), self.hub.coverage()

    def _people(self) -> list[CustomerPut]:
        people = []
        for owner in ("anna", "ben"):
            numbers = [number for number in OWNERS if OWNERS[number] == owner]
            refs = [shop.ref(Scheme.CARD, shop.card(number)) for number in numbers]
            people.append(shop.put(shop.customer(owner), sum(self.posted[CARDS[number]] for number in numbers), refs))
        return people


# What to do, by the name of a method of Run, and with what.
Step = tuple[str, dict[str, int]]


def steps_of(name: str, **arguments: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


SALES = steps_of("sale", number=st.sampled_from([0, 1, 2, 3, 3]), net_minor=st.integers(0, 30_000))
REVERSALS = steps_of("reversal", back=st.integers(0, 3))
UPLOADS = steps_of("upload", most=st.integers(1, 5), answered=st.integers(0, 1))
PAGES = steps_of("page")
STARTS = steps_of("start")
RESTORES = steps_of("restore_hub", lost=st.integers(0, 6))

# Thousands of durable commits: where there is a disk in memory, they cost nothing there.
MEMORY = Path("/dev/shm")

# A found fault is shown as it was found: a run is short enough to read, and slow enough to make shrinking a wait.
AS_FOUND = settings(phases=(Phase.explicit, Phase.reuse, Phase.generate))


def play(hub: ModelHub, steps: Sequence[Step], check: Callable[[Run], None]) -> None:
    async def run_all(folder: Path) -> None:
        run = Run(folder, hub)
        await run.start()
        try:
            await run.first_page()
            for name, arguments in steps:
                await getattr(run, name)(**arguments)
                check(run)
        finally:
            await run.stop()

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        asyncio.run(run_all(Path(folder)))


@AS_FOUND
@given(st.lists(st.one_of(SALES, REVERSALS, UPLOADS, UPLOADS, PAGES, STARTS, RESTORES), min_size=15, max_size=60))
def test_the_number_never_flickers_whatever_gets_lost_repeated_or_restored(steps: list[Step]) -> None:
    play(ModelHub(), steps, Run.check_nothing_flickers)


@AS_FOUND
@given(
    st.lists(st.one_of(SALES, SALES, REVERSALS, UPLOADS, PAGES, STARTS), min_size=15, max_size=60),
    st.lists(st.sampled_from(Outcome).filter(lambda outcome: outcome is not Outcome.DUPLICATE), max_size=20),
)
def test_what_the_hub_refuses_or_holds_leaves_the_number_and_nothing_else_does(
    steps: list[Step], outcomes: list[Outcome]
) -> None:
    play(ModelHub(outcomes), steps, Run.check)
