"""SQLite under asyncio: units of work on the database's own thread.

Two coroutines on one connection would share one transaction, so nothing here hands out a connection across an await.
A unit of work is one plain function that is given the connection and runs whole on the database's own thread:
committed when it returns, rolled back when it raises. A cancelled caller leaves it running to its end, so *cancelled
means unknown*: whoever may be cancelled chooses the id of its work before the call.

Writers that wait together share one commit: an fsync is the dearest step of a durable commit, and one serves all of
them. The order is theirs, and one that fails takes nobody along: then all are taken back and run again, each inside a
savepoint of its own. They also share the way to the thread and back: 64 that each went by themselves spent more time on
handing over than on writing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import aiosqlite

from sync.runtime.sqlite_file import (
    DRIVER_ERROR,
    HAS_SAFE_LOG,
    Connection,
    DatabaseDamaged,
    DatabaseError,
    DatabaseFile,
    DatabaseFull,
    attach_instead,
    carry_log_over,
    open_for_reading,
    open_for_writing,
    read_one_state,
    translated,
)

# A commit shared by more would make the first one wait for the last one's work.
SHARED_COMMIT_WORKS_MAX = 128

# Where the writer checkpoints itself, after so many commits: some hundred pages of log.
COMMITS_PER_CHECKPOINT = 100
# Who reads when the log is to be emptied is waited for so long: commits wait behind it, and it can be tried again.
EMPTYING_WAIT_MS = 100

T = TypeVar("T")
Work = Callable[[Connection], T]


@contextlib.asynccontextmanager
async def open_writer(file: DatabaseFile, on_damage: Callable[[], None] | None = None) -> AsyncIterator["Writer"]:
    """Open the one writing connection of a file, made or migrated first. Closes in `finally`, after waiting work.

    `on_damage` is called whenever a part of the file cannot be read.

    Raises:
        DatabaseError: one of its kinds, naming the file and the next step.
    """
    async with _connection(lambda: open_for_writing(file)) as connection:
        writer = Writer(connection, on_damage)
        try:
            yield writer
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def open_reader(
    file: DatabaseFile,
    attached: Mapping[str, DatabaseFile] | None = None,
    on_damage: Callable[[], None] | None = None,
) -> AsyncIterator["Reader"]:
    """Open a connection that only reads `file`, with other files attached under their names.

    `on_damage` is called whenever a part of a file cannot be read.

    Raises:
        DatabaseError: one of its kinds, naming the file and the next step.
    """
    async with _connection(lambda: open_for_reading(file, attached or {})) as connection:
        yield Reader(connection, on_damage)


class Writer:
    """The one writing connection of a file."""

    def __init__(self, connection: aiosqlite.Connection, on_damage: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._on_damage = on_damage
        self._waiting: deque[_Waiting[Any]] = deque()
        self._is_due = False
        self._is_closed = False
        self._checkpoints_itself = not HAS_SAFE_LOG
        self._commits = 0

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction and return what it returned, once that is durable.

        `work` touches nothing but its connection: where it shares a commit with one that fails, it is taken back and
        run a second time.

        Raises:
            DatabaseError: nothing of `work` was written.
            Exception: whatever `work` raised; nothing of it was written.
        """
        if self._is_closed:
            raise DatabaseError("the database is closed; nothing was written")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(work, loop.create_future())
        self._waiting.append(waiting)
        if not self._is_due:
            # Once everybody who is ready now has come, so that they share the commit and nobody competes with it.
            self._is_due = True
            loop.call_soon(self._ask_thread)
        await waiting.done
        try:
            return waiting.answer()
        except DatabaseDamaged:
            if self._on_damage is not None:
                self._on_damage()
            raise

    async def outside_transaction(self, work: Work[T]) -> T:
        """Run what SQLite refuses inside a transaction: a checkpoint, an attach, an optimize."""
        return await _on_thread(self._connection, work)

    async def empty_log(self) -> bool:
        """Carry the log over into the file and cut it to nothing, so that no older page stands in it.

        Returns False where somebody reads what stands there, or the disk has no room for it: then try again later.
        """
        try:
            return await self.outside_transaction(_empty_log)
        except DatabaseFull:
            return False

    def close(self) -> None:
        """Take no more works; those that wait are still written before the connection closes."""
        self._ask_thread()
        self._is_closed = True

    def _ask_thread(self) -> None:
        if self._is_due:
            self._is_due = False
            # aiosqlite has no public call that runs a function and waits for nothing; a test guards its queue.
            self._connection._tx.put_nowait((None, self._commit_waiting))  # noqa: SLF001

    def _commit_waiting(self) -> None:
        """Commit all who wait by now, on the database's thread."""
        number = len(self._waiting)
        while number > 0:
            works = [self._waiting.popleft() for _ in range(min(number, SHARED_COMMIT_WORKS_MAX))]
            number -= len(works)
            _commit(cast("Connection", self._connection._conn), works)  # noqa: SLF001
            works[0].done.get_loop().call_soon_threadsafe(_wake, works)
            if self._checkpoints_itself:
                self._checkpoint_when_due()

    def _checkpoint_when_due(self) -> None:
        self._commits += 1
        if self._commits >= COMMITS_PER_CHECKPOINT:
            self._commits = 0
            # What fails here is tried again, and a commit that finds no room says so itself.
            _attempt(lambda: carry_log_over(cast("Connection", self._connection._conn)))  # noqa: SLF001


