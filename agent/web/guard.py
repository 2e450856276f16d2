"""The guard of the local API: stands before every route, also before those that do not exist.

First the rules for all (`access.refusal`), then the credential that the route asks for. A route that is not in the
table asks for a credential, so a stranger cannot even learn which routes there are. The bearer key is kept as its
hash. What is refused is counted, and logged once a minute per reason: a hostile page can ask as often as it likes.
"""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import WSCloseCode, WSMsgType, hdrs, web
from aiohttp.typedefs import Handler

from agent.web.access import CREDENTIAL_MISSING, CREDENTIAL_REFUSED, Access, Asked, refusal
from agent.web.sessions import PageDoor, Scope
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics
from sync.runtime.problems import CONTENT_TYPE_REFUSED, Kind, Problem

# Where each scope has its document.
PATHS = {Scope.PAGE: "/", Scope.DISPLAY: "/customer"}
_COOKIES = {Scope.PAGE: "till", Scope.DISPLAY: "till-display"}
PAGE_TOKEN = "Page-Token"  # noqa: S105 - the name of a header

# A browser sends the first message in the same millisecond; whoever waits longer is no page of ours.
SOCKET_TOKEN_S = 2.0
# A page sends scans of at most 512 bytes and short commands.
FRAME_BYTES_MAX = 16 * 1024
# A connection that is dead is noticed within one and a half of these.
HEARTBEAT_S = 20.0
_SOCKET_CLOSE_S = 1.0
_LOG_EVERY_S = 60.0

