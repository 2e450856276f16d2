"""Problems: every error that an HTTP door of ours answers, in one shape (RFC 9457, `application/problem+json`).

A caller's program reads `code`, which never changes its meaning; a person reads `title` and `detail`. No problem
repeats what was sent: a body may hold a person's data. `problem_middleware` is the last resort of a door: whatever
escapes a handler becomes a problem, and a bug is logged by its place in the code, without the words of its
message, because those may quote a value.
"""

import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestPayloadError

from sync.runtime.error_places import places

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:loyalty:problem:"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status, its stable snake_case code, and one line that says what it means."""

    status: int
    code: str
    title: str


BODY_INVALID = Kind(422, "body_invalid", "The body is JSON, but some of its fields are missing, unknown or wrong.")
BODY_NOT_JSON = Kind(400, "body_not_json", "The body is not one JSON value in UTF-8 with whole numbers only.")
BODY_TOO_LARGE = Kind(413, "body_too_large", "The body is larger than this route takes.")
BODY_TOO_SLOW = Kind(408, "body_too_slow", "The body did not arrive in time.")
CONTENT_TYPE_REFUSED = Kind(
    415, "content_type_refused", "The body's Content-Type or Content-Encoding is not taken here."
)
EXPECTATION_REFUSED = Kind(417, "expectation_refused", "The Expect header asks for something this server does not do.")
INTERNAL = Kind(500, "internal", "A bug or a broken part on this side; the log has more under the same incident.")
MALFORMED_REQUEST = Kind(400, "malformed_request", "The request is not well-formed HTTP.")
METHOD_NOT_ALLOWED = Kind(405, "method_not_allowed", "This route exists, but not for this method; see Allow.")
NOT_FOUND = Kind(404, "not_found", "There is nothing at this address.")
QUERY_INVALID = Kind(422, "query_invalid", "Some parameters of the address are missing, unknown or wrong.")
REQUEST_REFUSED = Kind(400, "request_refused", "The request is refused for the reason its status gives.")

KINDS = (
    BODY_INVALID,
    BODY_NOT_JSON,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    CONTENT_TYPE_REFUSED,
    EXPECTATION_REFUSED,
    INTERNAL,
    MALFORMED_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    QUERY_INVALID,
    REQUEST_REFUSED,
)

_BY_STATUS = {kind.status: kind for kind in KINDS if kind not in (BODY_NOT_JSON, REQUEST_REFUSED, QUERY_INVALID)}


class Problem(Exception):
    """An error with an HTTP status, to be raised anywhere below a door.

    `members` are further JSON members for the caller's program; they may not take the names of the RFC's own.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.code}: {detail or kind.title}")
        self.kind = kind
        self.detail = detail
        self.members: Mapping[str, object] = MappingProxyType(dict(members or {}))
        self.headers: Mapping[str, str] = MappingProxyType(dict(headers or {}))

    def document(self) -> dict[str, object]:
        """Return the problem as the JSON object of RFC 9457, section 3, with `code` beside `type`."""
        own: dict[str, object] = {
            "type": TYPE_PREFIX + self.kind.code,
            "code": self.kind.code,
            "title": self.kind.title,
            "status": self.kind.status,
        }
        if self.detail:
            own["detail"] = self.detail
        return {**self.members, **own}

    def to_response(self) -> web.Response:
        """Return the problem as a response that no cache keeps."""
        return web.Response(
            status=self.kind.status,
            body=json.dumps(self.document(), ensure_ascii=False).encode(),
            headers={
                **self.headers,
                hdrs.CONTENT_TYPE: f"{PROBLEM_TYPE}; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
            },
        )


def codes(kinds: Iterable[Kind]) -> Mapping[str, str]:
    """Return code -> one-line meaning, in alphabetical order; refuses two kinds with one code."""
    table: dict[str, str] = {}
    for kind in sorted(kinds, key=lambda kind: kind.code):
        if kind.code in table:
            raise ValueError(f"two kinds of problem share the code {kind.code}; rename one")
        table[kind.code] = kind.title
    return MappingProxyType(table)


CODES = codes(KINDS)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whatever escapes the handler as a problem. Redirects and answers below 400 pass."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        if refused.status < HTTPStatus.BAD_REQUEST:
            raise
        problem = from_http_exception(refused)
    except Problem as raised:
        problem = raised
    except (HttpProcessingError, RequestPayloadError) as error:
        # The head was well-formed, the body's framing was not: seen only while it is read.
        _log.info("malformed body: %s", type(error).__name__)
        problem = Problem(MALFORMED_REQUEST)
    except ConnectionError:
        raise  # nobody is left to answer
    except Exception as error:  # noqa: BLE001 - the last resort of every HTTP door
        problem = _unexpected(request, error)
    if request.writer.output_size > 0:
        # Half an answer is on the wire, perhaps as a WebSocket: a second one inside it would be rubbish.
        raise ConnectionResetError("the answer had begun, so the connection is closed")
    return problem.to_response()


def from_http_exception(refused: web.HTTPException) -> Problem:
    """Return an error answer of aiohttp's own as a problem; `Allow` is kept."""
    kind = _BY_STATUS.get(refused.status, Kind(refused.status, REQUEST_REFUSED.code, REQUEST_REFUSED.title))
    kept: dict[str, str] = {name: refused.headers[name] for name in (hdrs.ALLOW,) if name in refused.headers}
    return Problem(kind, headers=kept)


def _unexpected(request: web.Request, error: Exception) -> Problem:
    incident = secrets.token_hex(4)
    resource = request.match_info.route.resource
    _log.error(
        "request failed: incident=%s method=%s route=%s\n%s",
        incident,
        request.method,
        resource.canonical if resource else "none",
        places(error),
    )
    return Problem(INTERNAL, f"Look for incident {incident} in the log.", members={"incident": incident})
