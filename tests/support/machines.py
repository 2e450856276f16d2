"""A hub and a till as real programs, installed and enrolled as the README says, and points of sale that keep them busy.

A point of sale that got no answer asks the very same again, so whatever was committed is acknowledged in the end. The
sums are reckoned beside both programs: a point per dollar, less what was taken back.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter as Tally
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from agent import keys
from agent.codes import make_card_number
from agent.store.files import cache_file, till_file
from sync.hub.founding import database_file
from sync.runtime.database import open_reader
from sync.runtime.sqlite_file import Connection
from tests.support.processes import Program, command, free_port, program
from tests.support.waiting import breath, eventually

POINTS_OF_SALE = 4
CUSTOMERS = 5
HTTP = aiohttp.ClientTimeout(total=5)


@dataclass
class Load:
    """Points of sale that credit sale after sale, take some back, and remember what the till acknowledged."""

    url: str
    key: str
    seed: int = 0
    stopping: bool = False
    rounds: int = 0
    # What was done and its points, by sale_id or reversal_id.
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    unanswered: int = 0

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A connection that the till knows."""
        async with aiohttp.ClientSession(timeout=HTTP, headers={"Authorization": f"Bearer {self.key}"}) as session:
            yield session

    async def run(self, name: int) -> None:
        """Be one point of sale until `stopping`."""
        dice = random.Random(f"{self.seed}/{name}")
        async with self.session() as session:
            for number in itertools.count():
                if self.stopping:
                    return
                customer, net_minor = dice.randrange(1, CUSTOMERS + 1), dice.randrange(100, 3000)
                sale_id = f"pos-{name}-{number}"
                points = await self._until_acknowledged(session, "sales", sale(sale_id, customer, net_minor))
                assert points == net_minor // 100
                self.acknowledged[sale_id] = (customer, points)
                if dice.random() < 0.1:
                    undo = {"reversal_id": f"undo-{name}-{number}", "occurred_at": datetime.now(UTC).isoformat()}
                    points = await self._until_acknowledged(session, f"sales/{sale_id}/reversals", undo)
                    assert points == net_minor // 100
                    self.acknowledged[undo["reversal_id"]] = (customer, -points)

    async def sell_some(self, count: int) -> None:
        """Be all points of sale at once until so many more acts are acknowledged, and let each end its last one."""
        further, self.stopping, self.rounds = len(self.acknowledged) + count, False, self.rounds + 1
        async with asyncio.TaskGroup() as group:
            names = range(self.rounds * POINTS_OF_SALE, (self.rounds + 1) * POINTS_OF_SALE)
            points_of_sale = [group.create_task(self.run(name)) for name in names]
            await eventually(lambda: len(self.acknowledged) >= further)
            self.stopping = True
            await asyncio.wait(points_of_sale)

    def sums(self) -> Tally[int]:
        """Return what an independent book would say."""
        total = Tally[int]()
        for customer, points in self.acknowledged.values():
            total[customer] += points
        return total

    async def get(self, path: str) -> dict[str, Any]:
        """Ask the till; it must answer."""
        async with self.session() as session, session.get(f"{self.url}{path}") as response:
            found: dict[str, Any] = await response.json()
            assert response.status == 200, found
            return found

    async def knows_everybody(self) -> bool:
        """Tell whether the till has heard of all customers."""
        for _ in range(20):  # asked all the time, it would take the processor from whom it waits for
            await breath()
        url = f"{self.url}/api/v1/customers/customer-{CUSTOMERS}"
        async with self.session() as session, session.get(url) as response:
            return response.status == 200

    async def balance(self, customer: int) -> tuple[int, int]:
        """Return a customer's posted and pending points at the till."""
        shown = (await self.get(f"/api/v1/customers/customer-{customer}"))["balance"]
        return int(shown["posted"]), int(shown["pending"])

    async def has_nothing_waiting(self) -> bool:
        """Tell whether the hub has everything and every balance contains it."""
        outbox = (await self.get("/api/v1/screen"))["outbox"]
        if outbox["waiting"] or any(outbox[kind] for kind in ("rejected", "parked", "withheld")):
            return False
        return not any([(await self.balance(customer))[1] for customer in self.sums()])

    async def oldest_waiting(self) -> tuple[str, int] | None:
        """Return the oldest event that the till has no verdict on; None where nothing waits."""
        rows = (await self.get("/api/v1/outbox?state=waiting&limit=1"))["rows"]
        return (rows[0]["inc"], rows[0]["seq"]) if rows else None

    async def _until_acknowledged(self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> int:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                async with session.post(f"{self.url}/api/v1/{path}", json=body) as response:
                    answer = await response.json()
                    assert response.status == 200, answer
                    return int(answer["points"])
            self.unanswered += 1
            for _ in range(7):  # as often as a hasty point of sale, and not so often that nothing else gets on
                await breath()


def sale(sale_id: str, customer: int, net_minor: int) -> dict[str, Any]:
    """Return a sale as a point of sale sends it."""
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
    """A hub and a till that run, in one folder with their settings."""

    folder: Path
    hub: Program
    till: Program
    load: Load

    @property
    def hub_state(self) -> Path:
        return self.folder / "hub"

    @property
    def till_state(self) -> Path:
        return self.folder / "till"

    async def check_till(self) -> None:
        """Assert that the running till comes to show what was credited, and nothing as pending.

        The hub's balances arrive a moment after its verdicts.
        """
        credited = {customer: (points, 0) for customer, points in self.load.sums().items()}

        async def shown() -> dict[int, tuple[int, int]]:
            return {customer: await self.load.balance(customer) for customer in credited}

        async def is_settled() -> bool:
            return await shown() == credited

        with contextlib.suppress(TimeoutError):
            await eventually(is_settled, within_s=60)
        assert await shown() == credited

    async def check_files(self) -> None:
        """Assert, once both have ended, that their files hold each committed event once, and the same balances."""
        async with open_reader(database_file(self.hub_state)) as reader:
            raws, outcomes, posted, ledger = await reader.read(_hub_files)
        key = keys.database_key(self.till_state / "keys" / "database.key", self.till_state / "till.db")
        async with open_reader(till_file(self.till_state, key)) as reader:
            committed, number = await reader.read(_till_files)
        async with open_reader(cache_file(self.till_state, key, number)) as reader:
            cached, waiting_cards = await reader.read(_cache_files)
        facts = [json.loads(raw)["data"] for raw in raws]
        assert Tally(raws) == Tally(committed)
        assert Tally(fact.get("reversal_id", fact["sale_id"]) for fact in facts) == Tally(
            dict.fromkeys(self.load.acknowledged, 1)
        )
        assert outcomes == ["applied"]
        expected = {f"customer-{customer}": points for customer, points in self.load.sums().items()}
        assert posted == ledger == cached == expected
        assert waiting_cards == []


def _hub_files(connection: Connection) -> tuple[list[str], list[str], dict[str, int], dict[str, int]]:
    raws = [row[0] for row in connection.execute("SELECT raw FROM events ORDER BY number")]
    outcomes = [row[0] for row in connection.execute("SELECT DISTINCT outcome FROM events")]
    posted: dict[str, int] = dict(connection.execute("SELECT customer_id, points FROM balances").fetchall())
    ledger: dict[str, int] = dict(
        connection.execute("SELECT customer_id, sum(points) FROM ledger GROUP BY customer_id").fetchall()
    )
    return raws, outcomes, posted, ledger


def _till_files(connection: Connection) -> tuple[list[str], int]:
    (number,) = connection.execute("SELECT number FROM live_cache").fetchone() or (1,)
    return [row[0] for row in connection.execute("SELECT event FROM journal ORDER BY position")], number


def _cache_files(connection: Connection) -> tuple[dict[str, int], list[Any]]:
    customers: dict[str, int] = dict(connection.execute("SELECT customer_id, points FROM customers").fetchall())
    return customers, connection.execute("SELECT * FROM cards WHERE points <> 0").fetchall()


@contextlib.asynccontextmanager
async def open_machines(folder: Path, seed: int = 0) -> AsyncIterator[Machines]:
    """Install both in a folder, enrol the till, and run them."""
    hub_port, till_port = free_port(), free_port()
    hub_config, till_config = folder / "hub.toml", folder / "till.toml"
    hub_config.write_text(f'[hub]\nstate = "hub"\nport = {hub_port}\n', encoding="utf-8")
    till_config.write_text(
        f'[till]\nstate = "till"\n[api]\nport = {till_port}\n[hub]\nurl = "http://127.0.0.1:{hub_port}"\n',
        encoding="utf-8",
    )
    customers = folder / "customers.csv"
    rows = [f"customer-{number},Person,en,{make_card_number(number)}" for number in range(1, CUSTOMERS + 1)]
    customers.write_text("\n".join(["customer_id,given_name,language,card", *rows, ""]), encoding="utf-8")
    of_hub, of_till = ("--config", str(hub_config)), ("--config", str(till_config))
    await command("sync.hub", "import", str(customers), *of_hub)
    code = await command("sync.hub", "terminals", "invite", "--store", "store-1", *of_hub)
    async with (
        program(("sync.hub", "run", *of_hub), f"http://127.0.0.1:{hub_port}/healthz", folder / "hub.log") as hub,
        program(("agent", "run", *of_till), f"http://127.0.0.1:{till_port}/healthz", folder / "till.log") as till,
    ):
        await hub.start()
        await command("agent", "enrol", code, *of_till)
        await till.start()
        key = await command("agent", "key", "show", *of_till)
        machines = Machines(folder, hub, till, Load(f"http://127.0.0.1:{till_port}", key, seed))
        # Before, every card is one that nobody is known for, and gathers no more than a few hundred points.
        await eventually(machines.load.knows_everybody)
        yield machines
