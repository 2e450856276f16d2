"""The routes of the till itself: what its screen shows, what its outbox holds. The table is their description too."""

from collections.abc import Callable, Sequence
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from agent import texts
from agent.counter import Counter
from agent.screen import Screen, ScreenState
from agent.store.outbox import ExportPage, Outbox, OutboxRow
from agent.views import CustomerView
from agent.web import problem_kinds as kinds
from agent.web.access import Access
from agent.web.live import Live
from agent.web.openapi import Operation
from agent.web.requests import SMALL_BYTES_MAX, Nothing, OutboxQuery, OutboxRowShown, OutboxShown, ShowRequest
from agent.wedge import Scanner
from sync.contract.customers import Wording
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json, read_query
from sync.runtime.problems import QUERY_INVALID


class TillRoutes:
    """The routes that show, lock and list."""

    def __init__(self, counter: Counter, screen: Screen, outbox: Outbox, live: Live) -> None:
        self._counter = counter
        self._screen = screen
        self._outbox = outbox
        self._live = live

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (*self._screen_table(), *self._outbox_table())

    def _screen_table(self) -> Sequence[Operation]:
        screen = self._screen
        return (
            Operation(
                hdrs.METH_GET,
                "/api/v1/screen",
                "getScreen",
                "Read all that the page shows now, with its number.",
                Access.CREDENTIAL,
                self.screen,
                gives=ScreenState,
            ),
            Operation(
                hdrs.METH_GET,
                "/api/v1/live",
                "followScreen",
                "Follow the screen over a WebSocket: each message is all of it, now and at each change."
                ' Without a bearer key in the handshake the first message sent is {"token": page token or bearer key}.',
                Access.SOCKET,
                self._live.handle,
                gives=ScreenState,
                status=HTTPStatus.SWITCHING_PROTOCOLS,
            ),
            Operation(
                hdrs.METH_POST,
                "/api/v1/screen/customer",
                "showCustomer",
                "Show one customer that staff chose, as after a scan.",
                Access.CREDENTIAL,
                self.show_customer,
                takes=ShowRequest,
                gives=CustomerView,
                problems=(*kinds.BODY, kinds.CUSTOMER_UNKNOWN, kinds.STORAGE_FAILED),
            ),
            self._turning("clear", "clearScreen", "Show nothing: staff are done with this customer.", screen.clear),
            self._turning("lock", "lockScreen", "Show nothing of any customer until somebody unlocks.", screen.lock),
            self._turning("unlock", "unlockScreen", "Show what is scanned and sold from now on.", screen.unlock),
            Operation(
                hdrs.METH_PUT,
                "/api/v1/scanner",
                "setScanner",
                "Keep how the page tells this till's scanner from a person who types.",
                Access.CREDENTIAL,
                self.scanner,
                takes=Scanner,
                gives=Scanner,
                problems=(*kinds.BODY, *kinds.STORAGE),
            ),
        )

    def _turning(self, verb: str, name: str, summary: str, turn: Callable[[], None]) -> Operation:
        return Operation(
            hdrs.METH_POST,
            f"/api/v1/screen/{verb}",
            name,
            summary,
            Access.CREDENTIAL,
            self._turned(turn),
            takes=Nothing,
            gives=ScreenState,
            problems=kinds.BODY,
        )

    def _outbox_table(self) -> Sequence[Operation]:
        credential, get = Access.CREDENTIAL, hdrs.METH_GET
        return (
            Operation(
                get,
                "/api/v1/outbox",
                "listOutbox",
                "List the events that the hub has not simply applied, with reasons.",
                credential,
                self.outbox,
                gives=OutboxShown,
                query=OutboxQuery,
                problems=(QUERY_INVALID, kinds.STORAGE_FAILED),
            ),
            Operation(
                get,
                "/api/v1/outbox/export",
                "exportOutbox",
                "Read the same events as NDJSON of CloudEvents.",
                credential,
                self.export,
                content_type="application/x-ndjson",
                problems=(kinds.STORAGE_FAILED,),
            ),
        )

    async def screen(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/screen`."""
        return json_answer(self._screen.state)

    async def show_customer(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/screen/customer`."""
        asked = await read_json(request, ShowRequest, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            return json_answer(self._counter.show_customer(asked.customer_id))

    def _turned(self, turn: Callable[[], None]) -> Handler:
        """Return what answers `POST /api/v1/screen/...`: turn the screen, and read it."""

        async def answer(request: web.Request) -> web.Response:
            await read_json(request, Nothing, limit=SMALL_BYTES_MAX)
            turn()
            return json_answer(self._screen.state)

        return answer

    async def scanner(self, request: web.Request) -> web.Response:
        """Answer `PUT /api/v1/scanner`."""
        asked = await read_json(request, Scanner, limit=SMALL_BYTES_MAX)
        with kinds.as_problems():
            return json_answer(await self._counter.keep_scanner(asked))

    async def outbox(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/outbox`."""
        asked = read_query(request, OutboxQuery)
        with kinds.as_problems():
            page = await self._outbox.rows(asked.state, after=asked.after, limit=asked.limit)
        rows = tuple(OutboxRowShown(**row.model_dump(), reason_text=_reason_text(row)) for row in page.rows)
        return json_answer(OutboxShown(rows=rows, next_after=page.next_after))

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /api/v1/outbox/export`, page by page, so that a large outbox does not fill the memory.

        Where a later page cannot be read, the log says so and the connection breaks off: half of it is no export.
        """
        with kinds.as_problems():
            page = await self._outbox.export()
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson; charset=utf-8"})
        await response.prepare(request)
        await response.write(_lines(page))
        while page.next_after is not None:
            page = await self._outbox.export(after=page.next_after)
            await response.write(_lines(page))
        await response.write_eof()
        return response


def _lines(page: ExportPage) -> bytes:
    return "".join(f"{event}\n" for event in page.events).encode()


def _reason_text(row: OutboxRow) -> Wording | None:
    return texts.reason_wording(row.reason) if row.reason is not None else None
