"""The problems that the hub's door answers beyond those of every door: their codes, and who is told what to do next.

A terminal acts on `code`; the words are for the person who reads a log.
"""

from collections.abc import Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sync.contract.protocol import PROTOCOL, ProblemCode
from sync.hub.batch import NoBatch, TooMany, WrongPlace
from sync.hub.feed import Resync
from sync.hub.intake import Gap
from sync.hub.reception import CodeRefused, ProtocolUnknown
from sync.hub.snapshots import SnapshotDelayed, SnapshotUnknown
from sync.hub.terminals import OtherTerminal
from sync.hub.uploads import SignatureInvalid
from sync.runtime.problems import BODY_NOT_JSON, BODY_TOO_LARGE, Kind, Problem
from sync.runtime.sqlite_file import DatabaseBusy, DatabaseFull

GAP = Kind(409, ProblemCode.GAP, "The range begins beyond the next event; go on after applied_through.")
HELLO_REQUIRED = Kind(409, ProblemCode.HELLO_REQUIRED, "The hub is not the one of your last hello; say hello first.")
RESYNC = Kind(409, ProblemCode.RESYNC, "The feed does not go on from this cursor; load a snapshot.")
CREDENTIAL_UNKNOWN = Kind(401, ProblemCode.CREDENTIAL_UNKNOWN, "No terminal has this credential; enrol the terminal.")
TERMINAL_REVOKED = Kind(403, ProblemCode.TERMINAL_REVOKED, "The terminal was revoked; keep its events and ask the hub.")
PROTOCOL_UNKNOWN = Kind(426, ProblemCode.PROTOCOL_UNKNOWN, "The hub speaks none of these protocols; upgrade.")
CODE_REFUSED = Kind(422, "code_refused", "The one-time code is wrong, used, too old or was tried too often.")
OTHER_TERMINAL = Kind(409, "other_terminal", "This machine was another terminal before, or one of another store.")
WRONG_STREAM = Kind(409, "wrong_stream", "An event or the address names another terminal, incarnation or seq.")
SIGNATURE_INVALID = Kind(400, ProblemCode.SIGNATURE_INVALID, "The upload is not as the terminal signed it; send again.")
IDENTIFIER_MISMATCH = Kind(422, "identifier_mismatch", "An identifier's id is not the keyed hash of its value.")
SNAPSHOT_UNKNOWN = Kind(404, "snapshot_unknown", "There is no such snapshot or chunk (any more); ask for the current.")
BUSY = Kind(503, "busy", "The hub cannot do this now; the same again, after Retry-After.")

KINDS = (
    GAP,
    HELLO_REQUIRED,
    RESYNC,
    CREDENTIAL_UNKNOWN,
    TERMINAL_REVOKED,
    PROTOCOL_UNKNOWN,
    CODE_REFUSED,
    OTHER_TERMINAL,
    WRONG_STREAM,
    SIGNATURE_INVALID,
    IDENTIFIER_MISMATCH,
    SNAPSHOT_UNKNOWN,
    BUSY,
)

_PLAIN: Mapping[type[Exception], Kind] = {
    CodeRefused: CODE_REFUSED,
    OtherTerminal: OTHER_TERMINAL,
    Resync: RESYNC,
    SnapshotUnknown: SNAPSHOT_UNKNOWN,
}
_BUSY_S = "2"
_FULL_S = "30"


@web.middleware
async def refusal_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let what the rooms behind the door refuse leave as problems."""
    try:
        return await handler(request)
    except Gap as gap:
        raise Problem(GAP, str(gap), members={"applied_through": gap.applied_through}) from None
    except NoBatch as error:
        raise Problem(BODY_NOT_JSON, str(error)) from None
    except TooMany as error:
        raise Problem(BODY_TOO_LARGE, str(error)) from None
    except WrongPlace as error:
        raise Problem(WRONG_STREAM, str(error)) from None
    except SignatureInvalid as error:
        raise Problem(SIGNATURE_INVALID, str(error)) from None
    except DatabaseFull:
        raise Problem(BUSY, "The hub's disk is full.", headers={hdrs.RETRY_AFTER: _FULL_S}) from None
    except (DatabaseBusy, SnapshotDelayed):
        raise Problem(BUSY, headers={hdrs.RETRY_AFTER: _BUSY_S}) from None
    except ProtocolUnknown:
        raise Problem(PROTOCOL_UNKNOWN, headers={hdrs.UPGRADE: PROTOCOL}) from None
    except tuple(_PLAIN) as error:
        raise Problem(_PLAIN[type(error)]) from None
