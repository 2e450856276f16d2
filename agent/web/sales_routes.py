"""The routes of sales: each handler parses, calls one flow, renders. The table is also their description."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from agent.counter import Counter
from agent.quotes import Quote, QuoteRequest
from agent.sales import ReversalRequest, ReversalResult, SaleRequest, SaleResult
from agent.shift import Acts
from agent.web import problem_kinds as kinds
from agent.web.access import Access
from agent.web.openapi import Operation
from agent.web.requests import SMALL_BYTES_MAX, ActsQuery, Nothing, code_in_path
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json, read_query
from sync.runtime.metrics import Metrics
from sync.runtime.problems import NOT_FOUND, QUERY_INVALID

# A sale of 500 lines.
SALE_BYTES_MAX = 256 * 1024
# Why a sale cannot be credited to whom it names.
_WHO = (
    kinds.CARD_ID_UNKNOWN,
    kinds.CARD_MISMATCH,
    kinds.CHOICE_NEEDED,
    kinds.CURRENCY_REFUSED,
    kinds.CUSTOMER_UNKNOWN,
    kinds.NOT_A_CARD,
    kinds.NO_PROGRAM,
)


class SalesRoutes:
    """The routes that credit and take back."""

    def __init__(self, counter: Counter, metrics: Metrics) -> None:
        self._counter = counter
        self._sales = metrics.counter("sales", "Sales recorded or repeated.")
        self._reversals = metrics.counter("reversals", "Reversals recorded or repeated.")

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (*self._crediting_table(), *self._shift_table())

    def _crediting_table(self) -> Sequence[Operation]:
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
                    *kinds.BODY,
                    *kinds.STORAGE,
                    *_WHO,
                    kinds.SALE_FROM_THE_FUTURE,
                    kinds.SALE_ID_REUSED,
                ),
            ),
            Operation(
                post,
                "/api/v1/quotes",
                "quoteSale",
                "Tell how many points a sale would credit now; nothing is recorded.",
                credential,
                self.quote,
                takes=QuoteRequest,
                gives=Quote,
                problems=(*kinds.BODY, kinds.STORAGE_FAILED, *_WHO),
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
                problems=(*kinds.BODY, *kinds.STORAGE, NOT_FOUND, kinds.REVERSAL_ID_REUSED, kinds.SALE_FROM_THE_FUTURE),
            ),
        )

    def _shift_table(self) -> Sequence[Operation]:
        return (
            Operation(
                hdrs.METH_GET,
                "/api/v1/acts",
                "listActs",
                "List the sales and redemptions of this till in this shift, the newest first; no name is in it.",
                Access.CREDENTIAL,
                self.acts,
                gives=Acts,
                query=ActsQuery,
                problems=(QUERY_INVALID, kinds.STORAGE_FAILED),
            ),
            Operation(
                hdrs.METH_POST,
                "/api/v1/shifts",
                "beginShift",
                "Begin a new shift: its list is empty, and what was done before is not offered to be undone.",
                Access.CREDENTIAL,
                self.begin_shift,
                takes=Nothing,
                gives=Acts,
                problems=(*kinds.BODY, *kinds.STORAGE),
            ),
        )

    async def sale(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/sales`."""
        asked = await read_json(request, SaleRequest, limit=SALE_BYTES_MAX)
        with kinds.as_problems():
            result = await self._counter.sale(asked)
        self._sales.inc()
        return json_answer(result)

    async def quote(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/quotes`."""
        asked = await read_json(request, QuoteRequest, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            return json_answer(self._counter.quote(asked))

    async def reverse(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/sales/{sale_id}/reversals`."""
        sale_id = code_in_path(request, "sale_id")
        asked = await read_json(request, ReversalRequest, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            result = await self._counter.reverse(sale_id, asked)
        self._reversals.inc()
        return json_answer(result)

    async def acts(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/acts`."""
        asked = read_query(request, ActsQuery)
        with kinds.as_problems():
            return json_answer(await self._counter.acts(asked.limit))

    async def begin_shift(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/shifts`."""
        await read_json(request, Nothing, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            return json_answer(await self._counter.begin_shift())
