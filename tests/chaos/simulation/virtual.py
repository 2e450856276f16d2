"""Time, threads and machines that a seed decides: the product's own asyncio code runs on them and cannot tell.

Nothing here sleeps. When no callback is ready the loop jumps to the next timer; a function for a thread runs later on
the loop itself, after a delay that the die chooses, so that threads still overtake each other, but the same way for the
same seed.
"""

import asyncio
import contextvars
import functools
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

T = TypeVar("T")

# A machine that never lets time pass is stuck.
CALLBACKS_AT_ONE_INSTANT_MAX = 50_000
# How long a job waits for its thread: mostly not at all, now and then as long as a busy disk takes.
JOB_DELAYS_S = (0.0, 0.0, 0.0, 0.001, 0.004, 0.05)


class Stuck(Exception):
    """Nothing will ever happen again, or everything happens at one instant."""


class Planned:
    """A callback that is due, or was cancelled. Stands for `asyncio.Handle` and `asyncio.TimerHandle`."""

    __slots__ = ("_when_s", "args", "callback", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None, when_s: float
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context if context is not None else contextvars.copy_context()
        self._when_s = when_s

    def cancel(self) -> None:
        """Let it never be called."""
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        """Tell whether it was cancelled, or is over."""
        return self.callback is None

    def when(self) -> float:
        """Return the virtual time at which it is due."""
        return self._when_s


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets or threads, whose time jumps.

    What every callback passes through is written anew here, without what debugging, sockets and threads need: the loop
    of asyncio took a sixth of a seed's time.
    """

    def __init__(self, die: random.Random) -> None:
        super().__init__()
        self._die = die
        self._now_s = 0.0
        self.rounds = 0
        self._stuck_at = CALLBACKS_AT_ONE_INSTANT_MAX
        self._stopping: bool
        self._due: deque[Planned] = deque()
        self._timers: list[tuple[float, int, Planned]] = []
        self._count = 0
        self.set_exception_handler(lambda _, context: self.failures.append(context))
        self.failures: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Planned:
        planned = Planned(callback, args, context, 0.0)
        self._due.append(planned)
        return planned

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Planned:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Planned:
        planned = Planned(callback, args, context, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, planned))
        return planned

    def run_in_executor(self, _: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Stand for a thread of the pool."""
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if not done.done():
                _settle(done, func, *args)

        self.call_later(self._die.choice(JOB_DELAYS_S), work)
        return done

    def _run_once(self) -> None:
        """Run all that is due, round after round, until somebody wants to stop."""
        due, timers = self._due, self._timers
        while not self._stopping:
            if not due:
                self._let_time_pass()
            self.rounds += 1
            if self.rounds > self._stuck_at:
                raise Stuck("the loop spins: time does not pass any more")
            until_s = self._now_s + 1e-6
            while timers and timers[0][0] <= until_s:
                due.append(heapq.heappop(timers)[2])
            for _ in range(len(due)):
                planned = due.popleft()
                if planned.callback is not None:
                    try:
                        planned.context.run(planned.callback, *planned.args)
                    except Exception as error:  # noqa: BLE001 - as a loop does: the others go on, and the seed fails
                        self.failures.append({"exception": error})

    def _let_time_pass(self) -> None:
        """Jump to the next timer."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("everybody waits and no timer is set")
        if timers[0][0] > self._now_s:
            self._now_s = timers[0][0]
            self._stuck_at = self.rounds + CALLBACKS_AT_ONE_INSTANT_MAX


class Machine:
    """A computer: what runs on it stops at once when it is killed, whatever was being done."""

    def __init__(self, name: str, die: random.Random) -> None:
        self.name = name
        self.die = die
        self.is_dead = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._context = contextvars.copy_context()
        self._context.run(MACHINE.set, self)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run something on this machine."""
        self._tasks = [task for task in self._tasks if not task.done() or task.cancelled() or task.exception()]
        task = asyncio.get_running_loop().create_task(work, context=self._context)
        self._tasks.append(task)
        return task

    async def kill(self) -> None:
        """Stop everything in the middle; only what was committed stays."""
        self.is_dead = True
        await self._end()

    async def stop(self) -> None:
        """Stop as a person stops a program."""
        await self._end()
        self.is_dead = True

    def raise_failures(self) -> None:
        """Raise what a task of this machine died of, if one did.

        Raises:
            Exception: the first of them.
        """
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


MACHINE: contextvars.ContextVar[Machine] = contextvars.ContextVar("machine")


class InThread:
    """Stands in for `aiosqlite.Connection`: the same few calls, on the loop, job after job."""

    def __init__(self, connector: Callable[[], Any], iter_chunk_size: int) -> None:  # noqa: ARG002 - as aiosqlite has it
        self._connector = connector
        self._loop = asyncio.get_running_loop()  # asked once: each question is a call of the system
        self._machine = MACHINE.get()
        self._jobs: deque[Callable[[], None]] = deque()
        self._conn: Any = None
        self._tx = self

    def __await__(self) -> Generator[Any, None, "InThread"]:
        yield from asyncio.sleep(0).__await__()
        self._conn = self._connector()
        return self

    def put_nowait(self, item: tuple[None, Callable[[], None]]) -> None:
        """Take a job that nobody waits for."""
        self._put(item[1])

    def _execute(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        done: asyncio.Future[T] = self._loop.create_future()
        # A caller who left has not stopped the thread, so the work is done all the same.
        self._put(functools.partial(_settle, done, work, *args))
        return done

    async def close(self) -> None:
        """Do what waits, unless the machine died, and close the connection."""
        while self._jobs and not self._machine.is_dead:
            self._jobs.popleft()()
        self._jobs.clear()
        self._conn.close()

    def _put(self, job: Callable[[], None]) -> None:
        if self._machine.is_dead:
            return
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._run_next_later()

    def _run_next_later(self) -> None:
        self._loop.call_later(self._machine.die.choice(JOB_DELAYS_S), self._run_next)

    def _run_next(self) -> None:
        if self._machine.is_dead or not self._jobs:
            return
        self._jobs.popleft()()
        if self._jobs:
            self._run_next_later()


class SimClock:
    """The clocks of one machine: `monotonic` is the loop's time, the wall clock is off by whatever it was jumped."""

    def __init__(self, boot_id: str) -> None:
        self._began = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
        self._off = timedelta()
        self._loop = asyncio.get_running_loop()
        self.boot_id = boot_id

    def now(self) -> datetime:
        return self._began + self._off + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await pass_time(seconds)

    def jump(self, seconds: float) -> None:
        """Let the wall clock jump; `monotonic` runs on."""
        self._off += timedelta(seconds=seconds)


def _settle(done: "asyncio.Future[T]", work: Callable[..., T], *args: Any) -> None:
    """Do the work, and tell whoever still waits for it what came of it."""
    try:
        value = work(*args)
    except Exception as error:  # noqa: BLE001 - crosses to whoever waits, as from a thread
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(value)


async def pass_time(seconds: float) -> None:
    """Let virtual time pass: the loop jumps there, and nobody waits."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    timer = loop.call_later(max(seconds, 0.0), _end, over)
    try:
        await over
    finally:
        timer.cancel()


def _end(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


def run(die: random.Random, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a virtual loop to its end.

    Raises:
        Stuck: it never ends.
    """
    loop = VirtualLoop(die)
    try:
        answer = loop.run_until_complete(main())
        if loop.failures:
            cause = loop.failures[0].get("exception")
            raise cause if cause is not None else Stuck(str(loop.failures[0].get("message")))
        return answer
    finally:
        loop.close()


def as_any(value: object) -> Any:
    """Let a stand-in pass for what it stands for."""
    return cast("Any", value)
