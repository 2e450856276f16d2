"""A search for the shortest story that breaks a promise: two tills and a hub on real files, by hypothesis.

After every step, what each till shows must be what the hub had posted where the till's cache stands, and its own events
beyond that; nothing is below zero, and the books are those of the model. In the end all calls pass, and then each
committed event stands at the hub once, the caches equal the hub and the outboxes are empty. The promises are those of
the simulation. `pytest --hypothesis-profile=long tests/chaos/test_stateful.py` searches for hours.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.codes import make_card_number
from tests.chaos.simulation.money import (
    balances_equal_the_model,
    debts_are_paid_first,
    each_fact_counts_once,
    nothing_is_negative,
)
from tests.chaos.simulation.till_side import Basket, GivingBack, Spend, Undo
from tests.chaos.stepwise import Fate, come_to_rest, open_shop, still, till_of

if TYPE_CHECKING:
    from tests.chaos.simulation.world import World

# Thousands of durable commits: where there is a disk in memory, they cost nothing there.
MEMORY = Path("/dev/shm")
CARDS = 4
STEPS = 40

TILLS = st.integers(0, 1)
FATES = st.sampled_from([Fate.PASS, Fate.PASS, Fate.LOSE_REQUEST, Fate.LOSE_ANSWER, Fate.TWICE])
CARD = st.integers(0, CARDS - 1)
SPENT = st.sampled_from([1, 4, 10, 25, 40])
NET_MINOR = st.sampled_from([100, 700, 1_500, 30_000])


class ShopMachine(RuleBasedStateMachine):
    """Two tills, a hub, and all that may happen to them between two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stateful-", dir=MEMORY if MEMORY.is_dir() else None))
        self.runner = asyncio.Runner()
        self.world: World

    @initialize(seed=st.integers(0, 2**16), disks_lie=st.booleans(), are_known=st.booleans())
    def open(self, seed: int, disks_lie: bool, are_known: bool) -> None:
        self.world = self.run(open_shop(self.folder, random.Random(seed), is_lossy=disks_lie))
        if are_known:
            for customer_id in sorted(self.world.customers):
                self.import_customer(customer_id)

    @rule(till=TILLS, card=CARD, net_minor=NET_MINOR)
    def sell(self, till: int, card: int, net_minor: int) -> None:
        self.run(self._sell([till], card, net_minor))

    @rule(card=CARD, net_minor=NET_MINOR)
    def sell_one_basket_at_both(self, card: int, net_minor: int) -> None:
        self.run(self._sell([0, 1], card, net_minor))

    @rule(till=TILLS, back=st.integers(0, 5))
    def reverse(self, till: int, back: int) -> None:
        baskets = [basket for one in self.world.tills for basket in one.baskets]
        if baskets:
            self.world.count += 1
            basket = baskets[-1 - back % len(baskets)]
            side = self.world.tills[till]
            self.run(side.ask(Undo(f"r-{self.world.count}", basket.sale_id, side.clock.now())))

    @rule(till=TILLS, card=CARD)
    def scan(self, till: int, card: int) -> None:
        life = self.world.tills[till].life
        assert life is not None
        self.run(life.counter.scan(make_card_number(card)))

    @rule(till=TILLS, fate=FATES)
    def reserve(self, till: int, fate: Fate) -> None:
        self.run(till_of(self.world, till).reserve(fate))

    @rule(till=TILLS, card=st.integers(0, 2), points=SPENT)
    def visit(self, till: int, card: int, points: int) -> None:
        """Somebody comes in while the line is good: the till hears all, gets what may be spent, and it is spent."""

        async def come() -> None:
            side = till_of(self.world, till)
            await side.push_all()
            for _ in range(6):
                await side.pull()
            assert side.life is not None
            await side.life.counter.scan(make_card_number(card))
            await side.reserve()

        self.run(come())
        self.spend(till, card, points, Fate.PASS)

    @rule(till=TILLS, card=CARD, points=SPENT, fate=FATES)
    def spend(self, till: int, card: int, points: int, fate: Fate) -> None:
        """Spend; where the till holds too little and has a line, it asks the hub first."""
        self.world.count += 1
        side = till_of(self.world, till)
        spend = Spend(f"d-{self.world.count}", card, points, side.clock.now())
        side.spends.append(spend)
        side.way.fate = fate
        self.run(side.ask(spend))
        side.way.fate = Fate.PASS

    @rule(till=TILLS, back=st.integers(0, 3))
    def give_back(self, till: int, back: int) -> None:
        spends = [spend for one in self.world.tills for spend in one.spends]
        if spends:
            self.world.count += 1
            side = self.world.tills[till]
            redemption_id = spends[-1 - back % len(spends)].redemption_id
            self.run(side.ask(GivingBack(f"g-{self.world.count}", redemption_id, side.clock.now())))

    @rule(till=TILLS, fate=FATES)
    def push(self, till: int, fate: Fate) -> None:
        self.run(till_of(self.world, till).push(fate))

    @rule(till=TILLS, fate=FATES)
    def pull(self, till: int, fate: Fate) -> None:
        self.run(till_of(self.world, till).pull(fate))

    @rule(till=TILLS)
    def catch_up(self, till: int) -> None:
        async def turns() -> None:
            side = till_of(self.world, till)
            await side.push_all()
            for _ in range(4):
                await side.pull()

        self.run(turns())

    @rule(till=TILLS, number=st.integers(0, 50))
    def an_old_upload_comes_again(self, till: int, number: int) -> None:
        way = till_of(self.world, till).way
        if way.kept:
            self.run(way.deliver_again(number))

    @rule(till=TILLS)
    def kill_till(self, till: int) -> None:
        async def again() -> None:
            await self.world.tills[till].crash()
            await self.world.tills[till].start()

        self.run(again())

    @rule(till=TILLS)
    def disk_syncs(self, till: int) -> None:
        self.world.tills[till].keep_image()

    @rule(till=TILLS)
    def cut_power(self, till: int) -> None:
        """The till keeps all that it committed; its cache falls back to what the disk had written of it."""

        async def again() -> None:
            side = self.world.tills[till]
            await side.crash()
            side.lose_cache_tail()
            await side.start()

        self.run(again())

    @precondition(lambda self: self.world.is_lossy)
    @rule(till=TILLS)
    def lose_tail(self, till: int) -> None:
        """The power fails, and the disk had not written what it said it had, of the till neither."""

        async def again() -> None:
            side = self.world.tills[till]
            await side.crash()
            side.lose_tail()
            self.world.losses.add("till")
            await side.start()

        self.run(again())

    @rule(till=TILLS)
    def prune_journal(self, till: int) -> None:
        """A fortnight passes, and then no backup of the hub is older than what tills keep."""
        self.run(till_of(self.world, till).prune())
        self.back_up_hub()
        backups = self.world.hub._images
        backups[:] = backups[-1:] * len(backups)

    @rule(rows_kept=st.sampled_from([0, 2, 5]))
    def prune_feed(self, rows_kept: int) -> None:
        async def prune() -> None:
            door = self.world.hub.door
            assert door is not None
            await door.prune(rows_kept, self.world.oracle.epochs[door.epoch].last_pos)

        self.run(prune())

    @rule()
    def kill_hub(self) -> None:
        async def again() -> None:
            await self.world.hub.kill()
            await self.world.hub.start()

        self.run(again())

    @rule()
    def back_up_hub(self) -> None:
        self.world.hub.keep_image()

    @precondition(lambda self: self.world.hub._images)
    @rule()
    def restore_hub(self) -> None:
        self.world.losses.add("hub")
        self.run(self.world.hub.restore())

    @rule(customer_id=st.sampled_from(["C-1", "C-2"]))
    def import_customer(self, customer_id: str) -> None:
        async def put() -> None:
            assert self.world.hub.door is not None
            self.world.imported.add(customer_id)
            await self.world.hub.door.put(self.world.customers[customer_id])

        self.run(put())

    @rule(hours=st.sampled_from([1, 30]))
    def time_passes(self, hours: int) -> None:
        async def wait() -> None:
            for clock in (self.world.hub.clock, *(till.clock for till in self.world.tills)):
                await clock.sleep(timedelta(hours=hours).total_seconds())

        self.run(wait())

    @invariant()
    def every_promise_holds(self) -> None:
        async def look() -> None:
            for till in self.world.tills:
                self.world.seen(till, "is looked at")
            self.world._still_right()

        self.run(look())
        checks = [each_fact_counts_once, balances_equal_the_model]
        ((recovers_until,),) = self.world.hub.rows("SELECT recovery_until_ms FROM hub")
        if recovers_until is None:  # before, tills hold reserves of points that the hub does not have again yet
            checks += [nothing_is_negative, debts_are_paid_first]
        assert [wrong for wrong in (check(self.world) for check in checks) if wrong is not None] == []

    def teardown(self) -> None:
        try:
            self.run(come_to_rest(self.world))
        finally:
            self.run(self.world.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _sell(self, tills: list[int], card: int, net_minor: int) -> None:
        self.world.count += 1
        basket = Basket(f"s-{self.world.count}", card, net_minor, self.world.hub.clock.now())
        for till in tills:
            self.world.tills[till].baskets.append(basket)
            await self.world.tills[till].ask(basket)


def test_a_till_is_not_asked_for_what_its_lying_disk_forgot() -> None:
    """The search held a sale against a till whose disk had never written it, in one run out of many."""
    with still():
        story = ShopMachine()
        story.open(seed=1, disks_lie=True, are_known=False)
        story.sell(till=0, card=0, net_minor=700)
        story.lose_tail(till=0)
        story.every_promise_holds()
        story.teardown()


@pytest.mark.timeout(0)
def test_no_story_of_two_tills_and_a_hub_breaks_a_promise() -> None:
    searched = settings(
        max_examples=max(settings().max_examples // 3, 1),
        stateful_step_count=STEPS,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    with still():
        run_state_machine_as_test(ShopMachine, settings=searched)
