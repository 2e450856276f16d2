"""How a value becomes an answer."""

from aiohttp import web
from pydantic import BaseModel


def json_answer(value: BaseModel, status: int = 200) -> web.Response:
    """Return a value as JSON in UTF-8."""
    return web.Response(
        body=value.model_dump_json().encode(), status=status, content_type="application/json", charset="utf-8"
    )
