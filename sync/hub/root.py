"""The composition root of the hub: the only place that builds things, and ends them in reverse order."""

import asyncio
import contextlib
import logging
import re
import secrets
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sync.contract.program import Program
from sync.contract.protocol import EPOCH_HEADER
from sync.hub.config import DEFAULT_PROGRAM, HubConfig, is_loopback
from sync.hub.escrow.allowances import prune_closed
from sync.hub.escrow.figures import EscrowFigures
from sync.hub.escrow.recovery import begin as begin_recovery
from sync.hub.escrow.reserving import Reserving
from sync.hub.feed.digests import Digests
from sync.hub.feed.feed_log import last_pos, prune
from sync.hub.feed.head import Head
from sync.hub.feed.snapshots import Snapshots
from sync.hub.founding import EPOCH_BYTES, IDENTIFIER_KEY_BYTES, Founding, database_file, found, renew_epoch
from sync.hub.marker import Marker, Renewing
from sync.hub.people.presented import forget_old
from sync.hub.programs import enact, read_program
from sync.hub.terminals.ahead import Ahead
from sync.hub.terminals.reception import Reception
from sync.hub.terminals.roster import Place, invite, new_code
from sync.hub.uploads.intake import Intake
from sync.hub.web.guard import Services
from sync.hub.web.routes import make_app
from sync.runtime.clock import Clock, SystemClock
from sync.runtime.database import Reader, Writer, open_reader, open_writer
from sync.runtime.http_server import serve
from sync.runtime.metrics import Metrics
from sync.runtime.sqlite_file import HAS_SAFE_LOG, Connection, DatabaseBusy, driver
from sync.runtime.state_lock import AlreadyRunning, hold, hold_folder, is_held, private_folder, write_private
from sync.runtime.supervise import Board, supervise

LOCK_NAME = "hub.lock"
TIDY_EVERY_S = 3600.0
# What `openssl rand -hex 16` prints is long enough, a password that a person makes up is not.
ADMIN_KEY_CHARS_MIN = 32
_ADMIN_KEY = re.compile(rb"[!-~]{%d,}" % ADMIN_KEY_CHARS_MIN)

_log = logging.getLogger(__name__)


class TlsFilesError(Exception):
    """The certificate or its key cannot be used; the message names the files."""


class AdminKeyError(Exception):
    """The file of the admin key holds none; the message names it and the next step."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A running hub, as a test, a bench or a demo in the same process uses it."""

    url: str
    founding: Founding
    program: Program
    writer: Writer
    reader: Reader
    clock: Clock
    metrics: Metrics

    async def invite(self, store_id: str, name: str = "") -> str:
        """Return a one-time code that makes a terminal of that store."""
        return await make_invitation(self.writer, self.clock, Place(store_id, name))


