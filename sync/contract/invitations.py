"""An invitation as one text, which fits a QR code: the hub, and the one-time code that makes a machine its terminal.

    loyalty-enrol:BCDF-GHJK-LMNP-QRST@https://hub.example.com

No character of it means anything to a shell, and a scanner that types like a keyboard types it as it is. Pure.
"""

from typing import NamedTuple

_PREFIX = "loyalty-enrol:"


class Invitation(NamedTuple):
    """A one-time code, and the address of the hub that it is of."""

    code: str
    hub_url: str


def write_invitation(invitation: Invitation) -> str:
    """Return an invitation as one text."""
    return f"{_PREFIX}{invitation.code}@{invitation.hub_url}"


def is_invitation(text: str) -> bool:
    """Tell whether a text means to be an invitation, whole or not."""
    return text.strip().lower().startswith(_PREFIX)


def read_invitation(text: str) -> Invitation | None:
    """Return what an invitation says, or None where the text is none."""
    code, at, hub_url = text.strip()[len(_PREFIX) :].partition("@")
    if not is_invitation(text) or not (code and at and hub_url):
        return None
    return Invitation(code, hub_url)
