"""Sessions of the till's pages: a one-time link becomes a cookie and a page token, and both are needed.

The link's code stands after the `#` of the page's address, so it reaches no server and no log. A cookie alone is not
trusted: browsers send it to every port of the host (measured), so any local program can see it. The page token lives
in the page's memory only. When a page is reloaded it gets a new token for its cookie, and a new cookie; an old cookie
that comes back later was taken by somebody, and ends the session for both.

A session is of one scope: the staff's page, or the customer's display, which may see far less. The page's cookie opens
a display of the same till; that ends with the same shift, and at once where the page's cookie was taken.

Only hashes are held. They are also put down in a book at every change, so that a page outlives a restart of the till;
a session that ended is out of the book before anybody learns that it did. Times are monotonic seconds.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field, StringConstraints

# Long enough for a slow browser to start, short enough that a code left on a screen is dead.
LINK_LIFE_S = 60.0
# A shift. After it the page is opened anew.
SESSION_LIFE_S = 12 * 3600.0
# An open page speaks to the till or is told something at every scan; one silent this long is in front of nobody.
SESSION_IDLE_S = 4 * 3600.0
# Answers to a reload may be lost, and two windows may reload at once: so long the cookie before is as good.
ROTATION_GRACE_S = 10.0
# A use is put down this late at most: after a restart a session may count as idle that much too early, never too late.
USE_NOTED_EVERY_S = 60.0

LINKS_MAX = 8
SESSIONS_MAX = 16
# Windows of one browser share a cookie, and each holds a token of its own.
TOKENS_MAX = 4
RETIRED_MAX = 64

_TOKEN_BYTES = 32  # 256 bits

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class LinkRefused(Exception):
    """The code of a page link is unknown, used, too old, or of another scope."""


class SessionEnded(Exception):
    """The cookie belongs to no session of this scope: it ended, was never one, or was taken."""


class Scope(StrEnum):
    """What a session opens."""

    PAGE = "page"
    """The staff's page: everything but what is the point of sale's alone."""
    DISPLAY = "display"
    """The customer's display: what it shows, and nothing else."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a page gets. `session_id` names it in logs; the other two are secret and are not kept here."""

    session_id: str
    cookie: str = field(repr=False)
    page_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenedDisplay:
    """A display's session, and the next cookie of the page that it was opened from."""

    display: Session
    page_cookie: str = field(repr=False)


@dataclass(slots=True)
class OpenSession:
    """A session as the door and its book hold it: each secret by its SHA-256 only."""

    session_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    scope: Scope
    opened_s: Seconds
    used_s: Seconds
    opened_by: str | None = None
    """The session whose cookie opened this display."""
    cookie: Digest = ""
    rotated_s: Seconds = 0.0
    retired: Annotated[tuple[Digest, ...], Field(max_length=RETIRED_MAX)] = ()
    tokens: Annotated[tuple[Digest, ...], Field(max_length=TOKENS_MAX)] = ()


class Book(Protocol):
    """Where sessions are put down. It never raises: what it cannot keep, it does not keep."""

    def read(self) -> Sequence[OpenSession]:
        """Return the sessions that were open when the till stopped; none where that cannot be known for sure."""

    def write(self, sessions: Sequence[OpenSession]) -> None:
        """Put these down in place of all that stood there."""


class NoBook:
    """Keeps nothing: a restart ends all sessions."""

    def read(self) -> Sequence[OpenSession]:
        """Return no session."""
        return ()

    def write(self, sessions: Sequence[OpenSession]) -> None:
        """Forget them."""


