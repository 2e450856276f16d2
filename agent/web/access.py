"""Who may ask what of the till's local API: the browser-origin rules, as one pure function.

Every page that the till's browser shows can reach 127.0.0.1. What keeps it out, each measured: only the Host header
catches DNS rebinding (such a request carries neither Origin nor Sec-Fetch); only Origin catches a foreign WebSocket
(its handshake carries no Sec-Fetch); Sec-Fetch catches links, images and forms, which carry no Origin. So all three are
checked on every route, and a request that carries no sign of a browser must bring the bearer key.
"""

from dataclasses import dataclass
from enum import StrEnum

from sync.runtime.problems import CONTENT_TYPE_REFUSED, Kind

HOST_REFUSED = Kind(421, "host_refused", "The Host header is not this till's own address and port.")
ORIGIN_REFUSED = Kind(403, "origin_refused", "The request comes from a page of another origin.")
CROSS_SITE_REFUSED = Kind(403, "cross_site_refused", "The browser says that another site made this request.")
CREDENTIAL_MISSING = Kind(401, "credential_missing", "This route needs the bearer key, or the page's cookie and token.")
CREDENTIAL_REFUSED = Kind(
    401, "credential_refused", "The bearer key, or the page's cookie and token, are not valid now."
)
PAGE_LINK_REFUSED = Kind(401, "page_link_refused", "The page link was used already or is too old; open the page anew.")
SESSION_ENDED = Kind(401, "session_ended", "The page's session has ended; open the page anew.")

KINDS = (
    HOST_REFUSED,
    ORIGIN_REFUSED,
    CROSS_SITE_REFUSED,
    CREDENTIAL_MISSING,
    CREDENTIAL_REFUSED,
    PAGE_LINK_REFUSED,
    SESSION_ENDED,
)

_MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Access(StrEnum):
    """What a route asks of its callers, beyond the rules for all."""

    OPEN = "open"
    """Nothing: it tells nothing."""
    DOCUMENT = "document"
    """Nothing: a static part of the page, which holds no data. A browser may navigate to it."""
    PAGE = "page"
    """To be the page of this till, on its way to a token; or the bearer key."""
    CREDENTIAL = "credential"
    """The bearer key, or the page's cookie and page token together."""
    POS = "pos"
    """The bearer key."""
    SOCKET = "socket"
    """To be the page of this till, or the bearer key; the page's token follows as the first message."""
    DISPLAY = "display"
    """The bearer key, or the customer display's cookie and page token together."""
    DISPLAY_SOCKET = "display_socket"
    """As `SOCKET`, and the token that follows is the customer display's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about itself. Headers are kept as often as they came, because twice is a trick."""

    method: str
    target: str
    """The request target as it was sent; an absolute one would overrule the Host header."""
    port: int
    """The local port that the connection arrived at."""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()

    @property
    def is_from_own_page(self) -> bool:
        """Whether a browser vouches for the page; true only once `refusal` has found nothing."""
        return bool(self.origins) or self.sites == ("same-origin",)


def own_hosts(port: int) -> tuple[str, ...]:
    """Return every Host header by which this till may be asked for."""
    return tuple(f"{name}:{port}" for name in _NAMES)


def refusal(asked: Asked, access: Access) -> Kind | None:
    """Return why a request may not go on whoever sends it, or None."""
    if not asked.target.startswith("/") or len(asked.hosts) != 1 or asked.hosts[0] not in own_hosts(asked.port):
        return HOST_REFUSED
    if asked.origins and asked.origins != (f"http://{asked.hosts[0]}",):
        return ORIGIN_REFUSED
    if not _may_come_from_there(asked, access):
        return CROSS_SITE_REFUSED
    if asked.method in _MUTATING and not _is_json(asked.content_types):
        return CONTENT_TYPE_REFUSED
    return None


def _may_come_from_there(asked: Asked, access: Access) -> bool:
    if len(asked.sites) > 1 or len(asked.modes) > 1 or len(asked.destinations) > 1:
        return False
    if asked.modes == ("navigate",):
        may_be_opened = access in (Access.DOCUMENT, Access.OPEN) and asked.method == "GET"
        return may_be_opened and asked.destinations == ("document",) and asked.sites in _NAVIGATES
    return asked.sites in ((), ("same-origin",))


# "none" is a person who typed the address or clicked outside the browser; a link on another page is "cross-site".
_NAVIGATES = (("same-origin",), ("none",))


def _is_json(content_types: tuple[str, ...]) -> bool:
    return len(content_types) == 1 and content_types[0].partition(";")[0].strip().lower() == "application/json"
