"""The routes of the counter: each handler parses, calls one flow, renders. The table is also their description."""

from collections.abc import AsyncIterator, Sequence

from aiohttp import hdrs, web
from pydantic import RootModel, TypeAdapter, ValidationError

from agent import texts
from agent.counter import Counter, Search
from agent.sales import ReversalRequest, ReversalResult, SaleRequest, SaleResult
from agent.screen import Screen, ScreenState
from agent.store.outbox import Outbox, OutboxRow
from agent.views import CustomerView, View
from agent.web import problem_kinds as kinds
from agent.web.access import Access
from agent.web.openapi import Operation
from agent.web.rate import Rate
from agent.web.requests import OutboxQuery, OutboxRowShown, OutboxShown, ScanRequest, SearchRequest
from sync.contract.customers import Code, Wording
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json, read_query
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics
from sync.runtime.problems import BODY_INVALID, BODY_NOT_JSON, BODY_TOO_LARGE, NOT_FOUND, QUERY_INVALID, Problem

# A scan of 16,000 characters, each escaped; a sale of 500 lines.
SCAN_BYTES_MAX = 128 * 1024
SALE_BYTES_MAX = 256 * 1024
SMALL_BYTES_MAX = 4 * 1024

_CODE: TypeAdapter[str] = TypeAdapter(Code)
_BODY = (BODY_NOT_JSON, BODY_TOO_LARGE, BODY_INVALID)
_STORAGE = (kinds.DISK_FULL, kinds.STORAGE_FAILED)


class ViewAnswer(RootModel[View]):
    """What the screen shows after a scan; `kind` tells which view it is."""


