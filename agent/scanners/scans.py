"""A scan: one text that a scanner read, on its way to the counter. Personal data, so it stays out of `repr`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Scan:
    """What was read, in which printed language, by which scanner."""

    text: str = field(repr=False)
    symbology: str | None
    source: str


class Scanner(Protocol):
    """A source of scans that outlives its hardware: it reconnects, and ends only when it is cancelled."""

    def scans(self) -> AsyncIterator[Scan]:
        """Yield scans as they come."""
