"""Bootstrap: customers into the hub, a snapshot into an empty till, each beside the bare load of the same rows."""

import shutil

from tests.bench.findings import Bound, Finding, Round
from tests.bench.rounds import Stopwatch, rounds_for
from tests.bench.world import Till, World

# A million customers are loaded once, a hundred thousand twice.
_ROWS_IN_ALL = 200_000


async def hub_import(world: World, _: int) -> list[Finding]:
    """Import customers by the hub's own command: the import that made this world."""
    await world.hub()
    rate = world.size / world.figures("hub")["import_s"]
    return [Finding("import", "rows", world.size, "rows/s", (Round(rate),))]


async def snapshot(world: World, rounds: int) -> list[Finding]:
    """Load a snapshot into an empty till, from the till's start until it shows the last customer.

    The first round finds a hub without a snapshot, so the hub's making of it is in the time; the others find it ready.
    """
    till = await world.till()
    await world.plain()
    raw_rate = world.size / world.figures("plain")["load_s"]
    hub = await world.hub()
    shutil.rmtree(hub.state / "snapshots", ignore_errors=True)
    rates, peaks = [], []
    async with hub.process() as hub_process:
        for _ in range(rounds_for(world.size, rounds, _ROWS_IN_ALL)):
            world.say(f"snapshot of {world.size:,} into an empty till")
            empty = await world.new_till(hub, "empty-till")
            seconds, peak_mb = await _load(empty, world.size)
            rates.append(Round(world.size / seconds, raw_rate))
            peaks.append(Round(peak_mb))
        hub_peak_mb = hub_process.peak_rss_mb
    notes: dict[str, float | str] = {
        "hub_peak_rss_mb": hub_peak_mb,
        "cache_mb": sum(path.stat().st_size for path in till.state.glob("cache-*")) / 1_000_000,
    }
    shutil.rmtree(empty.folder)
    raw_is = "the same rows, identifiers and names into plain SQLite, unsynced, indexes last"
    return [
        Finding("snapshot", "load", world.size, "rows/s", tuple(rates), raw_is, (Bound("ours", ">=", 8_000.0),), notes),
        Finding("snapshot", "peak_rss", world.size, "MB", tuple(peaks)),
    ]


async def _load(till: Till, customers: int) -> tuple[float, float]:
    watch = Stopwatch()
    async with till.process(until_ready=False) as started:
        await till.load_from(started, customers)
        return watch.seconds, started.peak_rss_mb
