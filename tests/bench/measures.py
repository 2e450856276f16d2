"""The measures by their names, in the order they are taken: what makes the data comes first."""

from collections.abc import Awaitable, Callable, Mapping

from tests.bench.findings import Finding
from tests.bench.reading import customer_read, name_search
from tests.bench.world import World

Measure = Callable[[World, int], Awaitable[list[Finding]]]

MEASURES: Mapping[str, Measure] = {
    "customer": customer_read,
    "search": name_search,
}
