"""Waiting for real sockets and processes: ask again and again, with a limit, and never sleep for a guess."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tests.support.clock import FakeClock

_LOOK_S = 0.003


async def eventually(done: Callable[[], bool | Awaitable[bool]], within_s: float = 30.0) -> None:
    """Return as soon as something is so; fail after `within_s` of real time."""
    async with asyncio.timeout(within_s):
        while not await _answer(done()):
            await breath()


async def passing(clock: FakeClock, done: Callable[[], bool | Awaitable[bool]], within_s: float = 30.0) -> None:
    """Let made-up time pass, a second at a time, until something is so; fail after `within_s` of real time."""
    async with asyncio.timeout(within_s):
        while not await _answer(done()):
            await clock.advance(1.0)
            await breath()


async def breath() -> None:
    """Let sockets and threads get on for a moment."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), _LOOK_S)


async def _answer(value: bool | Awaitable[bool]) -> bool:
    return value if isinstance(value, bool) else await value
