"""A till of a simulation: the product's store, counter and pump on real files, over starts, crashes and power cuts."""

import asyncio
import collections
import functools
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from agent.codes import CardScheme, make_card_number
from agent.counter import Counter
from agent.recognition import Chain, HubWord
from agent.redemptions import NotSpendable, RedemptionRequest
from agent.reserving import hub_asked, reservations
from agent.sales import ReversalRequest, SaleRequest
from agent.screen import Screen
from agent.store import Store, open_store
from agent.store.files import till_file
from sync.contract.cursors import read_cursor
from sync.contract.identifiers import Scheme, identifier_id
from sync.contract.signing import Prover
from sync.pump.comparing import Comparer
from sync.pump.line import Line
from sync.pump.puller import Puller
from sync.pump.pusher import Pusher, Terminal
from sync.runtime.sqlite_file import open_for_reading
from tests.chaos.simulation.hub_side import IDENTIFIER_KEY, STORE, terminal_key
from tests.chaos.simulation.shelf import copy_folder
from tests.chaos.simulation.virtual import Machine, SimClock, as_any
from tests.chaos.simulation.wire import Wire

KEY = bytes(range(32))
_JOURNAL = (
    "SELECT j.event, lower(hex(j.subject)), j.points,"
    " (SELECT a.state FROM main.set_aside a WHERE a.position = j.position AND a.state <> 'final')"
    " FROM main.journal j ORDER BY j.position"
)
CURRENCY = "CAD"


class Basket(NamedTuple):
    """A sale as the point of sale knows it: it asks with the very same until it is told what came of it."""

    sale_id: str
    card: int
    net_minor: int
    occurred_at: datetime


class Undo(NamedTuple):
    """A reversal as the point of sale knows it."""

    reversal_id: str
    sale_id: str
    occurred_at: datetime


class Spend(NamedTuple):
    """A redemption as the point of sale knows it."""

    redemption_id: str
    card: int
    points: int
    occurred_at: datetime


class GivingBack(NamedTuple):
    """The reversal of a redemption as the point of sale knows it."""

    reversal_id: str
    redemption_id: str
    occurred_at: datetime


What = Basket | Undo | Spend | GivingBack
"""What a point of sale may ask for."""


def name_of(what: What) -> str:
    """Return the id that the caller brought."""
    return str(what[0])


class Recorded(NamedTuple):
    """An event as it stands in a till's journal; `counts` is False where it was set aside."""

    inc: str
    seq: int
    subject: str | None
    points: int
    text: str
    counts: bool


class Life(NamedTuple):
    """What runs while a till is up."""

    store: Store
    counter: Counter
    line: Line
    comparer: Comparer


@functools.cache
def card_id(card: int) -> str:
    """Return the identifier id of a card by its serial."""
    return identifier_id(IDENTIFIER_KEY, Scheme.CARD, make_card_number(card))


# How often all of a folder was brought back from a backup: its files are others then. A disk that falls back to an
# older state has the very files of then, and its copy to the last bit has the same.
_brought_back: "collections.Counter[Path]" = collections.Counter()


def identity(path: Path) -> str | None:
    """Stand for `trust.identity`: what no copy of a file has."""
    return str(_brought_back[path.parent]) if path.exists() else None


@functools.lru_cache(maxsize=1024)
def _identity(text: str) -> tuple[str, int]:
    event: dict[str, Any] = json.loads(text)
    return event["inc"], event["seq"]


