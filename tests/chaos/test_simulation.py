"""The simulation in CI, and the test of the test: without a rule that carries weight it must fail."""

import asyncio
import itertools
import json
import random
from types import SimpleNamespace
from typing import cast

import pytest

from tests.chaos.simulate import run_seeds
from tests.chaos.simulation import money
from tests.chaos.simulation.rules import RULES
from tests.chaos.simulation.virtual import Stuck, run
from tests.chaos.simulation.world import World, simulate

# So many that a plain run of the tests meets each kind of shop. `packaging/test.sh` runs 2,000 before the tests, where
# both cores are theirs: beside other tests they take three times as long and make those late.
SEEDS = 40


def test_every_promise_holds_in_every_seed() -> None:
    wrong = [(result.seed, result.wrong) for result in run_seeds(list(range(SEEDS))) if result.wrong]
    assert wrong == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(RULES))
def test_without_this_rule_the_simulation_fails(name: str) -> None:
    rule = RULES[name]
    assert any(is_a_broken_promise(rule.simulate(seed).wrong) for seed in range(rule.seeds_max)), (
        f"{rule.seeds_max} seeds did not miss the rule {name!r}: the adversary has become too kind"
    )


def is_a_broken_promise(wrong: str | None) -> bool:
    """Tell a promise that was broken from a patch that was: then the product falls over, or nothing goes on."""
    return wrong is not None and not wrong.startswith(("fell:", "stuck:"))


def test_the_same_seed_does_the_same() -> None:
    assert simulate(7).trace == simulate(7).trace


def test_a_loop_that_spins_and_one_that_waits_for_nothing_are_stuck() -> None:
    async def spin() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="time does not pass"):
        run(random.Random(0), spin)
    with pytest.raises(Stuck, match="no timer is set"):
        run(random.Random(0), wait)


def test_a_sale_that_only_a_copied_till_and_a_lost_state_of_the_hub_knew_is_at_stake() -> None:
    sale = json.dumps({"data": {"sale_id": "s-2", "points": 15, "lines": []}})
    copy = SimpleNamespace(terminal_id="till-1", ever={("till-1", "ad9c", 2): sale})
    hub = SimpleNamespace(rows=lambda *_: [])
    world = SimpleNamespace(tills=[], clones=[copy], hub=hub, doubted_tills={"till-1"}, doubted_cards=set())

    assert money._at_stake(cast("World", world)) == 15


def test_a_failure_can_be_read() -> None:
    result = next(result for result in map(RULES["coverage"].simulate, range(20)) if result.wrong)
    assert result.wrong is not None
    assert any(result.wrong in line for line in result.trace)
    assert any("upload" in line for line in result.trace)
