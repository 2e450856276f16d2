"""The feed's head: how far it reaches, and who waits for it to move.

A long poll waits here and holds nothing: no transaction, no connection of the database. Commits of this process say so
at once; those of another (an import beside the running hub) are seen by asking the file twice a second.
"""

import asyncio
from collections.abc import Awaitable

from sync.hub.feed.feed_log import last_pos
from sync.runtime.clock import Clock
from sync.runtime.database import Reader

# An import beside the running hub is on the tills within a second or two; the question costs some 30 µs.
LOOK_S = 0.5


class Head:
    """The newest position of the feed that this process knows to be committed."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._moved = asyncio.Event()
        self.pos = 0

    def reached(self, pos: int) -> None:
        """Note that a commit reached this position, and wake all who wait."""
        if pos > self.pos:
            self.pos = pos
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    async def wait_beyond(self, pos: int, seconds: float, stopping: asyncio.Event) -> None:
        """Wait until the feed reaches beyond this position, the time is over, or the server stops."""
        if self.pos > pos:
            return
        over = asyncio.Event()

        async def then_over(wait: Awaitable[object]) -> None:
            await wait
            over.set()

        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(then_over(wait))
                for wait in (self._beyond(pos), self._clock.sleep(seconds), stopping.wait())
            ]
            await over.wait()
            for wait in waits:
                wait.cancel()

    async def run(self) -> None:
        """Ask the file again and again; never returns."""
        while True:
            self.reached(await self._reader.read(last_pos))
            await self._clock.sleep(LOOK_S)

    async def _beyond(self, pos: int) -> None:
        while self.pos <= pos:
            await self._moved.wait()
