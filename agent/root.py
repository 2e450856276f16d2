"""The composition root: the only place that builds the rooms of a till and lets them run.

Everything opens in one stack and closes in reverse. The counter, the store and the screen are not supervised: a bug
there ends the process, and whoever started it starts it again. The edges (scanner, upload, download) are: they may
fall, and the till goes on.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp

from agent import keys
from agent.config import Settings
from agent.counter import Counter
from agent.display import CustomerDisplay
from agent.figures import count
from agent.imaging.decoder import Decoder
from agent.recognition import Chain, HubWord
from agent.reserving import TIMEOUTS, hub_asked, reservations
from agent.scan_files import one_code
from agent.scanners.folder import FolderScanner
from agent.screen import HubShown, Screen, ShopShown, fault_shown
from agent.store import Store, open_store
from agent.version import VERSION
from agent.web.door import Behind, local_door
from agent.web.guard import PosKey
from sync.contract.protocol import ProblemCode
from sync.contract.signing import Prover
from sync.hub_client import HubClient, open_session
from sync.hub_line import Timeouts
from sync.pump.comparing import Comparer
from sync.pump.line import HubState, Line
from sync.pump.puller import Puller
from sync.pump.pusher import Pusher, Terminal
from sync.pump.watchdog import NOT_MOVING, Upload, Watchdog
from sync.runtime.clock import Clock, SystemClock
from sync.runtime.http_server import ServedAt, serve
from sync.runtime.metrics import Metrics
from sync.runtime.sqlite_file import DatabaseDamaged, driver, driver_notice
from sync.runtime.state_lock import hold_folder
from sync.runtime.supervise import Board, Loop, State, supervise

_log = logging.getLogger(__name__)
# The outbox figures are cheap to read; this often they are on the page within the second that counts.
STORE_LOOK_S = 1.0
# A disk that damages files again and again must not have them salvaged in a tight loop.
DAMAGE_PAUSE_S = 1.0
# The screen's word for a disk without room.
STORAGE_FULL = "storage_full"
# And for a signing key that the hub does not know: for staff it is the same as a credential that it does not know.
KEY_LOST = ProblemCode.CREDENTIAL_UNKNOWN


async def run(settings: Settings) -> None:
    """Run a till until SIGINT or SIGTERM.

    Raises:
        AlreadyRunning, DatabaseError, KeyFileError, ServeError: it cannot start; the message is one line.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    clock = SystemClock()
    while not stop.is_set():
        try:
            async with running(settings, clock) as till:
                _log.info("ready: address=http://%s:%d", *till.at)
                await _first_of(stop, till.store.damaged.rung, till.store.wiper.due)
                is_damaged = till.store.damaged.rung.is_set()
                _log.info("stopping")
        except* DatabaseDamaged:  # the alarm has rung, and an unsupervised room was the first to fall over it
            is_damaged = True
        if is_damaged and not stop.is_set():
            _log.error("a database is damaged: the till opens its files anew and saves what can be read")
            await clock.sleep(DAMAGE_PAUSE_S)


