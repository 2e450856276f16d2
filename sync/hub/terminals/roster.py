"""Terminals: how one is invited, enrolled, known again by its credential, given a new one, and revoked.

Secrets are kept as hashes only. They are random and long, so a plain SHA-256 is enough: there is no list of likely
ones to try.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sync.contract.protocol import HelloRequest
from sync.runtime.sqlite_file import Connection

INVITATION_MINUTES = 10
INVITATION_TRIES = 5
# RFC 8628, section 6.1: no vowels, so no words, and nothing that looks like a digit.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
# The handle finds the invitation, so that wrong tries count against it; the secret has 20**12, some 52 bits.
_HANDLE_LETTERS = 4
_SECRET_LETTERS = 12


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal that was enrolled. `uses_next` where it came with the credential it was handed last."""

    terminal_id: str
    store_id: str
    is_revoked: bool
    uses_next: bool
    rotate: bool
    public_key: str | None = None
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list of terminals shows of one."""

    terminal_id: str
    store_id: str
    name: str
    agent_version: str
    enrolled_at: datetime
    hello_at: datetime | None
    revoked_at: datetime | None
    waiting: int | None
    quarantined_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """What an invitation was made for."""

    store_id: str
    name: str


def new_code() -> str:
    """Return a one-time code to be typed: four groups of four letters."""
    letters = [secrets.choice(_LETTERS) for _ in range(_HANDLE_LETTERS + _SECRET_LETTERS)]
    return "-".join("".join(letters[start : start + 4]) for start in range(0, len(letters), 4))


def new_credential() -> str:
    """Return a bearer credential of 256 bits."""
    return secrets.token_urlsafe(32)


def invite(connection: Connection, code: str, place: Place, now: datetime) -> datetime:
    """Let whoever types this code once become a terminal of that store; return until when."""
    handle, secret_hash = _parts(code)
    until = now + timedelta(minutes=INVITATION_MINUTES)
    connection.execute("DELETE FROM invitations WHERE expires_ms <= ?", (_ms(now),))
    connection.execute(
        "INSERT INTO invitations (handle, secret_hash, store_id, name, expires_ms, tries_left) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (handle, secret_hash, place.store_id, place.name, _ms(until), INVITATION_TRIES),
    )
    return until


def redeem_invitation(connection: Connection, code: str, now: datetime) -> Place | None:
    """Return what the code was made for and use it up, or None where it is wrong, used, too old or tried too often.

    A wrong try is written down, so the caller must let the transaction commit.
    """
    handle, secret_hash = _parts(code)
    row = connection.execute(
        "SELECT secret_hash, store_id, name FROM invitations WHERE handle = ? AND expires_ms > ? AND tries_left > 0",
        (handle, _ms(now)),
    ).fetchone()
    if row is None:
        return None
    if not hmac.compare_digest(row[0], secret_hash):
        connection.execute("UPDATE invitations SET tries_left = tries_left - 1 WHERE handle = ?", (handle,))
        return None
    connection.execute("DELETE FROM invitations WHERE handle = ?", (handle,))
    return Place(row[1], row[2])


class OtherTerminal(Exception):
    """The machine claims to have been a terminal that it does not prove to be, or that is another store's."""


@dataclass(frozen=True, slots=True)
class NewTerminal:
    """A terminal about to be enrolled; its credential is a secret."""

    terminal_id: str
    credential: str
    agent_version: str
    public_key: str | None = None


def enrol(connection: Connection, new: NewTerminal, place: Place, now: datetime) -> None:
    """Make the terminal known by its credential."""
    connection.execute(
        "INSERT INTO terminals (terminal_id, store_id, name, credential_hash, enrolled_ms, agent_version, public_key) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            new.terminal_id,
            place.store_id,
            place.name,
            _hash(new.credential),
            _ms(now),
            new.agent_version,
            new.public_key,
        ),
    )


