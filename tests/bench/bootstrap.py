"""Bootstrap: customers into the hub, a snapshot into an empty till, each beside the bare load of the same rows."""

import shutil

from tests.bench.findings import Bound, Finding, Round
from tests.bench.rounds import rounds_for
from tests.bench.world import World

# A million customers are loaded once, a hundred thousand twice.
_ROWS_IN_ALL = 200_000
# Rows per second. A small world is loaded in a second, most of which is not the rows; a large one must go faster.
_RATE_MIN, _LARGE, _RATE_OF_LARGE_MIN = 8_000.0, 1_000_000, 12_000.0


async def hub_import(world: World, _: int) -> list[Finding]:
    """Import customers by the hub's own command: the import that made this world."""
    await world.hub()
    rate = world.size / world.figures("hub")["import_s"]
    return [Finding("import", "rows", world.size, "rows/s", (Round(rate),))]


async def snapshot(world: World, rounds: int) -> list[Finding]:
    """Load a snapshot into an empty till, from the moment that its process is ready until it shows the last customer.

    The first round finds a hub without a snapshot, so the hub's making of it is in the time; the others find it ready.
    In a new world the first round made the till. One that was kept is loaded once more, because figures of another day
    are none of this run.
    """
    was_kept = world.is_made("till")
    await world.till()
    await world.plain(anew=was_kept)
    hub, made = await world.hub(), world.figures("till")
    figures = [] if was_kept else [made]
    more = rounds_for(world.size, rounds, _ROWS_IN_ALL) - len(figures)
    if was_kept:
        shutil.rmtree(hub.state / "snapshots", ignore_errors=True)
    if more:
        async with hub.process() as hub_process:
            for _ in range(more):
                till, cost = await world.loaded_till(hub, "another-till")
                shutil.rmtree(till.folder)
                figures.append({**made, **cost, "hub_peak_rss_mb": hub_process.peak_rss_mb})
    raw_rate = world.size / world.figures("plain")["load_s"]
    rates = tuple(Round(world.size / cost["load_s"], raw_rate) for cost in figures)
    peaks = tuple(Round(cost["peak_rss_mb"]) for cost in figures)
    least = _RATE_OF_LARGE_MIN if world.size >= _LARGE else _RATE_MIN
    notes: dict[str, float | str] = {name: figures[0][name] for name in ("hub_peak_rss_mb", "cache_mb")}
    raw_is = "the same rows, identifiers and names into plain SQLite, unsynced, indexes last"
    return [
        Finding("snapshot", "load", world.size, "rows/s", rates, raw_is, (Bound("ours", ">=", least),), notes),
        Finding("snapshot", "peak_rss", world.size, "MB", peaks),
    ]
