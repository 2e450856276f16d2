"""One way to one hub: asks over HTTP, and turns whatever comes back into bytes or into one of the hub's errors.

Nothing that comes from the network is believed before it has the right status, type, size, completeness and shape.
No redirect is followed, no cookie kept, no answer read beyond a limit. Nothing is logged and nothing asked twice here.
"""

import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import aiohttp
from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from sync.contract.protocol import ProblemCode
from sync.hub_errors import (
    NOT_UNDERSTOOD,
    HubBusy,
    HubError,
    HubRefused,
    HubUnreachable,
    MessageTooLarge,
    TerminalRevoked,
)

JSON = ("application/json",)
# A page of 500 customers at their usual 1-2 kB is 1 MB. A larger page is refused, and the puller asks for less.
ANSWER_BYTES_MAX = 16 * 1024 * 1024
PROBLEM_BYTES_MAX = 64 * 1024
# A wrong header must not silence a till for longer than this.
RETRY_AFTER_S_MAX = 900.0

# What pydantic calls a fault, and its word here. An operation that a page's reader has no model for is a newer hub's.
_FAULTS = {"json_invalid": "not_json", "union_tag_invalid": NOT_UNDERSTOOD}
_READ_BYTES = 64 * 1024
_PROBLEM = ("application/problem+json",)
_REVOKED = {ProblemCode.CREDENTIAL_UNKNOWN.value, ProblemCode.TERMINAL_REVOKED.value}

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one call may take, in seconds. `read_s` is the longest silence; a long poll adds its wait to it."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 30.0

    def of(self, *, wait_s: float, extra_s: float) -> aiohttp.ClientTimeout:
        """Return the limits of one call that the hub may hold open for `wait_s` and that may last `extra_s` longer."""
        return aiohttp.ClientTimeout(
            total=self.total_s + wait_s + extra_s,
            connect=self.connect_s,
            sock_connect=self.connect_s,
            sock_read=self.read_s + wait_s,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `path` holds the parts below `/v1`; `wait_s` is how long the hub may hold it open in silence."""

    method: str
    path: Sequence[str]
    headers: Mapping[str, str] | None = None
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    wait_s: float = 0.0
    total_extra_s: float = 0.0


class HubLine:
    """Asks one hub. `credential` is asked for before each call, because it changes while the terminal runs."""

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, timeouts: Timeouts, credential: Callable[[], str] | None = None
    ) -> None:
        self._session = session
        self._url = url / "v1"
        self._timeouts = timeouts
        self._credential = credential

    async def ask(self, question: Question, answer: type[M]) -> M:
        """Return the JSON answer as a checked model.

        Raises:
            HubError: one of its kinds.
        """
        raw = await self.fetch(question, JSON, ANSWER_BYTES_MAX, unpack=True)
        return read_model(raw, answer)

    async def fetch(self, question: Question, media_types: Collection[str], limit: int, *, unpack: bool) -> bytes:
        """Return the bytes of an answer of at most `limit` bytes; `unpack` undoes the gzip of its transport.

        Raises:
            HubError: one of its kinds.
        """
        headers = dict(question.headers or {})
        if self._credential is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {self._credential()}"
        try:
            async with self._session.request(
                question.method,
                self._url.joinpath(*question.path),
                params=question.query,
                headers=headers,
                data=question.body,
                timeout=self._timeouts.of(wait_s=question.wait_s, extra_s=question.total_extra_s),
                allow_redirects=False,
            ) as response:
                if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                    raise await _failure(response)
                return await _body(response, media_types, limit, unpack=unpack)
        except TimeoutError as error:
            raise HubUnreachable("timeout") from error
        except aiohttp.ClientSSLError as error:
            raise HubUnreachable("certificate") from error
        except aiohttp.ClientConnectorError as error:
            raise HubUnreachable("no_connection") from error
        except aiohttp.ClientPayloadError as error:
            raise HubUnreachable("cut_body") from error
        except (aiohttp.ClientError, OSError) as error:
            raise HubUnreachable("broken_connection") from error


def read_model(raw: bytes, model: type[M]) -> M:
    """Return a JSON text as a checked model; what it is not is not repeated anywhere, it may be personal.

    Raises:
        HubUnreachable: it is no JSON, or not of this shape.
    """
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        kinds = {detail["type"] for detail in error.errors(include_url=False, include_context=False)}
        fault = next((fault for kind, fault in _FAULTS.items() if kind in kinds), "wrong_shape")
        raise HubUnreachable(fault) from None


def gunzip(raw: bytes, limit: int) -> bytes:
    """Return what a gzipped body holds, at most `limit` bytes of it.

    Raises:
        HubUnreachable: it is cut, no gzip, or larger.
    """
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = reader.decompress(raw, limit + 1)
    except zlib.error as error:
        raise HubUnreachable("cut_body") from error
    if len(text) > limit:
        raise HubUnreachable("answer_too_large")
    if not reader.eof:
        raise HubUnreachable("cut_body")
    return text


def retry_after_s(header: str | None, answered_at: str | None) -> float | None:
    """Return what a Retry-After header says, in seconds from 0 to `RETRY_AFTER_S_MAX`, or None where it says nothing.

    Both forms of RFC 9110, section 10.2.3. A date is measured against the answer's own Date, because a till's clock
    may be wrong.
    """
    if header is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return min(float(header), RETRY_AFTER_S_MAX)
    try:
        wait = parsedate_to_datetime(header) - parsedate_to_datetime(answered_at or "")
    except (ValueError, TypeError):
        return None
    return min(max(wait.total_seconds(), 0.0), RETRY_AFTER_S_MAX)


class _ProblemDocument(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")


async def _failure(response: aiohttp.ClientResponse) -> HubError:
    """Return what a status other than success means."""
    status = response.status
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return MessageTooLarge()
    is_busy = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if not (is_busy or is_refusal) or status == HTTPStatus.REQUEST_TIMEOUT or response.content_type not in _PROBLEM:
        return HubUnreachable(f"status_{status}")
    problem = read_model(await _body(response, _PROBLEM, PROBLEM_BYTES_MAX, unpack=True), _ProblemDocument)
    if is_busy:
        return HubBusy(retry_after_s(response.headers.get(hdrs.RETRY_AFTER), response.headers.get(hdrs.DATE)))
    if problem.code in _REVOKED:
        return TerminalRevoked(problem.code)
    return HubRefused(problem.code, problem.model_extra)


async def _body(response: aiohttp.ClientResponse, media_types: Collection[str], limit: int, *, unpack: bool) -> bytes:
    if response.content_type not in media_types:
        raise HubUnreachable("wrong_content_type")
    raw = bytearray()
    async for piece in response.content.iter_chunked(_READ_BYTES):
        raw += piece
        if len(raw) > limit:
            raise HubUnreachable("answer_too_large")
    return _unpacked(response, bytes(raw), limit) if unpack else bytes(raw)


def _unpacked(response: aiohttp.ClientResponse, raw: bytes, limit: int) -> bytes:
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    if encoding == "identity":
        return raw
    if encoding != "gzip":
        raise HubUnreachable("wrong_content_type")
    return gunzip(raw, limit)
