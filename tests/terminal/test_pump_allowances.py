"""A till's reservations on made-up time: when it asks, when it gives back, how it bears a hub that is away."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from sync.contract.allowance import AllowancesRequest, AllowancesWord, Want
from sync.contract.protocol import ProblemCode
from sync.hub_errors import HubError, HubRefused, HubUnreachable
from sync.pump.allowances import CROSSINGS_MAX, LOOK_S, PREFETCH_EVERY_S, QUIET_S, REFUSED_REST_S, Reservations
from sync.pump.line import HubTime, Line
from sync.pump.ports import KeepWord
from tests.support.clock import FakeClock

EPOCH = "epoch-1"


@dataclass
class Book:
    """A till's allowances, as the loop knows them, and the hub that it asks."""

    notice: asyncio.Event = field(default_factory=asyncio.Event)
    wishes: list[Want] = field(default_factory=list)
    is_stale: bool = False
    kept: int = 0
    crossed: int = 0
    given_back: int = 0
    times: int = 0
    asked: list[AllowancesRequest] = field(default_factory=list)
    asked_under: list[str] = field(default_factory=list)
    fails: deque[HubError] = field(default_factory=deque)
    epoch: str = EPOCH
    before_the_answer: Callable[[], None] = lambda: None

    def take_wishes(self) -> tuple[tuple[Want, ...], bool]:
        wishes, is_stale, self.wishes, self.is_stale = tuple(self.wishes), self.is_stale, [], False
        return wishes, is_stale

    def want(self, customer_id: str, points: int) -> Want:
        return Want(customer_id=customer_id, points=points)

    def asking(self) -> KeepWord:
        async def keep(_: AllowancesWord) -> bool:
            if self.crossed:
                self.crossed -= 1
                return False
            self.kept += 1
            return True

        return keep

    async def note_time(self) -> None:
        self.times += 1

    async def give_back(self) -> None:
        self.given_back += 1

    async def allowances(self, hub_epoch: str, request: AllowancesRequest) -> AllowancesWord:
        self.asked.append(request)
        self.asked_under.append(hub_epoch)
        await asyncio.sleep(0)
        self.before_the_answer()
        if self.fails:
            raise self.fails.popleft()
        return AllowancesWord(hub_epoch=self.epoch or hub_epoch, allowances=(), applied={})

    def wish(self, customer_id: str = "c-1", points: int = 50) -> None:
        self.wishes.append(Want(customer_id=customer_id, points=points))
        self.notice.set()


