"""Where each key of a TOML text stands, so that a config error can name its line.

`tomllib` forgets positions. This reader keeps only them: it trusts that `tomllib` has already accepted the text,
follows table headers and keys line by line, and steps over values that span lines.
"""

import re
import tomllib

KeyPath = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[(?P<array>\[)?\s*(?P<name>{_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*(?P<name>{_DOTTED})\s*=")
_PART_ALONE = re.compile(_PART)
_NOISE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'(?<!")"(?:[^"\\\n]|\\.)*"(?!")|'
    r"(?<!')'[^'\n]*'(?!')|"
    r"#[^\n]*",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table and key of a TOML text that `tomllib` accepts.

    Paths are those of the parsed document: `("tills", 0, "port")` is `port` in the first `[[tills]]`.
    """
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        here = number + 1
        if header := _HEADER.match(line):
            table = _open_table(_parts(header["name"]), is_array=bool(header["array"]), counts=counts)
            found.setdefault(table, here)
        elif key := _KEY.match(line):
            path = table
            for part in _parts(key["name"]):
                path = (*path, part)
                found.setdefault(path, here)
            number = _last_line_of_value(lines, number, key.end())
        number += 1
    return found


def _open_table(parts: tuple[str, ...], *, is_array: bool, counts: dict[KeyPath, int]) -> KeyPath:
    path: KeyPath = ()
    for depth, part in enumerate(parts, start=1):
        path = (*path, part)
        if is_array and depth == len(parts):
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(_unquoted(part) for part in _PART_ALONE.findall(dotted))


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    return str(tomllib.loads(f"x = {part}")["x"])


def _last_line_of_value(lines: list[str], first: int, start: int) -> int:
    """Return the index of the line where a value ends: the first at which quotes and brackets are closed."""
    value = lines[first][start:]
    last = first
    while _is_open(value) and last + 1 < len(lines):
        last += 1
        value += "\n" + lines[last]
    return last


def _is_open(value: str) -> bool:
    bare = _NOISE.sub("", value)
    if '"""' in bare or "'''" in bare:
        return True
    return bare.count("[") > bare.count("]") or bare.count("{") > bare.count("}")
