"""The guard of the hub's door: what the door's handlers work with, and who may reach them.

Below `/v1` a terminal shows its bearer credential, on every route but the enrolment. Metrics are shown to whoever holds
the admin key, a file beside the database; health is no secret.
"""

import hmac
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sync.contract.protocol import EPOCH_HEADER
from sync.hub.escrow.figures import EscrowFigures
from sync.hub.escrow.reserving import Reserving
from sync.hub.feed.digests import Digests
from sync.hub.feed.head import Head
from sync.hub.feed.snapshots import Snapshots
from sync.hub.founding import Founding
from sync.hub.terminals.reception import Reception
from sync.hub.terminals.roster import Terminal
from sync.hub.uploads.intake import Intake
from sync.hub.web.refusals import CREDENTIAL_UNKNOWN, HELLO_REQUIRED, TERMINAL_REVOKED
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Writer
from sync.runtime.metrics import Metrics
from sync.runtime.problems import Kind, Problem
from sync.runtime.supervise import Board

ADMIN_KEY_REFUSED = Kind(401, "admin_key_refused", "This route needs the key in keys/admin.key of the state folder.")

# Longer than any credential; nothing of this size is hashed.
_BEARER_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms behind the door."""

    founding: Founding
    admin_key: str
    writer: Writer
    reader: Reader
    head: Head
    intake: Intake
    reception: Reception
    reserving: Reserving
    snapshots: Snapshots
    digests: Digests
    figures: EscrowFigures
    metrics: Metrics
    board: Board
    clock: Clock


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
TERMINAL: web.RequestKey[Terminal] = web.RequestKey("terminal", Terminal)


def services_of(request: web.Request) -> Services:
    """Return the rooms behind the door."""
    return request.app[SERVICES]


@web.middleware
async def guard_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a terminal in by its credential, or refuse it in the words it acts on."""
    if not request.path.startswith("/v1/") or request.path == "/v1/enrolments":
        return await handler(request)
    terminal = await services_of(request).reception.identify(_bearer(request))
    if terminal is None:
        raise _unknown()
    if terminal.is_revoked:
        raise Problem(TERMINAL_REVOKED)
    request[TERMINAL] = terminal
    return await handler(request)


def check_epoch(request: web.Request) -> None:
    """Refuse a terminal that last said hello to another history of this hub, or to none.

    Raises:
        Problem: hello_required.
    """
    if request.headers.get(EPOCH_HEADER) != services_of(request).founding.epoch:
        raise Problem(HELLO_REQUIRED)


def check_download(request: web.Request) -> None:
    """Refuse a download to a terminal that talks to another history of this hub, or that is too old.

    Raises:
        Problem: hello_required.
        AgentTooOld: it has to be updated first.
    """
    check_epoch(request)
    services_of(request).reception.check_version(request[TERMINAL])


def check_admin(request: web.Request) -> None:
    """Refuse whoever does not hold the admin key.

    Raises:
        Problem: admin_key_refused.
    """
    if not hmac.compare_digest(_bearer(request).encode(), services_of(request).admin_key.encode()):
        raise Problem(ADMIN_KEY_REFUSED, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})


def _bearer(request: web.Request) -> str:
    """Return the credential of a request, or "" where it has none that could be one."""
    scheme, _, credential = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not credential.isascii() or len(credential) > _BEARER_CHARS_MAX:
        return ""
    return credential


def _unknown() -> Problem:
    return Problem(CREDENTIAL_UNKNOWN, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
