import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from sync.hub.config import HubConfig, HubSection
from sync.hub.root import running
from sync.hub_client import open_session
from sync.runtime.clock import SystemClock
from tests.support.clock import FakeClock
from tests.support.wire_till import WireTill, enrolled


class SetBack(FakeClock):
    """A wall clock that a test sets; waits are real, because a hub's process waits on threads."""

    async def sleep(self, seconds: float) -> None:
        await SystemClock().sleep(seconds)


@contextlib.asynccontextmanager
async def till_at_a_hub(folder: Path, clock: FakeClock) -> AsyncIterator[WireTill]:
    config = HubConfig(hub=HubSection(state=folder / "hub", port=0))
    async with running(config, clock) as hub, open_session() as session:
        yield await enrolled(hub.url, await hub.invite("store-1"), session)


async def test_a_hub_whose_clock_is_set_back_a_day_still_gives_out_snapshots(tmp_path: Path) -> None:
    """The snapshots of the day that is gone were the newest by their time, so none made since was ever found."""
    clock = SetBack()
    async with till_at_a_hub(tmp_path, clock) as till:
        await till.hello()
        before = []
        for _ in range(2):
            before.append((await till.client.snapshot_manifest(till.epoch)).snapshot_id)
            clock.set_wall(clock.now() + timedelta(hours=2))
        clock.set_wall(clock.now() - timedelta(days=1))
        after = await till.client.snapshot_manifest(till.epoch)
        assert after.complete
        assert after.snapshot_id not in before
        assert (await till.client.snapshot_manifest(till.epoch)).snapshot_id == after.snapshot_id