class CounterRoutes:
    """The routes that act, look and list."""

    def __init__(
        self,
        counter: Counter,
        screen: Screen,
        outbox: Outbox,
        *,
        clock: Clock,
        metrics: Metrics,
        searches_per_minute: int,
    ) -> None:
        self._counter = counter
        self._screen = screen
        self._outbox = outbox
        self._clock = clock
        self._rate = Rate(searches_per_minute)
        self._scans = metrics.counter("scans", "Scans, by who asked and what they were.", ["source", "kind"])
        self._scan_seconds = metrics.histogram("scan_seconds", "From a parsed scan to the view of it.")
        self._sales = metrics.counter("sales", "Sales recorded or repeated.")
        self._reversals = metrics.counter("reversals", "Reversals recorded or repeated.")

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (*self._sales_table(), *self._customers_table(), *self._till_table())

    def _sales_table(self) -> Sequence[Operation]:
        credential, post = Access.CREDENTIAL, hdrs.METH_POST
        return (
            Operation(
                post,
                "/api/v1/sales",
                "creditSale",
                "Credit a sale; the same sale_id again answers the first result.",
                credential,
                self.sale,
                takes=SaleRequest,
                gives=SaleResult,
                problems=(
                    *_BODY,
                    *_STORAGE,
                    kinds.CARD_MISMATCH,
                    kinds.CHOICE_NEEDED,
                    kinds.CURRENCY_REFUSED,
                    kinds.CUSTOMER_UNKNOWN,
                    kinds.NOT_A_CARD,
                    kinds.NO_PROGRAM,
                    kinds.SALE_FROM_THE_FUTURE,
                    kinds.SALE_ID_REUSED,
                ),
            ),
            Operation(
                post,
                "/api/v1/sales/{sale_id}/reversals",
                "reverseSale",
                "Take a sale back whole; it may be from another till, or not known here yet.",
                credential,
                self.reverse,
                takes=ReversalRequest,
                gives=ReversalResult,
                problems=(*_BODY, *_STORAGE, NOT_FOUND, kinds.REVERSAL_ID_REUSED, kinds.SALE_FROM_THE_FUTURE),
            ),
        )

    def _customers_table(self) -> Sequence[Operation]:
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
                problems=(*_BODY, *_STORAGE),
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
                problems=(*_BODY, kinds.TOO_MANY_SEARCHES),
            ),
            Operation(
                get,
                "/api/v1/customers/{customer_id}",
                "getCustomer",
                "Show one customer as staff may see it.",
                credential,
                self.customer,
                gives=CustomerView,
                problems=(NOT_FOUND, kinds.CUSTOMER_UNKNOWN),
            ),
        )

    def _till_table(self) -> Sequence[Operation]:
        credential, get = Access.CREDENTIAL, hdrs.METH_GET
        return (
            Operation(
                get,
                "/api/v1/screen",
                "getScreen",
                "Read all that the page shows now, with its number.",
                credential,
                self.screen,
                gives=ScreenState,
            ),
            Operation(
                get,
                "/api/v1/outbox",
                "listOutbox",
                "List the events that the hub has not simply applied, with reasons.",
                credential,
                self.outbox,
                gives=OutboxShown,
                query=OutboxQuery,
                problems=(QUERY_INVALID,),
            ),
            Operation(
                get,
                "/api/v1/outbox/export",
                "exportOutbox",
                "Read the same events as NDJSON of CloudEvents.",
                credential,
                self.export,
                content_type="application/x-ndjson",
            ),
        )

    async def scan(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/scans`."""
        asked = await read_json(request, ScanRequest, limit=SCAN_BYTES_MAX)
        with kinds.as_problems(), self._scan_seconds.time():
            view = await self._counter.scan(asked.text, asked.symbology)
        self._scans.labels(asked.source, view.kind).inc()
        return json_answer(view)

    async def sale(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/sales`."""
        asked = await read_json(request, SaleRequest, limit=SALE_BYTES_MAX)
        with kinds.as_problems():
            result = await self._counter.sale(asked)
        self._sales.inc()
        return json_answer(result)

    async def reverse(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/sales/{sale_id}/reversals`."""
        sale_id = _code(request, "sale_id")
        asked = await read_json(request, ReversalRequest, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            result = await self._counter.reverse(sale_id, asked)
        self._reversals.inc()
        return json_answer(result)

    async def search(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/customers/search`."""
        asked = await read_json(request, SearchRequest, limit=SMALL_BYTES_MAX)
        wait_s = self._rate.wait_s(self._clock.monotonic())
        if wait_s:
            raise Problem(kinds.TOO_MANY_SEARCHES, headers={"Retry-After": str(int(wait_s) + 1)})
        return json_answer(await self._counter.search(asked.text))

    async def customer(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/customers/{customer_id}`."""
        with kinds.as_problems():
            return json_answer(await self._counter.customer(_code(request, "customer_id")))

    async def screen(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/screen`."""
        return json_answer(self._screen.state)

    async def outbox(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/outbox`."""
        asked = read_query(request, OutboxQuery)
        page = await self._outbox.rows(asked.state, after=asked.after, limit=asked.limit)
        rows = tuple(OutboxRowShown(**row.model_dump(), reason_text=_reason_text(row)) for row in page.rows)
        return json_answer(OutboxShown(rows=rows, next_after=page.next_after))

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /api/v1/outbox/export`, page by page, so that a large outbox does not fill the memory."""
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson; charset=utf-8"})
        await response.prepare(request)
        async for events in self._exported():
            await response.write("".join(f"{event}\n" for event in events).encode())
        await response.write_eof()
        return response

    async def _exported(self) -> AsyncIterator[tuple[str, ...]]:
        after: int | None = 0
        while after is not None:
            page = await self._outbox.export(after=after)
            yield page.events
            after = page.next_after


def _code(request: web.Request, name: str) -> str:
    try:
        return _CODE.validate_python(request.match_info[name])
    except ValidationError:
        raise Problem(NOT_FOUND, f"{name} is 1 to 64 letters, digits, dots, colons, underscores and hyphens.") from None


def _reason_text(row: OutboxRow) -> Wording | None:
    return texts.reason_wording(row.reason) if row.reason is not None else None
