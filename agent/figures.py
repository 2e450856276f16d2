"""Figures: what the till's metrics tell, read from where it stands whenever they are asked for."""

from agent.screen import Screen
from agent.store import Store
from sync.pump.comparing import Comparer
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics


def count(metrics: Metrics, screen: Screen, store: Store, comparer: Comparer, clock: Clock) -> None:
    """Tell of the outbox, the line, the files and the comparisons with the hub."""
    _count_compared(metrics, comparer)

    def oldest_s() -> float:
        oldest = screen.state.outbox.oldest_at
        return max((clock.now() - oldest).total_seconds(), 0.0) if oldest is not None else 0.0

    metrics.gauge_of("outbox_waiting", "Events the hub has not acknowledged.", lambda: screen.state.outbox.waiting)
    metrics.gauge_of("outbox_oldest_age_seconds", "Age of the oldest of them.", oldest_s)
    metrics.gauge_of("outbox_rejected", "Events the hub refused.", lambda: screen.state.outbox.rejected)
    metrics.gauge_of("outbox_parked", "Events held at the hub.", lambda: screen.state.outbox.parked)
    metrics.gauge_of("outbox_withheld", "Events the network refuses to carry.", lambda: screen.state.outbox.withheld)
    metrics.gauge_of("hub_reachable", "1 while the hub answers, else 0.", lambda: float(screen.state.hub.is_reachable))
    metrics.gauge_of(
        "disk_full", "1 while the disk is full and sales are refused.", lambda: float(store.ballast.is_full)
    )
    lost = store.salvaged.lost if store.salvaged is not None else 0
    metrics.gauge_of("salvage_lost", "Events lost with a damaged file, found at this start.", lambda: float(lost))


def _count_compared(metrics: Metrics, comparer: Comparer) -> None:
    metrics.gauge_of(
        "cache_compared_timestamp_seconds",
        "When the customers here were last compared with the hub's; 0 before the first time.",
        lambda: comparer.last.at.timestamp() if comparer.last is not None else 0.0,
    )
    metrics.gauge_of("cache_accounts_repaired", "Accounts found otherwise since the start.", lambda: comparer.accounts)
