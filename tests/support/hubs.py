"""Hubs for tests: the reference hub in this process, or any hub at a URL, behind one face."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sync.hub.config import HubConfig, HubSection, ProgramSection
from sync.hub.root import Hub, running
from sync.hub.terminals.roster import revoke
from sync.runtime.clock import Clock

STORE_ID = "store-1"


@dataclass
class HubUnderTest:
    """A hub at a URL. Without `hub`, only what a stranger can do is possible, and the rest skips its test."""

    url: str
    ca_file: Path | None = None
    codes: list[str] = field(default_factory=list)
    hub: Hub | None = None

    @property
    def inside(self) -> Hub:
        if self.hub is None:
            pytest.skip("needs the hub in this process; this one is at a URL")
        return self.hub

    async def invite(self, store_id: str = STORE_ID) -> str:
        """Return a one-time code, of those that were given, or of the hub in this process."""
        if self.hub is not None:
            return await self.hub.invite(store_id)
        if not self.codes:
            pytest.skip("needs a further one-time code: --hub-invite CODE")
        return self.codes.pop(0)

    async def revoke(self, terminal_id: str) -> None:
        await self.inside.writer.write(lambda connection: revoke(connection, terminal_id, datetime.now(UTC)))

    async def forget_key(self, terminal_id: str) -> None:
        """Make it a terminal as they were enrolled before they had keys: the hub keeps that of its next hello."""
        await self.inside.writer.write(
            lambda connection: connection.execute(
                "UPDATE terminals SET public_key = NULL WHERE terminal_id = ?", (terminal_id,)
            )
        )


@contextlib.asynccontextmanager
async def hub_in_process(
    state: Path,
    *,
    port: int = 0,
    clock: Clock | None = None,
    program_file: Path | None = None,
    is_restored: bool = False,
) -> AsyncIterator[HubUnderTest]:
    """Run the reference hub on a state folder, in a task of its own, because a fixture may end in another task."""
    config = HubConfig(hub=HubSection(state=state, port=port), program=ProgramSection(file=program_file))
    ready: asyncio.Future[Hub] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def run() -> None:
        try:
            async with running(config, clock, is_restored=is_restored) as hub:
                ready.set_result(hub)
                await done.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        hub = await ready
        try:
            yield HubUnderTest(hub.url, hub=hub)
        finally:
            done.set()
