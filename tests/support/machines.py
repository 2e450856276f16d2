"""A hub and a till as real programs, installed and enrolled as the README says, and points of sale that keep them busy.

A point of sale that got no answer asks the very same again, so whatever was committed is acknowledged in the end. The
sums are reckoned beside both programs: a point per dollar, less what was taken back, less what was redeemed and kept.
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
from typing import Any

import aiohttp

from agent.codes import make_card_number
from tests.support.machine_books import hub_books, till_books
from tests.support.processes import Program, command, free_port, program
from tests.support.waiting import breath, eventually

POINTS_OF_SALE = 4
CUSTOMERS = 5
OPENING = 100
# About as many points are asked for as are earned, so that they stay scarce: among plenty nobody misses one.
SALE_MINOR_MAX = 400
REDEEMING_SHARE = 0.2
REDEEMED_POINTS_MAX = 150
GIVING_BACK_SHARE = 0.3
HTTP = aiohttp.ClientTimeout(total=5)


@dataclass
class Load:
    """Points of sale that credit, redeem, take back and give back, and remember what the till acknowledged."""

    url: str
    key: str
    seed: int = 0
    stopping: bool = False
    rounds: int = 0
    # What was done and its points, by sale_id, redemption_id or reversal_id.
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    redeemed: int = 0
    given_back: int = 0
    # Redemptions that were answered by a no, by its reason. Nothing of them may be anywhere.
    refused: Tally[str] = field(default_factory=Tally)
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
                customer = dice.randrange(1, CUSTOMERS + 1)
                if dice.random() < REDEEMING_SHARE:
                    points = dice.randrange(1, REDEEMED_POINTS_MAX)
                    is_undone = dice.random() < GIVING_BACK_SHARE
                    await self.redeem(session, f"{name}-{number}", customer, points, is_undone=is_undone)
                else:
                    net_minor = dice.randrange(100, SALE_MINOR_MAX)
                    await self.sell(session, f"{name}-{number}", customer, net_minor, is_undone=dice.random() < 0.1)

    async def sell(
        self, session: aiohttp.ClientSession, name: str, customer: int, net_minor: int, *, is_undone: bool = False
    ) -> None:
        """Credit a sale until there is an answer, and take it back if so wished."""
        sale_id, reversal_id, points = f"pos-{name}", f"undo-{name}", net_minor // 100
        answer = await self._until_answered(session, "sales", sale(sale_id, customer, net_minor))
        assert answer["points"] == points, answer
        self.acknowledged[sale_id] = (customer, points)
        if is_undone:
            answer = await self._until_answered(session, f"sales/{sale_id}/reversals", undoing(reversal_id))
            assert answer["points"] == points, answer
            self.acknowledged[reversal_id] = (customer, -points)

    async def redeem(
        self, session: aiohttp.ClientSession, name: str, customer: int, points: int, *, is_undone: bool = False
    ) -> str | None:
        """Redeem until there is an answer, and give back if so wished; return why not, or None where it was done."""
        redemption_id, reversal_id = f"gift-{name}", f"return-{name}"
        answer = await self._until_answered(session, "redemptions", redemption(redemption_id, customer, points))
        if "code" in answer:
            self.refused[answer["reason"]] += 1
            return str(answer["reason"])
        assert (answer["points"], answer["goodwill"]) == (points, 0), answer
        self.acknowledged[redemption_id] = (customer, -points)
        self.redeemed += 1
        if is_undone:
            path = f"redemptions/{redemption_id}/reversals"
            answer = await self._until_answered(session, path, undoing(reversal_id))
            assert (answer["state"], answer["points"]) == ("given_back", points), answer
            self.acknowledged[reversal_id] = (customer, points)
            self.given_back += 1
        return None

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
        """Return what an independent book would say; below zero where a sale was taken back after its points went."""
        total = Tally(dict.fromkeys(range(1, CUSTOMERS + 1), OPENING))
        for customer, points in self.acknowledged.values():
            total[customer] += points
        return total

    def told(self) -> str:
        """Return in a line what was done."""
        no = ", ".join(f"{reason} {times}" for reason, times in sorted(self.refused.items())) or "none"
        return (
            f"{len(self.acknowledged)} acts acknowledged ({self.redeemed} redemptions, {self.given_back} given back), "
            f"{self.refused.total()} redemptions refused ({no}), {self.unanswered} unanswered tries"
        )

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

    async def _until_answered(self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the very same until the till answers; return what it did, or its `not_spendable`."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                async with session.post(f"{self.url}/api/v1/{path}", json=body) as response:
                    answer: dict[str, Any] = await response.json()
                    is_refused = (response.status, answer.get("code")) == (409, "not_spendable")
                    assert response.status == 200 or is_refused, answer
                    return answer
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
        "occurred_at": _now(),
    }


def redemption(redemption_id: str, customer: int, points: int) -> dict[str, Any]:
    """Return a redemption as a point of sale sends it."""
    card = make_card_number(customer)
    return {"redemption_id": redemption_id, "card": card, "points": points, "occurred_at": _now()}


def undoing(reversal_id: str) -> dict[str, Any]:
    """Return the reversal of a sale or of a redemption."""
    return {"reversal_id": reversal_id, "occurred_at": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat()


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
        """Assert that the till comes to show what the hub has, which is right, and nothing as pending. Both run.

        The hub's balances arrive a moment after its verdicts.
        """

        async def shown() -> dict[str, tuple[int, int]]:
            return {f"customer-{customer}": await self.load.balance(customer) for customer in self.load.sums()}

        async def posted() -> dict[str, tuple[int, int]]:
            return {
                customer_id: (points, 0) for customer_id, points in (await hub_books(self.hub_state)).posted.items()
            }

        async def is_settled() -> bool:
            return await shown() == await posted()

        with contextlib.suppress(TimeoutError):
            await eventually(is_settled, within_s=60)
        assert await shown() == await posted()
        (await hub_books(self.hub_state)).check(self._expected())

    async def check_files(self) -> None:
        """Assert, once both have ended, that their files hold each committed event once, and the same balances."""
        hub, till = await hub_books(self.hub_state), await till_books(self.till_state)
        assert Tally(hub.raws) == Tally(till.committed)
        assert hub.names() == Tally(dict.fromkeys(self.load.acknowledged, 1))
        assert hub.outcomes == ["applied"]
        hub.check(self._expected())
        assert hub.posted == till.cached
        assert till.cards_with_points == []

    def _expected(self) -> dict[str, int]:
        return {f"customer-{customer}": points for customer, points in self.load.sums().items()}


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
    rows = [f"customer-{number},Person,en,{make_card_number(number)},{OPENING}" for number in range(1, CUSTOMERS + 1)]
    customers.write_text("\n".join(["customer_id,given_name,language,card,points", *rows, ""]), encoding="utf-8")
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
