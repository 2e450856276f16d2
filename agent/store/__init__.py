"""The store: the terminal's only SQL. Two encrypted files, one writer each, one reader over both.

`till.db` holds what this terminal committed; a commit of it survives a power cut, and it is what to back up.
`cache-<n>.db` holds the hub's customers; it can be had again. A balance is the hub's figure in the cache plus the
local events that the figure does not contain, which stand in the till.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.store.acts import ActHistory
from agent.store.allowances import Allowances
from agent.store.ballast import Ballast
from agent.store.cache import CustomerCache
from agent.store.customers import Customers
from agent.store.damage import DamageAlarm, bring_back
from agent.store.entries import Terminal
from agent.store.files import till_file
from agent.store.holders import Holders
from agent.store.journal import EventJournal
from agent.store.live import ATTACHED, LiveCache
from agent.store.outbox import Outbox
from agent.store.pruning import Pruner
from agent.store.salvage import Salvaged
from agent.store.spends import Redeemer
from agent.store.trust import trusting
from agent.store.wedge import ScannerSettings
from agent.store.wiping import Wiper, wipe_as_noted
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Writer, open_reader, open_writer
from sync.runtime.near_reader import NearReader, open_near_reader
from sync.runtime.sqlite_file import DatabaseFile

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
    salvaged: Salvaged | None
    """What came of the till's file at this start, where it was damaged."""
    damaged: DamageAlarm
    """Rings when a part of a file cannot be read: close the store and open it again."""
    wiper: Wiper
    allowances: Allowances
    redeemer: Redeemer


@asynccontextmanager
async def open_store(  # noqa: PLR0913 - the settings of one file
    folder: Path,
    key: bytes,
    *,
    terminal_id: str,
    store_id: str,
    clock: Clock,
    inc: str | None = None,
    trusted_disk: bool = True,
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
        trusted_disk: whether the disk keeps what it said it has written, also in a power cut.

    Raises:
        DatabaseError: the till's file cannot be used; the message names it and the next step. A damaged till is
            salvaged instead, a damaged cache begun anew.
    """
    terminal = Terminal(terminal_id, store_id, inc or secrets.token_hex(_INCARNATION_BYTES))
    till = till_file(folder, key)
    ballast = Ballast(folder)
    ballast.release_where_nothing_opens()
    salvaged = await asyncio.to_thread(bring_back, folder, key, clock.now())
    wipe_as_noted(folder)
    damaged = DamageAlarm(folder)
    async with AsyncExitStack() as stack:
        stack.push(damaged.heard)
        files = await stack.enter_async_context(_open_files(folder, key, till, damaged))
        writer, reader, live, near = files.writer, files.reader, files.live, files.near
        marker = await stack.enter_async_context(trusting(folder, writer, clock, trusted_disk=trusted_disk))
        journal = EventJournal(writer, reader, terminal, clock, ballast, lambda: live.coverage)
        allowances = Allowances(writer, near, reader, clock, marker)
        cache = await stack.enter_async_context(CustomerCache(live, near, reader, journal, clock, allowances.ask_again))
        yield Store(
            journal,
            cache,
            Customers(near, reader),
            Holders(files.selling),
            Holders(near),
            Outbox(near, reader),
            ActHistory(near, reader, writer, clock),
            ScannerSettings(near, writer),
            Pruner(writer, lambda: live.coverage),
            ballast,
            salvaged,
            damaged,
            Wiper(folder, journal, ballast, live.traces, cache.cursor),
            allowances,
            Redeemer(writer, journal, ballast, marker),
        )


@dataclass(frozen=True, slots=True)
class _Files:
    """The open connections: the till's writer, its reader on a thread, the live cache, and the two near readers."""

    writer: Writer
    reader: Reader
    live: LiveCache
    near: NearReader
    selling: NearReader


@asynccontextmanager
async def _open_files(folder: Path, key: bytes, till: DatabaseFile, damaged: DamageAlarm) -> AsyncIterator[_Files]:
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(open_writer(till, damaged.ring))
        # A card number that the hub has now leaves the pages of the file too.
        await writer.outside_transaction(lambda connection: connection.execute("PRAGMA secure_delete=ON").fetchone())
        live = await stack.enter_async_context(LiveCache(folder, key, writer))
        reader = await stack.enter_async_context(open_reader(till, {ATTACHED: live.file}, damaged.ring))
        near = stack.enter_context(open_near_reader(till, {ATTACHED: live.file}, damaged.ring))
        # Used on the writer's thread, and the writer tells of the damage.
        selling = stack.enter_context(open_near_reader(till, {ATTACHED: live.file}))
        live.follow(selling)
        yield _Files(writer, reader, live, near, selling)
