"""One SQLite file: opened with its key, checked for its owner and version, migrated all or nothing, its errors named.

The driver is sqlcipher3 (SQLite with encryption at rest, and free of the WAL-reset race of older ones). Where its
wheel is missing, plain sqlite3, 3.42 or newer, serves files without encryption; `driver_notice` says so. Only this room
and `sync.runtime.database`, which runs the connections on their threads, know that there is a driver.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, TypeVar, cast

from sync.runtime.sqlite_version import OLDEST, has_safe_log, serves

try:
    import sqlcipher3.dbapi2 as _cipher
except ImportError:  # pragma: no cover - the wheel is in the lock file; only odd platforms lack it
    _cipher = None

_driver: ModuleType = _cipher if _cipher is not None else sqlite3
_ENCRYPTS = _cipher is not None
DRIVER_ERROR: type[Exception] = _driver.Error

KEY_BYTES = 32
# Another process can hold the file only for a moment (a backup, an inspection); a till does not wait longer.
BUSY_TIMEOUT_S = 5.0
# Pages kept in memory per connection, in KiB: the inner pages of the indexes over a million customers fit.
_CACHE_KIB = 8_000
_CHECKPOINT_PAGES = 1_000
_WAL_BYTES_KEPT = 16 * 1024 * 1024

T = TypeVar("T")
Row = tuple[Any, ...]


class DatabaseError(Exception):
    """The database could not do what it was asked; the message names the file or the rule and the next step."""


class DatabaseUnreadable(DatabaseError):
    """The file cannot be opened with this key, or is no database, or is damaged."""


class DatabaseSealed(DatabaseUnreadable):
    """The file cannot be opened with this key: it is another file's key, or the first page is damaged."""


class DatabaseDamaged(DatabaseUnreadable):
    """The file was opened with its key, and a part of it cannot be read."""


class DatabaseForeign(DatabaseError):
    """The file belongs to another program."""


class DatabaseNewer(DatabaseError):
    """The file was written by a newer version of this program."""


class DatabaseFull(DatabaseError):
    """The disk is full; nothing of this unit of work was written."""


class DatabaseBusy(DatabaseError):
    """Another process holds the file."""


class ConstraintBroken(DatabaseError):
    """The file's own rules (UNIQUE, CHECK, NOT NULL) refused a row; nothing of this unit of work was written."""


class Cursor(Protocol):
    """The part of a driver's cursor that rooms use."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    def fetchone(self) -> Row | None:
        """Return the next row, or None."""

    def fetchmany(self, size: int = ...) -> list[Row]:
        """Return the next rows, at most `size`."""

    def fetchall(self) -> list[Row]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Row]:
        """Walk the rows that are left."""


class Connection(Protocol):
    """The part of a driver's connection that a unit of work may use. It never begins or commits by itself."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; False after an error means that SQLite rolled all of it back."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ...) -> Cursor:
        """Run one statement with bound values."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Cursor:
        """Run one statement for each row of values."""

    def interrupt(self) -> None:
        """Stop what the connection does now; from any thread."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """What a database file is: where, whose, how its tables came to be, and how durable a commit must be.

    `migrations` is the package folder that holds `0001_name.sql …`; the newest number is the file's `user_version`.
    `synchronous` FULL: an acknowledged commit survives a power cut. NORMAL: the last commits may be lost whole, so
    only for rows that can be had again.
    """

    path: Path
    application_id: int
    migrations: str
    key: bytes | None = None
    synchronous: Literal["FULL", "NORMAL"] = "FULL"


@dataclass(frozen=True, slots=True)
class Driver:
    """What reads and writes the files: the versions, and who carries the log over into the file (a checkpoint)."""

    sqlite: str
    cipher: str | None
    checkpoints: Literal["automatic", "writer"]


def driver() -> Driver:
    """Return what reads and writes the files here."""
    cipher = None
    if _ENCRYPTS:
        connection = _driver.connect(":memory:")
        try:
            (cipher,) = connection.execute("PRAGMA cipher_version").fetchone()
        finally:
            connection.close()
    version = _driver.sqlite_version
    return Driver(version, cipher, "automatic" if has_safe_log(version) else "writer")


HAS_SAFE_LOG = has_safe_log(_driver.sqlite_version)


def carry_log_over(connection: Connection) -> None:
    """Checkpoint as far as no reader is in the way, between two commits of the writer."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def driver_notice() -> str | None:
    """Return what to tell the owner about the driver, or None when it is the good one."""
    if _ENCRYPTS:
        return None
    return (
        f"sqlcipher3 is not installed: plain SQLite {sqlite3.sqlite_version} serves, "
        "and files are not encrypted at rest"
    )


