"""Bytes that come late, in slices, by drips, half or not at all, towards the hub and towards the till: F17 and F18.

A whole till and the real hub talk through a way that knows nothing of HTTP. However it fails, what was sold arrives
once, and a line that went dead in silence is given up for a new one within a minute.
"""

import asyncio
import contextlib
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sync.hub_line import Timeouts
from sync.runtime.sqlite_file import Connection
from tests.support.chaos_tills import FAST, ChaosTill, card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.toxics import ByteWay, Ill, Toxic, byte_way
from tests.support.waiting import breath, passing

SALES = 12
# Where a connection ends: within the head of a request or an answer, and within its body.
LIMITS_BYTES = (1, 40, 300, 700, 1_500)
HARMLESS = (Toxic.LATENCY, Toxic.SLICER)
ENDING = (Toxic.LIMIT_DATA, Toxic.RESET_PEER)
TOXICS = [toxic for toxic in Toxic if toxic is not Toxic.NONE]


@dataclass
class Way:
    """One till on a way of bytes to its hub."""

    hub: HubUnderTest
    bytes: ByteWay
    till: ChaosTill
    clock: FakeClock
    points: int = 0

    async def sell(self, number: int) -> None:
        self.points += await self.till.sell(card(1), f"sale-{number}", 1_500)

    def is_settled(self) -> bool:
        return self.till.outbox().waiting == 0 and self.till.pending(card(1)) == 0

    async def check(self, sales: int) -> None:
        """Assert that every sale stands at the hub once and both ends show its points."""
        await passing(self.clock, self.is_settled)
        assert self.till.shown(card(1)) == self.points
        assert await self.hub.inside.reader.read(_at_hub) == (
            Tally({f"sale-{number}": 1 for number in range(sales)}),
            self.points,
        )


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    clock = FakeClock()
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_in_process(tmp_path / "hub"))
        await import_cards(hub, tmp_path, (1,))
        bad = await stack.enter_async_context(byte_way(hub.url))
        till = await stack.enter_async_context(chaos_till(tmp_path / "till", await enrolled(hub), bad.url, clock))
        await passing(clock, lambda: till.line.state.current_as_of is not None)
        yield Way(hub, bad, till, clock)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("toxic", TOXICS, ids=lambda toxic: toxic.name.lower())
async def test_f18_whatever_becomes_of_the_bytes_each_sale_arrives_once(way: Way, toxic: Toxic, direction: str) -> None:
    limits = LIMITS_BYTES if toxic in ENDING else LIMITS_BYTES[:3]
    ills = [Ill(toxic, limit_bytes=limit) if direction == "up" else Ill(Toxic.NONE, toxic, limit) for limit in limits]
    way.bytes.plan = lambda: ills.pop() if ills else Ill()
    way.bytes.cut()
    for number in range(SALES):
        await way.sell(number)
        await way.clock.advance(5)
        await breath()
    if toxic not in HARMLESS:
        await passing(way.clock, lambda: not ills)

    await way.check(SALES)
    assert {(met.up, met.down) for met in way.bytes.met} >= {
        (toxic, Toxic.NONE) if direction == "up" else (Toxic.NONE, toxic)
    }


async def test_f17_a_line_that_went_dead_in_silence_is_given_up_for_a_new_one_within_a_minute(way: Way) -> None:
    await way.sell(0)
    await passing(way.clock, way.is_settled)

    way.bytes.freeze()  # as after a sleep of the machine: the connections stand and carry nothing
    await way.sell(1)
    silent_s = await _in_step(way.clock, lambda: way.till.outbox().waiting == 0)

    assert silent_s <= 60.0
    await way.check(2)


async def test_f17_a_hub_that_takes_and_never_answers_loses_no_sale_and_doubles_none(way: Way) -> None:
    way.bytes.plan = lambda: Ill(down=Toxic.BLACK_HOLE)
    way.bytes.cut()
    for number in range(3):
        await way.sell(number)
    await passing(way.clock, lambda: len([met for met in way.bytes.met if met.down is Toxic.BLACK_HOLE]) >= 4)
    assert way.till.outbox().waiting == 3

    way.bytes.plan = Ill
    await way.check(3)


async def _in_step(clock: FakeClock, done: Callable[[], bool]) -> float:
    """Let the till's clock pass as much faster as its time-outs are shorter; return how long it took by that clock."""
    faster = Timeouts().read_s / FAST.read_s
    began_s = seen_s = time.monotonic()
    async with asyncio.timeout(30.0):
        while not done():
            now_s = time.monotonic()
            await clock.advance((now_s - seen_s) * faster)
            seen_s = now_s
            await breath()
    return (time.monotonic() - began_s) * faster


def _at_hub(connection: Connection) -> tuple[Tally[str], int]:
    sales = connection.execute(
        "SELECT json_extract(raw, '$.data.sale_id'), count(*) FROM events WHERE outcome = 'applied' GROUP BY 1"
    ).fetchall()
    (points,) = connection.execute("SELECT points FROM balances").fetchone() or (0,)
    return Tally(dict(sales)), points
