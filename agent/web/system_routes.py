"""The routes around the counter: sessions of the page, the POS key, health, metrics, the description of the API."""

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus

from aiohttp import hdrs, web

from agent.web.access import PAGE_LINK_REFUSED, SESSION_ENDED, Access
from agent.web.guard import PosKey, page_address, session_cookie, set_session_cookie
from agent.web.openapi import Operation, document
from agent.web.requests import Health, Nothing, PageLink, PageLinkRequest, Readiness, SessionAnswer, SessionRequest
from agent.web.sessions import LinkRefused, PageDoor, Scope, Session, SessionEnded
from sync.runtime.answers import json_answer
from sync.runtime.bodies import read_json
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics
from sync.runtime.problems import BODY_INVALID, BODY_NOT_JSON, BODY_TOO_LARGE, Problem
from sync.runtime.supervise import Board

SMALL_BYTES_MAX = 4 * 1024
_BODY = (BODY_NOT_JSON, BODY_TOO_LARGE, BODY_INVALID)


class SystemRoutes:
    """The routes that open the page and tell how the till does. `new_key` writes a new POS key down and returns it."""

    def __init__(
        self,
        door: PageDoor,
        pos_key: PosKey,
        *,
        new_key: Callable[[], str],
        board: Board,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._door = door
        self._pos_key = pos_key
        self._new_key = new_key
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._described = b"{}"

    def table(self) -> Sequence[Operation]:
        """Return every operation of this room."""
        return (*self._opening_table(), *self._telling_table())

    def _opening_table(self) -> Sequence[Operation]:
        post = hdrs.METH_POST
        return (
            Operation(
                post,
                "/api/v1/sessions",
                "openSession",
                "Turn a page link's code, or the page's cookie, into a page token.",
                Access.PAGE,
                self.open_session,
                takes=SessionRequest,
                gives=SessionAnswer,
                problems=(*_BODY, PAGE_LINK_REFUSED, SESSION_ENDED),
            ),
            Operation(
                post,
                "/api/v1/page-links",
                "newPageLink",
                "Make an address that opens the page, or the customer's display, once.",
                Access.POS,
                self.new_link,
                takes=PageLinkRequest,
                gives=PageLink,
                problems=_BODY,
            ),
            Operation(
                post,
                "/api/v1/pos-key",
                "rotateKey",
                "Replace the bearer key; the old one ends at once, and the new one stands in the key file.",
                Access.POS,
                self.rotate_key,
                takes=Nothing,
                gives=Health,
                problems=_BODY,
            ),
        )

    def _telling_table(self) -> Sequence[Operation]:
        get = hdrs.METH_GET
        return (
            Operation(
                get, "/healthz", "getHealth", "Tell whether the till lives.", Access.OPEN, self.health, gives=Health
            ),
            Operation(
                get,
                "/readyz",
                "getReadiness",
                "Tell whether every part of the till runs.",
                Access.CREDENTIAL,
                self.readiness,
                gives=Readiness,
                also={HTTPStatus.SERVICE_UNAVAILABLE: "A part is down; `loops` says which."},
            ),
            Operation(
                get,
                "/metrics",
                "getMetrics",
                "Read the metrics in Prometheus' text form.",
                Access.CREDENTIAL,
                self.metrics,
                content_type="text/plain",
            ),
            Operation(
                get, "/openapi.json", "getDescription", "Read this description.", Access.CREDENTIAL, self.description
            ),
        )

    def describe(self, operations: Sequence[Operation], *, version: str, server: str) -> None:
        """Take all operations that are served, for `GET /openapi.json`."""
        described = document(operations, title="loyalty-agent", version=version, server=server)
        self._described = json.dumps(described, ensure_ascii=False).encode()

    async def open_session(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/sessions`."""
        asked = await read_json(request, SessionRequest, limit=SMALL_BYTES_MAX)
        cookies: dict[Scope, str] = {}
        try:
            session = self._session(request, asked, cookies)
        except LinkRefused:
            raise Problem(PAGE_LINK_REFUSED) from None
        except SessionEnded:
            raise Problem(SESSION_ENDED) from None
        response = json_answer(SessionAnswer(page_token=session.page_token))
        for scope, cookie in cookies.items():
            set_session_cookie(response, request, cookie, scope)
        return response

    def _session(self, request: web.Request, asked: SessionRequest, cookies: dict[Scope, str]) -> Session:
        """Return the session that was asked for, and put each cookie the browser gets into `cookies`."""
        now_s = self._clock.monotonic()
        try:
            if asked.code is not None:
                session = self._door.open(asked.code, now_s, asked.for_)
            else:
                session = self._door.renew(session_cookie(request, asked.for_) or "", now_s, asked.for_)
        except SessionEnded:
            if asked.for_ is not Scope.DISPLAY:
                raise
            opened = self._door.open_display(session_cookie(request) or "", now_s)
            session, cookies[Scope.PAGE] = opened.display, opened.page_cookie
        cookies[asked.for_] = session.cookie
        return session

    async def new_link(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/page-links`."""
        asked = await read_json(request, PageLinkRequest, limit=SMALL_BYTES_MAX)
        code = self._door.new_link(self._clock.monotonic(), asked.for_)
        port = int(request.get_extra_info("sockname")[1])
        return json_answer(PageLink(url=page_address(port, code, asked.for_)))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/pos-key`."""
        await read_json(request, Nothing, limit=SMALL_BYTES_MAX)
        self._pos_key.replace(self._new_key())
        return json_answer(Health(ok=True))

    async def health(self, _: web.Request) -> web.Response:
        """Answer `GET /healthz`."""
        return json_answer(Health(ok=True))

    async def readiness(self, _: web.Request) -> web.Response:
        """Answer `GET /readyz`: 503 while a part is down."""
        ok = self._board.all_running()
        loops = {name: loop.state.value for name, loop in self._board.loops.items()}
        status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        return json_answer(Readiness(ok=ok, loops=loops), status)

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer `GET /metrics`."""
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def description(self, _: web.Request) -> web.Response:
        """Answer `GET /openapi.json`."""
        return web.Response(body=self._described, content_type="application/json", charset="utf-8")
