"""The book of the page sessions: one private file in the state folder, so that a page outlives a restart of the till.

It holds hashes, never a cookie or a token, and it is valid for one run of the machine: its times are those of a clock
that nobody can set, which starts anew with the machine, and the browser with the pages has gone then too. Where the
file is damaged, is somebody else's, or others could have written it, nobody is let in; the log says so and the till
goes on. What cannot be written is taken away: an old book would bring back a session that has ended since.
"""

import json
import logging
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.web.sessions import SESSIONS_MAX, OpenSession
from sync.runtime.clock import Clock
from sync.runtime.state_lock import write_private

# Sixteen sessions with all the cookies they ever had take less than half of this.
FILE_BYTES_MAX = 256 * 1024
_VERSION = 1

_log = logging.getLogger(__name__)


class SessionFile:
    """Keeps the sessions of the till whose state folder holds `path`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._can_write = True

    def read(self) -> Sequence[OpenSession]:
        """Return the sessions that were open when the till stopped; none where that cannot be known for sure."""
        try:
            kept = _read(self._path, self._clock)
        except FileNotFoundError:
            return ()
        except _Unusable as error:
            why = "no page of before is let in, each is opened anew"
            _log.warning("%s: file=%s cause=%s", why, self._path, error)
            return ()
        if kept.boot_id == self._clock.boot_id:
            return kept.sessions
        _log.info("the open pages ended with the machine's last run: file=%s", self._path)
        return ()

    def write(self, sessions: Sequence[OpenSession]) -> None:
        """Put these down in place of all that stood there.

        Not forced onto the disk: a killed process loses nothing of it, and after a power cut nobody is let in anyway.
        """
        kept = {"version": _VERSION, "boot_id": self._clock.boot_id, "sessions": [asdict(one) for one in sessions]}
        try:
            write_private(self._path, json.dumps(kept).encode(), is_durable=False)
        except OSError as error:
            self._take_away()
            if self._can_write:
                _log.warning("the open pages will not outlive a restart: file=%s cause=%s", self._path, error.strerror)
            self._can_write = False
        else:
            self._can_write = True

    def _take_away(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("an old list of open pages cannot be removed: file=%s cause=%s", self._path, error.strerror)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    boot_id: str
    sessions: Annotated[tuple[OpenSession, ...], Field(max_length=SESSIONS_MAX)]


class _Unusable(Exception):
    """What stands in the file is not to be believed; the message says why."""


def _read(path: Path, clock: Clock) -> _Kept:
    """Return what the file holds.

    Raises:
        FileNotFoundError: there is none.
        _Unusable: it cannot be read, is damaged, or another user could have written it.
    """
    try:
        kept = _Kept.model_validate_json(_private_bytes(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Unusable(error.strerror) from error
    except ValidationError:
        raise _Unusable("it is damaged, or of another version") from None
    if kept.boot_id == clock.boot_id and any(one.used_s > clock.monotonic() for one in kept.sessions):
        raise _Unusable("it is from the future")
    return kept


def _private_bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _check(os.fstat(descriptor))
        return os.read(descriptor, FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _Unusable("it is no file")
    if found.st_size > FILE_BYTES_MAX:
        raise _Unusable("it is too large")
    if sys.platform == "win32":
        return  # no owner and no mode of this kind
    if found.st_uid != os.geteuid():
        raise _Unusable("it belongs to another user")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _Unusable("others may use it")
