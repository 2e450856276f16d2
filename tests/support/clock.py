"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

# Rounds of the event loop that must pass with no new sleeper and no woken one before the loop counts as quiet.
_QUIET_ROUNDS = 10


class FakeClock:
    """Implements `sync.runtime.clock.Clock`: time passes only in `advance`, never by itself."""

    def __init__(
        self, now: datetime = datetime(2026, 3, 9, 9, 0, tzinfo=UTC), monotonic: float = 1000.0, boot_id: str = "boot-1"
    ) -> None:
        self._wall = now
        self._monotonic = monotonic
        self._boot_id = boot_id
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._asleep = asyncio.Event()

    @property
    def boot_id(self) -> str:
        return self._boot_id

    @property
    def sleepers(self) -> tuple[float, ...]:
        """How many seconds each sleeper still waits, the soonest first."""
        return tuple(when - self._monotonic for when, _, future in sorted(self._sleepers) if not future.done())

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, future))
        self._asleep.set()
        await future

    async def until_asleep(self, count: int = 1) -> None:
        """Return once so many sleep at the same time: what sockets and threads bring about cannot be settled."""
        while len(self.sleepers) < count:
            self._asleep.clear()
            await self._asleep.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass: wake each sleeper at its own moment, in order, and let all it does settle."""
        end = self._monotonic + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            when, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._move_to(when)
            future.set_result(None)
            await self.settle()
        self._move_to(end)
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without time passing. Work on threads and sockets is not waited for."""
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            before = self._count
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._count == before else 0

    def set_wall(self, now: datetime) -> None:
        """Jump the wall clock, forward or back, as a person or a time server may; `monotonic` stays."""
        self._wall = now

    def reboot(self, boot_id: str, monotonic: float = 5.0) -> None:
        """Start the machine anew: another boot id, and `monotonic` from its beginning."""
        self._boot_id = boot_id
        self._monotonic = monotonic

    def _move_to(self, monotonic: float) -> None:
        self._wall += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
