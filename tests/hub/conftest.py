from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sync.hub.root import Hub, running
from tests.support.hub_tills import config_of, till_of
from tests.support.wire_till import WireTill


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub in this process."""
    async with running(config_of(tmp_path)) as hub:
        yield hub


@pytest.fixture
async def till(hub: Hub) -> AsyncIterator[WireTill]:
    """A terminal that has said hello to it."""
    async with till_of(hub) as till:
        await till.hello()
        yield till