@contextlib.asynccontextmanager
async def running(config: HubConfig, clock: Clock | None = None, *, is_restored: bool = False) -> AsyncIterator[Hub]:
    """Run a hub for the length of the block, in the task that enters it.

    Args:
        config: its settings; port 0 takes any free one.
        clock: the machine's, unless a test brings its own.
        is_restored: the database was brought back from a backup, so a new epoch begins.

    Raises:
        AdminKeyError, AlreadyRunning, BroughtBack, DatabaseError, ProgramFileError, TlsFilesError, ServeError: with one
            line for a person. BroughtBack: the database came back from a backup, and `is_restored` does not say so.
    """
    clock = clock or SystemClock()
    tls = tls_context(config)
    wanted = read_program(config.program.file or DEFAULT_PROGRAM)
    async with contextlib.AsyncExitStack() as stack:
        state = stack.enter_context(hold_folder(config.hub.state / LOCK_NAME))
        writer = await stack.enter_async_context(open_writer(database_file(state)))
        marker = Marker(state)
        founding, program = await writer.write(
            lambda connection: _settle(connection, marker, wanted, clock, is_restored=is_restored)
        )
        renewing = Renewing(state, writer)
        renewing.put(marker)
        await stack.enter_async_context(renewing.at_end())
        reader = await stack.enter_async_context(open_reader(database_file(state)))
        snapshot_reader = await stack.enter_async_context(open_reader(database_file(state)))
        metrics = Metrics(program="loyalty-hub", version=program_version())
        head = Head(reader, clock)
        head.reached(await reader.read(last_pos))
        ahead = Ahead(metrics)
        services = Services(
            founding=founding,
            admin_key=_admin_key(state),
            writer=writer,
            reader=reader,
            head=head,
            intake=Intake(writer, head, founding.epoch, clock, metrics, config.hub.business_day),
            reception=Reception(writer, reader, founding, clock, min_agent=config.hub.min_agent, ahead=ahead),
            reserving=Reserving(writer, reader, head, founding.epoch, clock, ahead),
            digests=Digests(snapshot_reader, clock),
            figures=EscrowFigures(metrics, reader),
            snapshots=Snapshots(state / "snapshots", snapshot_reader, founding.epoch, clock),
            metrics=metrics,
            board=Board(metrics),
            clock=clock,
        )
        metrics.gauge_of("hub_feed_head", "The newest position of the feed.", lambda: float(head.pos))
        if replayed := await services.intake.replay_parked():
            _log.info("parked events understood now: count=%d", replayed)
        async with _served(services, config, tls) as url, _loops(services, config, renewing):
            _log.info("hub is ready: name=%s url=%s epoch=%s", config.hub.name, url, founding.epoch)
            yield Hub(url, founding, program, writer, reader, clock, metrics)


async def run(config: HubConfig, on_ready: Callable[[str], None], *, is_restored: bool = False) -> None:
    """Run a hub until the process is told to end (SIGINT or SIGTERM); `on_ready` is given its URL."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: there Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(name, ended.set)
    async with running(config, is_restored=is_restored) as hub:
        on_ready(hub.url)
        await ended.wait()


@contextlib.asynccontextmanager
async def desk(config: HubConfig) -> AsyncIterator[tuple[Writer, Founding]]:
    """Open the hub's database for a command that works beside a running hub or without one.

    Under a SQLite with the WAL-reset race without one only: what is committed here could meet a checkpoint there.

    Raises:
        BroughtBack: it came back from a backup, and no hub was started on it since that was told so.
        DatabaseError: with one line for a person.
    """
    state = private_folder(config.hub.state)
    async with contextlib.AsyncExitStack() as stack:
        if not HAS_SAFE_LOG:
            stack.enter_context(_without_a_hub(state))
        writer = await stack.enter_async_context(open_writer(database_file(state)))
        # Profiles are changed and erased here alone, and leave the pages of the file too.
        await writer.outside_transaction(lambda connection: connection.execute("PRAGMA secure_delete=ON").fetchone())
        # The file beside is read while nobody else can write: a hub that runs may renew both at any moment.
        await writer.write(lambda connection: Marker(state).check(connection))
        founding = await writer.write(_found)
        yield writer, founding


@contextlib.asynccontextmanager
async def reading_desk(config: HubConfig) -> AsyncIterator[Reader]:
    """Open the hub's database for a command that only reads; beside a running hub under any SQLite.

    Raises:
        BroughtBack, DatabaseError: as at the desk.
    """
    if not is_running(config):
        async with desk(config):
            pass  # checked, and with the newest tables; a hub that runs has done both
    async with open_reader(database_file(config.hub.state)) as reader:
        yield reader


async def make_invitation(writer: Writer, clock: Clock, place: Place) -> str:
    """Return a one-time code that makes a terminal of that place."""
    code = new_code()
    now = clock.now()
    await writer.write(lambda connection: invite(connection, code, place, now))
    return code


@contextlib.contextmanager
def _without_a_hub(state: Path) -> Iterator[None]:
    """Keep every hub from running on a state folder for the length of the block."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(state / LOCK_NAME))
        except AlreadyRunning as error:
            raise DatabaseBusy(
                f"stop the hub first, then try again: with the SQLite of this machine ({driver().sqlite}) only one "
                "program may write at a time. Nothing was changed"
            ) from error
        yield


