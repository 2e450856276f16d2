"""What happens in a simulated shop. To add an act, add a row to `ACTS`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from agent.codes import make_card_number
from tests.chaos.simulation.till_side import Basket, GivingBack, Spend, TillSide, Undo, What, name_of
from tests.chaos.simulation.virtual import pass_time

if TYPE_CHECKING:
    from tests.chaos.simulation.world import World

CARDS = 5


class Act(NamedTuple):
    """One thing that may happen, and how often."""

    name: str
    weight: int
    run: Callable[["World"], Awaitable[None]]
    needs_lossy_disk: bool = False


def _till(world: "World") -> TillSide:
    return world.die.choice(world.tills)


def _ask(world: "World", till: TillSide, what: What) -> None:
    """Let a point of sale ask, and go on without waiting: what comes next may hit in the middle."""
    world.note(f"{till.terminal_id} is asked: {what}")
    if till.life is not None:
        till.machine.start(till.ask(what))
    else:
        till.unanswered[name_of(what)] = what


def _basket(world: "World", till: TillSide) -> Basket:
    world.count += 1
    net_minor = world.die.choice(world.amounts_minor)
    return Basket(f"s-{world.count}", world.die.randrange(CARDS), net_minor, till.clock.now())


async def sell(world: "World") -> None:
    till = _till(world)
    basket = _basket(world, till)
    till.baskets.append(basket)
    _ask(world, till, basket)


async def sell_twice(world: "World") -> None:
    """Two tills are given the same basket, as by a customer who moved to another queue."""
    one, other = world.die.sample(world.tills, 2)
    basket = _basket(world, one)
    for till in (one, other):
        till.baskets.append(basket)
        _ask(world, till, basket)


async def reverse(world: "World") -> None:
    """A sale of this till or of another is taken back here, perhaps for the second time."""
    till = _till(world)
    baskets = [basket for one in world.tills for basket in one.baskets]
    if baskets:
        world.count += 1
        sale_id = world.die.choice(baskets).sale_id
        _ask(world, till, Undo(f"r-{world.count}", sale_id, till.clock.now()))


async def redeem(world: "World") -> None:
    """A customer comes in, is scanned, and spends: mostly about what there is, on two tills at once now and then."""
    world.count += 1
    card, points = world.die.choice((0, 0, 1, 1, 2, 2, 3)), world.die.choice((1, 4, 4, 10, 25, 40))
    for till in world.die.sample(world.tills, world.die.choice((1, 1, 2))):
        spend = Spend(f"d-{world.count}-{till.terminal_id[-1]}", card, points, till.clock.now())
        till.spends.append(spend)
        if till.life is not None and world.die.random() < 0.8:
            till.unanswered[spend.redemption_id] = spend
            till.machine.start(_visit(world, till, spend))
        else:
            _ask(world, till, spend)


async def _visit(world: "World", till: TillSide, spend: Spend) -> None:
    assert till.life is not None
    await till.life.counter.scan(make_card_number(spend.card))
    await pass_time(world.die.choice((0.0, 0.5, 3.0, 10.0)))
    if spend.redemption_id in till.unanswered:
        world.note(f"{till.terminal_id} is asked: {spend}")
        await till.ask(spend)


async def give_back(world: "World") -> None:
    """A redemption of this till or of another is taken back here, perhaps for the second time."""
    till = _till(world)
    spends = [spend for one in world.tills for spend in one.spends]
    if spends:
        world.count += 1
        redemption_id = world.die.choice(spends).redemption_id
        _ask(world, till, GivingBack(f"g-{world.count}", redemption_id, till.clock.now()))


async def ask_again(world: "World") -> None:
    till = _till(world)
    for what in list(till.unanswered.values()):
        _ask(world, till, what)


async def scan(world: "World") -> None:
    till = _till(world)
    if till.life is not None:
        till.machine.start(till.life.counter.scan(make_card_number(world.die.randrange(CARDS))))


async def crash_till(world: "World") -> None:
    till = _till(world)
    if till.life is None:
        await till.start()
        world.note(f"{till.terminal_id} starts")
        return
    await till.crash()
    world.note(f"{till.terminal_id} is killed")
    if world.die.random() < 0.7:
        await till.start()
        world.note(f"{till.terminal_id} starts")


async def stop_till(world: "World") -> None:
    till = _till(world)
    if till.life is not None:
        await till.stop()
        await till.start()
        world.note(f"{till.terminal_id} is started anew")


async def lose_tail(world: "World") -> None:
    """The power fails, and the disk had not written what it said it had."""
    till = _till(world)
    if till.life is not None:
        await _set_back(world, till, till.lose_tail, "lost the tail of its disk")


async def bring_back_old_files(world: "World") -> None:
    """Somebody brings a till's files back from a backup, or its whole folder."""
    till = _till(world)
    if till.life is not None:
        await _set_back(world, till, till.bring_back_old_files, "has its files from a backup")


