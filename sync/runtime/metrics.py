"""Metrics: what a person who looks after many tills counts, in Prometheus' text form.

Each room makes its own counters through one `Metrics`, which has a registry of its own, so that two tills in one test
do not share numbers. Labels come from a short list: no label can name a customer, a card or a sale, both for privacy
and because each new value would be a new series for ever.
"""

import platform
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from sync.runtime.sqlite_file import driver

PREFIX = "loyalty"

LABELS = frozenset(
    {
        "code",  # of a problem
        "engine",  # that read a code
        "kind",  # of an event, of what a scan turned out to be, or of a risk
        "loop",  # a supervised one
        "method",
        "reason",
        "result",
        "route",  # its pattern, never the address itself
        "source",  # of a scan
        "status",
        "store",  # its id
        "symbology",
    }
)

# A scan is to be answered within 10 ms at the 99th percentile; the rest of the scale shows how it goes wrong.
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The metrics of one process. Every name gets the prefix `loyalty_`; a label must stand in `LABELS`."""

    def __init__(self, *, program: str, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        files = driver()
        Info(f"{PREFIX}_build", "What runs here.", registry=self._registry).info(
            {
                "program": program,
                "version": version,
                "python": platform.python_version(),
                "sqlite": files.sqlite,
                "sqlcipher": files.cipher or "",
                "checkpoints": files.checkpoints,
            }
        )

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """Return a new counter; Prometheus adds `_total` to its name."""
        return Counter(f"{PREFIX}_{name}", meaning, _checked(labels), registry=self._registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a new gauge, to be set when its value changes."""
        return Gauge(f"{PREFIX}_{name}", meaning, _checked(labels), registry=self._registry)

    def gauge_of(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape; `read` must be quick and must not raise."""
        Gauge(f"{PREFIX}_{name}", meaning, registry=self._registry).set_function(read)

    def histogram(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        """Return a new histogram; its unit stands at the end of its name."""
        return Histogram(f"{PREFIX}_{name}", meaning, _checked(labels), buckets=buckets, registry=self._registry)

    def render(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus' text form, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _checked(labels: Sequence[str]) -> Sequence[str]:
    for label in labels:
        if label not in LABELS:
            raise ValueError(f"the label {label} is not on the list in sync/runtime/metrics.py")
    return labels
