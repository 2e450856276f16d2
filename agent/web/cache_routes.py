"""The routes that compare this till's customers with the hub's, for the command line."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from agent.web.access import Access
from agent.web.openapi import Operation
from agent.web.requests import SMALL_BYTES_MAX, CacheComparison, Nothing
from sync.pump.comparing import Comparer
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json
from sync.runtime.problems import BODY_INVALID, BODY_NOT_JSON, BODY_TOO_LARGE

_PATH = "/api/v1/cache/comparison"


class CacheRoutes:
    """The routes around the cache."""

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (
            Operation(
                hdrs.METH_POST,
                _PATH,
                "compareCache",
                "Compare the customers here with the hub's soon; what differs is fetched again.",
                Access.POS,
                self.compare,
                takes=Nothing,
                gives=CacheComparison,
                problems=(BODY_NOT_JSON, BODY_TOO_LARGE, BODY_INVALID),
            ),
            Operation(
                hdrs.METH_GET,
                _PATH,
                "getCacheComparison",
                "Tell what came of the newest comparison with the hub.",
                Access.POS,
                self.comparison,
                gives=CacheComparison,
            ),
        )

    async def compare(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/cache/comparison`."""
        await read_json(request, Nothing, limit=SMALL_BYTES_MAX)
        self._comparer.ask()
        return json_answer(CacheComparison.of(self._comparer))

    async def comparison(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/cache/comparison`."""
        return json_answer(CacheComparison.of(self._comparer))
