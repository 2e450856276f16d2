"""What a measure found, held against the bounds of the task, as JSON and as a small table."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Spread(NamedTuple):
    """The rounds of one number."""

    min: float
    median: float
    max: float


class Round(NamedTuple):
    """Ours and the raw thing, measured one right after the other in the same process run."""

    ours: float
    raw: float | None = None


class Bound(NamedTuple):
    """What a median must keep: of our own number, or of its ratio to the raw thing."""

    of: Literal["ours", "ratio"]
    sign: Literal["<=", ">="]
    limit: float

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.sign == "<=" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {_short(self.limit)}{'x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One number at one size. `unit` says whether small is good: rates end in "/s"."""

    measure: str
    number: str
    size: int
    unit: str
    rounds: tuple[Round, ...]
    raw_is: str = ""
    bounds: tuple[Bound, ...] = ()
    notes: dict[str, float | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.measure}.{self.number}"

    @property
    def ours(self) -> Spread:
        return spread([found.ours for found in self.rounds])

    @property
    def raw(self) -> Spread | None:
        raws = [found.raw for found in self.rounds if found.raw is not None]
        return spread(raws) if raws else None

    @property
    def ratio(self) -> Spread | None:
        """Ours over raw, round by round, so that a machine that slows down slows both."""
        ratios = [found.ours / found.raw for found in self.rounds if found.raw]
        return spread(ratios) if ratios else None

    def judged(self) -> list[tuple[Bound, bool]]:
        medians = {"ours": self.ours.median, "ratio": self.ratio.median if self.ratio else None}
        return [(bound, bound.holds(value)) for bound in self.bounds if (value := medians[bound.of]) is not None]

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "size": self.size,
            "unit": self.unit,
            "rounds": len(self.rounds),
            "ours": self.ours._asdict(),
            "raw": self.raw._asdict() if self.raw else None,
            "raw_is": self.raw_is,
            "ratio": self.ratio._asdict() if self.ratio else None,
            "bounds": [{"bound": str(bound), "holds": holds} for bound, holds in self.judged()],
            "notes": self.notes,
        }


def spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), statistics.median(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed, by nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def growth(findings: Iterable[Finding]) -> dict[str, dict[str, Any]]:
    """Return how each number changes with the customers: by size, and the largest over the smallest."""
    by_name: dict[str, dict[int, Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.name, {})[finding.size] = finding
    grown = {}
    for name, by_size in by_name.items():
        sizes = sorted(by_size)
        first, last = (by_size[size].ours.median for size in (sizes[0], sizes[-1]))
        grown[name] = {
            "unit": by_size[sizes[0]].unit,
            "ours": {str(size): by_size[size].ours.median for size in sizes},
            "ratio": {str(size): ratio.median for size in sizes if (ratio := by_size[size].ratio)},
            "largest_over_smallest": last / first if first else None,
        }
    return grown


_HEADINGS = ("measure", "size", "unit", "ours", "min..max", "raw", "ratio", "bound", "holds")


def table(findings: Iterable[Finding]) -> str:
    rows = [_HEADINGS, *(_row(finding) for finding in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def notes(findings: Iterable[Finding]) -> str:
    """Return what stands beside the numbers, a line for each that has something."""
    return "\n".join(
        f"{finding.name} at {finding.size:,}: "
        + ", ".join(f"{name} {_short(value) if isinstance(value, float) else value}" for name, value in noted.items())
        for finding in findings
        if (noted := finding.notes)
    )


def _row(finding: Finding) -> tuple[str, ...]:
    ours, raw, ratio = finding.ours, finding.raw, finding.ratio
    judged = finding.judged()
    return (
        finding.name,
        f"{finding.size:,}",
        finding.unit,
        _short(ours.median),
        f"{_short(ours.min)}..{_short(ours.max)}",
        _short(raw.median) if raw else "",
        f"{ratio.median:.2f}x" if ratio else "",
        ", ".join(str(bound) for bound, _ in judged),
        ", ".join("yes" if holds else "NO" for _, holds in judged),
    )


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"
