"""The pusher: carries the journal to the hub, in order, one request in flight, until the end of time.

First hello, and again after every loss, so that the hub's word and not our memory says where to go on. An answer that
got lost leaves the outcome unknown: the same range goes again, and the hub knows it by (terminal, incarnation, seq).
No error deletes an event, and no number of errors ends the trying.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NoReturn

from sync.contract.allowance import HeldAllowance
from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import (
    BATCH_BYTES_MAX,
    HelloAnswer,
    HelloRequest,
    ProblemCode,
)
from sync.contract.versions import PROTOCOLS
from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, MessageTooLarge
from sync.pump.line import Direction, HubTime, Line, first_of
from sync.pump.pace import EVENTS_START, BatchSize, Ladder, Pace
from sync.pump.ports import Batch, Hub, Journal, JournalState, KeepWord
from sync.pump.steps import (
    WITHHELD_REASON,
    AfterError,
    after_upload_error,
    applied_of,
    believed_upload,
    outcomes_of,
    settled_chain,
    withheld_marker,
)
from sync.runtime.clock import Clock

# Nothing waits this long without being looked at, even if a notice was missed.
IDLE_S = 60.0
# A till whose line holds for weeks still hears the hub's time and its wish for a new credential.
HELLO_EVERY_S = 3600.0
# A tenth of a kB each: small enough for any way.
IDENTIFIERS_PER_CALL = 50
# A word that another one crossed on its way is not taken, and the other one may be of a hub that was brought back from
# a backup since: then this till holds what the hub was not told of. The next hello names it, as a restored hub wants.
HELLOS_PER_TURN_MAX = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the pusher needs of the terminal besides its journal."""

    agent_version: str
    # Where the terminal's feed continues, for the hub's information.
    cursor: Callable[[], Awaitable[str | None]]
    # Keeps a new credential durably; the hub client uses it from then on.
    keep_credential: Callable[[str], Awaitable[None]]
    # The public half of the key that uploads are signed with, for a hub that was never told.
    public_key: str | None = None
    # What the hub reserved for the terminal, and what keeps the hub's next word on it.
    held: Callable[[], Awaitable[tuple[HeldAllowance, ...]]] | None = None
    asking: Callable[[], KeepWord] | None = None
    # The incarnation of this process.
    running: str | None = None


