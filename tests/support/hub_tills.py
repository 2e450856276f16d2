"""A hub in the test's own task, and a till of it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from sync.hub.config import HubConfig, HubSection
from sync.hub.root import Hub
from sync.hub_client import open_session
from tests.support.wire_till import WireTill, enrolled


def config_of(folder: Path, **hub: object) -> HubConfig:
    return HubConfig(hub=HubSection.model_validate({"state": folder / "hub", "port": 0, **hub}))


@contextlib.asynccontextmanager
async def till_of(hub: Hub, ca_file: Path | None = None) -> AsyncIterator[WireTill]:
    code = await hub.invite("store-1")
    async with open_session(ca_file) as session:
        yield await enrolled(hub.url, code, session, ca_file)
