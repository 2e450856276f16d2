"""Reception: who may come in, and what a terminal is told at its hello. Secrets are made here and kept as hashes."""

import logging
from typing import NamedTuple

from sync.contract.allowance import AllowancesWord
from sync.contract.cursors import FeedCursor, read_cursor
from sync.contract.protocol import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    AppliedThrough,
    CredentialAnswer,
    EnrolAnswer,
    EnrolRequest,
    HelloAnswer,
    HelloRequest,
    OutcomePut,
)
from sync.contract.versions import common_protocol, is_older
from sync.hub.books.held import final_outcomes
from sync.hub.escrow.allowances import Asker
from sync.hub.escrow.reserving import greet, is_wanted_again
from sync.hub.feed.feed_log import last_pos
from sync.hub.founding import Founding
from sync.hub.programs import newest_program
from sync.hub.terminals.ahead import Ahead, is_ahead
from sync.hub.terminals.roster import (
    NewTerminal,
    OtherTerminal,
    Place,
    Terminal,
    count,
    enrol,
    enrol_again,
    find,
    hand_out_next,
    new_credential,
    note_hello,
    redeem_invitation,
    take_up_next,
)
from sync.hub.uploads.clocks import LastHellos, note_clocks
from sync.hub.uploads.fences import step_in
from sync.hub.uploads.streams import applied
from sync.runtime.clock import Clock, new_id
from sync.runtime.database import Reader, Writer
from sync.runtime.sqlite_file import Connection

# After an outage all terminals come back at once; so many a second are let in without a queue.
HELLOS_PER_S = 100
SPREAD_S_MAX = 60

_log = logging.getLogger(__name__)


class CodeRefused(Exception):
    """The one-time code opens nothing (any more)."""


class ProtocolUnknown(Exception):
    """The terminal speaks no protocol that the hub speaks."""


class AgentTooOld(Exception):
    """The terminal's program is older than this hub gives downloads to."""

    def __init__(self, min_agent: str) -> None:
        super().__init__(f"this hub's downloads are for version {min_agent} or newer")
        self.min_agent = min_agent


class _Heard(NamedTuple):
    """What the books say to a hello."""

    fence: int
    outcomes: tuple[OutcomePut, ...]
    word: AllowancesWord
    applied: tuple[AppliedThrough, ...]
    terminals: int
    is_ahead: str | None
    again: bool


class Reception:
    """Enrols terminals, knows them again, and greets them."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        founding: Founding,
        clock: Clock,
        *,
        min_agent: str = "",
        ahead: Ahead | None = None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._founding = founding
        self._clock = clock
        self._min_agent = min_agent
        self._ahead = ahead or Ahead()
        self._last_hellos = LastHellos()

    async def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """Turn a one-time code into a terminal.

        Raises:
            CodeRefused: the code is wrong, used, too old, or was tried too often.
            OtherTerminal: it was another terminal before, or another store's; the code stays good.
        """
        now, before = self._clock.now(), request.before
        terminal_id = before.terminal_id if before is not None else str(new_id(now))
        new = NewTerminal(terminal_id, new_credential(), request.agent_version, request.public_key)

        def work(connection: Connection) -> Place | None:
            place = redeem_invitation(connection, request.code, now)
            if place is None:
                return None
            if before is None:
                enrol(connection, new, place, now)
                return place
            if before.store_id != place.store_id:
                raise OtherTerminal
            enrol_again(connection, new, before.credential, place, now)
            return place

        place = await self._writer.write(work)
        if place is None:
            _log.warning("one-time code refused")
            raise CodeRefused
        program = await self._reader.read(newest_program)
        if program is None:
            raise LookupError("the hub has no program; it is made at the start")
        _log.info("terminal enrolled: terminal=%s store=%s", new.terminal_id, place.store_id)
        return EnrolAnswer(
            terminal_id=new.terminal_id,
            store_id=place.store_id,
            credential=new.credential,
            identifier_key=self._founding.identifier_key.hex(),
            hub_epoch=self._founding.epoch,
            program=program,
        )

    async def identify(self, credential: str) -> Terminal | None:
        """Return the terminal that a credential is of; its first use of a new one ends the old one."""
        terminal = await self._reader.read(lambda connection: find(connection, credential))
        if terminal is not None and terminal.uses_next and not terminal.is_revoked:
            await self._writer.write(lambda connection: take_up_next(connection, credential))
            _log.info("credential rotated: terminal=%s", terminal.terminal_id)
        return terminal

    async def hello(self, terminal: Terminal, request: HelloRequest) -> HelloAnswer:
        """Greet a terminal: how far the hub holds its incarnations, and the limits of this connection.

        Raises:
            ProtocolUnknown: there is no common protocol.
        """
        protocol = common_protocol(request.protocols)
        if protocol is None:
            raise ProtocolUnknown
        now = self._clock.now()
        offset_ms = self._last_hellos.offset_ms(terminal.terminal_id, request, now)
        incs = [incarnation.inc for incarnation in request.incarnations]

        asker = Asker(terminal.terminal_id, terminal.store_id, self._founding.epoch)
        place = read_cursor(request.cursor) if request.cursor is not None else None

        def work(connection: Connection) -> _Heard:
            note_clocks(connection, terminal.terminal_id, request, now, offset_ms)
            note_hello(connection, terminal.terminal_id, request, now)
            return _Heard(
                fence=step_in(connection, terminal.terminal_id, request.running, request.incarnations),
                outcomes=final_outcomes(
                    connection, terminal.terminal_id, request.held, request.cursor, self._founding.epoch
                ),
                word=greet(connection, asker, request, now),
                applied=applied(
                    connection, terminal.terminal_id, incs, knows_epoch=self._is_current(connection, place)
                ),
                terminals=count(connection),
                is_ahead=is_ahead(connection, place, request.allowances, self._founding.epoch, now),
                again=is_wanted_again(connection, asker, request),
            )

        heard = await self._writer.write(work)
        if heard.is_ahead is not None:
            self._ahead.note(terminal.terminal_id, heard.is_ahead)
        return HelloAnswer(
            protocol=protocol,
            hub_epoch=self._founding.epoch,
            applied=heard.applied,
            outcomes=heard.outcomes,
            max_batch_events=BATCH_EVENTS_MAX,
            max_batch_bytes=BATCH_BYTES_MAX,
            reconnect_spread_s=min(heard.terminals // HELLOS_PER_S, SPREAD_S_MAX),
            server_time=self._clock.now(),
            rotate_credential=terminal.rotate and not terminal.uses_next,
            fence=heard.fence,
            allowances=heard.word,
            again=heard.again,
            min_agent=self._min_agent or None,
        )

    def _is_current(self, connection: Connection, place: FeedCursor | None) -> bool:
        """Tell whether a cursor is of this very history of the hub."""
        return place is not None and place.hub_epoch == self._founding.epoch and place.position <= last_pos(connection)

    def check_version(self, terminal: Terminal) -> None:
        """Refuse downloads to a terminal whose last hello was said by too old a program.

        Raises:
            AgentTooOld: its downloads stop until it is updated.
        """
        if is_older(terminal.agent_version, self._min_agent):
            raise AgentTooOld(self._min_agent)

    async def rotate(self, terminal: Terminal) -> CredentialAnswer:
        """Hand out a new credential; the current one serves until the new one is used."""
        credential = new_credential()
        await self._writer.write(lambda connection: hand_out_next(connection, terminal.terminal_id, credential))
        return CredentialAnswer(credential=credential)