async def _set_back(world: "World", till: TillSide, change: Callable[[], None], what: str) -> None:
    await till.crash()
    change()
    world.losses.add("till")
    # What it forgot is asked for at once, with or without the hub's word.
    till.wire.break_until(asyncio.get_running_loop().time() + world.die.choice((0.0, 0.0, 10.0, 100.0)))
    await till.start()
    world.note(f"{till.terminal_id} {what}")
    world.seen(till, "is up with an older state")


async def forget_a_spend(world: "World") -> None:
    """A customer's points are spent, the till forgets it, and the customer asks for them once more, without a line."""
    till = _till(world)
    if till.life is None:
        return
    card, points = world.die.choice((0, 1, 2)), world.die.choice((4, 10, 10))
    await till.life.counter.scan(make_card_number(card))
    await pass_time(world.die.choice((0.5, 3.0)))
    till.keep_image()
    await _spend_here(world, till, card, points)
    await pass_time(world.die.choice((0.0, 3.0)))
    await _set_back(world, till, till.lose_tail if world.is_lossy else till.bring_back_old_files, "forgot a spend")
    await _spend_here(world, till, card, points)


async def _spend_here(world: "World", till: TillSide, card: int, points: int) -> None:
    world.count += 1
    spend = Spend(f"d-{world.count}-{till.terminal_id[-1]}", card, points, till.clock.now())
    till.spends.append(spend)
    _ask(world, till, spend)
    await pass_time(0.5)


async def clone_till(world: "World") -> None:
    """Somebody copies a till's disk, and both run; once in a shop."""
    till = _till(world)
    if till.life is None or world.clones:
        return
    clone = till.clone()
    world.clones.append(clone)
    world.tills.append(clone)
    world.losses |= {"till", "risk"}
    await clone.start()
    world.note(f"{till.terminal_id} runs twice")


async def cut_power(world: "World") -> None:
    """The power fails, and the disk keeps what it promised: all of the till, and of the cache what it had written."""
    till = _till(world)
    if till.life is not None:
        await till.crash()
        till.lose_cache_tail()
        await till.start()
        world.note(f"{till.terminal_id} had no power, its cache fell back to {till.place()}")
        world.seen(till, "is up after the power cut")


async def disk_syncs(world: "World") -> None:
    _till(world).keep_image()


async def line_down(world: "World") -> None:
    till = _till(world)
    seconds = world.die.choice((2.0, 30.0, 300.0))
    till.wire.down_until_s = asyncio.get_running_loop().time() + seconds
    world.note(f"{till.terminal_id} has no line for {seconds:.0f} s")


async def jump_clock(world: "World") -> None:
    clock = world.die.choice([world.hub.clock, *(till.clock for till in world.tills)])
    seconds = world.die.choice((-86_400.0, -7.0, 3.0, 600.0, 86_400.0))
    clock.jump(seconds)
    world.note(f"a wall clock jumps by {seconds:.0f} s")


async def crash_hub(world: "World") -> None:
    world.oracle.refresh(world.hub)
    await world.hub.kill()
    world.note("the hub is killed")
    await pass_time(world.die.choice((0.0, 1.0, 20.0)))
    await world.hub.start()
    world.note("the hub starts")


async def back_up_hub(world: "World") -> None:
    world.hub.keep_image()
    world.note("the hub is backed up")


async def restore_hub(world: "World") -> None:
    """A hub that everybody comes back to at once: one till's line breaks again before it has sent all it has."""
    if await _restored(world):
        wire, seconds = _till(world).wire, world.die.choice((10.0, 100.0))
        if world.die.random() < 0.5:
            wire.snaps_for_s = seconds
            return
        loop = asyncio.get_running_loop()
        breaks_s = loop.time() + world.die.choice((0.2, 0.4, 1.0, 3.0))
        loop.call_at(breaks_s, wire.break_until, breaks_s + seconds)


async def forget_at_the_hub(world: "World") -> None:
    """The hub forgets a spend; its till says in a hello that there is one and no more, and another till spends too.

    On a quiet network, but for a proxy that lets no upload through: to miss what the hub waits for takes all of this.
    """
    one, other = world.die.sample(world.tills, 2)
    if one.life is None or other.life is None or world.hub.door is None:
        return
    for till in world.tills:
        till.wire.is_calm = True
    world.hub.keep_image()
    card, points = world.die.choice((0, 2, 2)), world.die.choice((4, 10))
    await one.life.counter.scan(make_card_number(card))
    await pass_time(3.0)
    await _spend_here(world, one, card, points)
    one.clock.jump(86_400.0)  # so the allowance goes back, and the till cannot tell the hub of it any more
    one.life.store.allowances.ask_again()
    await pass_time(3.0)
    if await _restored(world, newest=True):
        one.wire.is_calm = False
        one.wire.sends_nothing_until_s = asyncio.get_running_loop().time() + world.die.choice((100.0, 300.0))
        for _ in range(5):
            await pass_time(world.die.choice((8.0, 15.0, 30.0)))
            await _spend_here(world, other, card, world.die.choice((4, 4, 10, 10, 25)))
    for till in world.tills:
        till.wire.is_calm = False


