"""What can go wrong between a terminal and the hub, split by what the caller does next.

Every one of them leaves the journal as it is: no event is ever deleted, or taken for delivered, because of an error.
"""

from collections.abc import Mapping
from types import MappingProxyType

# The hub says something that only a newer version of this program understands.
NOT_UNDERSTOOD = "not_understood"


class HubSetupError(ValueError):
    """The hub's address or its certificate authority cannot be used; the message says why."""


class HubError(Exception):
    """A call failed. `code` is a short stable word for the screen, the log and the metrics."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class HubUnreachable(HubError):
    """No believable answer came, so what was asked may have happened or not: ask the same again, later.

    A timeout, a reset, a 5xx, and every answer that cannot be the hub's own: a captive portal's page, a redirect,
    half a body, a body of another shape.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code, f"no believable answer from the hub: {code}")


class HubBusy(HubError):
    """The hub asks to come back later. `retry_after_s` is its own word on when, or None."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("busy", "the hub is busy")
        self.retry_after_s = retry_after_s


class HubRefused(HubError):
    """The hub itself refused, by a problem with a stable code. `members` are the problem's further members."""

    def __init__(self, code: str, members: Mapping[str, object] | None = None) -> None:
        super().__init__(code, f"the hub refused: {code}")
        self.members: Mapping[str, object] = MappingProxyType(dict(members or {}))


class TerminalRevoked(HubError):
    """The hub does not take this terminal's credential (any more): keep everything, and tell a person."""

    def __init__(self, code: str) -> None:
        super().__init__(code, f"the hub does not take this terminal's credential: {code}; enrol the terminal again")


class MessageTooLarge(HubError):
    """Something on the way does not carry a message of this size: send less."""

    def __init__(self) -> None:
        super().__init__("message_too_large", "the message is too large for the way to the hub")
