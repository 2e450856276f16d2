"""Cursors: where a terminal stands on the feed, as the opaque text that it keeps and never looks into."""

import base64
import binascii
from typing import NamedTuple

_SHAPE = "1"
# What the hub's books can hold.
_POSITION_MAX = 2**63 - 1


class FeedCursor(NamedTuple):
    """What a cursor says inside, for the hub alone."""

    hub_epoch: str
    position: int


def write_cursor(cursor: FeedCursor) -> str:
    """Return the opaque text of a cursor: base64url of epoch, shape of the rows, position."""
    text = f"{cursor.hub_epoch}|{_SHAPE}|{cursor.position}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> FeedCursor | None:
    """Return what a cursor says, or None where it is not of this shape (the terminal then needs a snapshot)."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    epoch, _, rest = raw.partition("|")
    shape, _, position = rest.partition("|")
    if shape != _SHAPE or not position.isascii() or not position.isdigit() or int(position) > _POSITION_MAX:
        return None
    return FeedCursor(epoch, int(position))
