import re
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sync.runtime.metrics import LABELS, PREFIX, Metrics

# What Prometheus itself adds, and the build's own facts.
STANDARD_LABELS = {"le", "quantile", "program", "version", "python", "sqlite", "sqlcipher", "checkpoints"}


def families(metrics: Metrics) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    text, _ = metrics.render()
    return {
        family.name: [(sample.name, dict(sample.labels), sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text.decode())
    }


def test_build_and_memory_are_told() -> None:
    found = families(Metrics(program="loyalty-agent", version="0.1.0"))
    (_, labels, _) = found["loyalty_build_info"][0]
    assert (labels["program"], labels["version"]) == ("loyalty-agent", "0.1.0")
    assert re.fullmatch(r"3\.\d+\.\d+", labels["sqlite"])
    assert labels["checkpoints"] in ("automatic", "writer")
    if sys.platform == "linux":
        ((_, _, rss),) = found["process_resident_memory_bytes"]
        assert 5_000_000 < rss < 10_000_000_000


def test_each_room_makes_its_own_metrics_through_one_registry() -> None:
    metrics = Metrics(program="p", version="v")
    scans = metrics.counter("scans", "Scans.", ["kind"])
    waiting = metrics.gauge("outbox_events", "Events that wait.")
    metrics.gauge_of("outbox_oldest_age_seconds", "Age of the oldest.", lambda: 12.5)
    seconds = metrics.histogram("scan_seconds", "Scan to view.")
    scans.labels("own_card").inc()
    waiting.set(3)
    seconds.observe(0.004)
    found = families(metrics)
    assert ("loyalty_scans_total", {"kind": "own_card"}, 1.0) in found["loyalty_scans"]
    assert found["loyalty_outbox_events"] == [("loyalty_outbox_events", {}, 3.0)]
    assert found["loyalty_outbox_oldest_age_seconds"][0][2] == 12.5
    assert ("loyalty_scan_seconds_bucket", {"le": "0.005"}, 1.0) in found["loyalty_scan_seconds"]
    assert ("loyalty_scan_seconds_bucket", {"le": "0.0025"}, 0.0) in found["loyalty_scan_seconds"]


def test_two_processes_in_one_test_share_no_numbers() -> None:
    first, second = (Metrics(program="p", version="v") for _ in range(2))
    first.counter("scans", "Scans.").inc()
    second.counter("scans", "Scans.")
    assert families(second)["loyalty_scans"][0][2] == 0.0


@pytest.mark.parametrize("label", ["customer", "customer_id", "card", "sale_id", "terminal_id", "name"])
def test_no_label_can_name_a_customer(label: str) -> None:
    metrics = Metrics(program="p", version="v")
    with pytest.raises(ValueError, match=f"the label {label} is not on the list"):
        metrics.counter("scans", "Scans.", [label])


def test_every_label_that_is_rendered_is_on_the_list() -> None:
    metrics = Metrics(program="p", version="v")
    for label in LABELS:
        metrics.counter(f"by_{label}", "Each allowed label once.", [label]).labels("x").inc()
    for family, samples in families(metrics).items():
        assert family.startswith((PREFIX, "process_"))
        for _, labels, _ in samples:
            assert set(labels) <= LABELS | STANDARD_LABELS