def enrol_again(connection: Connection, new: NewTerminal, credential: str, place: Place, now: datetime) -> None:
    """Take a terminal back that was here before, revoked or not, under the id that its waiting events bear.

    Its former `credential` serves until the new one is used, so that a lost answer can be asked for again; its former
    key ends at once, because a machine keeps the key that it brings. An id that is not known here is believed: it
    comes with a valid code, and a hub restored from a backup forgot its terminals.

    Raises:
        OtherTerminal: the id is known, and the credential is not its, or it is of another store.
    """
    known = connection.execute("SELECT 1 FROM terminals WHERE terminal_id = ?", (new.terminal_id,)).fetchone()
    if known is None:
        enrol(connection, new, place, now)
        return
    former = _hash(credential)
    changed = connection.execute(
        "UPDATE terminals SET credential_hash = ?1, next_credential_hash = ?2, rotate = 0, revoked_ms = NULL, "
        "agent_version = ?3, name = coalesce(nullif(?4, ''), name), public_key = ?7 "
        "WHERE terminal_id = ?5 AND store_id = ?6 AND ?1 IN (credential_hash, next_credential_hash)",
        (former, _hash(new.credential), new.agent_version, place.name, new.terminal_id, place.store_id, new.public_key),
    )
    if changed.rowcount != 1:
        raise OtherTerminal


def find(connection: Connection, credential: str) -> Terminal | None:
    """Return the terminal that a credential is of."""
    credential_hash = _hash(credential)
    row = connection.execute(
        "SELECT terminal_id, store_id, revoked_ms IS NOT NULL, next_credential_hash = ?1, rotate, public_key, "
        "agent_version FROM terminals "
        "WHERE credential_hash = ?1 OR next_credential_hash = ?1",
        (credential_hash,),
    ).fetchone()
    return Terminal(row[0], row[1], bool(row[2]), bool(row[3]), bool(row[4]), row[5], row[6]) if row else None


def take_up_next(connection: Connection, credential: str) -> None:
    """Note that the credential handed out last was used: the old one stops serving."""
    connection.execute(
        "UPDATE terminals SET credential_hash = next_credential_hash, next_credential_hash = NULL, rotate = 0 "
        "WHERE next_credential_hash = ?",
        (_hash(credential),),
    )


def hand_out_next(connection: Connection, terminal_id: str, credential: str) -> None:
    """Let a further credential serve beside the current one; an earlier one that was never used stops."""
    connection.execute(
        "UPDATE terminals SET next_credential_hash = ? WHERE terminal_id = ?", (_hash(credential), terminal_id)
    )


def ask_to_rotate(connection: Connection, terminal_id: str) -> bool:
    """Have the terminal take a new credential at its next hello; tell whether there is such a terminal."""
    changed = connection.execute(
        "UPDATE terminals SET rotate = 1 WHERE terminal_id = ? AND revoked_ms IS NULL", (terminal_id,)
    )
    return changed.rowcount == 1


def revoke(connection: Connection, terminal_id: str, now: datetime) -> bool:
    """Refuse the terminal from now on; tell whether there is such a terminal. A second time changes nothing."""
    changed = connection.execute(
        "UPDATE terminals SET revoked_ms = coalesce(revoked_ms, ?) WHERE terminal_id = ?", (_ms(now), terminal_id)
    )
    return changed.rowcount == 1


def note_hello(connection: Connection, terminal_id: str, hello: HelloRequest, now: datetime) -> None:
    """Write down what the list of terminals shows, and the terminal's key where none is known."""
    connection.execute(
        "UPDATE terminals SET hello_ms = ?, agent_version = ?, waiting = ?, oldest_waiting_s = ?, "
        "public_key = coalesce(public_key, ?) WHERE terminal_id = ?",
        (_ms(now), hello.agent_version, hello.waiting, hello.oldest_waiting_s, hello.public_key, terminal_id),
    )


def listed(connection: Connection) -> list[Listed]:
    """Return all terminals, by store, the oldest first."""
    rows = connection.execute(
        "SELECT terminal_id, store_id, name, agent_version, enrolled_ms, hello_ms, revoked_ms, waiting, quarantined_ms "
        "FROM terminals ORDER BY store_id, enrolled_ms, terminal_id"
    )
    return [
        Listed(
            terminal_id, store_id, name, version, _at(enrolled), _maybe(hello), _maybe(revoked), waiting, _maybe(parted)
        )
        for terminal_id, store_id, name, version, enrolled, hello, revoked, waiting, parted in rows
    ]


def count(connection: Connection) -> int:
    """Return how many terminals may come in."""
    row = connection.execute("SELECT count(*) FROM terminals WHERE revoked_ms IS NULL").fetchone()
    return int(row[0]) if row else 0


def _parts(code: str) -> tuple[str, bytes]:
    """Return the handle of a code and the hash of its secret; case, spaces and hyphens do not count."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return letters[:_HANDLE_LETTERS], _hash(letters[_HANDLE_LETTERS:])


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else _at(ms)