def open_for_writing(file: DatabaseFile) -> Connection:
    """Open the writing connection of a file, made or migrated first.

    Raises:
        DatabaseError: one of its kinds, naming the file and the next step.
    """
    if not serves(_driver.sqlite_version):
        raise DatabaseError(
            f"SQLite {_driver.sqlite_version} is too old, {OLDEST[0]}.{OLDEST[1]} or newer is needed: "
            "install the Python package sqlcipher3, which brings its own"
        )
    with _refusing_damage(file), contextlib.ExitStack() as on_error:
        file.path.touch(mode=0o600, exist_ok=True)
        connection = _connect(file)
        on_error.callback(connection.close)
        _check_owner(connection, file)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={file.synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES if HAS_SAFE_LOG else 0}")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_KEPT}")
        _migrate(connection, file)
        on_error.pop_all()
        return connection


def open_for_reading(file: DatabaseFile, attached: Mapping[str, DatabaseFile]) -> Connection:
    """Open a connection that only reads, with other files attached under their names.

    Raises:
        DatabaseError: one of its kinds, naming the file and the next step.
    """
    with _refusing_damage(file), contextlib.ExitStack() as on_error:
        connection = _connect(file)
        on_error.callback(connection.close)
        for name, other in attached.items():
            attach(connection, name, other)
        connection.execute("PRAGMA query_only=ON")
        on_error.pop_all()
        return connection


def quick_check(file: DatabaseFile, limit_s: float) -> bool:
    """Return whether the file is whole, as far as it could be read within `limit_s` seconds. Blocks.

    Raises:
        DatabaseError: it cannot even be opened; `DatabaseDamaged` where the key is right.
    """
    connection = open_for_reading(file, {})
    timer = threading.Timer(limit_s, connection.interrupt)
    timer.start()
    try:
        return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except DRIVER_ERROR as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        if code == sqlite3.SQLITE_INTERRUPT:
            return True
        raise translated(error) from error
    finally:
        timer.cancel()
        timer.join()
        connection.close()


def _connect(file: DatabaseFile) -> Connection:
    connection = cast(
        "Connection",
        _driver.connect(
            str(file.path),
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
            cached_statements=256,
        ),
    )
    if file.key is not None and _ENCRYPTS:
        connection.execute("PRAGMA cipher_log_level=NONE")  # a wrong key is told by our error, not on stderr
        # Processors of today hash SHA-256 themselves and SHA-512 not: a durable commit takes a third less (measured).
        # The default, because files that are attached later take it too.
        connection.execute("PRAGMA cipher_default_hmac_algorithm=HMAC_SHA256")
        connection.execute(f'PRAGMA key="{_key_text(file.key)}"')
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return connection


def attach(connection: Connection, name: str, file: DatabaseFile) -> None:
    """Let a file stand under `name` on a connection that was opened for reading."""
    key = _key_text(file.key) if file.key is not None else ""
    if _ENCRYPTS:
        connection.execute(f"ATTACH DATABASE ? AS {name} KEY ?", (str(file.path), key))
    else:
        connection.execute(f"ATTACH DATABASE ? AS {name}", (str(file.path),))
    connection.execute(f"PRAGMA {name}.cache_size=-{_CACHE_KIB}")


