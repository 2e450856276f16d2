"""The command line's way into a running till: its own API, with the POS key. Never its database file."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import aiohttp

from agent.config import Settings
from agent.keys import read_pos_key
from sync.runtime.problems import PROBLEM_TYPE

# Loopback: a till that does not answer in this time hangs. An export may take longer, as long as something comes.
_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=2)
_EXPORT_TIMEOUT = aiohttp.ClientTimeout(sock_connect=2, sock_read=10)


class TillNotRunning(Exception):
    """No till answers at the configured address, or not to the end."""


class TillRefused(Exception):
    """The till answered with a problem; the message is its own, and `problem` the whole of it."""

    def __init__(self, message: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem: Mapping[str, Any] = MappingProxyType(dict(problem or {}))


class TillClient:
    """Calls the API of the till that runs with these settings."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what a route answers.

        Raises:
            TillNotRunning: nobody answers.
            TillRefused: the till answers with a problem.
        """
        async with self._answer(method, path, body) as answer:
            value: dict[str, Any] = await answer.json()
            return value

    async def outbox(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each event that waits or needs a person, the oldest first."""
        after: int | None = 0
        while after is not None:
            page = await self.call("GET", f"/api/v1/outbox?after={after}")
            for row in page["rows"]:
                yield row
            after = page["next_after"]

    async def export(self) -> AsyncIterator[bytes]:
        """Yield the outbox as NDJSON of CloudEvents, piece by piece."""
        async with self._answer("GET", "/api/v1/outbox/export", timeout=_EXPORT_TIMEOUT) as answer:
            async for piece in answer.content.iter_chunked(64 * 1024):
                yield piece

    async def page_link(self, *, for_customer: bool = False) -> str:
        """Return a one-time URL that opens the staff's page, or the customer's display."""
        body = {"for": "display" if for_customer else "page"}
        return str((await self.call("POST", "/api/v1/page-links", body))["url"])

    async def rotate_key(self) -> None:
        """Let the running till replace the POS key; the old one ends at once."""
        await self.call("POST", "/api/v1/pos-key", {})

    async def compare_cache(self) -> None:
        """Let the running till compare its customers with the hub's soon."""
        await self.call("POST", "/api/v1/cache/comparison", {})

    async def cache_comparison(self) -> dict[str, Any]:
        """Return what came of the newest comparison."""
        return await self.call("GET", "/api/v1/cache/comparison")

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout: aiohttp.ClientTimeout = _TIMEOUT,  # noqa: ASYNC109 - aiohttp's own
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        is_begun = False
        try:
            async with self._session.request(
                method, self._url + path, json=body, allow_redirects=False, timeout=timeout
            ) as answer:
                is_begun = True
                if answer.ok:
                    yield answer
                    return
                raise await _refusal(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            if is_begun:
                raise TillNotRunning(f"the till at {self._url} broke off its answer; try again") from error
            raise TillNotRunning(f"no till answers at {self._url}; start it with `loyalty-agent run`") from error


@asynccontextmanager
async def till_client(settings: Settings) -> AsyncIterator[TillClient]:
    """Open a client for the till of these settings.

    Raises:
        TillNotRunning: it never ran here, so there is no key to call it with.
        KeyFileError: the key file cannot be read.
    """
    if not settings.pos_key_file.exists():
        raise TillNotRunning(f"no till has run here yet: {settings.pos_key_file} is missing")
    key = read_pos_key(settings.pos_key_file)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield TillClient(session, f"http://{settings.api.host}:{settings.api.port}")


async def _refusal(answer: aiohttp.ClientResponse) -> TillRefused:
    if answer.content_type == PROBLEM_TYPE:
        problem = await answer.json(content_type=PROBLEM_TYPE)
        return TillRefused(f"{problem.get('title', '')} {problem.get('detail', '')}".strip(), problem)
    return TillRefused(f"something that is no till answers at {answer.url.origin()}; check api.port")
