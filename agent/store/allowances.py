"""Allowances: what the hub reserved for this till, as it last said, and what was spent of that since.

The hub's word replaces the list whole, in one transaction with how far it contains this till's events. What is left of
an allowance is that word less the spends that it does not contain, so a word that is lost, doubled or late changes
nothing. A word that may be older than one that was taken in the meantime is not taken at all: the next says the same.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.purse import Given, Held, Purse, Reading
from agent.store.trust import TRUST_COLUMNS, Marker, note_heard, note_time, read_trust, reading, trust_of
from sync.contract.allowance import (
    ALLOWANCES_PER_TERMINAL_MAX,
    WANTS_PER_CALL_MAX,
    AllowancesWord,
    HeldAllowance,
    Spend,
    Want,
    remaining,
)
from sync.contract.events import ALLOWANCE_RETURNED, POINTS_MAX, REDEEMED
from sync.runtime.clock import Clock
from sync.runtime.database import Reader, Writer
from sync.runtime.near_reader import NearReader
from sync.runtime.sqlite_file import Connection, DatabaseFull

# What the hub's word does not contain: later spends, and those whose event the network refused to carry.
_IS_OPEN = """(s.seq > coalesce(w.through, 0)
  OR EXISTS (SELECT 1 FROM main.set_aside x WHERE x.position = s.position AND x.state = 'withheld'))"""
_SPENDS = "FROM main.spends s LEFT JOIN main.word_coverage w ON w.inc = s.inc"
_GOODWILL = "FROM main.goodwill s LEFT JOIN main.word_coverage w ON w.inc = s.inc"
_OF_CUSTOMER = f"""SELECT s.allowance_id, s.inc, s.seq, s.points {_SPENDS} WHERE {_IS_OPEN}
AND s.allowance_id IN (SELECT allowance_id FROM main.allowances WHERE customer_id = ?)"""
# What everybody's purse begins with, in one look; goodwill is rare and asked for only where there is any.
_OF_ALL = f"""SELECT (SELECT sum(s.points) {_SPENDS} WHERE {_IS_OPEN} AND s.position >= t.contained_before),
(SELECT sum(s.points) {_GOODWILL} WHERE {_IS_OPEN} AND s.position >= t.contained_before),
EXISTS (SELECT 1 FROM main.goodwill), {TRUST_COLUMNS} FROM main.trust t"""
# What is held longest goes back unused, before the hub has no more to give to a till that serves a crowd in a day. The
# rest is room for one question's wishes and the likely visitors.
KEPT_MAX = ALLOWANCES_PER_TERMINAL_MAX * 4 // 5
# Customers whose wishes and refusals are remembered: those of some busy minutes.
REMEMBERED_MAX = 200


@dataclass(frozen=True, slots=True)
class _Question:
    """A question to the hub: after how many words it was asked, and when. Ages are counted from here, to be safe."""

    number: int
    when: Reading
    by_hello: bool


class Allowances:
    """What this till may spend. Used on the event loop; `notice` is set whenever the hub should be asked something."""

    def __init__(self, writer: Writer, near: NearReader, reader: Reader, clock: Clock, marker: Marker) -> None:
        """Take the till's connections, and the marker that no older file may fit."""
        self._marker = marker
        self._writer = writer
        self._near = near
        self._reader = reader
        self._clock = clock
        self._words = 0
        self._wishes: OrderedDict[str, int] = OrderedDict()
        self._elsewhere: OrderedDict[str, int] = OrderedDict()
        self._is_stale = False
        self._notice = asyncio.Event()
        self._changed: Callable[[frozenset[str]], None] = lambda _: None

    @property
    def notice(self) -> asyncio.Event:
        """Set whenever the hub should be asked something."""
        return self._notice

    def purse(self, customer_id: str, subjects: Sequence[str]) -> Purse:
        """Return what can be counted on for a customer now."""
        now = reading(self._clock)
        purse = self._near.read(lambda connection: read_purse(connection, customer_id, subjects, now))
        return replace(purse, reserved_elsewhere=self.reserved_elsewhere(customer_id))

    def reserved_elsewhere(self, customer_id: str) -> int:
        """Return how many of a customer's points other tills hold, as far as the hub has said lately."""
        return self._elsewhere.get(customer_id, 0)

    def wish(self, customer_id: str, points: int) -> None:
        """Wish to hold so many points of a customer who is there; the hub is asked as soon as it can be."""
        if self._wishes.get(customer_id) != points:
            _remember(self._wishes, customer_id, points)
            self._notice.set()

    def ask_again(self) -> None:
        """Note that the hub has another word than it last said."""
        self._is_stale = True
        self._notice.set()

    def take_wishes(self) -> tuple[tuple[Want, ...], bool]:
        """Return what to ask for, and whether to ask even where that is nothing. Wishes are taken once."""
        wishes = [self._wishes.popitem(last=False) for _ in range(min(len(self._wishes), WANTS_PER_CALL_MAX))]
        is_stale, self._is_stale = self._is_stale, False
        return tuple(self.want(customer_id, points) for customer_id, points in wishes), is_stale

    def want(self, customer_id: str, points: int) -> Want:
        """Return a wish as the hub counts it: it does not know the spends that are still on their way."""
        spent = self._near.read(lambda connection: _sum(_spends_of(connection, customer_id)))
        return Want(customer_id=customer_id, points=min(points + spent, POINTS_MAX))

    def tell(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Take whom to tell of customers whose allowances changed."""
        self._changed = changed

    def asking(self, *, by_hello: bool = False) -> Callable[[AllowancesWord], Awaitable[bool]]:
        """Return what keeps the answer to a question that is about to be asked: it lets the word replace the list.

        It tells whether it did. A word that crossed another one on its way may be older, and changes nothing; nor does
        one that comes while the disk is full.
        """
        question = _Question(self._words, reading(self._clock), by_hello)
        return lambda word: self._keep(question, word)

    async def _keep(self, question: "_Question", word: AllowancesWord) -> bool:
        if question.number != self._words:
            return False
        self._words += 1
        when, by_hello = question.when, question.by_hello
        try:
            touched = await self._writer.write(lambda connection: _replace(connection, when, word, by_hello=by_hello))
        except DatabaseFull:
            return False
        for customer_id in {one.customer_id for one in word.allowances}:
            self._elsewhere.pop(customer_id, None)
        for refused in word.refused:
            _remember(self._elsewhere, refused.customer_id, refused.reserved_elsewhere)
        if by_hello:
            self._notice.set()
        self._changed(touched | {refused.customer_id for refused in word.refused})
        if by_hello or touched:
            with suppress(DatabaseFull):
                await self._marker.renew()
        return True

    async def held(self) -> tuple[HeldAllowance, ...]:
        """Return what this till holds and has not returned, for a hub that may have forgotten it."""

        def read(connection: Connection) -> tuple[HeldAllowance, ...]:
            rows = connection.execute(
                "SELECT allowance_id, customer_id, amount, spent FROM allowances a WHERE NOT EXISTS"
                " (SELECT 1 FROM spends s WHERE s.allowance_id = a.allowance_id AND s.points IS NULL)"
                " ORDER BY allowance_id LIMIT ?",
                (ALLOWANCES_PER_TERMINAL_MAX,),
            ).fetchall()
            return tuple(
                HeldAllowance(allowance_id=allowance_id, customer_id=customer_id, amount=amount, spent=spent)
                for allowance_id, customer_id, amount, spent in rows
            )

        return await self._reader.read(read)

    async def due_back(self) -> tuple[str, ...]:
        """Return the allowances that the hub should have back: recalled, too old or too many, and not returned yet."""
        now = reading(self._clock)

        def read(connection: Connection) -> tuple[str, ...]:
            trust = read_trust(connection)
            if trust.is_frozen or trust.heard is None:
                return ()
            rows = connection.execute(
                "SELECT allowance_id FROM (SELECT allowance_id,"
                " is_recalled OR ends_at <= ? OR (? AND ends_monotonic <= ?) AS is_over,"
                " row_number() OVER (ORDER BY ends_at DESC, allowance_id DESC) AS place"
                " FROM allowances a WHERE NOT EXISTS"
                " (SELECT 1 FROM spends s WHERE s.allowance_id = a.allowance_id AND s.points IS NULL))"
                " WHERE is_over OR place > ? ORDER BY allowance_id",
                (now.wall_ms, trust.heard.boot_id == now.boot_id, now.monotonic_ms, KEPT_MAX),
            )
            return tuple(row[0] for row in rows.fetchall())

        return await self._reader.read(read)

    async def note_time(self) -> None:
        """Write down that it is at least so late: a clock that is set back later is noticed, also over a restart."""
        now_ms = reading(self._clock).wall_ms
        with suppress(DatabaseFull):
            await self._writer.write(lambda connection: note_time(connection, now_ms))


def read_purse(connection: Connection, customer_id: str | None, subjects: Sequence[str], now: Reading) -> Purse:
    """Return what can be counted on for a customer, as this state of the till's file has it."""
    spent_by_all, given_to_all, has_goodwill, *told = connection.execute(_OF_ALL).fetchone() or (0, 0, 0)
    purse = Purse(now, trust_of(told), spent_by_all=(spent_by_all or 0) + (given_to_all or 0))
    heard = purse.trust.heard
    if customer_id is None or heard is None:
        return purse
    rows = connection.execute(
        "SELECT allowance_id, amount, spent FROM main.allowances WHERE customer_id = ? AND NOT is_recalled"
        " AND ends_at > ? AND NOT (? AND ends_monotonic <= ?) ORDER BY ends_at, allowance_id",
        (customer_id, now.wall_ms, heard.boot_id == now.boot_id, now.monotonic_ms),
    ).fetchall()
    spends = _spends_of(connection, customer_id) if rows else {}
    held = [Held(one, remaining(amount, spent, spends.get(one, ()), {})) for one, amount, spent in rows]
    given, given_open = _given(connection, subjects) if has_goodwill else ((), 0)
    return replace(
        purse, held=tuple(one for one in held if one.remaining), spent=_sum(spends) + given_open, given=given
    )


def rebuild_spends(connection: Connection) -> None:
    """Write down again what the events of the journal took from allowances."""
    place = "j.event ->> '$.inc', j.event ->> '$.seq'"
    connection.execute(
        "INSERT OR IGNORE INTO spends (allowance_id, inc, seq, position, points)"
        f" SELECT share.value ->> '$.allowance_id', {place}, j.position, share.value ->> '$.points'"
        " FROM journal j, json_each(j.event, '$.data.shares') share WHERE j.event ->> '$.type' = ?",
        (REDEEMED,),
    )
    connection.execute(
        "INSERT OR IGNORE INTO spends (allowance_id, inc, seq, position, points)"
        f" SELECT j.event ->> '$.data.allowance_id', {place}, j.position, NULL"
        " FROM journal j WHERE j.event ->> '$.type' = ?",
        (ALLOWANCE_RETURNED,),
    )
    connection.execute(
        "INSERT OR IGNORE INTO goodwill (subject, inc, seq, position, points, given_at, given_monotonic, given_boot)"
        f" SELECT j.subject, {place}, j.position, j.event ->> '$.data.goodwill', j.recorded_at,"
        " j.event ->> '$.monoms', j.event ->> '$.bootid' FROM journal j"
        " WHERE j.event ->> '$.type' = ? AND j.event ->> '$.data.goodwill' > 0 AND j.subject IS NOT NULL",
        (REDEEMED,),
    )


def forget_spends(connection: Connection, number: int) -> None:
    """Delete what pruned events of an incarnation took and gave, as far as the hub's word contains them.

    The hub has had them for a day at least, the shortest time that events are kept, so no goodwill among them counts
    towards anybody's most any more.
    """
    row = connection.execute(
        "SELECT i.first_position, i.first_position + min(i.pruned_through, w.through) FROM incarnations i"
        " JOIN word_coverage w USING (inc) WHERE i.number = ?",
        (number,),
    ).fetchone()
    if row is not None:
        connection.execute("DELETE FROM spends WHERE position >= ? AND position < ?", row)
        connection.execute("DELETE FROM goodwill WHERE position >= ? AND position < ?", row)


def _spends_of(connection: Connection, customer_id: str) -> dict[str, list[Spend]]:
    found: dict[str, list[Spend]] = {}
    for allowance_id, inc, seq, points in connection.execute(_OF_CUSTOMER, (customer_id,)).fetchall():
        found.setdefault(allowance_id, []).append(Spend(inc, seq, points))
    return found


def _sum(spends: Mapping[str, Sequence[Spend]]) -> int:
    return sum(spend.points or 0 for of_one in spends.values() for spend in of_one)


def _given(connection: Connection, subjects: Sequence[str]) -> tuple[tuple[Given, ...], int]:
    """Return the goodwill of a customer that is still written down, and how much of it the hub's word lacks."""
    marks = ", ".join("?" * len(subjects))
    rows = connection.execute(
        f"SELECT s.points, s.given_at, s.given_monotonic, s.given_boot, {_IS_OPEN} {_GOODWILL}"
        f" WHERE s.subject IN ({marks})",
        [bytes.fromhex(subject) for subject in subjects],
    ).fetchall()
    given = tuple(Given(points, Reading(*when)) for points, *when, _ in rows)
    return given, sum(row[0] for row in rows if row[-1])


def _replace(connection: Connection, when: Reading, word: AllowancesWord, *, by_hello: bool) -> frozenset[str]:
    """Write the hub's word in place of the one before, and return the customers of both."""
    before = connection.execute("SELECT DISTINCT customer_id FROM allowances").fetchall()
    connection.execute("DELETE FROM allowances")
    connection.execute("DELETE FROM word_coverage")
    connection.executemany(
        "INSERT INTO allowances (allowance_id, customer_id, amount, spent, is_recalled, ends_at, ends_monotonic)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                one.allowance_id,
                one.customer_id,
                one.amount,
                one.spent,
                one.recalled,
                when.wall_ms + one.ttl_s * 1000,
                when.monotonic_ms + one.ttl_s * 1000,
            )
            for one in word.allowances
        ],
    )
    connection.executemany("INSERT INTO word_coverage (inc, through) VALUES (?, ?)", word.applied.items())
    note_heard(connection, when, by_hello=by_hello)
    connection.execute(
        "UPDATE trust SET contained_before = coalesce("
        "(SELECT min(s.first_position + coalesce(w.through, 0)) FROM streams s LEFT JOIN word_coverage w USING (inc)"
        " WHERE coalesce(w.through, 0) < s.length), (SELECT max(position) + 1 FROM journal), 0)"
    )
    return frozenset(row[0] for row in before) | {one.customer_id for one in word.allowances}


def _remember(kept: OrderedDict[str, int], customer_id: str, points: int) -> None:
    kept[customer_id] = points
    kept.move_to_end(customer_id)
    if len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
