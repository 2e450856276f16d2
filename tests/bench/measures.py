"""The measures by their names, in the order they are taken: what makes the data comes first."""

from collections.abc import Awaitable, Callable, Mapping

from tests.bench.backlog import backlog
from tests.bench.bootstrap import hub_import, snapshot
from tests.bench.credits import credit
from tests.bench.draining import drain
from tests.bench.findings import Finding
from tests.bench.idling import idle
from tests.bench.reading import customer_read, name_search
from tests.bench.recovering import recover
from tests.bench.running_till import scan, start_and_memory
from tests.bench.showing import page
from tests.bench.taking_in import intake
from tests.bench.world import World
from tests.support.pages import CHROMIUM

Measure = Callable[[World, int], Awaitable[list[Finding]]]

MEASURES: Mapping[str, Measure] = {
    "import": hub_import,
    "snapshot": snapshot,
    "customer": customer_read,
    "search": name_search,
    "credit": credit,
    "scan": scan,
    **({"page": page} if CHROMIUM is not None else {}),
    "start": start_and_memory,
    "drain": drain,
    "backlog": backlog,
    "intake": intake,
    "idle": idle,
    "recover": recover,
}
