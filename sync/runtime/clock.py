"""Time and ids, brought in from outside so that rules and tests own them.

Records carry aware UTC from `now`; every wait and every interval uses `monotonic`, because a wall clock can be
set back a day or forward ten years and the till must not notice.
"""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
# Linux stops its plain monotonic clock while a machine sleeps; an event from before would seem as much younger.
_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """What a room may ask about time. Tests pass a clock that stands still until it is moved."""

    @property
    def boot_id(self) -> str:
        """The same text for as long as `monotonic` runs on without a reset."""

    def now(self) -> datetime:
        """Return the wall clock as aware UTC. A claim, never used for order or for waiting."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds of monotonic time."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    @property
    def boot_id(self) -> str:
        """The kernel's boot id, or a random one per process where the platform has none."""
        return self._boot_id

    def now(self) -> datetime:
        """Return the wall clock as aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on the clock that never goes back, and that runs on while the machine is suspended."""
        return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the loop."""
        await asyncio.sleep(seconds)


def new_id(now: datetime) -> UUID:
    """Return a UUIDv7 (RFC 9562, section 5.7) for a thing that was made at `now`.

    48 bits of Unix milliseconds, then 74 random bits: sorts by time of making, unique without asking anybody.
    Python has no `uuid7` of its own before 3.14.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=value)


def _read_boot_id() -> str:
    try:
        return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid4())
