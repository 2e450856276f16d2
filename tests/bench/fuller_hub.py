"""A hub with more history: a copy of the world's hub with as many events as one asks for.

Ten thousand of them are real: sold at the till and uploaded. The others are those again, copied row by row in SQL under
other streams, positions and sale ids, because a million sales would take longer than all that is measured with them.
"""

import shutil
import sqlite3
from collections.abc import Mapping

from sync.hub_client import open_session
from tests.bench.pushing import Way
from tests.bench.selling import Sales, open_counter, sell_at_once
from tests.bench.world import Hub, World

_REAL = 10_000
_SEQ_BITS = 32


async def fuller_hub(world: World, events: int) -> Hub:
    """Return a stopped hub that answers where the world's hub does, with so many events more."""
    hub, till = await world.hub(), await world.till()
    fuller = hub.beside(f"hub-{events}")
    if world.is_made(fuller.folder.name):
        return fuller
    real = min(_REAL, world.size, events)
    shutil.rmtree(fuller.state, ignore_errors=True)
    shutil.copytree(hub.state, fuller.state, ignore=shutil.ignore_patterns("snapshots"))
    async with fuller.process(), open_counter(till) as (counter, store), open_session() as session:
        await sell_at_once(counter, Sales(world.size).next(real))
        await Way(till, store.journal, session).drain(real)
    world.say(f"copying {real:,} events until there are {events:,}")
    _copy_newest(fuller, events // real - 1)
    world.made(fuller.folder.name, events=events)
    return fuller


def _copy_newest(hub: Hub, times: int) -> None:
    """Copy the newest stream and all that its events wrote, so many times."""
    connection = sqlite3.connect(hub.database, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    stream, length = connection.execute("SELECT max(stream), through FROM streams WHERE through > 0").fetchone()
    first, last = stream << _SEQ_BITS, (stream + 1) << _SEQ_BITS
    (newest,) = connection.execute("SELECT max(pos) FROM feed").fetchone()
    (behind,) = connection.execute("SELECT max(stream) - ? FROM streams", (stream,)).fetchone()
    of_stream = f"number >= {first} AND number < {last}"
    connection.execute("BEGIN IMMEDIATE")
    for nth in range(1, times + 1):
        shift, later = (behind + nth) << _SEQ_BITS, nth * length
        _copy(
            connection,
            "streams",
            f"stream = {stream}",
            {"stream": f"stream + {behind + nth}", "inc": f"printf('%016x', {nth})", "last_pos": f"last_pos + {later}"},
        )
        _copy(connection, "events", of_stream, {"number": f"number + {shift}", "pos": f"pos + {later}"})
        _copy(connection, "feed", f"pos > {newest - length} AND pos <= {newest}", {"pos": f"pos + {later}"})
        _copy(
            connection,
            "sales",
            f"event >= {first} AND event < {last}",
            {"event": f"event + {shift}", "sale_id": f"sale_id || '-{nth}'"},
        )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _copy(connection: sqlite3.Connection, table: str, where: str, changed: Mapping[str, str]) -> None:
    """Copy rows of a table, each column as it is or as `changed` says, whatever columns it has by now."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({table})") if not row[6]]
    values = (changed.get(column, column) for column in columns)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} WHERE {where}"
    )
