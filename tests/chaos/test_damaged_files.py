"""Damaged files under the real programs: a page of the till's or the cache's file is flipped; nothing stands still."""

from collections import Counter as Tally
from pathlib import Path

import aiohttp

from sync.hub.founding import database_file
from sync.runtime.database import open_reader
from tests.support.machines import HTTP, Machines, sale
from tests.support.waiting import eventually

PAGE = 4096
SALES = 60


def _flip(file: Path, *pages: int) -> None:
    data = bytearray(file.read_bytes())
    for page in pages:
        data[(page - 1) * PAGE + 1000] ^= 0x40
    file.write_bytes(data)


def _pages(file: Path) -> int:
    return file.stat().st_size // PAGE


async def _get(machines: Machines, path: str) -> tuple[int, dict[str, object]]:
    headers = {"Authorization": f"Bearer {machines.load.key}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=HTTP, headers=headers) as session,
            session.get(f"{machines.load.url}{path}") as response,
        ):
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError):
        return 0, {}


async def _sell(machines: Machines) -> None:
    headers = {"Authorization": f"Bearer {machines.load.key}"}
    async with aiohttp.ClientSession(timeout=HTTP, headers=headers) as session:
        for number in range(SALES):
            async with session.post(f"{machines.load.url}/api/v1/sales", json=sale(f"s-{number}", 1, 100)) as response:
                assert response.status == 200


async def _at_hub(machines: Machines) -> tuple[list[str], list[str]]:
    """The sales that the hub has, and the outcomes of all events."""
    async with open_reader(database_file(machines.hub_state)) as reader:
        rows = await reader.read(
            lambda c: c.execute("SELECT json_extract(raw, '$.data.sale_id'), outcome FROM events").fetchall()
        )
    return [sale_id for sale_id, _ in rows if sale_id is not None], [outcome for _, outcome in rows]


async def test_what_waits_in_a_damaged_till_reaches_the_hub_once(machines: Machines) -> None:
    await machines.hub.stop()
    await _sell(machines)
    assert await machines.till.stop() == 0
    file = machines.hub_state.parent / "till" / "till.db"
    _flip(file, *range(_pages(file) - 3, _pages(file) + 1))  # rows of some table, and no page that all else hangs on

    await machines.till.start()
    await machines.hub.start()

    async def all_sent() -> bool:
        _, screen = await _get(machines, "/api/v1/screen")
        return bool(screen) and screen["outbox"]["waiting"] == 0  # type: ignore[index]

    await eventually(all_sent, within_s=60)
    _, ready = await _get(machines, "/readyz")
    assert ready["loops"]["till.db"] == "salvaged"  # type: ignore[index]
    assert len(list(file.parent.glob("till.db.corrupt.*"))) == 1
    sales, outcomes = await _at_hub(machines)

    assert max(Tally(sales).values()) == 1
    assert Tally(outcomes) == Tally({"applied": len(sales), "parked": len(outcomes) - len(sales)})
    assert len(sales) >= SALES - 28
    assert "till.db was damaged" in machines.till.log.read_text(encoding="utf-8")


async def test_a_damaged_cache_is_loaded_again_by_itself(machines: Machines) -> None:
    async def knows_customers() -> bool:
        status, _ = await _get(machines, "/api/v1/customers/customer-1")
        return status == 200

    await eventually(knows_customers, within_s=60)
    assert await machines.till.stop() == 0
    (file,) = (machines.hub_state.parent / "till").glob("cache-*.db")
    _flip(file, *range(2, _pages(file) + 1))
    await machines.till.start()
    await eventually(knows_customers, within_s=60)

    await _sell(machines)
    log = machines.till.log.read_text(encoding="utf-8")
    assert machines.till.starts == 2
    assert "the cache is damaged" in log or "cache unreadable" in log