# Any site can make a browser send a POST without this type, so one that has no body at all is refused too.
_NEXT_STEP = {
    CONTENT_TYPE_REFUSED: "Send Content-Type: application/json; the body is {} where there is nothing to say.",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose credential a request brought: the point of sale's, or that of one session of a page or a display.

    `key_number` tells the point of sale's key from those before and behind it; `PosKey` counts them.
    """

    kind: Literal["pos", "page", "display"]
    session_id: str | None = None
    key_number: int | None = None


CALLER = web.RequestKey("caller", Caller)


class PosKey:
    """The bearer key of point-of-sale software, known here by its hash only."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key)
        self._number = 1

    @property
    def number(self) -> int:
        """Which key this is since the start: it grows with each new one."""
        return self._number

    def replace(self, key: str) -> None:
        """Take a new key; the old one is worth nothing from now on, also where it opened a live socket."""
        self._digest = _digest(key)
        self._number += 1

    def matches(self, given: str) -> bool:
        """Tell whether this is the key, in a time that tells nothing."""
        return hmac.compare_digest(_digest(given), self._digest)


class Guard:
    """The guard of one till.

    Args (of the constructor):
        access: what each route asks for, by method and path as the router knows it; `HEAD` goes by `GET`.
        pos_key: the bearer key.
        door: the page's sessions.
        clock: for the sessions' lives and the waits.
        metrics: where refusals are counted.
    """

    def __init__(
        self,
        access: Mapping[tuple[str, str], Access],
        *,
        pos_key: PosKey,
        door: PageDoor,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._access = access
        self._pos_key = pos_key
        self._door = door
        self._clock = clock
        self._refused = metrics.counter("requests_refused", "Requests that the guard refused.", ["code"])
        self._logged_s: dict[str, float] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler, or refuse it. Stands directly within `problem_middleware`.

        Where a credential was brought, the handler finds it as `request[CALLER]`.

        Raises:
            Problem: one of the kinds in `agent.web.access.KINDS`, or content_type_refused.
        """
        asked = _asked(request)
        access = self._access_to(request)
        kind = refusal(asked, access)
        if kind is None:
            caller, kind = self._identify(request, asked, access)
            if caller is not None:
                request[CALLER] = caller
        if kind is not None:
            raise self._refuse(kind)
        return await handler(request)

    async def admit_socket(
        self, request: web.Request, ws: web.WebSocketResponse, scope: Scope = Scope.PAGE
    ) -> Caller | None:
        """Return who opened a WebSocket, after its first message; None where it was refused and is closed.

        Args:
            request: the handshake, which has passed the guard with `Access.SOCKET` or `Access.DISPLAY_SOCKET`.
            ws: made by `new_socket` and prepared.
            scope: of the session that the token must belong to.

        A handshake that brought the bearer key needs no first message. Every other one sends
        `{"token": page token or bearer key}` within `SOCKET_TOKEN_S`.
        """
        caller = request.get(CALLER)
        if caller is None:
            caller = self._token_holder(request, await self._first_message(ws), scope)
        if caller is None:
            self._refuse(CREDENTIAL_REFUSED)
            await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"credential_refused")
        return caller

    def still_admits(self, caller: Caller) -> bool:
        """Tell whether the credential of an open socket is good still, and count this as a use of its session."""
        if caller.session_id is not None:
            return self._door.keep_open(caller.session_id, self._clock.monotonic())
        return caller.key_number == self._pos_key.number

    def _access_to(self, request: web.Request) -> Access:
        resource = request.match_info.route.resource
        if resource is None:
            return Access.CREDENTIAL
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        return self._access.get((method, resource.canonical), Access.CREDENTIAL)

    def _identify(self, request: web.Request, asked: Asked, access: Access) -> tuple[Caller | None, Kind | None]:
        """Return whose credential it is, and why it is not enough."""
        bearers = request.headers.getall(hdrs.AUTHORIZATION, [])
        if bearers:
            caller = self._of_key(_bearer(bearers[0])) if len(bearers) == 1 else None
            return caller, None if caller else CREDENTIAL_REFUSED
        if access in (Access.OPEN, Access.DOCUMENT):
            return None, None
        if access is Access.POS or not asked.is_from_own_page:
            return None, CREDENTIAL_MISSING
        if access in (Access.PAGE, Access.SOCKET, Access.DISPLAY_SOCKET):
            return None, None
        scope = Scope.DISPLAY if access is Access.DISPLAY else Scope.PAGE
        token = request.headers.get(PAGE_TOKEN)
        if not session_cookie(request, scope) or not token:
            return None, CREDENTIAL_MISSING
        caller = self._of_session(request, token, scope)
        return caller, None if caller else CREDENTIAL_REFUSED

    def _of_key(self, key: str) -> Caller | None:
        return Caller("pos", key_number=self._pos_key.number) if self._pos_key.matches(key) else None

    def _of_session(self, request: web.Request, token: str, scope: Scope) -> Caller | None:
        cookie = session_cookie(request, scope)
        session_id = self._door.admit(cookie, token, self._clock.monotonic(), scope) if cookie else None
        return Caller(scope.value, session_id) if session_id else None

    async def _first_message(self, ws: web.WebSocketResponse) -> str | None:
        async with asyncio.TaskGroup() as group:
            late = group.create_task(self._close_when_late(ws))
            message = await ws.receive()
            if message.type is not WSMsgType.CLOSING:  # else it is too late, and the close is under way
                late.cancel()
        return str(message.data) if message.type is WSMsgType.TEXT else None

    async def _close_when_late(self, ws: web.WebSocketResponse) -> None:
        await self._clock.sleep(SOCKET_TOKEN_S)
        await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"credential_missing")

    def _token_holder(self, request: web.Request, message: str | None, scope: Scope) -> Caller | None:
        token = _token(message) if message is not None else None
        if token is None:
            return None
        return self._of_key(token) or self._of_session(request, token, scope)

    def _refuse(self, kind: Kind) -> Problem:
        self._refused.labels(kind.code).inc()
        now_s = self._clock.monotonic()
        if now_s >= self._logged_s.get(kind.code, float("-inf")) + _LOG_EVERY_S:
            self._logged_s[kind.code] = now_s
            _log.warning("request refused: code=%s (said once a minute)", kind.code)
        asks_for_key: dict[str, str] | None = (
            {hdrs.WWW_AUTHENTICATE: "Bearer"} if kind.status == HTTPStatus.UNAUTHORIZED else None
        )
        return Problem(kind, _NEXT_STEP.get(kind, ""), headers=asks_for_key)


def new_socket() -> web.WebSocketResponse:
    """Return a WebSocket with our limits, to be prepared."""
    return web.WebSocketResponse(
        max_msg_size=FRAME_BYTES_MAX, heartbeat=HEARTBEAT_S, timeout=_SOCKET_CLOSE_S, compress=False
    )


def session_cookie(request: web.Request, scope: Scope = Scope.PAGE) -> str | None:
    """Return the cookie of a page, or of a display, for the port that the request came to."""
    return request.cookies.get(_cookie_name(request, scope))


def set_session_cookie(response: web.Response, request: web.Request, cookie: str, scope: Scope = Scope.PAGE) -> None:
    """Give the browser a session's cookie; it ends with the browser, and no script can read it."""
    response.set_cookie(_cookie_name(request, scope), cookie, path="/", secure=True, httponly=True, samesite="Strict")


def page_address(port: int, code: str, scope: Scope = Scope.PAGE) -> str:
    """Return the address that opens the page or the display once; the code after `#` is never sent to a server."""
    return f"http://127.0.0.1:{port}{PATHS[scope]}#{code}"


def _cookie_name(request: web.Request, scope: Scope) -> str:
    """Return a name of our own per port and scope: browsers share cookies among all ports and windows of a host."""
    return f"__Host-{_COOKIES[scope]}-{_port(request)}"


def _port(request: web.Request) -> int:
    sockname = request.get_extra_info("sockname")
    return int(sockname[1]) if sockname else 0


def _asked(request: web.Request) -> Asked:
    def every(name: str) -> tuple[str, ...]:
        return tuple(request.headers.getall(name, ()))

    return Asked(
        method=request.method,
        target=request.raw_path,
        port=_port(request),
        hosts=every(hdrs.HOST),
        origins=every(hdrs.ORIGIN),
        sites=every("Sec-Fetch-Site"),
        modes=every("Sec-Fetch-Mode"),
        destinations=every("Sec-Fetch-Dest"),
        content_types=every(hdrs.CONTENT_TYPE),
    )


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _token(message: str) -> str | None:
    try:
        said: Any = json.loads(message)
    except (ValueError, RecursionError):
        return None
    token = said.get("token") if isinstance(said, dict) else None
    return token if isinstance(token, str) and token else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
