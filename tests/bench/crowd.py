"""A crowd of terminals at one hub, for as long as they are measured: enrolled by its own door, revoked in the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from aiohttp import hdrs

from agent.version import VERSION
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.protocol import EnrolAnswer, EnrolRequest
from sync.hub.config import HubConfig
from sync.hub.feed.feed_log import last_pos
from sync.hub.root import Hub as RunningHub
from sync.hub.root import running
from sync.hub.terminals.roster import revoke
from sync.hub_client import HubClient
from sync.runtime.settings import load
from tests.bench.world import STORE_ID, Hub
from tests.support.wire_till import random_key


class Crowd(NamedTuple):
    """Terminals of one hub: id and credential of each, the hub's epoch, and the cursor of one that has heard all."""

    members: tuple[tuple[str, str], ...]
    url: str
    epoch: str
    cursor: str

    def clients(self, session: aiohttp.ClientSession, number: int) -> list[HubClient]:
        """Return the real clients of the first so many."""
        return [_client(session, self.url, *member) for member in self.members[:number]]


@asynccontextmanager
async def crowd_at(hub: Hub, number: int) -> AsyncIterator[Crowd]:
    """Enrol so many terminals at a hub that is not running, and revoke them all in the end, when it is not again."""
    config = load(hub.config, HubConfig)
    async with running(config) as started, aiohttp.ClientSession() as session:
        # One after the other: among many open invitations two have the same handle now and then.
        answers = [await _enrolled(started, session) for _ in range(number)]
        cursor = write_cursor(FeedCursor(started.founding.epoch, await started.reader.read(last_pos)))
        members = tuple((answer.terminal_id, answer.credential) for answer in answers)
        crowd = Crowd(members, started.url, started.founding.epoch, cursor)
    try:
        yield crowd
    finally:
        async with running(config) as started:
            now = started.clock.now()
            await started.writer.write(
                lambda connection: [revoke(connection, terminal_id, now) for terminal_id, _ in members]
            )


@asynccontextmanager
async def open_polls() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session like the client's own, for as many connections as there are terminals."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={hdrs.ACCEPT_ENCODING: "gzip"},
    ) as session:
        yield session


def _client(session: aiohttp.ClientSession, url: str, terminal_id: str, credential: str) -> HubClient:
    return HubClient(session, url, terminal_id, lambda: credential)


async def _enrolled(hub: RunningHub, session: aiohttp.ClientSession) -> EnrolAnswer:
    request = EnrolRequest(
        code=await hub.invite(STORE_ID, "crowd"), agent_version=VERSION, public_key=random_key().public
    )
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    async with session.post(f"{hub.url}/v1/enrolments", data=request.model_dump_json(), headers=headers) as answer:
        answer.raise_for_status()
        return EnrolAnswer.model_validate_json(await answer.read())
