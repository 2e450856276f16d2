"""kill -9: the real till and the real hub, by their command lines, ended at random points of a running load.

What the till committed, sales and redemptions, must stand at the hub exactly once, however often either of them was
killed, or both, and nobody may have spent what was not there. The long run is
`python -m tests.chaos.kills --cycles 200`.
"""

import random

import pytest

from tests.chaos.kills import kill_again_and_again
from tests.support.machines import Machines

CYCLES = 20


@pytest.mark.timeout(240)
async def test_what_was_committed_stands_at_the_hub_once_after_20_kills(machines: Machines) -> None:
    figures = await kill_again_and_again(machines, CYCLES, random.Random(22), lambda _: None)

    assert sum(figures.killed.values()) == CYCLES
    assert min(figures.killed.values()) >= 2
    assert machines.till.kills + machines.hub.kills == CYCLES + figures.killed["both"]
    assert machines.load.unanswered > 0
    assert figures.recovered_s
    load = machines.load
    assert min(load.redeemed, load.given_back, load.refused.total()) > 0, load.told()
