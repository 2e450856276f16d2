"""A till that the hub revokes while the real programs run: it forgets the customers, keeps its outbox, comes back."""

import aiohttp

from tests.support.machines import HTTP, OPENING, Machines, sale
from tests.support.processes import command
from tests.support.waiting import eventually

SALES = 5


async def test_a_revoked_till_forgets_its_customers_and_keeps_its_outbox_until_it_is_let_in(machines: Machines) -> None:
    state = machines.hub_state.parent
    of_hub, of_till = ("--config", str(state / "hub.toml")), ("--config", str(state / "till.toml"))
    headers = {"Authorization": f"Bearer {machines.load.key}"}
    async with aiohttp.ClientSession(timeout=HTTP, headers=headers) as session:

        async def get(path: str) -> tuple[int, dict[str, dict[str, object]]]:
            try:
                async with session.get(f"{machines.load.url}{path}") as response:
                    return response.status, await response.json()
            except (aiohttp.ClientError, TimeoutError):
                return 0, {}

        async def customer_is(status: int) -> bool:
            return (await get("/api/v1/customers/customer-1"))[0] == status

        async def waits(count: int) -> bool:
            _, screen = await get("/api/v1/screen")
            return bool(screen) and screen["outbox"]["waiting"] == count

        await eventually(lambda: customer_is(200), within_s=60)
        await machines.hub.stop()
        for number in range(SALES):
            async with session.post(f"{machines.load.url}/api/v1/sales", json=sale(f"s-{number}", 1, 100)) as response:
                assert response.status == 200
        (listed,) = (await command("sync.hub", "terminals", "list", *of_hub)).splitlines()[-1:]
        await command("sync.hub", "terminals", "revoke", listed.split()[0], *of_hub)
        await machines.hub.start()

        await eventually(lambda: customer_is(404), within_s=90)
        await eventually(lambda: waits(SALES), within_s=60)
        assert machines.till.starts == 1  # the process went on
        assert "its customers are wiped" in machines.till.log.read_text(encoding="utf-8")

        code = await command("sync.hub", "terminals", "invite", "--store", "store-1", *of_hub)
        assert await machines.till.stop() == 0
        await command("agent", "enrol", code, *of_till)
        await machines.till.start()
        await eventually(lambda: waits(0), within_s=60)
        await eventually(lambda: customer_is(200), within_s=60)
        _, view = await get("/api/v1/customers/customer-1")
        assert view["balance"]["posted"] == OPENING + SALES
