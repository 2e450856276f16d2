"""kill -9: the real till and the real hub, by their command lines, ended at random points of a running credit load.

What the till acknowledged must stand at the hub exactly once, however often either of them was killed. A sale whose
answer did not come is sent again under its id, as a point of sale does.
"""

import asyncio
import contextlib
import itertools
import random
from collections import Counter as Tally
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from agent.codes import make_card_number
from sync.hub.founding import database_file
from sync.runtime.database import open_reader
from sync.runtime.sqlite_file import Connection
from tests.support.processes import Program, command, free_port, program
from tests.support.waiting import breath, eventually

KILLS = 22
POINTS_OF_SALE = 4
CUSTOMERS = 5
HTTP = aiohttp.ClientTimeout(total=5)


@dataclass
class Load:
    """Points of sale that credit sale after sale, and remember what the till acknowledged."""

    url: str
    key: str
    stopping: bool = False
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    unanswered: int = 0

    async def run(self, name: int) -> None:
        dice = random.Random(name)
        async with aiohttp.ClientSession(timeout=HTTP, headers={"Authorization": f"Bearer {self.key}"}) as session:
            for number in itertools.count():
                if self.stopping:
                    return
                customer, net_minor = dice.randrange(1, CUSTOMERS + 1), dice.randrange(100, 3000)
                sale_id = f"pos-{name}-{number}"
                points = await self._until_acknowledged(session, sale(sale_id, customer, net_minor))
                self.acknowledged[sale_id] = (customer, points)

    async def _until_acknowledged(self, session: aiohttp.ClientSession, body: dict[str, object]) -> int:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                async with session.post(f"{self.url}/api/v1/sales", json=body) as response:
                    answer = await response.json()
                    assert response.status == 200, answer
                    return int(answer["points"])
            self.unanswered += 1
            await breath()


def sale(sale_id: str, customer: int, net_minor: int) -> dict[str, object]:
    return {
        "sale_id": sale_id,
        "card": make_card_number(customer),
        "lines": [{"quantity": "1", "net_minor": net_minor}],
        "net_minor": net_minor,
        "currency": "CAD",
        "occurred_at": datetime.now(UTC).isoformat(),
    }


@dataclass
class Machines:
    """A hub and a till, installed and enrolled as the README says, not started yet."""

    hub: Program
    till: Program
    hub_state: Path
    load: Load


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Machines]:
    hub_port, till_port = free_port(), free_port()
    hub_config, till_config = tmp_path / "hub.toml", tmp_path / "till.toml"
    hub_config.write_text(f'[hub]\nstate = "hub"\nport = {hub_port}\n', encoding="utf-8")
    till_config.write_text(
        f'[till]\nstate = "till"\n[api]\nport = {till_port}\n[hub]\nurl = "http://127.0.0.1:{hub_port}"\n',
        encoding="utf-8",
    )
    customers = tmp_path / "customers.csv"
    rows = [f"customer-{number},Person,en,{make_card_number(number)}" for number in range(1, CUSTOMERS + 1)]
    customers.write_text("\n".join(["customer_id,given_name,language,card", *rows, ""]), encoding="utf-8")
    of_hub, of_till = ("--config", str(hub_config)), ("--config", str(till_config))
    await command("sync.hub", "import", str(customers), *of_hub)
    code = await command("sync.hub", "terminals", "invite", "--store", "store-1", *of_hub)
    async with (
        program(("sync.hub", "run", *of_hub), f"http://127.0.0.1:{hub_port}/healthz", tmp_path / "hub.log") as hub,
        program(("agent", "run", *of_till), f"http://127.0.0.1:{till_port}/healthz", tmp_path / "till.log") as till,
    ):
        await hub.start()
        await command("agent", "enrol", code, *of_till)
        await till.start()
        key = await command("agent", "key", "show", *of_till)
        yield Machines(hub, till, tmp_path / "hub", Load(f"http://127.0.0.1:{till_port}", key))


@pytest.mark.timeout(240)
async def test_what_was_acknowledged_stands_at_the_hub_once_after_22_kills(machines: Machines) -> None:
    dice = random.Random(22)
    load = machines.load
    async with asyncio.TaskGroup() as group:
        points_of_sale = [group.create_task(load.run(name)) for name in range(POINTS_OF_SALE)]
        for _ in range(KILLS):
            further = len(load.acknowledged) + dice.randrange(1, 120)
            await eventually(lambda further=further: len(load.acknowledged) >= further)  # type: ignore[misc]
            for _ in range(dice.randrange(4)):
                await breath()
            victim = machines.till if dice.random() < 0.6 else machines.hub
            await victim.kill()
            await victim.start()
        load.stopping = True
        await asyncio.wait(points_of_sale)

    await eventually(lambda: has_nothing_waiting(load), within_s=90)
    assert machines.till.kills + machines.hub.kills == KILLS
    assert min(machines.till.kills, machines.hub.kills) >= 5
    assert load.unanswered > 0
    await check_till(load)
    assert await machines.till.stop() == 0
    assert await machines.hub.stop() == 0
    await check_hub(machines)


async def has_nothing_waiting(load: Load) -> bool:
    async with aiohttp.ClientSession(timeout=HTTP, headers={"Authorization": f"Bearer {load.key}"}) as session:
        async with session.get(f"{load.url}/api/v1/screen") as response:
            state = await response.json()
        return (
            bool(state["outbox"]["waiting"] == 0)
            and not any(state["outbox"][kind] for kind in ("rejected", "parked", "withheld"))
            and bool(await pending(session, load, 1) == 0)
        )


async def pending(session: aiohttp.ClientSession, load: Load, customer: int) -> int:
    return int((await balance(session, load, customer))["pending"])


async def balance(session: aiohttp.ClientSession, load: Load, customer: int) -> dict[str, int]:
    async with session.get(f"{load.url}/api/v1/customers/customer-{customer}") as response:
        view = await response.json()
        assert response.status == 200, view
        found: dict[str, int] = view["balance"]
        return found


def sums(load: Load) -> Tally[int]:
    """Return what an independent book would say."""
    total = Tally[int]()
    for customer, points in load.acknowledged.values():
        total[customer] += points
    return total


async def check_till(load: Load) -> None:
    async with aiohttp.ClientSession(timeout=HTTP, headers={"Authorization": f"Bearer {load.key}"}) as session:
        for customer, points in sums(load).items():
            shown = await balance(session, load, customer)
            assert (shown["posted"], shown["pending"]) == (points, 0)


async def check_hub(machines: Machines) -> None:
    def read(connection: Connection) -> tuple[list[str], dict[str, int], list[str]]:
        sales = [
            row[0]
            for row in connection.execute("SELECT json_extract(raw, '$.data.sale_id') FROM events ORDER BY number")
        ]
        balances: dict[str, int] = dict(connection.execute("SELECT customer_id, points FROM balances").fetchall())
        outcomes = [row[0] for row in connection.execute("SELECT DISTINCT outcome FROM events")]
        return sales, balances, outcomes

    async with open_reader(database_file(machines.hub_state)) as reader:
        sales, balances, outcomes = await reader.read(read)
    load = machines.load
    assert Tally(sales) == Tally(dict.fromkeys(load.acknowledged, 1))
    assert balances == {f"customer-{customer}": points for customer, points in sums(load).items()}
    assert outcomes == ["applied"]