async def _first_of(*events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


@dataclass(frozen=True, slots=True)
class Till:
    """A running till, for whoever started it."""

    at: ServedAt
    store: Store
    counter: Counter
    screen: Screen
    line: Line
    board: Board


@asynccontextmanager
async def running(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Till]:
    """Run a till for the length of the block. Where `store.damaged` or `store.wiper` asks for it, run it again.

    Raises:
        AlreadyRunning, DatabaseError, KeyFileError, HubSetupError, ServeError: it cannot start.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(hold_folder(settings.lock_file))
        enrolment = _Enrolled(settings)
        store = await stack.enter_async_context(_open_store(settings, enrolment.now, clock))
        metrics = Metrics(program="loyalty-agent", version=VERSION)
        board = _board(metrics, store, clock)
        screen = _screen(settings, store, clock)
        display = CustomerDisplay(screen, clock)
        standing = _Standing(store, clock, has_key=enrolment.key is not None)
        line = Line(clock, lambda state: screen.put_hub(standing.shown(state)))
        session = await stack.enter_async_context(open_session(settings.hub.ca_file))
        keeper = reservations(store, enrolment.client(session, TIMEOUTS), line, screen, clock)
        asked = hub_asked(keeper, line)
        counter = Counter(store, screen, _chain(settings, enrolment.now), clock, _hub_word(line, clock), asked)
        decoder = await stack.enter_async_context(Decoder())
        comparer = Comparer(store.cache, enrolment.client(session), clock)
        behind = Behind(
            counter,
            screen,
            display,
            store.outbox,
            board,
            metrics,
            clock,
            *_pos_keys(settings),
            settings.sessions_file,
            settings.api.searches_per_minute,
            comparer,
        )
        app = local_door(behind, f"http://{settings.api.host}:{settings.api.port}")
        at = await stack.enter_async_context(serve(app, settings.api.host, settings.api.port))
        count(metrics, screen, store, comparer, clock)
        watchdog = Watchdog(_Uploads(settings, enrolment, store, line, clock).open, store.journal.waiting, line, clock)
        standing.watch(watchdog)
        puller = Puller(store.cache, enrolment.client(session), line, screen.touched, clock, comparer)
        scanner = _Scanner(settings, decoder, counter, screen, clock)
        async with asyncio.TaskGroup() as group:
            running_tasks = [
                group.create_task(screen.run()),
                group.create_task(display.run()),
                group.create_task(_watch_store(store, screen, line, standing, clock)),
                group.create_task(supervise("upload", watchdog.run, clock=clock, board=board)),
                group.create_task(
                    supervise("download", _telling(puller.run, store.damaged.ring), clock=clock, board=board)
                ),
                group.create_task(supervise("allowances", keeper.run, clock=clock, board=board)),
                group.create_task(supervise("scanner", scanner.run, clock=clock, board=board)),
                group.create_task(_upkeep(settings, store, line, clock, board)),
            ]
            yield Till(at, store, counter, screen, line, board)
            for task in running_tasks:
                task.cancel()


class _Enrolled:
    """Who this terminal is, and its credential, which the hub may change while the till runs."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.enrolment_file
        self._hub_url = settings.hub.url
        self.now = keys.read_enrolment(self._file)
        if self.now.hub_url != settings.hub.url:
            _log.info("hub moved since the enrolment: enrolled_at=%s now=%s", self.now.hub_url, settings.hub.url)
        self.key = keys.signing_key(settings.terminal_key_file, self.now)
        if self.key is None:
            _log.error(
                "the signing key is not the one that the hub knows: file=%s; nothing is sent. Stop this till, bring "
                "the file back, or run `loyalty-agent enrol` with a code of `loyalty-hub terminals invite`, and then "
                "start it again",
                settings.terminal_key_file,
            )

    def credential(self) -> str:
        return self.now.answer.credential

    def client(self, session: aiohttp.ClientSession, timeouts: Timeouts | None = None) -> HubClient:
        """Return a way to the hub for this terminal."""
        return HubClient(session, self._hub_url, self.now.answer.terminal_id, self.credential, timeouts=timeouts)

    async def keep_credential(self, credential: str) -> None:
        """Write a new credential down, and use it from then on."""
        changed = keys.with_credential(self.now, credential)
        await asyncio.to_thread(keys.write_enrolment, self._file, changed)
        self.now = changed


class _Uploads:
    """Opens uploads, each over a connection of its own."""

    def __init__(self, settings: Settings, enrolment: _Enrolled, store: Store, line: Line, clock: Clock) -> None:
        self._settings = settings.hub
        self._enrolment = enrolment
        self._store = store
        self._line = line
        self._clock = clock

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Upload]:
        key = self._enrolment.key
        allowances, running = self._store.allowances, self._store.journal.terminal.inc
        terminal = Terminal(
            VERSION,
            self._store.cache.cursor,
            self._enrolment.keep_credential,
            key.public if key is not None else None,
            allowances.held,
            lambda: allowances.asking(by_hello=True),
            running,
        )
        prover = Prover(running, key) if key is not None else None
        async with open_session(self._settings.ca_file) as session:
            terminal_id = self._enrolment.now.answer.terminal_id
            hub = HubClient(session, self._settings.url, terminal_id, self._enrolment.credential, prover=prover)
            yield Upload(Pusher(self._store.journal, hub, self._line, terminal, self._clock).run, hub)


class _Scanner:
    """The scanner of the settings, and the way from it to the counter."""

    def __init__(self, settings: Settings, decoder: Decoder, counter: Counter, screen: Screen, clock: Clock) -> None:
        self._folder = settings.scanner.folder
        self._scheme = settings.cards.scheme()
        self._decoder = decoder
        self._counter = counter
        self._screen = screen
        self._clock = clock

    async def run(self) -> None:
        """Show each scan; returns at once where no scanner is set."""
        if self._folder is None:
            return
        hello = await self._decoder.engines()
        _log.info("pictures are read by: %s", ", ".join(hello.engines))
        for missing in hello.missing:
            _log.warning("a picture engine rests: %s", missing)
        scanner = FolderScanner(
            self._folder,
            self._decoder,
            self._clock,
            choose=lambda reading: one_code(reading, self._scheme),
            is_shut=lambda: self._screen.state.locked,
        )
        async for scan in scanner.scans():
            await self._counter.scan(scan.text, scan.symbology)


