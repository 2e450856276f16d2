"""The local door: every route behind the guard, as one aiohttp application, described by the table it is routed by."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.counter import Counter
from agent.display import CustomerDisplay
from agent.screen import Screen
from agent.store.outbox import Outbox
from agent.version import VERSION
from agent.web.access import Access
from agent.web.cache_routes import CacheRoutes
from agent.web.customer_routes import CustomerRoutes
from agent.web.display_routes import DisplayRoutes
from agent.web.guard import Guard, PosKey
from agent.web.live import Live
from agent.web.page import page_routes
from agent.web.redemption_routes import RedemptionRoutes
from agent.web.sales_routes import SalesRoutes
from agent.web.session_file import SessionFile
from agent.web.sessions import PageDoor, Scope
from agent.web.system_routes import SystemRoutes
from agent.web.till_routes import TillRoutes
from sync.pump.comparing import Comparer
from sync.runtime.clock import Clock
from sync.runtime.metrics import Metrics
from sync.runtime.problems import problem_middleware
from sync.runtime.supervise import Board


@dataclass(frozen=True, slots=True)
class Behind:
    """What stands behind the door.

    `new_key` writes a new POS key down and returns it; `sessions_file` keeps the open pages over a restart.
    """

    counter: Counter
    screen: Screen
    display: CustomerDisplay
    outbox: Outbox
    board: Board
    metrics: Metrics
    clock: Clock
    pos_key: PosKey
    new_key: Callable[[], str]
    sessions_file: Path
    searches_per_minute: int
    comparer: Comparer


def local_door(behind: Behind, server: str) -> web.Application:
    """Return the application of a till that is served at the address `server`."""
    sessions = PageDoor(SessionFile(behind.sessions_file, behind.clock))
    system = SystemRoutes(
        sessions,
        behind.pos_key,
        new_key=behind.new_key,
        board=behind.board,
        metrics=behind.metrics,
        clock=behind.clock,
    )
    customers = CustomerRoutes(
        behind.counter, clock=behind.clock, metrics=behind.metrics, searches_per_minute=behind.searches_per_minute
    )
    sales = SalesRoutes(behind.counter, behind.metrics)
    redemptions = RedemptionRoutes(behind.counter.redeeming, behind.metrics)
    # The live sockets are routes that ask the guard themselves, so it is there before the table that it guards by.
    access = dict[tuple[str, str], Access]()
    guard = Guard(access, pos_key=behind.pos_key, door=sessions, clock=behind.clock, metrics=behind.metrics)
    till = TillRoutes(behind.counter, behind.screen, behind.outbox, Live(behind.screen, guard))
    display = DisplayRoutes(behind.display, Live(behind.display, guard, Scope.DISPLAY))
    rooms = (sales, redemptions, customers, till, display, CacheRoutes(behind.comparer), system)
    operations = tuple(operation for room in rooms for operation in room.table())
    system.describe(operations, version=VERSION, server=server)
    pages = page_routes()
    access |= {(operation.method, operation.path): operation.access for operation in operations}
    access |= {(method, path): page_access for method, path, page_access, _ in pages}
    app = web.Application(middlewares=[problem_middleware, guard.middleware])
    for operation in operations:
        app.router.add_route(operation.method, operation.path, operation.handler)
    for method, path, _, handler in pages:
        app.router.add_route(method, path, handler)
    return app
