"""The routes that find customers: each handler parses, calls one flow, renders. The table is also their description."""

from collections.abc import Sequence

from aiohttp import hdrs, web
from pydantic import RootModel

from agent.counter import Counter, Search
from agent.views import CustomerView, View
from agent.web import problem_kinds as kinds
from agent.web.access import Access
from agent.web.openapi import Operation
from agent.web.rate import Rate
from agent.web.requests import SMALL_BYTES_MAX, ScanRequest, SearchRequest, code_in_path
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics
from sync.runtime.problems import NOT_FOUND, Problem

# A scan of 16,000 characters, each escaped.
SCAN_BYTES_MAX = 128 * 1024


class ViewAnswer(RootModel[View]):
    """What the screen shows after a scan; `kind` tells which view it is."""


class CustomerRoutes:
    """The routes that scan, search and look."""

    def __init__(self, counter: Counter, *, clock: Clock, metrics: Metrics, searches_per_minute: int) -> None:
        self._counter = counter
        self._clock = clock
        self._rate = Rate(searches_per_minute)
        self._scans = metrics.counter("scans", "Scans, by who asked and what they were.", ["source", "kind"])
        self._scan_seconds = metrics.histogram("scan_seconds", "From a parsed scan to the view of it.")

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        credential, post, get = Access.CREDENTIAL, hdrs.METH_POST, hdrs.METH_GET
        return (
            Operation(
                post,
                "/api/v1/scans",
                "scan",
                "Show whom a scanned text leads to, or what it is.",
                credential,
                self.scan,
                takes=ScanRequest,
                gives=ViewAnswer,
                problems=(*kinds.BODY, *kinds.STORAGE),
            ),
            Operation(
                post,
                "/api/v1/customers/search",
                "searchCustomers",
                "Find customers by card number, phone, e-mail, or the beginnings of a name.",
                credential,
                self.search,
                takes=SearchRequest,
                gives=Search,
                problems=(*kinds.BODY, kinds.TOO_MANY_SEARCHES, kinds.STORAGE_FAILED),
            ),
            Operation(
                get,
                "/api/v1/customers/{customer_id}",
                "getCustomer",
                "Read one customer as staff may see it; the page stays as it is.",
                credential,
                self.customer,
                gives=CustomerView,
                problems=(NOT_FOUND, kinds.CUSTOMER_UNKNOWN, kinds.STORAGE_FAILED),
            ),
        )

    async def scan(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/scans`."""
        asked = await read_json(request, ScanRequest, limit=SCAN_BYTES_MAX)
        with kinds.as_problems(), self._scan_seconds.time():
            view = await self._counter.scan(asked.text, asked.symbology)
        self._scans.labels(asked.source, view.kind).inc()
        return json_answer(view)

    async def search(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/customers/search`."""
        asked = await read_json(request, SearchRequest, limit=SMALL_BYTES_MAX)
        wait_s = self._rate.wait_s(self._clock.monotonic())
        if wait_s:
            raise Problem(kinds.TOO_MANY_SEARCHES, headers={"Retry-After": str(int(wait_s) + 1)})
        with kinds.as_problems():
            return json_answer(await self._counter.search(asked.text))

    async def customer(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/customers/{customer_id}`."""
        with kinds.as_problems():
            return json_answer(self._counter.customer(code_in_path(request, "customer_id")))
