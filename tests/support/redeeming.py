"""A small shop where points are redeemed: a real hub, and whole tills behind lines that can be cut."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import keys
from agent.root import Till, running
from sync.runtime.clock import Clock
from tests.support.chaos_tills import card, enrolled, import_cards
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.proxy import Fault, FaultProxy, fault_proxy
from tests.support.tills import Pos, open_pos, settings
from tests.support.waiting import eventually

ANN = "customer-1"
NOW = datetime.now(UTC).isoformat()


@dataclass
class ShopTill:
    """A till of the shop, its point of sale, and the line to the hub."""

    till: Till
    pos: Pos
    line: FaultProxy

    async def redeem(self, redemption_id: str, points: int, serial: int = 1) -> tuple[int, dict[str, Any]]:
        body = {"redemption_id": redemption_id, "card": card(serial), "points": points, "occurred_at": NOW}
        return await self.pos.post("/api/v1/redemptions", body)

    async def undo(self, redemption_id: str, reversal_id: str) -> tuple[int, dict[str, Any]]:
        body = {"reversal_id": reversal_id, "occurred_at": NOW}
        return await self.pos.post(f"/api/v1/redemptions/{redemption_id}/reversals", body)

    async def sell(self, sale_id: str, points: int, serial: int = 1) -> tuple[int, dict[str, Any]]:
        body = {
            "sale_id": sale_id,
            "card": card(serial),
            "lines": [{"quantity": "1", "net_minor": points * 100}],
            "net_minor": points * 100,
            "currency": "CAD",
            "occurred_at": NOW,
        }
        return await self.pos.post("/api/v1/sales", body)

    async def scan(self, serial: int = 1) -> dict[str, Any]:
        return (await self.pos.post("/api/v1/scans", {"text": card(serial)}))[1]

    def left(self, customer_id: str = ANN) -> int:
        return self.till.store.allowances.purse(customer_id, ["00" * 16]).remaining

    def marker(self) -> str | None:
        """Return what stands in the till's file and beside it, None while it is being changed."""
        sql = "SELECT iif(marker = next_marker, marker, NULL) FROM main.trust"
        ((marker,),) = self.till.store.customers._near.glance(sql, ())
        return str(marker) if marker is not None else None

    def shown(self, customer_id: str = ANN) -> tuple[int, int]:
        person = self.till.store.customers.by_id(customer_id)
        assert person is not None
        return person.account.balance.posted, person.account.balance.pending

    def cut(self) -> None:
        self.line.plan = lambda _: Fault.LOSE_REQUEST

    def mend(self) -> None:
        self.line.plan = lambda _: Fault.PASS
        self.line.release()

    async def until_quiet(self) -> None:
        """Wait until nothing of this till is on its way, up or down."""
        await eventually(lambda: self.till.store.outbox.figures().waiting == 0)


@contextlib.asynccontextmanager
async def redeeming_shop(
    folder: Path, *, points: int, tills: int = 1, customers: int = 1, program_file: Path | None = None
) -> AsyncIterator[tuple[HubUnderTest, list[ShopTill]]]:
    """A hub with customers of so many points each, and tills that know them."""
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_in_process(folder / "hub", program_file=program_file))
        await import_cards(hub, folder, range(1, customers + 1), points)
        opened = [
            await stack.enter_async_context(open_shop_till(folder / f"till-{number}", hub)) for number in range(tills)
        ]
        yield hub, opened


@contextlib.asynccontextmanager
async def open_shop_till(
    folder: Path, hub: HubUnderTest, clock: Clock | None = None, *, is_cut: bool = False, **sections: dict[str, Any]
) -> AsyncIterator[ShopTill]:
    """A till of the shop, enrolled at its first opening, that knows the customers."""
    async with fault_proxy(hub.url) as line:
        if is_cut:
            line.plan = lambda _: Fault.LOSE_REQUEST
        of = settings(folder, line.url, **sections)
        if not of.enrolment_file.exists():
            keys.write_enrolment(of.enrolment_file, keys.Enrolment(hub_url=line.url, answer=await enrolled(hub)))
        async with running(of, clock) as till, open_pos(till, of) as pos:
            opened = ShopTill(till, pos, line)
            await eventually(lambda: till.store.customers.by_id(ANN) is not None)
            yield opened


async def posted(hub: HubUnderTest, customer_id: str = ANN) -> int:
    """What the hub has posted to a customer."""
    return await hub.inside.reader.read(
        lambda connection: (
            connection.execute("SELECT points FROM balances WHERE customer_id = ?", (customer_id,)).fetchone() or (0,)
        )[0]
    )