@dataclass
class Rig:
    book: Book
    line: Line
    clock: FakeClock
    loop: Reservations

    def greet(self, epoch: str = EPOCH) -> None:
        self.line.greeted(epoch, HubTime(self.clock.now(), self.clock.monotonic(), self.clock.boot_id))
        self.book.notice.set()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    book, clock = Book(), FakeClock()
    line = Line(clock, lambda _: None)
    loop = Reservations(book, book, line, book.give_back, clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(loop.run())
        await clock.settle()
        yield Rig(book, line, clock, loop)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_without_a_hello_nobody_is_asked_and_old_ones_go_back_all_the_same(rig: Rig) -> None:
    rig.book.wish()
    await rig.clock.advance(LOOK_S * 3)
    assert rig.book.asked == []
    assert rig.book.given_back >= 3
    assert len(rig.book.wishes) == 1


async def test_after_a_hello_likely_visitors_are_asked_for_now_and_then(rig: Rig) -> None:
    rig.greet()
    await rig.clock.advance(1.0)
    assert [(request.prefetch, request.want) for request in rig.book.asked] == [(True, ())]
    await rig.clock.advance(PREFETCH_EVERY_S + LOOK_S)
    assert [request.prefetch for request in rig.book.asked] == [True, True]


async def test_a_wish_and_another_word_of_the_hub_are_asked_for_at_once(rig: Rig) -> None:
    rig.greet()
    await rig.clock.settle()
    rig.book.wish()
    await rig.clock.settle()
    rig.book.is_stale = True
    rig.book.notice.set()
    await rig.clock.settle()
    assert [(len(request.want), request.prefetch) for request in rig.book.asked] == [(0, True), (1, False), (0, False)]
    assert rig.book.kept == 3


async def test_what_got_no_answer_is_asked_again_slower_and_slower(rig: Rig) -> None:
    rig.book.fails.extend([HubUnreachable("timeout"), HubUnreachable("timeout")])
    rig.greet()
    await rig.clock.advance(30.0)
    assert [request.prefetch for request in rig.book.asked] == [True, True, True]
    assert rig.book.kept == 1


async def test_a_word_of_another_epoch_is_not_believed(rig: Rig) -> None:
    rig.book.epoch = "epoch-0"
    rig.greet()
    await rig.clock.advance(5.0)
    assert (len(rig.book.asked) > 1, rig.book.kept) == (True, 0)


async def test_a_word_from_before_a_restore_is_not_believed_once_a_hello_was_answered_after_it(rig: Rig) -> None:
    rig.book.epoch = ""  # whatever it is asked under
    rig.book.before_the_answer = lambda: rig.greet("epoch-2")
    rig.greet()
    await rig.clock.settle()
    assert (rig.book.asked_under, rig.book.kept) == ([EPOCH], 0)
    await rig.clock.advance(5.0)
    assert (rig.book.asked_under, rig.book.kept) == ([EPOCH, "epoch-2"], 1)


async def test_a_word_that_comes_while_a_hello_is_due_is_not_believed(rig: Rig) -> None:
    rig.book.before_the_answer = lambda: rig.line.want_hello(EPOCH)
    rig.greet()
    await rig.clock.advance(5.0)
    assert (len(rig.book.asked), rig.book.kept) == (1, 0)
    rig.book.before_the_answer = lambda: None
    rig.greet()
    await rig.clock.advance(5.0)
    assert (len(rig.book.asked), rig.book.kept) == (2, 1)


async def test_a_customer_at_the_counter_is_not_asked_for_under_an_epoch_that_is_over(rig: Rig) -> None:
    rig.greet()
    await rig.clock.settle()
    rig.book.epoch, kept = "", rig.book.kept
    rig.book.asked_under.clear()
    rig.book.before_the_answer = lambda: rig.greet("epoch-2")
    assert not await rig.loop.ask("c-1", 50)
    assert (rig.book.asked_under[0], rig.book.asked_under.count(EPOCH), rig.book.kept) == (EPOCH, 1, kept)
    assert await rig.loop.ask("c-1", 50)  # and it is not quiet for it


async def test_a_hub_that_wants_a_hello_gets_one_and_the_question_behind_it(rig: Rig) -> None:
    rig.book.fails.append(HubRefused(ProblemCode.HELLO_REQUIRED))
    rig.greet()
    await rig.clock.settle()
    assert rig.line.epoch is None
    assert rig.line.hello_wanted.is_set()
    rig.greet()
    await rig.clock.settle()
    assert (len(rig.book.asked), rig.book.kept) == (2, 1)


async def test_a_hub_that_knows_no_allowances_is_left_alone_for_an_hour(rig: Rig) -> None:
    rig.book.fails.append(HubRefused("not_found"))
    rig.greet()
    await rig.clock.settle()
    rig.book.wish()
    await rig.clock.advance(REFUSED_REST_S - LOOK_S)
    assert len(rig.book.asked) == 1
    await rig.clock.advance(2 * LOOK_S)
    assert [len(request.want) for request in rig.book.asked] == [0, 1]


async def test_a_customer_at_the_counter_is_asked_for_once_and_the_next_do_not_wait(rig: Rig) -> None:
    assert not await rig.loop.ask("c-1", 50)  # no hello yet
    rig.greet()
    await rig.clock.settle()
    assert await rig.loop.ask("c-1", 50)
    rig.book.fails.append(HubUnreachable("timeout"))
    before = len(rig.book.asked)
    assert not await rig.loop.ask("c-1", 50)
    assert not await rig.loop.ask("c-2", 50)
    assert len(rig.book.asked) == before + 1
    await rig.clock.advance(QUIET_S)
    assert await rig.loop.ask("c-2", 50)


async def test_a_customer_at_the_counter_is_asked_for_again_where_the_answer_crossed_a_wish(rig: Rig) -> None:
    rig.greet()
    await rig.clock.settle()
    rig.book.crossed, before = 2, len(rig.book.asked)
    assert await rig.loop.ask("c-1", 50)
    assert len(rig.book.asked) == before + 3
    rig.book.crossed = 1000  # a disk without room takes no word at all
    assert not await rig.loop.ask("c-1", 50)
    assert len(rig.book.asked) == before + 3 + CROSSINGS_MAX


async def test_two_customers_at_once_are_both_asked_for(rig: Rig) -> None:
    rig.greet()
    await rig.clock.settle()
    assert all(await asyncio.gather(rig.loop.ask("c-1", 50), rig.loop.ask("c-2", 50)))


async def test_a_wish_made_while_the_hub_is_away_is_asked_for_once_it_is_back(rig: Rig) -> None:
    rig.book.fails.extend([HubUnreachable("timeout")] * 4)
    rig.greet()
    await rig.clock.settle()
    rig.book.wish()
    await rig.clock.advance(LOOK_S - 1.0)
    assert [len(request.want) for request in rig.book.asked if request.want] == [1]