async def _restored(world: "World", *, newest: bool = False) -> bool:
    world.oracle.refresh(world.hub)
    if not await world.hub.restore(newest=newest) or world.hub.door is None:
        return False
    known = {customer_id for (customer_id,) in world.hub.rows("SELECT customer_id FROM customers")}
    # It may have forgotten who is one, or whose a card is: then it cannot tell which points a till may still spend.
    world.doubted |= set(world.customers) if world.merged else world.imported - known
    world.losses |= {"hub", "risk"} if world.doubted else {"hub"}
    world.note(f"the hub is restored: epoch={world.hub.door.epoch[:4]} pos={world.hub.door.head.pos}")
    return True


async def import_customer(world: "World") -> None:
    """A card that nobody was known for becomes a customer's."""
    customer_id = world.die.choice(sorted(world.customers))
    world.imported.add(customer_id)
    if world.hub.door is not None:
        await world.hub.door.put(world.customers[customer_id])
        world.note(f"{customer_id} is imported")


async def compare_cache(world: "World") -> None:
    till = _till(world)
    if till.life is not None:
        till.life.comparer.ask()
        world.note(f"{till.terminal_id} compares its cache when it next stands still")


async def merge(world: "World") -> None:
    """Two customers turn out to be one person, or one again."""
    one, other = world.die.sample(sorted(world.customers), 2)
    if world.hub.door is not None and await world.hub.door.merge(one, other):
        world.merged = True
        world.note(f"{one} is merged into {other}")


async def part(world: "World") -> None:
    """Two who were merged are two after all; what one had spent of the other's points is nobody's fault."""
    for one in sorted(world.customers):
        if world.hub.door is not None and await world.hub.door.part(one):
            world.losses.add("risk")
            world.doubted |= set(world.customers)
            world.note(f"{one} is parted again")


async def prune_feed(world: "World") -> None:
    if world.hub.door is not None:
        world.oracle.refresh(world.hub)
        seen_pos = world.oracle.epochs[world.hub.door.epoch].last_pos
        await world.hub.door.prune(world.die.choice((0, 2, 5)), seen_pos)
        world.note("the hub forgets old rows of its feed")


ACTS = (
    Act("sell", 40, sell),
    Act("sell twice", 3, sell_twice),
    Act("reverse", 9, reverse),
    Act("redeem", 16, redeem),
    Act("give back", 4, give_back),
    Act("ask again", 4, ask_again),
    Act("scan", 8, scan),
    Act("kill a till", 5, crash_till),
    Act("restart a till", 2, stop_till),
    Act("lose a disk's tail", 5, lose_tail, needs_lossy_disk=True),
    Act("forget a spend", 0, forget_a_spend),
    Act("clone a till", 0, clone_till),
    Act("cut the power", 4, cut_power),
    Act("bring back a till's files", 1, bring_back_old_files),
    Act("a disk syncs", 6, disk_syncs),
    Act("line down", 5, line_down),
    Act("jump a clock", 3, jump_clock),
    Act("kill the hub", 2, crash_hub),
    Act("back up the hub", 4, back_up_hub),
    Act("restore the hub", 2, restore_hub),
    Act("forget at the hub", 0, forget_at_the_hub),
    Act("import a customer", 3, import_customer),
    Act("merge", 0, merge),
    Act("part", 0, part),
    Act("prune the feed", 1, prune_feed),
    Act("compare a cache", 3, compare_cache),
)

# What a shop has more of than others: each shop is of one kind, so that faults which need each other meet.
KINDS: Mapping[str, Mapping[str, int]] = {
    "any": {},
    "spending": {"redeem": 30, "scan": 20},
    "forgetful": {
        "sell": 15,
        "redeem": 50,
        "scan": 30,
        "forget a spend": 15,
        "restore the hub": 0,
        "import a customer": 0,
    },
    "families": {"redeem": 25, "scan": 15, "merge": 9, "part": 6},
    "cloned": {"redeem": 25, "scan": 15, "clone a till": 15},
    "restarts": {"sell": 60, "line down": 2, "kill a till": 20, "restart a till": 8, "cut the power": 8},
    "restored": {
        "sell": 25,
        "redeem": 15,
        "give back": 2,
        "scan": 15,
        "kill a till": 1,
        "cut the power": 0,
        "lose a disk's tail": 0,
        "bring back a till's files": 0,
        "line down": 6,
        "jump a clock": 8,
        "restore the hub": 2,
        "forget at the hub": 5,
        "back up the hub": 1,
        "import a customer": 0,
        "prune the feed": 0,
    },
}
