"""The secrets of a till, each in a private file of its own: database key, signing key, enrolment, POS key.

They stand apart from the databases, so that a copied database file alone is unreadable. None is ever logged, and
none comes from `config.toml`.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from sync.contract.customers import Value
from sync.contract.protocol import EnrolAnswer, EnrolledBefore
from sync.contract.signing import SEED_BYTES, SigningKey
from sync.runtime.sqlite_file import KEY_BYTES
from sync.runtime.state_lock import PRIVATE_FOLDER, private_folder, write_private

if sys.platform != "win32":
    import grp

# 256 random bits; the prefix lets a secret scanner and a tired reader tell what it is.
_POS_KEY_PREFIX = "lapos_"
_POS_KEY_BYTES = 32
# The owner writes, one group of the operating system may read: the user the point of sale runs as.
_POS_KEY_MODE = 0o640
_PASSED_FOLDER_MODE = 0o710


class KeyFileError(Exception):
    """A key file cannot be used; the message names it and the next step."""


class NotEnrolled(KeyFileError):
    """This terminal has not been enrolled with a hub yet."""


class Enrolment(Value):
    """Who this terminal is at which hub, and the public half of the key that the hub was told."""

    hub_url: str
    answer: EnrolAnswer
    public_key: str | None = None

    @property
    def identifier_key(self) -> bytes:
        """The key of identifier ids, shared by all terminals of the hub."""
        return bytes.fromhex(self.answer.identifier_key)


def database_key(key_file: Path, database: Path) -> bytes:
    """Return the key of the till's databases, made on the first start.

    Raises:
        KeyFileError: the database is there and its key is not, or the file holds no key.
    """
    if not key_file.exists():
        if database.exists():
            raise KeyFileError(
                f"{key_file} is missing, and {database} cannot be read without it; bring back both together"
            )
        # One that was there stays as it is: the file may be set to stand in /etc.
        key_file.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_private(key_file, secrets.token_hex(KEY_BYTES).encode() + b"\n")
    text = _read(key_file)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{key_file} holds no database key ({KEY_BYTES * 2} hex digits); bring back the right file")
    return key


def terminal_key(path: Path) -> SigningKey:
    """Return the key that this terminal signs its uploads with, made where there is none. It never leaves the machine.

    Raises:
        KeyFileError: the file holds no key.
    """
    if not path.exists():
        private_folder(path.parent)
        write_private(path, secrets.token_hex(SEED_BYTES).encode() + b"\n")
    try:
        return SigningKey.from_hex(_read(path))
    except ValueError:
        raise KeyFileError(
            f"{path} holds no signing key ({SEED_BYTES * 2} hex digits); bring back a backup of it, "
            "or delete it and enrol this till again"
        ) from None


def signing_key(path: Path, enrolment: Enrolment) -> SigningKey | None:
    """Return the key that the hub knows this terminal by; None where it is gone, or another is in its place.

    A new one would not help: the hub takes it only with an enrolment.

    Raises:
        KeyFileError: the file holds no key.
    """
    if enrolment.public_key is None:
        return terminal_key(path)
    key = terminal_key(path) if path.exists() else None
    return key if key is not None and key.public == enrolment.public_key else None


def read_enrolment(path: Path) -> Enrolment:
    """Return who this terminal is.

    Raises:
        NotEnrolled: there is no enrolment yet.
        KeyFileError: the file is damaged.
    """
    if not path.exists():
        raise NotEnrolled(
            "this till is not enrolled yet: ask for a code with `loyalty-hub terminals invite`, "
            "then run `loyalty-agent enrol CODE`"
        )
    try:
        return Enrolment.model_validate_json(_read(path))
    except ValidationError:
        raise KeyFileError(f"{path} is damaged; bring back a backup of it, or enrol this till again") from None


def enrolled_before(path: Path, journal: Path) -> EnrolledBefore | None:
    """Return which terminal this folder was; None where it was none, or has recorded nothing that bears its name.

    Raises:
        KeyFileError: events may wait in `journal`, and nobody can say any more whose they are.
    """
    try:
        answer = read_enrolment(path).answer
    except KeyFileError:
        if not journal.exists():
            return None
        raise KeyFileError(
            f"{path} is missing or damaged, and the events in {journal} bear its terminal's name; bring back a backup "
            "of it, or set till.state to a new folder and enrol that as a new terminal"
        ) from None
    return EnrolledBefore(terminal_id=answer.terminal_id, store_id=answer.store_id, credential=answer.credential)


def write_enrolment(path: Path, enrolment: Enrolment) -> None:
    """Keep who this terminal is, whole or not at all."""
    private_folder(path.parent)
    write_private(path, enrolment.model_dump_json(indent=1).encode() + b"\n")


def with_credential(enrolment: Enrolment, credential: str) -> Enrolment:
    """Return the enrolment with a new credential."""
    return enrolment.model_copy(update={"answer": enrolment.answer.model_copy(update={"credential": credential})})


def pos_key(path: Path, group: str | None) -> str:
    """Return the bearer key for point-of-sale software, made on the first start; its group may reach it from now on.

    Raises:
        KeyFileError: the file holds no key, or the group does not exist.
    """
    if not path.exists():
        return new_pos_key(path, group)
    with _for_group(path, group):
        return read_pos_key(path)


def read_pos_key(path: Path) -> str:
    """Return the bearer key that was made, and change nothing: a member of its group may ask.

    Raises:
        KeyFileError: the file holds no key.
    """
    key = _read(path)
    if not key.startswith(_POS_KEY_PREFIX):
        raise KeyFileError(f"{path} holds no POS key; delete it, and the next start makes a new one")
    return key


def new_pos_key(path: Path, group: str | None) -> str:
    """Put a new bearer key in the place of the old one and return it.

    Raises:
        KeyFileError: the group does not exist, or the file may not be given to it.
    """
    key = _POS_KEY_PREFIX + secrets.token_urlsafe(_POS_KEY_BYTES)
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)  # never closed again: the group passes through
    with _for_group(path, group) as group_id:
        write_private(path, key.encode() + b"\n", mode=_POS_KEY_MODE, group=group_id)
    return key


@contextmanager
def _for_group(path: Path, group: str | None) -> Iterator[int | None]:
    """Let the members of a group pass through the key's folder and the state folder above it, and list neither."""
    group_id = _group_id(group)
    try:
        if group_id is not None:
            for folder in (path.parent, path.parent.parent):
                os.chown(folder, -1, group_id)
                folder.chmod(_PASSED_FOLDER_MODE)
        yield group_id
    except PermissionError as error:
        raise KeyFileError(f"{path} may not be given to group {group}; start as a user that is in it") from error


def _group_id(group: str | None) -> int | None:
    if group is None or sys.platform == "win32":
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise KeyFileError(
            f"api.key_group: there is no group {group} on this machine; make it, or name another"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} cannot be read; check its owner and mode") from error