class TillSide:
    """One till; `life` is None while it is off. `seen` is called whenever what it shows may have changed."""

    def __init__(
        self, terminal_id: str, folder: Path, machine: Machine, wire: Wire, seen: Callable[["TillSide", str], None]
    ) -> None:
        self.terminal_id = terminal_id
        self.folder = folder
        self.machine = machine
        self.die = machine.die
        self.wire = wire
        self.clock = SimClock("boot-0")
        self.life: Life | None = None
        self.unanswered: dict[str, What] = {}
        self.answered: set[str] = set()
        self.baskets: list[Basket] = []
        self.spends: list[Spend] = []
        self.ever: dict[tuple[str, str, int], str] = {}
        """The text of each event that this till ever committed, by its identity."""
        self.has_honest_disk = True
        self.times_set_back = 0
        """How often its files became older ones."""
        self._seen = seen
        self._starts = 0
        self._images: list[Path] = []

    def clone(self) -> "TillSide":
        """Return another till that has a copy of this one's disk and takes itself for this one."""
        folder = self.folder.with_name(f"{self.terminal_id}-clone")
        copy_folder(self.folder, folder)
        machine = Machine(self.terminal_id, self.die)
        clone = TillSide(
            self.terminal_id,
            folder,
            machine,
            Wire(self.terminal_id, self.wire.hub, machine, self.wire.note),
            self._seen,
        )
        clone.clock = self.clock
        clone.keep_image()
        return clone

    def new_inc(self) -> str:
        """Return the incarnation of the next start."""
        return f"{self.die.getrandbits(64):016x}"

    async def start(self) -> None:
        """Switch the till on."""
        self._starts += 1
        self.machine = Machine(f"{self.terminal_id}#{self._starts}", self.die)
        self.wire.machine = self.machine
        # A proxy answers a question twice, and never that of a process which is dead.
        for question in ("hello", "allowances"):
            self.wire.kept.pop(question, None)
        ready = asyncio.Event()
        life = self.machine.start(self._live(ready))
        opened = asyncio.ensure_future(ready.wait())
        await asyncio.wait([life, opened], return_when=asyncio.FIRST_COMPLETED)
        if not ready.is_set():
            opened.cancel()
            life.result()

    async def crash(self) -> None:
        """Kill the process; the disk keeps what was committed."""
        if self.life is not None:
            self._note_all()
        self.life = None
        await self.machine.kill()

    async def stop(self) -> None:
        """End the process as a person does."""
        self.life = None
        await self.machine.stop()
        self._note_all()

    def keep_image(self) -> None:
        """Note the state that a disk which lies about its syncs would fall back to."""
        image = self.folder.with_name(f"{self.folder.name}-image-{len(self._images)}")
        copy_folder(self.folder, image)
        self._images.append(image)

    def lose_tail(self) -> None:
        """Fall back to the newest such state, after a crash."""
        self.times_set_back += 1
        shutil.rmtree(self.folder)
        copy_folder(self._images[-1], self.folder)
        self.clock.boot_id = f"boot-{self._starts}"

    def bring_back_old_files(self) -> None:
        """Bring an older state back, after a crash: the databases without what stands beside them, or all of it."""
        self.times_set_back += 1
        image = self.die.choice(self._images)
        if self.die.random() < 0.5:
            shutil.rmtree(self.folder)
            copy_folder(image, self.folder)
            _brought_back[self.folder] += 1
            return
        for old in self.folder.glob("*.db*"):
            old.unlink()
        for kept in image.glob("*.db*"):
            shutil.copy(kept, self.folder)

    def lose_cache_tail(self) -> None:
        """Let the cache alone fall back, after a power cut: it is kept with synchronous=NORMAL, and the till with FULL.

        A cache file that took the live one's place since was made durable before it did.
        """
        self.clock.boot_id = f"boot-{self._starts}"
        image = self._images[-1]
        if _live_number(image) == _live_number(self.folder):
            name = f"cache-{_live_number(image)}.db"
            for old in self.folder.glob(f"{name}*"):
                old.unlink()
            for kept in image.glob(f"{name}*"):
                shutil.copy(kept, self.folder)

    async def ask(self, what: What) -> None:
        """Let the point of sale ask; whatever happens on the way, it will ask the same again."""
        name = name_of(what)
        self.unanswered[name] = what
        if self.life is None:
            return
        try:
            await _ask(self.life.counter, what)
        except NotSpendable as refused:
            self.unanswered.pop(name, None)
            self._seen(self, f"refused {name}: {refused.reason}, {refused.spendable} can be used")
            return
        self.unanswered.pop(name, None)
        self.answered.add(name)
        self._seen(self, f"answered {name}")

    def journal(self) -> list[Recorded]:
        """Return all that stands in the journal now."""
        if self.life is not None:
            rows = self.glance(_JOURNAL)
        else:
            connection = open_for_reading(till_file(self.folder, KEY), {})
            try:
                rows = connection.execute(_JOURNAL).fetchall()
            finally:
                connection.close()
        return [
            Recorded(*_identity(text), subject or None, points, text, state is None)
            for text, subject, points, state in rows
        ]

    def place(self) -> tuple[str, int] | None:
        """Return the epoch and position that the cache stands at, or None where it was never loaded."""
        ((text,),) = self.glance("SELECT cursor FROM cache.state")
        cursor = read_cursor(text) if text is not None else None
        return (cursor.hub_epoch, cursor.position) if cursor is not None else None

    def glance(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what the running till's files hold now."""
        assert self.life is not None
        return self.life.store.customers._near.glance(sql, ())

    async def _live(self, ready: asyncio.Event) -> None:
        async with (
            open_store(
                self.folder,
                KEY,
                terminal_id=self.terminal_id,
                store_id=STORE,
                clock=self.clock,
                inc=self.new_inc(),
                trusted_disk=self.has_honest_disk,
            ) as store,
            asyncio.TaskGroup() as group,
        ):
            line = Line(self.clock, lambda _: None)
            chain = Chain(IDENTIFIER_KEY, CardScheme(), "1")
            screen = Screen(self.clock, demo=False, language="en")
            keeper = reservations(store, as_any(self.wire), line, screen, self.clock)
            counter = Counter(store, screen, chain, self.clock, HubWord(), hub_asked(keeper, line))
            running = store.journal.terminal.inc
            terminal = Terminal(
                "0.1.0",
                store.cache.cursor,
                _keep_nothing,
                held=store.allowances.held,
                asking=lambda: store.allowances.asking(by_hello=True),
                running=running,
            )
            self.wire.prover = Prover(running, terminal_key(self.terminal_id))

            def touched(_: frozenset[str] | None) -> None:
                self._seen(self, "took a page")

            group.create_task(Pusher(store.journal, self.wire, line, terminal, self.clock).run())
            group.create_task(keeper.run())
            comparer = Comparer(store.cache, self.wire, self.clock, lambda: 0.5)
            group.create_task(Puller(store.cache, self.wire, line, touched, self.clock, comparer).run())
            self.life = Life(store, counter, line, comparer)
            ready.set()

    def _note_all(self) -> None:
        for one in self.journal():
            self.ever[(self.terminal_id, one.inc, one.seq)] = one.text


async def _ask(counter: Counter, what: What) -> None:
    if isinstance(what, Undo):
        request = ReversalRequest(reversal_id=what.reversal_id, occurred_at=what.occurred_at)
        await counter.reverse(what.sale_id, request)
    elif isinstance(what, GivingBack):
        request = ReversalRequest(reversal_id=what.reversal_id, occurred_at=what.occurred_at)
        await counter.redeeming.give_back(what.redemption_id, request)
    elif isinstance(what, Spend):
        card = make_card_number(what.card)
        await counter.redeeming.redeem(
            RedemptionRequest(
                redemption_id=what.redemption_id, card=card, points=what.points, occurred_at=what.occurred_at
            )
        )
    else:
        sale = {
            "sale_id": what.sale_id,
            "card": make_card_number(what.card),
            "lines": ({"quantity": "1", "net_minor": what.net_minor},),
            "net_minor": what.net_minor,
            "currency": CURRENCY,
            "occurred_at": what.occurred_at,
        }
        await counter.sale(SaleRequest.model_validate(sale))


def _live_number(folder: Path) -> int:
    connection = open_for_reading(till_file(folder, KEY), {})
    try:
        return int(connection.execute("SELECT number FROM live_cache").fetchall()[0][0])
    finally:
        connection.close()


async def _keep_nothing(_: str) -> None:
    """No hub of a simulation rotates a credential."""
