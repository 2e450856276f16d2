"""The stage of a simulation: what of the product is replaced while it runs, and the files each shop begins with."""

import atexit
import contextlib
import functools
import logging
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from agent.store import damage, open_store, trust
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.customers import Wording
from sync.contract.program import EarnRule, Program, Reward
from sync.contract.protocol import SnapshotManifest
from sync.hub.escrow import reserving
from sync.hub.feed import snapshot_files, snapshots
from sync.hub.founding import Founding, database_file, found
from sync.hub.programs import enact
from sync.hub.terminals.roster import NewTerminal, Place, enrol
from sync.pump import pace
from sync.runtime import clock, database, sqlite_file
from sync.runtime.database import open_writer
from tests.chaos.simulation.hub_side import IDENTIFIER_KEY, STORE
from tests.chaos.simulation.shelf import kept_open
from tests.chaos.simulation.till_side import CURRENCY, KEY, identity
from tests.chaos.simulation.virtual import InThread, Machine, SimClock, run

TERMINALS = ("till-1", "till-2", "till-3")
EPOCH = "e" * 16
# The folders of a till that was never here, and of one that has loaded a snapshot before its story begins.
NEW_TILL, KNOWN_TILL = "till", "till-loaded"
REWARDS = tuple(
    Reward(reward_id=f"r-{points}", points=points, text=Wording(en="Gift", fr="Cadeau")) for points in (4, 25)
)
PROGRAM = Program(version=1, currency=CURRENCY, earn=EarnRule(points=1, per_minor=100), rewards=REWARDS)


@contextlib.contextmanager
def simulated(die: random.Random) -> Iterator[None]:
    """Let the product's threads, dice and encryption be the simulation's for the length of the block."""
    dice = SimpleNamespace(SystemRandom=lambda: die)
    secrets = SimpleNamespace(randbits=die.getrandbits)
    small_chunks = functools.partial(snapshot_files.chunk_texts, chunk_rows=2)
    was_off = logging.root.manager.disable
    with (
        mock.patch.object(database, "aiosqlite", SimpleNamespace(Connection=InThread)),
        mock.patch.object(sqlite_file, "_ENCRYPTS", new=False),
        mock.patch.object(sqlite_file, "_migration_files", _migration_files),
        mock.patch.object(damage, "quick_check", return_value=True),
        mock.patch.object(trust, "identity", identity),
        kept_open(),
        mock.patch.object(pace, "random", dice),
        mock.patch.object(clock, "secrets", secrets),
        mock.patch.object(snapshots, "chunk_texts", small_chunks),
        mock.patch.object(reserving, "LOOK_S", 5.0),  # sooner than a shop is looked at again whether it rests
    ):
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(was_off)


_migration_files = functools.cache(sqlite_file._migration_files)


@functools.cache
def blank_files() -> Path:
    """Return a folder with the files of a new hub and a new till, made once and gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="sim-blank-", dir=ram()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    die = random.Random(0)

    async def main() -> None:
        machine = Machine("blank", die)
        await machine.start(_make_blank(folder))

    with simulated(die):
        run(die, main)
    return folder


async def _make_blank(folder: Path) -> None:
    time = SimClock("boot-blank")
    for number in (2, 3):
        hub = folder / f"hub-{number}"
        hub.mkdir(mode=0o700)
        async with open_writer(database_file(hub)) as writer:
            await writer.write(lambda connection: found(connection, Founding(EPOCH, IDENTIFIER_KEY)))
            await writer.write(lambda connection: enact(connection, PROGRAM, 1))
            for name in TERMINALS[:number]:
                new = NewTerminal(name, f"credential-of-{name}-that-is-long-enough", "0.1.0")
                await writer.write(lambda connection, new=new: enrol(connection, new, Place(STORE, ""), time.now()))  # type: ignore[misc]
    for name in (NEW_TILL, KNOWN_TILL):
        till = folder / name
        till.mkdir(mode=0o700)
        async with open_store(till, KEY, terminal_id="blank", store_id=STORE, clock=time, inc="0" * 16) as store:
            await store.cache.keep_program(PROGRAM)
            if name == KNOWN_TILL:
                nobody = _snapshot_of_nobody(time)
                await store.cache.begin_snapshot(nobody)
                await store.cache.finish_snapshot(nobody)


def _snapshot_of_nobody(time: SimClock) -> SnapshotManifest:
    """Return the snapshot of a hub at its very beginning, before anybody was imported."""
    return SnapshotManifest(
        snapshot_id="0" * 32,
        hub_epoch=EPOCH,
        cursor=write_cursor(FeedCursor(EPOCH, 0)),
        covered={},
        program=PROGRAM,
        as_of=time.now(),
        complete=True,
        chunks=(),
    )


def ram() -> str | None:
    """Return a folder in memory where there is one: nothing of a simulation outlives it."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() else None
