from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.machines import Machines, open_machines


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Machines]:
    """A hub and a till as real programs."""
    async with open_machines(tmp_path) as machines:
        yield machines
