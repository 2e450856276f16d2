"""The local API described: an OpenAPI 3.1 document made from the same table that the server routes by.

An operation that is not in the table is not served, and one that is served stands in the document with the models
that check its bodies, so the description cannot drift from the code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs
from aiohttp.typedefs import Handler
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from agent.web.access import Access
from sync.runtime.problems import PROBLEM_TYPE, Kind

_REFERENCE = "#/components/schemas/{model}"


class ProblemDocument(BaseModel):
    """An error, by RFC 9457. `code` is stable; `title` and `detail` are for people."""

    type: str
    code: str
    title: str
    status: int
    detail: str | None = Field(default=None)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API: what it takes, what it answers, how it fails.

    `also` says by status what another answer of the same form means. A WebSocket answers 101, and `gives` its messages.
    """

    method: str
    path: str
    name: str
    summary: str
    access: Access
    handler: Handler
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    status: int = 200
    content_type: str = "application/json"
    query: type[BaseModel] | None = None
    problems: tuple[Kind, ...] = ()
    also: Mapping[int, str] = field(default_factory=dict)


def document(operations: Sequence[Operation], *, title: str, version: str, server: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these operations, ready for JSON."""
    models = {model: None for operation in operations for model in _models(operation)} | {ProblemDocument: None}
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "posKey": {"type": "http", "scheme": "bearer"},
                "pageToken": {"type": "apiKey", "in": "header", "name": "Page-Token"},
            },
        },
    }


def _models(operation: Operation) -> Iterable[type[BaseModel]]:
    return (model for model in (operation.takes, operation.gives, operation.query) if model is not None)


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": _security(operation.access),
        "responses": {
            **{str(status): _answer(operation, means) for status, means in _answers(operation).items()},
            **_problems(operation.problems),
        },
    }
    if operation.takes is not None:
        described["requestBody"] = {"required": True, "content": _content("application/json", operation.takes)}
    parameters = [*_path_parameters(operation.path), *_query_parameters(operation.query)]
    if parameters:
        described["parameters"] = parameters
    return described


def _security(access: Access) -> list[dict[str, list[str]]]:
    pos: dict[str, list[str]] = {"posKey": []}
    page: dict[str, list[str]] = {"pageToken": []}
    asked = {
        Access.POS: [pos],
        Access.CREDENTIAL: [pos, page],
        Access.DISPLAY: [pos, page],
        Access.PAGE: [pos, {}],
        Access.SOCKET: [pos, {}],
        Access.DISPLAY_SOCKET: [pos, {}],
    }
    return asked.get(access, [])


def _answers(operation: Operation) -> Mapping[int, str]:
    return {operation.status: operation.summary, **operation.also}


def _answer(operation: Operation, means: str) -> dict[str, Any]:
    described: dict[str, Any] = {"description": means}
    if operation.gives is not None:
        described["content"] = _content(operation.content_type, operation.gives)
    elif operation.status == 200 and operation.method == hdrs.METH_GET:  # noqa: PLR2004
        described["content"] = {operation.content_type: {}}
    return described


def _problems(kinds: Iterable[Kind]) -> Mapping[str, Any]:
    by_status: dict[int, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": " ".join(f"`{kind.code}`: {kind.title}" for kind in same),
            "content": _content(PROBLEM_TYPE, ProblemDocument),
        }
        for status, same in sorted(by_status.items())
    }


def _content(content_type: str, model: type[BaseModel]) -> dict[str, Any]:
    return {content_type: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield {"name": part.strip("{}"), "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(query: type[BaseModel] | None) -> Iterable[dict[str, Any]]:
    if query is None:
        return
    schema = query.model_json_schema(ref_template=_REFERENCE)
    for name, described in schema["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "schema": described,
        }
