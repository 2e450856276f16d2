"""Terminals that exist twice: copies of a disk or of a whole machine, and what the hub made of them."""

from datetime import UTC, datetime
from typing import Any

from sync.contract.protocol import IncarnationLength, Outcome, Reason, UploadAnswer
from sync.hub.root import Hub
from sync.hub.uploads.quarantine import release_step
from tests.support.wire_till import Stream, WireTill, random_inc

PARKED_FORK = (Outcome.PARKED, Reason.FORK)
PARKED_QUARANTINED = (Outcome.PARKED, Reason.QUARANTINED)


def twin(till: WireTill, run: str | None = None) -> WireTill:
    """A copy of a terminal: same identity, same key, another process; with `run` the same one, as in a copied VM."""
    return WireTill(till.url, till.enrolment, till.session, till.key, run or random_inc())


def copied(stream: Stream, till: WireTill) -> Stream:
    return Stream(till, stream.inc, list(stream.events))


def length(stream: Stream, events: int | None = None) -> IncarnationLength:
    return IncarnationLength(inc=stream.inc, length=len(stream.events) if events is None else events)


def verdicts(answer: UploadAnswer) -> list[tuple[Outcome, str | None]]:
    return [(one.outcome, one.reason) for one in answer.results]


async def rows(hub: Hub, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return await hub.reader.read(lambda connection: connection.execute(sql, values).fetchall())


async def texts(hub: Hub) -> set[str]:
    return {raw for (raw,) in await rows(hub, "SELECT raw FROM events")}


async def points(hub: Hub) -> int:
    ((total,),) = await rows(hub, "SELECT coalesce(sum(points), 0) FROM events")
    return int(total)


async def is_quarantined(hub: Hub) -> bool:
    return await rows(hub, "SELECT 1 FROM terminals WHERE quarantined_ms IS NOT NULL") != []


async def release(hub: Hub, till: WireTill) -> int:
    judged = 0
    terminal_id, now = till.enrolment.terminal_id, datetime.now(UTC)
    while step := (await hub.writer.write(lambda connection: release_step(connection, terminal_id, now))).total:
        judged += step
    return judged