@asynccontextmanager
async def _open_store(settings: Settings, enrolment: keys.Enrolment, clock: Clock) -> AsyncIterator[Store]:
    if notice := driver_notice():
        _log.warning("%s", notice)
    files = driver()
    _log.info("databases: sqlite=%s sqlcipher=%s checkpoints=%s", files.sqlite, files.cipher, files.checkpoints)
    key = keys.database_key(settings.database_key_file, settings.journal_file)
    answer = enrolment.answer
    async with open_store(
        settings.till.state,
        key,
        terminal_id=answer.terminal_id,
        store_id=answer.store_id,
        clock=clock,
        trusted_disk=settings.storage.trusted_disk,
    ) as store:
        if store.cache.program is None:
            await store.cache.keep_program(answer.program)
        yield store


def _screen(settings: Settings, store: Store, clock: Clock) -> Screen:
    program = store.cache.program
    screen = Screen(
        clock,
        demo=settings.till.demo,
        language=settings.till.language,
        shop=ShopShown(
            name=settings.till.shop, till=settings.till.name, currency=program.currency if program else None
        ),
        sounds=settings.page.sounds,
        lock_after_s=settings.page.lock_after_minutes * 60.0,
    )
    screen.put_scanner(store.scanner.read())
    store.journal.tell(screen.touched)
    return screen


def _is_shut_out(state: HubState) -> bool:
    return ProblemCode.TERMINAL_REVOKED in (state.upload_fault, state.download_fault)


def _board(metrics: Metrics, store: Store, clock: Clock) -> Board:
    board = Board(metrics)
    if store.salvaged is not None:
        board.put("till.db", Loop(State.SALVAGED, clock.now()))
    return board


def _telling(run: Callable[[], Awaitable[None]], ring: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Return a loop that tells of damage in the cache, which its own writer meets."""

    async def telling() -> None:
        try:
            await run()
        except DatabaseDamaged:
            ring()
            raise

    return telling


async def _upkeep(settings: Settings, store: Store, line: Line, clock: Clock, board: Board) -> None:
    """Keep the files of the till in shape."""
    keep = timedelta(days=settings.storage.keep_acked_days)
    hub_now = _hub_word(line, clock).now
    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "ballast": lambda: store.ballast.run(store.journal.checkpoint, clock),
        "wipe": lambda: store.wiper.run(lambda: _is_shut_out(line.state), clock),
        "prune": lambda: store.pruner.run(keep, hub_now, clock),
    }
    async with asyncio.TaskGroup() as group:
        for name, run in loops.items():
            group.create_task(supervise(name, run, clock=clock, board=board))


async def _watch_store(store: Store, screen: Screen, line: Line, standing: "_Standing", clock: Clock) -> None:
    while True:
        if standing.has_news():
            screen.put_hub(standing.shown(line.state))
        screen.put_outbox(store.outbox.figures())
        program = store.cache.program
        screen.put_currency(program.currency if program else None)
        await clock.sleep(STORE_LOOK_S)


def _pos_keys(settings: Settings) -> tuple[PosKey, Callable[[], str]]:
    """Return the key of the point of sale, and what makes a new one."""
    file, group = settings.pos_key_file, settings.api.key_group
    return PosKey(keys.pos_key(file, group)), lambda: keys.new_pos_key(file, group)


def _chain(settings: Settings, enrolment: keys.Enrolment) -> Chain:
    return Chain(enrolment.identifier_key, settings.cards.scheme(), settings.cards.country_code)


def _hub_word(line: Line, clock: Clock) -> HubWord:
    def now() -> datetime | None:
        hub_time = line.state.hub_time
        return hub_time.now(clock) if hub_time is not None else None

    return HubWord(now, lambda: line.state.current_as_of)


class _Standing:
    """How things stand, for the screen: a fault of the till itself goes before one of the line."""

    def __init__(self, store: Store, clock: Clock, *, has_key: bool) -> None:
        self._store = store
        self._clock = clock
        self._has_key = has_key
        self._watchdog: Watchdog | None = None
        self._fault: str | None = None
        self._since = clock.now()

    def watch(self, watchdog: Watchdog) -> None:
        """Take the watchdog of the upload."""
        self._watchdog = watchdog

    def has_news(self) -> bool:
        """Tell whether the till's own fault is another one than was shown; the line tells of its faults itself."""
        return self._now() != self._fault

    def _now(self) -> str | None:
        is_stuck = self._watchdog is not None and self._watchdog.is_stuck
        if self._store.ballast.is_full:
            return STORAGE_FULL
        return KEY_LOST if not self._has_key else NOT_MOVING if is_stuck else None

    def shown(self, state: HubState) -> HubShown:
        fault = self._now()
        if fault != self._fault:
            self._fault, self._since = fault, self._clock.now()
        return HubShown(
            is_reachable=state.is_reachable,
            since=state.since if fault is None else self._since,
            fault=fault or fault_shown(state.upload_fault, state.download_fault),
            is_loading_snapshot=state.is_loading_snapshot,
        )