class PageDoor:
    """The links and sessions of one till. Not for threads: it is asked on the event loop."""

    def __init__(self, book: Book | None = None) -> None:
        self._book = book or NoBook()
        self._links: OrderedDict[str, tuple[Scope, float]] = OrderedDict()
        self._sessions = {session.session_id: session for session in self._book.read()}
        self._by_cookie = {
            cookie: session for session in self._sessions.values() for cookie in (*session.retired, session.cookie)
        }
        self._noted_s = {session.session_id: session.used_s for session in self._sessions.values()}

    def new_link(self, now_s: float, scope: Scope = Scope.PAGE) -> str:
        """Return the code of a link that opens the page, or the display, once within `LINK_LIFE_S`."""
        code = secrets.token_urlsafe(_TOKEN_BYTES)
        self._links[_digest(code)] = (scope, now_s + LINK_LIFE_S)
        while len(self._links) > LINKS_MAX:
            self._links.popitem(last=False)
        return code

    def open(self, code: str, now_s: float, scope: Scope = Scope.PAGE) -> Session:
        """Return a new session for a link's code, which is worth nothing afterwards.

        Raises:
            LinkRefused: the code is unknown, used, too old, or opens something else.
        """
        link_scope, expires_s = self._links.pop(_digest(code), (scope, now_s))
        if link_scope is not scope or now_s >= expires_s:
            raise LinkRefused
        made = self._opened(scope, now_s)
        self._note()
        return made

    def renew(self, cookie: str, now_s: float, scope: Scope = Scope.PAGE) -> Session:
        """Return a new cookie and a new page token for the session of a cookie, for a page that was reloaded.

        Raises:
            SessionEnded: there is no such session; if the cookie is an old one of a living session, that ended now.
        """
        session = self._find(cookie, now_s, scope)
        if session is None:
            raise SessionEnded
        session.used_s = now_s
        made = Session(session.session_id, self._next_cookie(session, now_s), _next_token(session))
        self._note()
        return made

    def open_display(self, page_cookie: str, now_s: float) -> OpenedDisplay:
        """Return a display's session for the cookie of a page, which is replaced as at a reload.

        So a cookie that somebody took shows itself by this use too, and takes the display down with it.

        Raises:
            SessionEnded: as for `renew`.
        """
        page = self._find(page_cookie, now_s, Scope.PAGE)
        if page is None:
            raise SessionEnded
        page.used_s = now_s
        next_cookie = self._next_cookie(page, now_s)
        opened = OpenedDisplay(self._opened(Scope.DISPLAY, now_s, page), next_cookie)
        self._note()
        return opened

    def admit(self, cookie: str, page_token: str, now_s: float, scope: Scope = Scope.PAGE) -> str | None:
        """Return the id of the session of this scope that a cookie and a page token open together, or None."""
        session = self._find(cookie, now_s, scope)
        if session is None:
            return None
        given = _digest(page_token)
        # Every token is compared, and each in constant time: the duration tells nothing.
        matches = [hmac.compare_digest(given, token) for token in session.tokens]
        if not any(matches):
            return None
        self._use(session, now_s)
        return session.session_id

    def keep_open(self, session_id: str, now_s: float) -> bool:
        """Tell whether a session still lives, and count this as a use of it.

        A live connection asks before each thing it sends, and closes when the answer is no.
        """
        session = self._sessions.get(session_id)
        if session is None or not _lives(session, now_s):
            return False
        self._use(session, now_s)
        return True

    def _opened(self, scope: Scope, now_s: float, page: OpenSession | None = None) -> Session:
        for dead in [session for session in self._sessions.values() if not _lives(session, now_s)]:
            self._drop(dead)
        if len(self._sessions) >= SESSIONS_MAX:
            others = (session for session in self._sessions.values() if session is not page)
            self._drop(min(others, key=lambda session: session.used_s))
        session = OpenSession(
            secrets.token_hex(8),
            scope,
            opened_s=page.opened_s if page else now_s,
            used_s=now_s,
            opened_by=page.session_id if page else None,
        )
        self._sessions[session.session_id] = session
        return Session(session.session_id, self._next_cookie(session, now_s), _next_token(session))

    def _find(self, cookie: str, now_s: float, scope: Scope) -> OpenSession | None:
        digest = _digest(cookie)
        session = self._by_cookie.get(digest)
        if session is None or session.scope is not scope:
            return None
        is_stolen = digest != session.cookie and (
            digest != session.retired[-1] or now_s >= session.rotated_s + ROTATION_GRACE_S
        )
        if is_stolen:
            for taken in [
                one for one in self._sessions.values() if session.session_id in (one.session_id, one.opened_by)
            ]:
                self._drop(taken)
        elif _lives(session, now_s):
            return session
        else:
            self._drop(session)
        self._note()
        return None

    def _next_cookie(self, session: OpenSession, now_s: float) -> str:
        cookie = secrets.token_urlsafe(_TOKEN_BYTES)
        if session.cookie:
            forgotten = session.retired[: -(RETIRED_MAX - 1)]
            session.retired = (*session.retired[len(forgotten) :], session.cookie)
            for old in forgotten:
                self._by_cookie.pop(old, None)
        session.cookie, session.rotated_s = _digest(cookie), now_s
        self._by_cookie[session.cookie] = session
        return cookie

    def _use(self, session: OpenSession, now_s: float) -> None:
        session.used_s = now_s
        if now_s >= self._noted_s.get(session.session_id, now_s) + USE_NOTED_EVERY_S:
            self._note()

    def _note(self) -> None:
        self._book.write(tuple(self._sessions.values()))
        self._noted_s = {session.session_id: session.used_s for session in self._sessions.values()}

    def _drop(self, session: OpenSession) -> None:
        self._sessions.pop(session.session_id, None)
        for cookie in (session.cookie, *session.retired):
            self._by_cookie.pop(cookie, None)


def _next_token(session: OpenSession) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.tokens = (*session.tokens, _digest(token))[-TOKENS_MAX:]
    return token


def _lives(session: OpenSession, now_s: float) -> bool:
    return now_s < session.opened_s + SESSION_LIFE_S and now_s < session.used_s + SESSION_IDLE_S


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
