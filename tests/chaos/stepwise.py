"""The simulation's shop taken step by step: its hub, tills and promises on real files with real threads, and no loops.

Nothing here happens by itself. A test makes a till push once or pull once, and says what becomes of that one call on
its way; so a search can look for the shortest story that breaks a promise.
"""

import asyncio
import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from agent import reserving
from sync.hub.escrow.reserving import Reserving
from sync.hub.feed import snapshot_files, snapshots
from sync.hub.founding import Founding, database_file, found
from sync.hub.programs import enact
from sync.hub.terminals.roster import NewTerminal, Place, enrol
from sync.hub_errors import HubError, HubUnreachable
from sync.pump.allowances import Reservations
from sync.pump.ports import Cache, Journal, Reserved
from sync.pump.puller import Puller
from sync.pump.pusher import Pusher
from sync.runtime.database import open_writer
from sync.runtime.sqlite_file import Connection
from tests.chaos.simulation import till_side
from tests.chaos.simulation.hub_side import IDENTIFIER_KEY, STORE, HubSide
from tests.chaos.simulation.stage import PROGRAM
from tests.chaos.simulation.till_side import Recorded, TillSide
from tests.chaos.simulation.virtual import Machine, SimClock
from tests.chaos.simulation.wire import Ask, Wire
from tests.chaos.simulation.world import CUSTOMERS, OPENINGS, Broken, World, customer_row

TERMINALS = ("till-1", "till-2")
# Enough for a whole backlog or a whole snapshot, in the smallest parts there are.
TURNS_MAX = 200
# Before a person tells the hub to wait no longer for what a till has lost.
PATIENT_TURNS = 50
KEEP = timedelta(days=14)


class Fate(Enum):
    """What becomes of one call on its way."""

    PASS = auto()
    LOSE_REQUEST = auto()
    LOSE_ANSWER = auto()  # the hub did it, and nobody hears
    TWICE = auto()  # the hub gets it twice; the second answer arrives


