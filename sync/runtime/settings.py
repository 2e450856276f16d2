"""Settings: one TOML file becomes one frozen model, or one error that names every fault at once.

A till is configured by people who run shops. So a fault names the file, the line, the key, what is wrong in plain
words, and the key that was probably meant. A value is never printed: any of them may be a secret. Nothing is
guessed: a number in quotes is a text, an unknown key is a fault, and after the start nothing changes.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from sync.runtime.settings_table import describe, section_of
from sync.runtime.toml_lines import KeyPath, key_lines

# A config file is a page of text; more than this is the wrong file.
CONFIG_BYTES_MAX = 256 * 1024

_CLOSE_ENOUGH = 0.6  # difflib's own default; "urll" finds "url", "colour" does not find "port"
_SYNTAX_PLACE = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one line per fault, in the order of the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Section(BaseModel):
    """The base of every settings model: frozen, no unknown keys, no silent change of type.

    A relative path means: from the folder of the config file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @field_validator("*")
    @classmethod
    def _from_config_folder(cls, value: object, info: ValidationInfo) -> object:
        folder = (info.context or {}).get("folder")
        if folder is None:
            return value
        if isinstance(value, Path):
            return _absolute(value, folder)
        if isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
            return tuple(_absolute(item, folder) for item in value)
        return value


M = TypeVar("M", bound=BaseModel)


def load(path: Path, model: type[M]) -> M:
    """Return the settings in a TOML file, checked against a model.

    Raises:
        SettingsError: the file is missing, unreadable or no TOML, or some of its keys or values are wrong;
            all faults of a readable file are reported together.
    """
    text = _read_text(path)
    document = _parse(path, text)
    filled = _completed(document, model)
    try:
        # Through JSON, because only there a strict model takes a text for a path or an enum and a list for a tuple.
        return model.model_validate_json(json.dumps(filled, default=str), context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise SettingsError(_readable(path, text, model, error)) from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        raise SettingsError([f"{path}: there is no such file; copy config.example.toml there and edit it"]) from None
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise SettingsError([f"{path}: is larger than {CONFIG_BYTES_MAX} bytes, so it is no config file"])
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError([f"{path}:{line}: is not UTF-8 text; save the file as UTF-8"]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _SYNTAX_PLACE.search(message)
        what = _SYNTAX_PLACE.sub("", message)
        if place and place["line"]:
            where = f"{path}:{place['line']}: column {place['column']}"
        else:
            where = f"{path}:{len(text.splitlines())}: end of file"
        raise SettingsError([f"{where}: is not valid TOML: {what}"]) from None


def _absolute(path: Path, folder: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError:
        raise ValueError('starts with "~" but this user has no home folder; write the whole path') from None


def _completed(document: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the document with what a model check would pass over.

    Each left-out section as an empty one, so that its own keys are reported; each left-out path as its default, so
    that it too starts at the config file's folder.
    """
    filled = dict(document)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner = filled.get(name, {})
            if isinstance(inner, dict):
                filled[name] = _completed(inner, field.annotation)
        elif isinstance(field.default, Path):
            filled.setdefault(name, str(field.default))
    return filled


def _readable(path: Path, text: str, model: type[BaseModel], error: ValidationError) -> list[str]:
    lines = key_lines(text)
    faults: list[tuple[int, str]] = []
    meant: set[KeyPath] = set()
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "extra_forbidden" and (guess := _guess(model, detail["loc"])):
            meant.add(guess)
    for detail in details:
        loc = detail["loc"]
        if detail["type"] == "missing" and loc in meant:
            continue  # the unknown key beside it already says what to write
        line = _line_of(lines, loc)
        where = f"{path}:{line}" if line else str(path)
        faults.append((line, f"{where}: {_dotted(loc)}: {_plain_words(model, detail)}"))
    return [fault for _, fault in sorted(faults, key=lambda fault: fault[0] or len(text))]


def _line_of(lines: Mapping[KeyPath, int], loc: KeyPath) -> int:
    """Return the line of a key, or of the nearest section that holds it, or 0."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in lines:
            return lines[loc[:end]]
    return 0


def _dotted(loc: KeyPath) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _plain_words(model: type[BaseModel], detail: ErrorDetails) -> str:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        guess = _guess(model, detail["loc"])
        what = "section" if isinstance(detail["input"], dict) else "key"
        return f"unknown {what}" + (f'; did you mean "{_dotted(guess)}"?' if guess else "")
    if kind in ("enum", "literal_error"):
        return f"must be one of {context['expected']}" + _nearest_choice(detail["input"], context["expected"])
    if kind in _EXPECTED_KIND:
        return f"must be {_EXPECTED_KIND[kind]}, not {_kind_of_value(detail['input'])}"
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context)
    if kind == "value_error":
        return str(context["error"])
    return detail["msg"]


_EXPECTED_KIND = {
    "bool_type": "true or false",
    "date_from_datetime_parsing": "a date",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a section of its own",
    "path_type": "a path in quotes",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
}

_LIMITS = {
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "missing": "is missing, and it has no default",
    "string_pattern_mismatch": "does not have the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
}


def _kind_of_value(value: object) -> str:
    for kind, words in (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "a text in quotes"),
        (dict, "a section"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return words
    return "this"


def _nearest_choice(value: object, expected: str) -> str:
    if not isinstance(value, str):
        return f", not {_kind_of_value(value)}"
    near = difflib.get_close_matches(value, re.findall(r"'([^']*)'", expected), n=1, cutoff=_CLOSE_ENOUGH)
    return f'; did you mean "{near[0]}"?' if near else ""


def _guess(model: type[BaseModel], loc: KeyPath) -> KeyPath | None:
    """Return the path of the key that was probably meant: a near name beside it, else the same name elsewhere."""
    *parents, wrong = loc
    beside = _model_at(model, parents)
    if beside is None or not isinstance(wrong, str):
        return None
    near = difflib.get_close_matches(wrong.lower(), beside.model_fields, n=1, cutoff=_CLOSE_ENOUGH)
    if near:
        return (*parents, near[0])
    elsewhere = [tuple(row.key.split(".")) for row in describe(model) if row.key.split(".")[-1] == wrong]
    return elsewhere[0] if len(elsewhere) == 1 else None


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return None
        current = section_of(current.model_fields[part].annotation)[0]
    return current
