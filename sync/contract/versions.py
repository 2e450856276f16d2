"""Versions: which protocol two ends speak, and which program is older. Pure.

Both ends name all protocols they speak, and use the highest that is common. Within one, only fields are added; whoever
does not know a field leaves it alone.
"""

import re
from collections.abc import Collection

# All that this version speaks, the highest first. Hubs take uploads of every one that ever was, for ever.
PROTOCOLS = ("storesync/1",)
# 1, 1.2 or 1.2.3; what follows (rc1, +local) does not count.
VERSION_PATTERN = r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}"

_VERSION = re.compile(VERSION_PATTERN)


def common_protocol(offered: Collection[str]) -> str | None:
    """Return the highest protocol that both ends speak, or None."""
    return next((protocol for protocol in PROTOCOLS if protocol in offered), None)


def is_older(version: str, least: str) -> bool:
    """Tell whether a program's version is below another; one that cannot be read is not."""
    seen, wanted = _VERSION.match(version), _VERSION.match(least)
    if seen is None or wanted is None:
        return False
    return _numbers(seen.group()) < _numbers(wanted.group())


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; 1.2 is 1.2.0."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
