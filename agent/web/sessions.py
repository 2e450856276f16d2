"""Sessions of the till's page: a one-time link becomes a cookie and a page token, and both are needed.

The link's code stands after the `#` of the page's address, so it reaches no server and no log. A cookie alone is not
trusted: browsers send it to every port of the host (measured), so any local program can see it. The page token lives
in the page's memory only. When a page is reloaded it gets a new token for its cookie, and a new cookie; an old cookie
that comes back later was taken by somebody, and ends the session for both.

Only hashes are kept, in memory: a restart of the till ends all sessions. Times are monotonic seconds.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field

# Long enough for a slow browser to start, short enough that a code left on a screen is dead.
LINK_LIFE_S = 60.0
# A shift. After it the page is opened anew.
SESSION_LIFE_S = 12 * 3600.0
# An open page speaks to the till or is told something at every scan; one silent this long is in front of nobody.
SESSION_IDLE_S = 4 * 3600.0
# Answers to a reload may be lost, and two windows may reload at once: so long the cookie before is as good.
ROTATION_GRACE_S = 10.0

LINKS_MAX = 8
SESSIONS_MAX = 16
# Windows of one browser share a cookie, and each holds a token of its own.
TOKENS_MAX = 4
_RETIRED_MAX = 64

_TOKEN_BYTES = 32  # 256 bits


class LinkRefused(Exception):
    """The code of a page link is unknown, used or too old."""


class SessionEnded(Exception):
    """The cookie belongs to no session: it ended, was never one, or was taken."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a page gets. `session_id` names it in logs; the other two are secret and are not kept here."""

    session_id: str
    cookie: str = field(repr=False)
    page_token: str = field(repr=False)


@dataclass(slots=True)
class _Open:
    session_id: str
    opened_s: float
    used_s: float
    cookie: bytes = b""
    rotated_s: float = 0.0
    retired: deque[bytes] = field(default_factory=deque)
    tokens: deque[bytes] = field(default_factory=lambda: deque(maxlen=TOKENS_MAX))


class PageDoor:
    """The links and sessions of one till. Not for threads: it is asked on the event loop."""

    def __init__(self) -> None:
        self._links: OrderedDict[bytes, float] = OrderedDict()
        self._sessions: dict[str, _Open] = {}
        self._by_cookie: dict[bytes, _Open] = {}

    def new_link(self, now_s: float) -> str:
        """Return the code of a link that opens the page once within `LINK_LIFE_S`."""
        code = secrets.token_urlsafe(_TOKEN_BYTES)
        self._links[_digest(code)] = now_s + LINK_LIFE_S
        while len(self._links) > LINKS_MAX:
            self._links.popitem(last=False)
        return code

    def open(self, code: str, now_s: float) -> Session:
        """Return a new session for a link's code, which is worth nothing afterwards.

        Raises:
            LinkRefused: the code is unknown, used or too old.
        """
        expires_s = self._links.pop(_digest(code), None)
        if expires_s is None or now_s >= expires_s:
            raise LinkRefused
        self._drop_dead(now_s)
        if len(self._sessions) >= SESSIONS_MAX:
            self._end(min(self._sessions.values(), key=lambda session: session.used_s))
        session = _Open(secrets.token_hex(8), opened_s=now_s, used_s=now_s)
        self._sessions[session.session_id] = session
        return self._with_new_secrets(session, now_s)

    def renew(self, cookie: str, now_s: float) -> Session:
        """Return a new cookie and a new page token for the session of a cookie, for a page that was reloaded.

        Raises:
            SessionEnded: there is no such session; if the cookie is an old one of a living session, that ended now.
        """
        session = self._find(cookie, now_s)
        if session is None:
            raise SessionEnded
        session.used_s = now_s
        return self._with_new_secrets(session, now_s)

    def admit(self, cookie: str, page_token: str, now_s: float) -> str | None:
        """Return the id of the session that a cookie and a page token open together, or None."""
        session = self._find(cookie, now_s)
        if session is None:
            return None
        given = _digest(page_token)
        # Every token is compared, and each in constant time: the duration tells nothing.
        matches = [hmac.compare_digest(given, token) for token in session.tokens]
        if not any(matches):
            return None
        session.used_s = now_s
        return session.session_id

    def keep_open(self, session_id: str, now_s: float) -> bool:
        """Tell whether a session still lives, and count this as a use of it.

        A live connection asks before each thing it sends, and closes when the answer is no.
        """
        session = self._sessions.get(session_id)
        if session is None or not _lives(session, now_s):
            return False
        session.used_s = now_s
        return True

    def _find(self, cookie: str, now_s: float) -> _Open | None:
        digest = _digest(cookie)
        session = self._by_cookie.get(digest)
        if session is None:
            return None
        is_stolen = digest != session.cookie and (
            digest != session.retired[-1] or now_s >= session.rotated_s + ROTATION_GRACE_S
        )
        if is_stolen or not _lives(session, now_s):
            self._end(session)
            return None
        return session

    def _with_new_secrets(self, session: _Open, now_s: float) -> Session:
        made = Session(session.session_id, secrets.token_urlsafe(_TOKEN_BYTES), secrets.token_urlsafe(_TOKEN_BYTES))
        if session.cookie:
            session.retired.append(session.cookie)
            if len(session.retired) > _RETIRED_MAX:
                self._by_cookie.pop(session.retired.popleft(), None)
        session.cookie, session.rotated_s = _digest(made.cookie), now_s
        session.tokens.append(_digest(made.page_token))
        self._by_cookie[session.cookie] = session
        return made

    def _drop_dead(self, now_s: float) -> None:
        for session in [session for session in self._sessions.values() if not _lives(session, now_s)]:
            self._end(session)

    def _end(self, session: _Open) -> None:
        self._sessions.pop(session.session_id, None)
        for cookie in (session.cookie, *session.retired):
            self._by_cookie.pop(cookie, None)


def _lives(session: _Open, now_s: float) -> bool:
    return now_s < session.opened_s + SESSION_LIFE_S and now_s < session.used_s + SESSION_IDLE_S


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
