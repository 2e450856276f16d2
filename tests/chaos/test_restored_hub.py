"""A hub that is brought back from yesterday's file, with the real programs (F28), while a till holds points of it.

Until it knows again what it had promised, it promises nothing more; what the tills sent since is back, each thing once.
"""

import itertools

import pytest

from sync.contract.protocol import EnrolRequest
from sync.contract.signing import SigningKey
from sync.hub.escrow import recovery
from sync.hub.founding import database_file
from sync.hub_client import enrol
from sync.runtime.database import open_reader
from tests.support.machine_books import hub_books
from tests.support.machines import Load, Machines
from tests.support.processes import command
from tests.support.waiting import eventually


@pytest.mark.timeout(240)
async def test_f28_yesterdays_hub_db_is_whole_again_once_the_tills_have_sent_what_it_lost(machines: Machines) -> None:
    load, of_hub = machines.load, ("--config", str(machines.folder / "hub.toml"))
    await load.sell_some(40)
    await eventually(load.has_nothing_waiting, within_s=60)
    # Another till of the shop is switched off for all of this. It may hold points, so the hub waits for it.
    code = await command("sync.hub", "terminals", "invite", "--store", "store-1", *of_hub)
    asked = EnrolRequest(code=code, agent_version="0.1.0", public_key=SigningKey(bytes(32)).public)
    away = await enrol(machines.hub.health_url.removesuffix("/healthz"), asked)
    assert await machines.hub.stop() == 0
    backup = (machines.hub_state / "hub.db").read_bytes()
    await machines.hub.start()
    await load.sell_some(200)
    await eventually(load.has_nothing_waiting, within_s=60)
    assert await machines.hub.stop() == 0

    for old in machines.hub_state.glob("hub.db*"):
        old.unlink()
    (machines.hub_state / "hub.db").write_bytes(backup)
    machines.hub.arguments = (*machines.hub.arguments, "--restored")
    await machines.hub.start()
    await load.sell_some(40)
    # A till that runs on loads no second snapshot within ten minutes; one that starts does.
    assert await machines.till.stop() == 0
    await machines.till.start()
    await eventually(lambda: _is_waited_for(machines, away.terminal_id), within_s=90)

    async with load.session() as session:
        await load.sell(session, "last", 1, 10_000)
        await eventually(lambda: _has_posted(load, 1), within_s=60)
        earned, _ = await load.balance(1)
        assert await load.redeem(session, "early", 1, earned) == "no_allowance"
        await command("sync.hub", "recovery", "end", "--yes", *of_hub)
        # The running hub judges now what no allowance of the backup covered, and sales taken back are paid for.
        await eventually(load.has_nothing_waiting, within_s=60)
        await eventually(lambda: _is_paid(machines), within_s=60)
        names = itertools.count()

        async def is_granted() -> bool:
            left, _ = await load.balance(1)
            return await load.redeem(session, f"late-{next(names)}", 1, left) is None

        await eventually(is_granted, within_s=60)

    assert load.redeemed > 0
    await eventually(load.has_nothing_waiting, within_s=90)
    await machines.check_till()
    assert await machines.till.stop() == 0
    assert await machines.hub.stop() == 0
    await machines.check_files()


async def _is_waited_for(machines: Machines, *terminal_ids: str) -> bool:
    """Tell whether the hub still waits after its restore, and for these alone: all others have sent all."""
    async with open_reader(database_file(machines.hub_state)) as reader:
        waiting = await reader.read(recovery.shown)
    assert waiting is not None
    return tuple(terminal_id for terminal_id, _, _ in waiting.terminals) == terminal_ids


async def _is_paid(machines: Machines) -> bool:
    return not (await hub_books(machines.hub_state)).could_pay()


async def _has_posted(load: Load, customer: int) -> bool:
    return (await load.balance(customer))[1] == 0