def attach_instead(connection: Connection, name: str, file: DatabaseFile) -> None:
    """Let another file stand under an attached name, between two reads."""
    connection.execute(f"DETACH DATABASE {name}")
    attach(connection, name, file)


def read_one_state(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Run `work` against one unchanging state of the file and of those attached to it."""
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.execute("COMMIT")


def _key_text(key: bytes) -> str:
    """Return SQLCipher's form of a raw key, which skips the third of a second that deriving one would take."""
    if len(key) != KEY_BYTES:
        raise DatabaseUnreadable(f"a database key has {KEY_BYTES} bytes, this one has {len(key)}")
    return f"x'{key.hex()}'"


def _check_owner(connection: Connection, file: DatabaseFile) -> None:
    """Refuse a file of another program or of a newer version, before anything in it is touched."""
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
    if application_id != file.application_id and (application_id or has_tables):
        raise DatabaseForeign(f"{file.path} is a database of another program; name another file in the settings")
    newest = len(_migration_files(file.migrations))
    if version > newest:
        raise DatabaseNewer(
            f"{file.path} was written by a newer version (schema {version}, this program knows {newest}); "
            "install that version again, nothing was changed"
        )


def _migrate(connection: Connection, file: DatabaseFile) -> None:
    """Bring the file to the newest schema, all steps or none."""
    steps = _migration_files(file.migrations)
    if _pragma(connection, "user_version") == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number, script in enumerate(steps, start=1):
            if number > _pragma(connection, "user_version"):
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")
        connection.execute(f"PRAGMA application_id={file.application_id}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migration_files(package: str) -> list[str]:
    """Return the scripts of a package in the order of their numbers, which must run from 1 without a gap."""
    files = sorted(
        (entry for entry in resources.files(package).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    numbers = [int(entry.name.split("_")[0]) for entry in files]
    if numbers != list(range(1, len(files) + 1)):
        raise DatabaseError(f"the migrations of {package} are not numbered 1 to {len(files)}: {numbers}")
    return [entry.read_text(encoding="utf-8") for entry in files]


def _statements(script: str) -> Iterator[str]:
    """Split a script; the driver's own executescript would commit behind our back."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _pragma(connection: Connection, name: str) -> int:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _refusing_damage(file: DatabaseFile) -> Iterator[None]:
    """Name the file in every error of opening it."""
    try:
        yield
    except DRIVER_ERROR as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            kind = DatabaseDamaged if code == sqlite3.SQLITE_CORRUPT else DatabaseSealed
            raise kind(
                f"{file.path} cannot be opened with this key, or is damaged; "
                "bring back the key file that belongs to it, or a backup. Nothing was changed"
            ) from error
        if code == sqlite3.SQLITE_CANTOPEN:
            raise DatabaseUnreadable(
                f"{file.path} cannot be opened; check that its folder exists and may be written"
            ) from error
        if code == sqlite3.SQLITE_IOERR:  # also how a full disk answers who only opens a file: its index finds no room
            raise DatabaseUnreadable(
                f"{file.path} cannot be opened: the disk is full or failing; free some space and try again"
            ) from error
        ours = translated(error)
        raise type(ours)(f"{file.path}: {ours}") from error
    except OSError as error:
        raise DatabaseUnreadable(f"{file.path} cannot be written: {error.strerror}; check the folder") from error


def translated(error: BaseException) -> BaseException:
    """Return our error for the driver's; any other error as it is."""
    if not isinstance(error, DRIVER_ERROR):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConstraintBroken(str(error))
    if code == sqlite3.SQLITE_FULL:
        return DatabaseFull("the disk is full: nothing was written; free some space and try again")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseBusy("another process holds the database; stop it and try again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DatabaseDamaged("the database file is damaged; stop the program and bring back a backup")
    return DatabaseError(str(error))
