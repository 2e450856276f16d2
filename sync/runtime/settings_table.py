"""The keys of a settings model as rows, so that docs and the example file can be held to the code.

The README's config table and `config.example.toml` are tested against `describe`; error messages use it to find
the key that was meant.
"""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


class Row(NamedTuple):
    """One key of a settings model, as the README's table and the example file show it."""

    key: str
    kind: str
    default: str | None
    """As TOML text; None where the key must be given, "" where it may be left out and then is unset."""
    meaning: str


def describe(model: type[BaseModel]) -> tuple[Row, ...]:
    """Return every key of a settings model in the order of its fields, sections flattened to dotted keys."""
    return tuple(_rows(model, ""))


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model inside an annotation, and whether it stands in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for inner in get_args(annotation):
        section, is_list = section_of(inner)
        if section is not None:
            return section, is_list or get_origin(annotation) in (tuple, list)
    return None, False


def _rows(model: type[BaseModel], prefix: str) -> Iterator[Row]:
    for name, field in model.model_fields.items():
        section, is_list = section_of(field.annotation)
        if section is not None:
            yield from _rows(section, f"{prefix}{name}{'[]' if is_list else ''}.")
        else:
            yield Row(f"{prefix}{name}", _kind(field.annotation), _default(field), field.description or "")


_KIND_NAMES: dict[Any, str] = {
    bool: "true or false",
    float: "number",
    int: "whole number",
    Path: "path",
    SecretStr: "secret text",
    str: "text",
}


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(_toml(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(inner) for inner in arguments if inner is not NoneType)
    if origin in (tuple, list):
        return f"list of {_kind(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(_toml(choice.value) for choice in annotation)
    return _KIND_NAMES.get(annotation, "text")


def _default(field: FieldInfo) -> str | None:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return None
    return "" if default is None else _toml(default)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return '"**********"'
    if isinstance(value, Enum):
        return _toml(value.value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)
