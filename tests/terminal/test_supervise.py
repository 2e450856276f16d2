import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from sync.runtime.metrics import Metrics
from sync.runtime.supervise import (
    HEALTHY_S,
    RESTART_S_MAX,
    RESTART_S_MIN,
    Board,
    Loop,
    State,
    restart_s_most,
    supervise,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CANARY = "canary-4711"


class Scanner:
    """Fails or ends as it is told; counts its starts."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.starts = 0
        self.life_s: float | None = 0.0
        self.error: BaseException | None = OSError(CANARY)

    async def run(self) -> None:
        self.starts += 1
        if self.life_s is None:
            await asyncio.Event().wait()
        elif self.life_s:
            await self._clock.sleep(self.life_s)
        if self.error is not None:
            raise self.error


def longest(_: float, most: float) -> float:
    return most


def shortest(least: float, _: float) -> float:
    return least


@asynccontextmanager
async def supervised(
    run: Callable[[], Awaitable[None]],
    clock: FakeClock,
    board: Board,
    draw: Callable[[float, float], float] = longest,
) -> "AsyncIterator[asyncio.Task[None]]":
    task = asyncio.create_task(supervise("scanner", run, clock=clock, board=board, draw=draw))
    await clock.settle()
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_failed_loop_is_started_again_after_a_growing_wait() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, board):
        for starts, wait in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0), start=1):
            assert scanner.starts == starts
            assert clock.sleepers == (wait,)
            await clock.advance(wait)


async def test_wait_never_falls_below_its_floor() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, board, draw=shortest):
        for _ in range(5):
            assert clock.sleepers == (RESTART_S_MIN,)
            await clock.advance(RESTART_S_MIN)


def test_wait_stays_at_its_cap_for_ever() -> None:
    assert [restart_s_most(failures) for failures in (1, 2, 6, 10_000)] == [1.0, 2.0, RESTART_S_MAX, RESTART_S_MAX]


async def test_long_healthy_run_resets_the_wait() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, board):
        await clock.advance(1.0)
        await clock.advance(2.0)
        scanner.life_s = HEALTHY_S + 1
        await clock.advance(4.0)
        await clock.advance(HEALTHY_S + 1)
        assert clock.sleepers == (1.0,)


async def test_run_just_short_of_healthy_does_not_reset_the_wait() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    scanner.life_s = HEALTHY_S - 1
    async with supervised(scanner.run, clock, board):
        await clock.advance(HEALTHY_S - 1)
        await clock.advance(1.0 + HEALTHY_S - 1)
        assert clock.sleepers == (2.0,)


async def test_board_tells_state_since_restarts_and_the_type_of_error_alone() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    begun = clock.now()
    async with supervised(scanner.run, clock, board):
        assert board.loops["scanner"] == Loop(State.RESTARTING, begun, 1, "builtins.OSError")
        assert not board.all_running()
        scanner.life_s = None
        await clock.advance(1.0)
        assert board.loops["scanner"] == Loop(State.RUNNING, clock.now(), 1, "builtins.OSError")
        assert board.all_running()
    assert CANARY not in str(board.loops)


async def test_loss_and_recovery_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, board):
        for _ in range(10):
            await clock.advance(30.0)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        scanner.life_s = None
        await clock.advance(30.0)
        await clock.advance(HEALTHY_S)
        await clock.advance(10 * HEALTHY_S)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "loop=scanner" in caplog.text
    assert CANARY not in caplog.text


async def test_new_kind_of_error_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, board):
        scanner.error = LookupError(CANARY)
        await clock.advance(30.0)
        await clock.advance(30.0)
    assert ["LookupError" in record.getMessage() for record in caplog.records] == [False, True]


async def test_run_that_returns_has_ended_and_stays_so() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    scanner.error = None
    async with supervised(scanner.run, clock, board) as task:
        await task
    assert scanner.starts == 1
    assert board.loops["scanner"].state is State.ENDED
    assert clock.sleepers == ()


async def test_cancelling_ends_run_and_wait_alike() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    for life_s in (None, 0.0):
        scanner.life_s = life_s
        async with supervised(scanner.run, clock, board) as task:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert clock.sleepers == ()


async def test_what_is_no_ordinary_error_ends_the_process() -> None:
    clock, board = FakeClock(), Board()
    scanner = Scanner(clock)
    scanner.error = GeneratorExit()
    with pytest.raises(BaseExceptionGroup):
        await supervise("scanner", scanner.run, clock=clock, board=board)


async def test_metrics_count_what_the_board_shows() -> None:
    clock, metrics = FakeClock(), Metrics(program="till", version="0")
    scanner = Scanner(clock)
    async with supervised(scanner.run, clock, Board(metrics)):
        assert b'loyalty_loop_running{loop="scanner"} 0.0' in metrics.render()[0]
        scanner.life_s = None
        await clock.advance(1.0)
        text = metrics.render()[0]
    assert b'loyalty_loop_running{loop="scanner"} 1.0' in text
    assert b'loyalty_loop_restarts_total{loop="scanner"} 1.0' in text
