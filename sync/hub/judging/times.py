"""Times: when an event really happened, by what its terminal claims and by what the hub's own clock saw. Pure.

An event carries the terminal's wall clock and its monotonic clock. A hello tells both, and the hub knows its own time
then: for as long as that machine runs on, its monotonic clock leads from there to each event, whatever its wall clock
said. An event of another boot can only be believed within bounds: after the last hello that did not know of its
incarnation, and before it was received. Order never asks for any of this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Quality(StrEnum):
    """How good a time is."""

    # By the hub's clock, over the terminal's monotonic one; within the time that a hello takes on its way.
    EXACT = "exact"
    # The terminal's wall clock, and nothing contradicts it.
    ESTIMATED = "estimated"
    # The terminal's wall clock was impossible, or the terminal itself doubted it; the nearest possible time.
    UNTRUSTED = "untrusted"


class Claim(NamedTuple):
    """What an event says of its time, by both of its terminal's clocks."""

    wall_ms: int
    boot_id: str
    monotonic_ms: int


class Occurred(NamedTuple):
    """When an event happened, and whether it was booked on a later business day than that."""

    at_ms: int
    quality: Quality
    is_late: bool


@dataclass(frozen=True, slots=True)
class BusinessDay:
    """Where the days of the shops begin."""

    zone: tzinfo = field(default_factory=lambda: ZoneInfo("UTC"))
    begins_at: time = time(0, 0)

    def began_at(self, now: datetime) -> datetime:
        """Return when the business day of a moment began."""
        here = now.astimezone(self.zone)
        start = datetime.combine(here.date(), self.begins_at, self.zone)
        return start if start <= here else start - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Timekeeper:
    """What the hub knows of the clocks behind one upload.

    `offsets` are the hub's time less the terminal's monotonic one, by boot; `after_ms` is the last moment that the
    events of this incarnation are known to be younger than.
    """

    now_ms: int
    day_began_ms: int
    offsets: Mapping[str, int] = field(default_factory=dict)
    after_ms: int = 0

    def occurred(self, claim: Claim, *, is_doubted: bool = False) -> Occurred:
        """Return when an event happened; `is_doubted` where its terminal did not trust its wall clock itself."""
        offset = self.offsets.get(claim.boot_id)
        if offset is not None:
            return self._occurred(min(offset + claim.monotonic_ms, self.now_ms), Quality.EXACT)
        at_ms = max(min(claim.wall_ms, self.now_ms), min(self.after_ms, self.now_ms))
        is_believed = at_ms == claim.wall_ms and not is_doubted
        return self._occurred(at_ms, Quality.ESTIMATED if is_believed else Quality.UNTRUSTED)

    def _occurred(self, at_ms: int, quality: Quality) -> Occurred:
        return Occurred(at_ms, quality, at_ms < self.day_began_ms)