class SteppedClock(SimClock):
    """Time that passes only where somebody sleeps, and then at once."""

    def __init__(self, boot_id: str) -> None:
        super().__init__(boot_id)
        self._passed_s = 1000.0

    def monotonic(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        self._passed_s += max(seconds, 0.0)
        await asyncio.sleep(0)


@dataclass
class Way(Wire):
    """The way of one till to the hub's open door; `fate` is of the next call alone. Uploads are kept, to come again."""

    fate: Fate = Fate.PASS
    uploads: list[Ask] = field(default_factory=list)
    pusher: Pusher | None = None
    puller: Puller | None = None
    keeper: Reservations | None = None

    async def deliver_again(self, number: int) -> None:
        """Let an old upload arrive once more; nobody waits for the answer."""
        with contextlib.suppress(HubError):
            await self._call("again", None, self.uploads[number % len(self.uploads)])

    async def _call(self, name: str, question: object, ask: Ask) -> Any:  # noqa: ARG002 - as Wire has it
        fate, self.fate = self.fate, Fate.PASS
        if name.startswith("upload"):
            self.uploads.append(ask)
        self.note(f"{self.terminal_id} {name}: {fate.name}")
        if self.hub.door is None or fate is Fate.LOSE_REQUEST:
            raise HubUnreachable("broken_connection")
        answer = await ask(self.hub.door)
        if fate is Fate.TWICE:
            answer = await ask(self.hub.door)
        if fate is Fate.LOSE_ANSWER:
            raise HubUnreachable("timeout")
        return answer


class StillPusher(Pusher):
    """A pusher that leaves its turns to the test."""

    def __init__(self, journal: Journal, hub: Way, *rest: Any) -> None:
        super().__init__(journal, hub, *rest)
        hub.pusher = self

    async def run(self) -> NoReturn:
        await _wait_for_ever(self)


class StillPuller(Puller):
    """A puller that leaves its turns to the test."""

    def __init__(self, cache: Cache, hub: Way, *rest: Any) -> None:
        super().__init__(cache, hub, *rest)
        hub.puller = self

    async def run(self) -> NoReturn:
        await _wait_for_ever(self)


async def _wait_for_ever(_: object) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


class StillReservations(Reservations):
    """What keeps the allowances up, and leaves its turns to the test."""

    def __init__(self, reserved: Reserved, hub: Way, *rest: Any) -> None:
        super().__init__(reserved, hub, *rest)
        hub.keeper = self


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Let nothing of a shop go on by itself for the length of the block, and a snapshot have several chunks."""

    def small_chunks(connection: Connection) -> Iterator[tuple[int, str]]:
        return snapshot_files.chunk_texts(connection, chunk_rows=1)

    with (
        mock.patch.object(till_side, "Pusher", StillPusher),
        mock.patch.object(till_side, "Puller", StillPuller),
        mock.patch.object(reserving, "Reservations", StillReservations),
        mock.patch.object(Reservations, "run", _wait_for_ever),
        mock.patch.object(Reserving, "run", _wait_for_ever),
        mock.patch.object(snapshots, "chunk_texts", small_chunks),
    ):
        yield


class SteppedTill(TillSide):
    """A till of the simulation whose pump turns only when it is told to."""

    def __init__(self, terminal_id: str, folder: Path, way: Way, seen: Callable[[TillSide, str], None]) -> None:
        super().__init__(terminal_id, folder, way.machine, way, seen)
        self.way = way
        self.clock = SteppedClock("boot-0")
        self.pruned: dict[tuple[str, int], Recorded] = {}
        """What left the journal a fortnight after the hub had it; it counts as it did."""
        self._pruned_at_image: dict[tuple[str, int], Recorded] = {}

    def journal(self) -> list[Recorded]:
        """Return all that this till knows to have committed."""
        kept = super().journal()
        here = {(one.inc, one.seq) for one in kept}
        return [*(one for place, one in self.pruned.items() if place not in here), *kept]

    def keep_image(self) -> None:
        super().keep_image()
        self._pruned_at_image = dict(self.pruned)

    def lose_tail(self) -> None:
        super().lose_tail()
        self.pruned = dict(self._pruned_at_image)

    async def crash(self) -> None:
        """Fall back to the very files as they lie there now, as kill -9 leaves them; nothing is closed in order."""
        left = self.folder.with_name(f"{self.terminal_id}-left")
        shutil.copytree(self.folder, left, ignore=shutil.ignore_patterns("*-shm"))
        await super().crash()
        shutil.rmtree(self.folder)
        left.rename(self.folder)

    async def push(self, fate: Fate = Fate.PASS) -> bool:
        """Do the next thing of the upload: a hello, a batch, an errand. Return False where nothing is left to do."""
        assert self.way.pusher is not None
        self.way.fate = fate
        try:
            has_more = await self.way.pusher._turn()
        except HubError:
            has_more = True
        self.way.fate = Fate.PASS
        return has_more

    async def push_all(self) -> None:
        """Push until nothing is left to do.

        Raises:
            Broken: there is no end to it.
        """
        for _ in range(TURNS_MAX):
            if not await self.push():
                return
        raise Broken(f"{self.terminal_id} pushes without end")

    async def pull(self, fate: Fate = Fate.PASS) -> None:
        """Do the next thing of the download: a page, or a part of a snapshot. Before a hello there is none."""
        assert self.life is not None
        assert self.way.puller is not None
        if self.life.line.epoch is None:
            return
        self.way.fate = fate
        with contextlib.suppress(HubError):
            await self.way.puller._turn()
        self.way.fate = Fate.PASS

    async def reserve(self, fate: Fate = Fate.PASS) -> None:
        """Do the next thing for the allowances: give back what is due, and ask for what is wished."""
        assert self.way.keeper is not None
        self.way.fate = fate
        with contextlib.suppress(HubError):
            await self.way.keeper._turn()
        self.way.fate = Fate.PASS

    async def prune(self) -> None:
        """Say hello, and let the time pass after which the till keeps no more what the hub has."""
        assert self.life is not None
        before = {(one.inc, one.seq): one for one in super().journal()}
        self.life.line.want_hello(self.life.line.epoch)
        await self.push()
        for _ in range(2):
            now = self.clock.now()
            while await self.life.store.pruner.step(KEEP, now):
                pass
            await self.clock.sleep(KEEP.total_seconds() + 1.0)
        for one in super().journal():
            before.pop((one.inc, one.seq), None)
        self.pruned |= before


async def open_shop(folder: Path, die: random.Random, *, is_lossy: bool) -> World:
    """Return a running shop on new files in a folder, whose customers open with some points."""
    hub = HubSide(folder / "hub", Machine("hub", die), SteppedClock("boot-hub"))
    hub.folder.mkdir()
    async with open_writer(database_file(hub.folder)) as writer:
        await writer.write(lambda connection: found(connection, Founding("e" * 16, IDENTIFIER_KEY)))
        await writer.write(lambda connection: enact(connection, PROGRAM, 1))
        for name in TERMINALS:
            new = NewTerminal(name, f"credential-of-{name}-that-is-long-enough", "0.1.0")
            await writer.write(lambda connection, new=new: enrol(connection, new, Place(STORE, ""), hub.clock.now()))  # type: ignore[misc]
    world = World(die, folder, is_lossy, hub)
    world.customers = {one: customer_row(one, OPENINGS[one]) for one in CUSTOMERS}
    await hub.start()
    for name in TERMINALS:
        (folder / name).mkdir()
        till = SteppedTill(name, folder / name, Way(name, hub, Machine(name, die), world.note), world.seen)
        till.has_honest_disk = not is_lossy
        await till.start()
        assert till.life is not None
        await till.life.store.cache.keep_program(PROGRAM)
        till.keep_image()
        world.tills.append(till)
    return world


def till_of(world: World, number: int) -> SteppedTill:
    """Return a till of a stepped shop."""
    till = world.tills[number]
    assert isinstance(till, SteppedTill)
    return till


async def come_to_rest(world: World) -> None:
    """Let every call pass until nobody has anything left to do, and check all that must be true then.

    Raises:
        Broken: it is not.
    """
    assert world.hub.door is not None
    for turn in range(TURNS_MAX):
        await world.do_what_people_do(is_patient=turn < PATIENT_TURNS)
        for number in range(len(world.tills)):
            till = till_of(world, number)
            await till.push_all()
            await till.pull()
            await till.reserve()
        await world.hub.door.look_for_recovery()
        if not world._unrest():
            break
    else:
        raise Broken(f"no rest: {world._unrest()}")
    await world.check_at_rest()
