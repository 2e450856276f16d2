"""Bodies and queries: what came over HTTP becomes a checked model, or a problem that says where it is wrong.

Order of the checks: media type (415), size (413), time (408), JSON syntax (400), the model (422). JSON is read more
strictly than the standard asks: no NaN, no number with a fraction (money is minor units, points are integers), no
name twice in one object, because two readers of such a text may see two different sales.
"""

import asyncio
import json
from collections.abc import Collection
from typing import Any, NoReturn, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sync.runtime.problems import (
    BODY_INVALID,
    BODY_NOT_JSON,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    CONTENT_TYPE_REFUSED,
    QUERY_INVALID,
    Kind,
    Problem,
)

JSON = ("application/json",)

# A slow line of a hub client still passes 1 MB in this time; a caller that trickles bytes does not hold a slot.
BODY_DEADLINE_S = 20.0
# More faults than a person reads; the rest would only make the answer as large as the attack.
ERRORS_MAX = 20
# A name in a pointer may be the sender's own invention.
_NAME_CHARS_MAX = 64

M = TypeVar("M", bound=BaseModel)


async def read_json(request: web.Request, model: type[M], *, limit: int) -> M:
    """Return the body as a checked model.

    Args:
        request: what came in; its body must not have been read.
        model: a pydantic model; it is validated in JSON mode, so strict models take ISO texts for times.
        limit: the most bytes the body may have.

    Raises:
        Problem: content_type_refused, body_too_large, body_too_slow, body_not_json or body_invalid; the last has
            `errors`, a list of `{"pointer": JSON pointer, "detail": text}` that never repeats a value.
    """
    raw = await read_body(request, limit=limit)
    parse_json(raw)
    return validate_json(raw, model)


async def read_body(
    request: web.Request, *, limit: int, media_types: Collection[str] = JSON, gzip: bool = False
) -> bytes:
    """Return the raw body, unpacked, of at most `limit` bytes.

    Raises:
        Problem: content_type_refused, body_too_large or body_too_slow.
    """
    _check_media_type(request, media_types)
    encodings = ("identity", "gzip") if gzip else ("identity",)
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() not in encodings:
        raise Problem(CONTENT_TYPE_REFUSED, f"Content-Encoding must be {' or '.join(encodings)}.")
    if request.content_length is not None and request.content_length > limit:
        _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    _too_large(limit)
    except TimeoutError:
        raise Problem(BODY_TOO_SLOW, f"It must arrive within {BODY_DEADLINE_S:g} seconds.") from None
    return bytes(body)


def parse_json(raw: bytes) -> Any:
    """Return the one JSON value of a body.

    Raises:
        Problem: body_not_json.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            parse_float=_refuse_fraction,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        raise Problem(BODY_NOT_JSON, "It is not UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(BODY_NOT_JSON, f"The JSON is broken at {where}.") from None
    except RecursionError:
        raise Problem(BODY_NOT_JSON, "It is nested too deeply.") from None
    except ValueError:
        raise Problem(BODY_NOT_JSON, "It holds a number that is too long.") from None


def validate_json(raw: bytes, model: type[M]) -> M:
    """Return a JSON text as a checked model.

    Raises:
        Problem: body_not_json or body_invalid.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        if any(detail["type"] == "json_invalid" for detail in error.errors(include_input=False)):
            # What Python's reader lets pass, such as half a surrogate pair.
            raise Problem(BODY_NOT_JSON, "A text in it is not valid Unicode.") from None
        raise invalid(BODY_INVALID, error) from None


def read_query(request: web.Request, model: type[M]) -> M:
    """Return the parameters after the `?` as a checked model; each may stand once.

    Raises:
        Problem: query_invalid, with `errors` as in `read_json`.
    """
    if len(request.query) != len(set(request.query)):
        raise Problem(QUERY_INVALID, "A parameter stands twice.")
    try:
        return model.model_validate_strings(dict(request.query))
    except ValidationError as error:
        raise invalid(QUERY_INVALID, error) from None


def invalid(kind: Kind, error: ValidationError) -> Problem:
    """Return a model's refusal as a problem that names each field and never its value."""
    details = _without_echoes(error.errors(include_url=False, include_input=False))
    errors = [
        {"pointer": _pointer(detail["loc"]), "detail": _wording(detail["type"], detail["msg"])}
        for detail in details[:ERRORS_MAX]
    ]
    return Problem(kind, f"{len(details)} wrong: see errors.", members={"errors": errors})


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where only its wrong items made it so; that would mislead the reader."""
    wrong_within = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in wrong_within]


def _check_media_type(request: web.Request, media_types: Collection[str]) -> None:
    given = request.headers.getall(hdrs.CONTENT_TYPE, [])
    charset = (request.charset or "utf-8").lower() if len(given) == 1 else ""
    if len(given) != 1 or request.content_type not in media_types or charset not in ("utf-8", "utf8"):
        raise Problem(CONTENT_TYPE_REFUSED, f"Content-Type must be {' or '.join(media_types)}, in UTF-8.")


def _too_large(limit: int) -> NoReturn:
    raise Problem(BODY_TOO_LARGE, f"At most {limit} bytes.", members={"limit_bytes": limit})


def _refuse_fraction(_: str) -> NoReturn:
    raise Problem(BODY_NOT_JSON, "It holds a number with a fraction or an exponent; numbers here are whole.")


def _refuse_constant(_: str) -> NoReturn:
    raise Problem(BODY_NOT_JSON, "It holds NaN or Infinity, which are not JSON.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Problem(BODY_NOT_JSON, "A name stands twice in one object.")
    return members


def _pointer(loc: tuple[int | str, ...]) -> str:
    """Return a JSON pointer (RFC 6901) as a URI fragment, as in RFC 9457's own example."""
    parts = (str(part)[:_NAME_CHARS_MAX].replace("~", "~0").replace("/", "~1") for part in loc)
    return "#" + "".join(f"/{part}" for part in parts)


# Kinds of pydantic error whose own words quote the value that was sent.
_QUOTING = {
    "union_tag_invalid": "is of no known kind",
    "uuid_parsing": "must be a UUID",
}


def _wording(kind: str, message: str) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")  # our own words; they name the rule, not the value
    return _QUOTING.get(kind, message)
