"""Figures: what a person who looks after the hub counts of the points that tills hold."""

from sync.hub.books.redemption_rows import is_recovering, listed_risks
from sync.runtime.database import Reader
from sync.runtime.metrics import Metrics


class EscrowFigures:
    """Gauges that are read from the books when they are asked for: another process may write there too."""

    def __init__(self, metrics: Metrics, reader: Reader) -> None:
        self._reader = reader
        self._risks = metrics.gauge(
            "hub_risk_points",
            "Points that stores gave beyond what customers had, less what was taken back.",
            ["store", "kind"],
        )
        self._recovering = metrics.gauge(
            "hub_recovering", "1 while the hub waits for tills after a backup was brought back, else 0."
        )

    async def read(self) -> None:
        """Set the gauges to what the books say now."""
        risks, recovering = await self._reader.read(
            lambda connection: (listed_risks(connection), is_recovering(connection))
        )
        self._recovering.set(recovering)
        self._risks.clear()  # a store whose last point was taken back is not in the list
        for store_id, kind, points in risks:
            self._risks.labels(store_id, kind).set(points)
