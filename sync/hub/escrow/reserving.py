"""Reserving: a terminal asks for points that it may redeem on its own, and is told all that it holds.

One transaction per question: what is granted, what is recalled from others, and the word that says it. So an answer
that is lost has cost nobody anything: the next one says the same allowances.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sync.contract.allowance import (
    ALLOWANCES_PER_TERMINAL_MAX,
    AllowancesRequest,
    AllowancesWord,
    HeldAllowance,
    NotGranted,
    Want,
)
from sync.contract.events import REDEEMED
from sync.contract.program import Program
from sync.contract.protocol import HelloRequest, Reason
from sync.hub.books.event_rows import parked_events
from sync.hub.books.ledger import pay_what_is_owed
from sync.hub.books.redemption_rows import is_recovering
from sync.hub.escrow.allowances import (
    Asker,
    account_of,
    add,
    adopt,
    count_open,
    elsewhere,
    purse_of,
    recall,
    tell,
    word_for,
)
from sync.hub.escrow.grants import Purse, grant_of, prefetch_of
from sync.hub.escrow.recovery import end, is_complete, note_declared
from sync.hub.escrow.visitors import likely_visitors
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.head import Head
from sync.hub.programs import newest_program
from sync.hub.terminals.ahead import Ahead
from sync.hub.uploads.fences import is_quarantined
from sync.hub.uploads.intake import replay_or_leave
from sync.runtime.clock import Clock, new_id
from sync.runtime.database import Reader, Writer
from sync.runtime.sqlite_file import Connection

_S_PER_H = 3600
# How often the end of a recovery is looked for: soon enough for a person who waits, and some 50 µs a time.
LOOK_S = 1.0
# A commit of so many events, each judged by itself, takes some 50 ms; the tills' uploads wait no longer behind it.
EVENTS_PER_STEP = 200
# A till that was not heard of for so long shares no points with the others of its store.
LIVE = timedelta(days=7)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Granting:
    """One question's transaction: who asks, when, by which rules, and how ids are made."""

    connection: Connection
    asker: Asker
    now: datetime
    program: Program
    new_id: Callable[[], str]

    def fill(self, want: Want) -> NotGranted | None:
        """Reserve what a terminal wants of a customer as far as points are free; return what is missing."""
        account = account_of(self.connection, want.customer_id)
        purse = purse_of(self.connection, self.asker, account, self.now)
        if purse is None:
            return NotGranted(customer_id=want.customer_id, points=want.points)
        granted = grant_of(purse, want.points, self.program.redemption.per_redemption_max)
        self._grant(account, granted)
        missing = want.points - purse.held - granted
        if missing <= 0:
            return None
        return NotGranted(
            customer_id=want.customer_id, points=missing, reserved_elsewhere=self._recall(account, purse, missing)
        )

    def prefetch(self, visitors: list[str], tills: int) -> None:
        """Reserve points of likely visitors, as long as there is room for more allowances."""
        room = ALLOWANCES_PER_TERMINAL_MAX - count_open(self.connection, self.asker.terminal_id)
        for account in visitors[: max(room, 0)]:
            purse = purse_of(self.connection, self.asker, account, self.now)
            if purse is not None:
                self._grant(account, prefetch_of(purse, self.program, tills))

    def _grant(self, account: str, points: int) -> None:
        if points and count_open(self.connection, self.asker.terminal_id) < ALLOWANCES_PER_TERMINAL_MAX:
            new = HeldAllowance(allowance_id=self.new_id(), customer_id=account, amount=points, spent=0)
            ttl_s = self.program.redemption.allowance_ttl_h * _S_PER_H
            add(self.connection, self.asker.terminal_id, new, self.now, ttl_s)

    def _recall(self, account: str, purse: Purse, missing: int) -> int:
        """Ask others for so many points back; return how many they hold in all."""
        others = elsewhere(self.connection, account, self.asker.terminal_id)
        missing = min(missing, self.program.redemption.per_redemption_max - purse.held)
        wanted, called = [], set()
        for allowance_id, terminal_id, points, is_recalled in others:
            if missing <= 0:
                break
            missing -= points
            if not is_recalled:
                wanted.append(allowance_id)
                called.add(terminal_id)
        recall(self.connection, wanted, int(self.now.timestamp() * 1000))
        tell(self.connection, called)
        return sum(points for _, _, points, _ in others)


