"""The store: the terminal's only SQL. Two encrypted files, one writer each, one reader over both.

`till.db` holds what this terminal committed; a commit of it survives a power cut, and it is what to back up.
`cache-<n>.db` holds the hub's customers; it can be had again. A balance is the hub's figure in the cache plus the
local events that the figure does not contain, which stand in the till.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.store.acts import ActHistory
from agent.store.ballast import Ballast
from agent.store.cache import CustomerCache
from agent.store.customers import Customers
from agent.store.entries import Terminal
from agent.store.files import till_file
from agent.store.holders import Holders
from agent.store.journal import EventJournal
from agent.store.live import ATTACHED, LiveCache
from agent.store.outbox import Outbox
from agent.store.pruning import Pruner
from agent.store.wedge import ScannerSettings
from sync.runtime.clock import Clock
from sync.runtime.database import open_reader, open_writer
from sync.runtime.near_reader import open_near_reader

_INCARNATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Store:
    """What the terminal keeps: its events, the hub's customers, and both as people see them."""

    journal: EventJournal
    cache: CustomerCache
    customers: Customers
    holders: Holders
    """For a sale, on the writer's thread."""
    near_holders: Holders
    """For a question, on the caller's own thread."""
    outbox: Outbox
    acts: ActHistory
    scanner: ScannerSettings
    pruner: Pruner
    ballast: Ballast


@asynccontextmanager
async def open_store(
    folder: Path, key: bytes, *, terminal_id: str, store_id: str, clock: Clock, inc: str | None = None
) -> AsyncIterator[Store]:
    """Open the files of a state folder, made or migrated first.

    The caller holds the lock of the folder: events of two processes must not mix.

    Args:
        folder: the state folder; it exists.
        key: the 32 bytes that all files of the folder are encrypted with.
        terminal_id: who records.
        store_id: the shop that the terminal stands in.
        clock: for the times in the files.
        inc: this process's incarnation; a new one where none is given.

    Raises:
        DatabaseError: the till's file cannot be used; the message names it and the next step. A damaged cache is
            begun anew instead.
    """
    terminal = Terminal(terminal_id, store_id, inc or secrets.token_hex(_INCARNATION_BYTES))
    till = till_file(folder, key)
    ballast = Ballast(folder)
    ballast.release_where_nothing_opens()
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(open_writer(till))
        # A card number that the hub has now leaves the pages of the file too.
        await writer.outside_transaction(lambda connection: connection.execute("PRAGMA secure_delete=ON").fetchone())
        live = await stack.enter_async_context(LiveCache(folder, key, writer))
        reader = await stack.enter_async_context(open_reader(till, {ATTACHED: live.file}))
        near = stack.enter_context(open_near_reader(till, {ATTACHED: live.file}))
        selling = stack.enter_context(open_near_reader(till, {ATTACHED: live.file}))
        live.follow(selling)
        journal = EventJournal(writer, reader, terminal, clock, ballast, lambda: live.coverage)
        cache = await stack.enter_async_context(CustomerCache(live, near, reader, journal, clock))
        yield Store(
            journal,
            cache,
            Customers(near, reader),
            Holders(selling),
            Holders(near),
            Outbox(near, reader),
            ActHistory(near, reader, writer, clock),
            ScannerSettings(near, writer),
            Pruner(writer, lambda: live.coverage),
            ballast,
        )