class Reader:
    """A connection that only reads."""

    def __init__(self, connection: aiosqlite.Connection, on_damage: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._on_damage = on_damage

    async def read(self, work: Work[T]) -> T:
        """Run `work` against one unchanging state of the file and return what it returned."""
        try:
            return await _on_thread(self._connection, lambda connection: read_one_state(connection, work))
        except DatabaseDamaged:
            if self._on_damage is not None:
                self._on_damage()
            raise

    async def attach_instead(self, name: str, file: DatabaseFile) -> None:
        """Let another file stand under an attached name, between two reads."""
        await _on_thread(self._connection, lambda connection: attach_instead(connection, name, file))


class _Waiting(Generic[T]):
    """One unit of work on its way through a shared commit."""

    def __init__(self, work: Work[T], done: "asyncio.Future[None]") -> None:
        self.done = done
        self._work = work
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        """Run the work; its error ends the transaction."""
        self._value = self._work(connection)

    def run_apart(self, connection: Connection) -> None:
        """Run the work in a savepoint, which its error takes back."""
        connection.execute("SAVEPOINT work")
        self._error = _attempt(lambda: self.run(connection))
        if self._error is not None:
            if not connection.in_transaction:
                raise self._error  # SQLite rolled everybody back (a full disk does that): nobody was written
            connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")

    def fail(self, error: BaseException) -> None:
        """Note that the commit did not happen, unless the work had failed by itself before."""
        if self._error is None:
            self._error = error

    def answer(self) -> T:
        """Return what the work returned, or raise what it or the commit raised."""
        if self._error is not None:
            raise translated(self._error)
        return cast("T", self._value)


def _commit(connection: Connection, works: Sequence[_Waiting[Any]]) -> None:
    """Run works in one transaction. Where it does not happen, each of them hears why."""
    error = _transaction(connection, [waiting.run for waiting in works])
    if error is not None and len(works) > 1:
        error = _transaction(connection, [waiting.run_apart for waiting in works])
    if error is not None:
        for waiting in works:
            waiting.fail(error)


def _transaction(connection: Connection, steps: Sequence[Callable[[Connection], None]]) -> BaseException | None:
    """Commit all steps and return None, or none of them and return the error."""

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        for step in steps:
            step(connection)
        connection.execute("COMMIT")

    error = _attempt(commit)
    if error is not None and connection.in_transaction:
        # Where this fails too, whoever waits hears of the first error, and the next transaction meets this one.
        _attempt(lambda: connection.execute("ROLLBACK"))
    return error


def _empty_log(connection: Connection) -> bool:
    (usual_ms,) = connection.execute("PRAGMA busy_timeout").fetchone() or (0,)
    connection.execute(f"PRAGMA busy_timeout={EMPTYING_WAIT_MS}")
    try:
        row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={usual_ms}")
    return row is not None and row[0] == 0


def _wake(works: Sequence[_Waiting[Any]]) -> None:
    for waiting in works:
        if not waiting.done.done():  # its caller may have been cancelled
            waiting.done.set_result(None)


def _attempt(action: Callable[[], object]) -> BaseException | None:
    """Run an action and return its error: on this thread nobody waits for it, elsewhere its caller does."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001  # handed on to each caller, who raises it
        return error
    return None


@contextlib.asynccontextmanager
async def _connection(connector: Callable[[], Connection]) -> AsyncIterator[aiosqlite.Connection]:
    connection = await aiosqlite.Connection(lambda: _opened_or_refused(connector), iter_chunk_size=64)
    try:
        opened = connection._conn  # noqa: SLF001
        if isinstance(opened, _Refused):
            raise opened.error
        yield connection
    finally:
        await connection.close()


class _Refused:
    """Stands where a connection could not be opened, because aiosqlite does not wait for its thread when one fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def close(self) -> None:
        """Nothing was opened, so nothing is closed."""


def _opened_or_refused(connector: Callable[[], Connection]) -> Any:
    opened: list[Connection] = []
    error = _attempt(lambda: opened.append(connector()))
    return _Refused(error) if error is not None else opened[0]


async def _on_thread(connection: aiosqlite.Connection, work: Work[T]) -> T:
    """Run one function whole on the connection's thread.

    aiosqlite has no public call for that; its version is pinned and a test guards `_execute`.
    """
    try:
        run: Callable[..., Awaitable[T]] = connection._execute  # noqa: SLF001
        return await run(work, connection._conn)  # noqa: SLF001
    except DRIVER_ERROR as error:
        raise translated(error) from error
