"""A till brought up to date before it is measured: what earlier measures booked must not be in its figure."""

import asyncio

from sync.hub_client import HubClient, open_session
from sync.pump.line import HubState, Line
from sync.pump.puller import Puller
from sync.runtime.clock import SystemClock
from tests.bench.pushing import Way
from tests.bench.world import Till

_CATCH_UP_S_MAX = 600.0
_LOOK_S = 0.02


async def catch_up(till: Till) -> None:
    """Pull until the cache holds all that the running hub holds."""
    clock = SystemClock()
    line = Line(clock, _ignore)
    answer = till.enrolment.answer
    async with till.open_store() as store, open_session() as session:
        client = HubClient(session, till.settings.hub.url, answer.terminal_id, lambda: answer.credential)
        puller = Puller(store.cache, client, line, _touch_nothing, clock)
        way = Way(till, store.journal, session)
        async with asyncio.timeout(_CATCH_UP_S_MAX), way.pushing(0, line=line), asyncio.TaskGroup() as group:
            pulling = group.create_task(puller.run())
            while line.state.current_as_of is None:
                await clock.sleep(_LOOK_S)
            pulling.cancel()


def _ignore(_: HubState) -> None:
    """Nobody looks at the screen of a bench."""


def _touch_nothing(_: frozenset[str] | None) -> None:
    """Nobody is shown while a till catches up."""
