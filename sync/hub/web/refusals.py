"""The problems that the hub's door answers beyond those of every door: their codes, and who is told what to do next.

A terminal acts on `code`; the words are for the person who reads a log.
"""

from collections.abc import Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from sync.contract.protocol import ProblemCode
from sync.contract.versions import PROTOCOLS
from sync.hub.feed.pages import Resync
from sync.hub.feed.snapshots import SnapshotDelayed, SnapshotUnknown
from sync.hub.terminals.reception import AgentTooOld, CodeRefused, ProtocolUnknown
from sync.hub.terminals.roster import OtherTerminal
from sync.hub.uploads.batch import NoBatch, TooMany, WrongPlace
from sync.hub.uploads.fences import StaleFence
from sync.hub.uploads.placing import Gap
from sync.hub.uploads.upload import SignatureInvalid
from sync.runtime.problems import BODY_NOT_JSON, BODY_TOO_LARGE, Kind, Problem
from sync.runtime.sqlite_file import DatabaseBusy, DatabaseFull

GAP = Kind(409, ProblemCode.GAP, "The range begins beyond the next event; go on after applied_through.")
HELLO_REQUIRED = Kind(
    409,
    ProblemCode.HELLO_REQUIRED,
    "The hub, or what it knows of this terminal, changed since your last hello; say hello first.",
)
RESYNC = Kind(409, ProblemCode.RESYNC, "The feed does not go on from this cursor; load a snapshot.")
CREDENTIAL_UNKNOWN = Kind(401, ProblemCode.CREDENTIAL_UNKNOWN, "No terminal has this credential; enrol the terminal.")
TERMINAL_REVOKED = Kind(403, ProblemCode.TERMINAL_REVOKED, "The terminal was revoked; keep its events and ask the hub.")
PROTOCOL_UNKNOWN = Kind(426, ProblemCode.PROTOCOL_UNKNOWN, "The hub speaks none of these protocols; upgrade.")
UPGRADE_REQUIRED = Kind(426, ProblemCode.UPGRADE_REQUIRED, "The terminal is too old for downloads; update it.")
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
    UPGRADE_REQUIRED,
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
    StaleFence: HELLO_REQUIRED,
    SnapshotUnknown: SNAPSHOT_UNKNOWN,
}
# Those whose message says what is wrong with the request.
_IN_ITS_WORDS: Mapping[type[Exception], Kind] = {
    NoBatch: BODY_NOT_JSON,
    TooMany: BODY_TOO_LARGE,
    WrongPlace: WRONG_STREAM,
    SignatureInvalid: SIGNATURE_INVALID,
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
    except DatabaseFull:
        raise Problem(BUSY, "The hub's disk is full.", headers={hdrs.RETRY_AFTER: _FULL_S}) from None
    except (DatabaseBusy, SnapshotDelayed):
        raise Problem(BUSY, headers={hdrs.RETRY_AFTER: _BUSY_S}) from None
    except ProtocolUnknown:
        speaks = ", ".join(PROTOCOLS)
        raise Problem(
            PROTOCOL_UNKNOWN,
            f"The hub speaks {speaks}.",
            members={"protocols": list(PROTOCOLS)},
            headers={hdrs.UPGRADE: speaks},
        ) from None
    except AgentTooOld as error:
        raise Problem(
            UPGRADE_REQUIRED, str(error), members={"min_agent": error.min_agent}, headers={hdrs.UPGRADE: PROTOCOLS[0]}
        ) from None
    except tuple(_IN_ITS_WORDS) as error:
        raise Problem(_IN_ITS_WORDS[type(error)], str(error)) from None
    except tuple(_PLAIN) as error:
        raise Problem(_PLAIN[type(error)]) from None
