"""The hub's intake in this process: full batches from a till, each durable, into a hub of so many customers."""

import json

from agent.store.outbox import Outbox
from sync.contract.protocol import BATCH_EVENTS_MAX
from sync.hub.batch import Sender
from sync.hub.config import HubConfig
from sync.hub.head import Head
from sync.hub.intake import Intake
from sync.hub.root import running
from sync.runtime.clock import SystemClock
from sync.runtime.metrics import Metrics
from sync.runtime.settings import load
from tests.bench.findings import Finding, Round
from tests.bench.rounds import Stopwatch
from tests.bench.selling import Sales, open_counter, sell_at_once
from tests.bench.world import Till, World

_BATCHES = 10


async def intake(world: World, rounds: int) -> list[Finding]:
    """Apply full batches one after the other. For information: there is no bound."""
    till, hub = await world.till(), await world.hub()
    streams = [await _events(world, till) for _ in range(rounds + 1)]
    async with running(load(hub.config, HubConfig)) as started:
        clock = SystemClock()
        head = Head(started.reader, clock)
        taking = Intake(started.writer, head, started.founding.epoch, clock, Metrics(program="bench", version="0"))
        rates = [await _rate(taking, till, events) for events in streams]
    return [Finding("intake", f"batches_of_{BATCH_EVENTS_MAX}", world.size, "events/s", tuple(map(Round, rates[1:])))]


async def _events(world: World, till: Till) -> list[str]:
    """Return events as a new start of the till would send them."""
    async with open_counter(till) as (counter, store):
        await sell_at_once(counter, Sales(world.size).next(BATCH_EVENTS_MAX * _BATCHES))
        return await _exported(store.outbox)


async def _exported(outbox: Outbox) -> list[str]:
    events: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await outbox.export(after=after)
        events.extend(page.events)
        after = page.next_after
    return events


async def _rate(taking: Intake, till: Till, events: list[str]) -> float:
    who = till.enrolment.answer
    sender = Sender(who.terminal_id, who.store_id, json.loads(events[0])["inc"])
    bodies = [
        f"[{','.join(events[start : start + BATCH_EVENTS_MAX])}]".encode()
        for start in range(0, len(events), BATCH_EVENTS_MAX)
    ]
    watch = Stopwatch()
    for nth, body in enumerate(bodies):
        answer = await taking.upload(sender, nth * BATCH_EVENTS_MAX + 1, body)
        refused = [verdict for verdict in answer.results if verdict.reason is not None]
        if refused:
            raise RuntimeError(f"the hub refused {len(refused)} events: {refused[0]}")
    return len(events) / watch.seconds