class Pusher:
    """Uploads events, then runs the errands: presented identifiers, a new credential. Supervise its `run`."""

    def __init__(
        self, journal: Journal, hub: Hub, line: Line, terminal: Terminal, clock: Clock, pace: Pace | None = None
    ) -> None:
        self._journal = journal
        self._hub = hub
        self._line = line
        self._terminal = terminal
        self._clock = clock
        self._ladder = Ladder(pace or Pace(), lambda seconds, error: line.pause(Direction.UPLOAD, seconds, error))
        self._most = BatchSize(EVENTS_START, BATCH_BYTES_MAX)
        self._size = self._most
        self._hello_at_s = 0.0
        self._epoch_heard: str | None = None
        self._was_lost = False
        self._rotation_due = False
        self._errands_refused = False

    async def run(self) -> NoReturn:
        """Push for ever; ends by cancellation, or by an error of the journal."""
        self._line.want_hello(self._line.epoch)
        while True:
            self._journal.notice.clear()
            if not await self._ladder.climb(self._turn):
                await first_of(self._clock, IDLE_S, self._journal.notice, self._line.hello_wanted)

    async def _turn(self) -> bool:
        """Do the next thing that needs doing, after a hello where one is due; return False where nothing waits."""
        is_due = self._line.hello_wanted.is_set() or self._clock.monotonic() >= self._hello_at_s
        epoch = None if is_due else self._line.epoch
        says_hello = epoch is None
        try:
            epoch = epoch or await self._hello()
            batch = await self._journal.next_batch(self._size.events, self._size.size_bytes)
            has_more = await (self._errand(epoch) if batch is None else self._upload(batch, epoch))
        except HubError as error:
            if epoch is None:
                self._line.ask_hello()
            self._was_lost = self._was_lost or isinstance(error, HubUnreachable)
            if not isinstance(error, HubBusy):
                self._line.want_hello(epoch or self._line.epoch)
            self._line.failed(Direction.UPLOAD, error)
            raise
        if says_hello or has_more:
            self._line.heard(Direction.UPLOAD)
        return has_more

    async def _hello(self) -> str:
        for _ in range(HELLOS_PER_TURN_MAX):
            answer, is_enough = await self._say_hello()
            if is_enough:
                break
        await self._spread(answer)
        return answer.hub_epoch

    async def _say_hello(self) -> tuple[HelloAnswer, bool]:
        """Say hello and take what the hub answers; tell whether that is enough, or it has to be said again."""
        # Before anything is read for it: whoever asks for one from here on has news that this one may not hold.
        self._line.hello_wanted.clear()
        request = await self._hello_request(await self._journal.state())
        keep_word = self._terminal.asking() if self._terminal.asking is not None else None
        asked_s = self._clock.monotonic()
        answer = await self._hub.hello(request)
        answered_s = self._clock.monotonic()
        if answer.protocol not in PROTOCOLS:
            raise HubRefused(ProblemCode.PROTOCOL_UNKNOWN)
        await self._journal.rewind(applied_of(request.incarnations, answer))
        if outcomes := outcomes_of(request.held, answer):
            await self._journal.conclude(outcomes)
        self._most = BatchSize(answer.max_batch_events, answer.max_batch_bytes)
        self._size = self._size.within(self._most)
        self._rotation_due = answer.rotate_credential
        self._errands_refused = False
        self._hello_at_s = answered_s + HELLO_EVERY_S
        # The hub read its clock about half-way between question and answer.
        hub_time = HubTime(answer.server_time, (asked_s + answered_s) / 2, self._clock.boot_id)
        self._epoch_heard = answer.hub_epoch
        self._line.greeted(answer.hub_epoch, hub_time)
        is_kept = answer.allowances is None or keep_word is None or await keep_word(answer.allowances)
        return answer, is_kept and not answer.again

    async def _hello_request(self, state: JournalState) -> HelloRequest:
        now = self._clock.now()
        return HelloRequest(
            protocols=PROTOCOLS,
            agent_version=self._terminal.agent_version,
            event_types=EVENT_TYPES,
            cursor=await self._terminal.cursor(),
            hub_epoch=self._epoch_heard,
            incarnations=state.incarnations,
            held=state.held,
            waiting=state.waiting.count,
            oldest_waiting_s=_age_s(now, state.waiting.oldest_recorded_at),
            wall=now,
            monoms=int(self._clock.monotonic() * 1000),
            bootid=self._clock.boot_id,
            running=self._terminal.running,
            public_key=self._terminal.public_key,
            allowances=await self._terminal.held() if self._terminal.held is not None else (),
        )

    async def _spread(self, answer: HelloAnswer) -> None:
        """Wait as long as the hub asks for after a loss, so that a whole fleet does not send its backlog at once."""
        if self._was_lost and answer.reconnect_spread_s:
            self._line.heard(Direction.UPLOAD)
            await self._clock.sleep(answer.reconnect_spread_s * self._ladder.chance())
        self._was_lost = False

    async def _upload(self, batch: Batch, epoch: str) -> bool:
        try:
            await self._put(batch, epoch)
        except HubError as error:
            self._size = self._size.after_fault(error.code)
            after = after_upload_error(error, batch)
            if after is AfterError.LESS:
                self._size = self._size.after_refusal(batch.size_bytes)
            elif after is AfterError.WITHHOLD:
                await self._withhold(batch, epoch)
            else:
                raise
        return True

    async def _put(self, batch: Batch, epoch: str) -> None:
        answer = believed_upload(batch, await self._hub.upload(batch, epoch), epoch)
        await self._journal.settle(batch.inc, answer, settled_chain(batch, answer))
        self._size = self._size.grown(self._most)
        self._line.heard(Direction.UPLOAD, acknowledged=True)

    async def _withhold(self, batch: Batch, epoch: str) -> None:
        """Keep the body here, and let a marker hold its place, so that the line moves on and the sequence is whole.

        The journal knows first: if the marker's answer got lost, the points would else stay pending for ever.
        """
        _log.warning("event withheld: inc=%s seq=%d bytes=%d", batch.inc, batch.first, batch.size_bytes)
        await self._journal.withhold(batch.inc, batch.first, WITHHELD_REASON)
        await self._put(replace(batch, events=(withheld_marker(batch.events[0]),)), epoch)

    async def _errand(self, epoch: str) -> bool:
        """Run one errand. A refused one rests until the next hello: it must not hold up money."""
        if self._errands_refused:
            return False
        try:
            return await self._rotate() or await self._send_identifiers(epoch)
        except (HubRefused, MessageTooLarge) as error:
            if error.code == ProblemCode.HELLO_REQUIRED:
                raise
            _log.warning("errand refused: code=%s", error.code)
            self._errands_refused = True
            return False

    async def _rotate(self) -> bool:
        if not self._rotation_due:
            return False
        answer = await self._hub.rotate_credential()
        await self._terminal.keep_credential(answer.credential)
        self._rotation_due = False
        return True

    async def _send_identifiers(self, epoch: str) -> bool:
        presented = await self._journal.unsent_identifiers(IDENTIFIERS_PER_CALL)
        if not presented:
            return False
        answer = await self._hub.send_identifiers(epoch, presented)
        asked = [one.id for one in presented]
        await self._journal.identifiers_sent(asked, [one for one in asked if one in set(answer.known)])
        return True


def _age_s(now: datetime, then: datetime | None) -> int:
    return max(int((now - then).total_seconds()), 0) if then is not None else 0