class Reserving:
    """Grants allowances, and finds back what was promised after the hub was brought back from a backup."""

    def __init__(
        self, writer: Writer, reader: Reader, head: Head, epoch: str, clock: Clock, ahead: Ahead | None = None
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._head = head
        self._epoch = epoch
        self._clock = clock
        self._ahead = ahead or Ahead()

    async def ask(self, terminal_id: str, store_id: str, request: AllowancesRequest) -> AllowancesWord:
        """Reserve what a terminal asks for as far as points are free, and return all that it holds."""
        now = self._clock.now()
        asker = Asker(terminal_id, store_id, self._epoch)
        visitors: list[str] = []
        if request.prefetch:
            visitors = await self._reader.read(lambda connection: _visitors(connection, store_id, now))

        def work(connection: Connection) -> tuple[AllowancesWord, int]:
            stops = self._ahead.stops(terminal_id)
            refused = refuse(request) if stops else grant_all(connection, asker, request, visitors, now)
            return word_for(connection, asker, now, refused), last_pos(connection)

        word, pos = await self._writer.write(work)
        self._head.reached(pos)
        return word

    async def run(self) -> None:
        """Look again and again whether a recovery is over, and do what waited for its end; never returns."""
        was_recovering = True  # a hub that died behind the end has not done that yet
        while True:
            if await self._reader.read(is_recovering):
                was_recovering = not await self.look()
            elif was_recovering:  # a person ended it, and was told what may be granted before all is judged
                await self._end()
                was_recovering = False
            await self._clock.sleep(LOOK_S)

    async def look(self) -> bool:
        """End the recovery where nothing is waited for any more, and tell whether it is over."""
        is_over = await self._end()
        if is_over:
            _log.info("recovery is over: allowances are granted again")
        return is_over

    async def _end(self) -> bool:
        step = Ending()
        while not step.is_over:
            taken = await self._writer.write(partial(self._step, after=step.after))
            if taken is None:
                return False
            step = taken
            self._head.reached(step.pos)
        return True

    def _step(self, connection: Connection, after: tuple[int, int]) -> "Ending | None":
        now = self._clock.now()
        return end_by_steps(connection, after, now) if is_complete(connection, now) else None


@dataclass(frozen=True, slots=True)
class Ending:
    """How far the end of a recovery has come: the place of the last event judged, and the feed's position."""

    after: tuple[int, int] = (0, 0)
    pos: int = 0
    is_over: bool = False


def end_by_steps(connection: Connection, after: tuple[int, int], now: datetime) -> Ending:
    """Judge some of what waited, behind a place; where that is the rest, end the recovery and let debts be paid.

    Until then the hub counts as recovering and grants nothing, and the last step is one transaction with the end:
    whatever is granted next is cut from what is left. Broken off, it begins again with what is not judged yet.
    """
    events = parked_events(connection, (REDEEMED,), Reason.HUB_RECOVERING, after, EVENTS_PER_STEP + 1)
    for event in events[:EVENTS_PER_STEP]:
        replay_or_leave(connection, event, now, is_recovered=True)
    if len(events) > EVENTS_PER_STEP:
        return Ending(events[EVENTS_PER_STEP - 1].place, last_pos(connection))
    end(connection)
    return Ending(pos=pay_what_is_owed(connection, int(now.timestamp() * 1000)), is_over=True)


def greet(connection: Connection, asker: Asker, request: HelloRequest, now: datetime) -> AllowancesWord:
    """Take note, in the transaction of a hello, of what the terminal holds and has recorded; return all it holds."""
    if is_recovering(connection):
        if request.hub_epoch == asker.epoch:
            note_declared(connection, asker.terminal_id, {one.inc: one.length for one in request.incarnations})
        program = newest_program(connection)
        ttl_s = program.redemption.allowance_ttl_h * _S_PER_H if program is not None else 0
        if adopted := adopt(connection, asker.terminal_id, request.allowances, now, ttl_s):
            _log.info("allowances known again: terminal=%s count=%d", asker.terminal_id, len(adopted))
    return word_for(connection, asker, now)


def is_wanted_again(connection: Connection, asker: Asker, request: HelloRequest) -> bool:
    """Tell whether a hello has to be said again: while the hub recovers, one that may be from before the restore."""
    return is_recovering(connection) and request.hub_epoch != asker.epoch


def grant_all(
    connection: Connection, asker: Asker, request: AllowancesRequest, visitors: list[str], now: datetime
) -> list[NotGranted]:
    """Grant what is wanted, and return what is missing; nothing while the hub recovers, or to one in quarantine."""
    program = newest_program(connection)
    if program is None or is_recovering(connection) or is_quarantined(connection, asker.terminal_id):
        return refuse(request)
    granting = Granting(connection, asker, now, program, lambda: str(new_id(now)))
    refused = [granting.fill(want) for want in request.want]
    if visitors:
        granting.prefetch(visitors, _live_tills(connection, asker.store_id, now))
    return [one for one in refused if one is not None]


def refuse(request: AllowancesRequest) -> list[NotGranted]:
    """Grant nothing of what is wanted."""
    return [NotGranted(customer_id=want.customer_id, points=want.points) for want in request.want]


def _visitors(connection: Connection, store_id: str, now: datetime) -> list[str]:
    program = newest_program(connection)
    if program is None or not program.rewards:
        return []
    cheapest = min(reward.points for reward in program.rewards)
    return likely_visitors(connection, store_id, cheapest, program.redemption.prefetch_customers_max, now)


def _live_tills(connection: Connection, store_id: str, now: datetime) -> int:
    row = connection.execute(
        "SELECT count(*) FROM terminals WHERE store_id = ? AND revoked_ms IS NULL AND hello_ms > ?",
        (store_id, int((now - LIVE).timestamp() * 1000)),
    ).fetchone()
    return int(row[0]) if row else 0