def is_running(config: HubConfig) -> bool:
    """Tell whether a hub runs on this state folder now."""
    return is_held(config.hub.state / LOCK_NAME)


def tls_context(config: HubConfig) -> ssl.SSLContext | None:
    """Return what https needs, or None where the hub speaks plain http on loopback.

    Raises:
        TlsFilesError: the files cannot be used.
    """
    if config.hub.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.hub.tls_certificate, config.hub.tls_key)
    except OSError as error:  # ssl.SSLError is one
        files = f"{config.hub.tls_certificate} and {config.hub.tls_key}"
        raise TlsFilesError(f"{files} are no PEM certificate and its key: {error.strerror}") from error
    return context


def program_version() -> str:
    """Return the installed version of this program."""
    try:
        return version("loyalty-agent")
    except PackageNotFoundError:
        return "0+checkout"


def _settle(
    connection: Connection, marker: Marker, wanted: Program, clock: Clock, *, is_restored: bool
) -> tuple[Founding, Program]:
    if not is_restored:
        marker.check(connection)
    marker.take(connection)
    founding = _found(connection)
    program = enact(connection, wanted, int(clock.now().timestamp() * 1000))
    if is_restored:
        renew_epoch(connection, secrets.token_hex(EPOCH_BYTES))
        founding = _found(connection)
        begin_recovery(connection, clock.now(), program.redemption.allowance_ttl_h)
    return founding, program


def _found(connection: Connection) -> Founding:
    return found(connection, Founding(secrets.token_hex(EPOCH_BYTES), secrets.token_bytes(IDENTIFIER_KEY_BYTES)))


def _admin_key(state: Path) -> str:
    """Return the key that shows the metrics, made at the first start.

    Raises:
        AdminKeyError: what stands in its file could be guessed: an empty key would be everybody's.
    """
    path = private_folder(state / "keys") / "admin.key"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())
    key = path.read_bytes().strip()
    if not _ADMIN_KEY.fullmatch(key):
        raise AdminKeyError(
            f"{path} holds no key: at least {ADMIN_KEY_CHARS_MIN} letters, digits or signs without a space; delete it, "
            "and the next start makes a new one"
        )
    return key.decode()


@contextlib.asynccontextmanager
async def _loops(services: Services, config: HubConfig, renewing: Renewing) -> AsyncIterator[None]:
    async def tidy() -> None:
        await _tidy(services, config)

    async def marked() -> None:
        await renewing.run(services.clock)

    async def erased() -> None:
        await services.snapshots.drop_erased(services.reader)

    loops = {
        "head": services.head.run,
        "snapshots": services.snapshots.run,
        "erased": erased,
        "recovery": services.reserving.run,
        "marker": marked,
        "tidy": tidy,
    }
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(supervise(name, run, clock=services.clock, board=services.board))
                for name, run in loops.items()
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        if len(several.exceptions) == 1:  # what the block itself raised, wrapped by the group
            raise several.exceptions[0] from several.exceptions[0].__cause__
        raise


async def _tidy(services: Services, config: HubConfig) -> None:
    while True:
        while await services.writer.write(lambda connection: prune(connection, config.hub.feed_rows_kept)):
            pass
        now = services.clock.now()
        while await services.writer.write(partial(prune_closed, now=now)):
            pass
        while await services.writer.write(partial(forget_old, now=now)):
            await services.writer.empty_log()
        services.snapshots.drop_old()
        await services.clock.sleep(TIDY_EVERY_S)


@contextlib.asynccontextmanager
async def _served(services: Services, config: HubConfig, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    app = make_app(services)
    headers = {EPOCH_HEADER: services.founding.epoch}
    async with serve(app, config.hub.host, config.hub.port, ssl_context=tls, headers=headers) as at:
        host = at.host if is_loopback(at.host) and ":" not in at.host else f"[{at.host}]" if ":" in at.host else at.host
        yield f"{'https' if tls else 'http'}://{host}:{at.port}"
