"""A scan: one text that a scanner read, on its way to the counter. Personal data, so it stays out of `repr`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Scan:
    """What was read, in which printed language, by which scanner."""

    text: str = field(repr=False)
    symbology: str | None
    source: str
