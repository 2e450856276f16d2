from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store import Store
from tests.support import shop
from tests.support.clock import FakeClock


@pytest.fixture
async def clock() -> FakeClock:
    """The morning of the first day."""
    return FakeClock(shop.MORNING)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """A till's store that knows one customer with 100 points."""
    async with shop.open_till(tmp_path, clock) as opened:
        await opened.cache.apply(shop.page(shop.put(points=100)))
        yield opened
