import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sync.hub_errors import HubBusy, HubUnreachable
from sync.pump.line import Direction, Line
from sync.pump.ports import Waiting
from sync.pump.watchdog import LOOK_S, STILL_S_MAX, Upload, Watchdog
from tests.support.clock import FakeClock


@dataclass
class Way:
    """A connection: what it says of its hellos, and whether an upload over it gets anything through."""

    answers_hello: bool | None = True
    spread_s: float = 0.0


@dataclass
class Rig:
    clock: FakeClock = field(default_factory=FakeClock)
    ways: list[Way] = field(default_factory=list)
    open: int = 0
    count: int = 3
    error: Exception | None = None
    next_way: Way = field(default_factory=Way)

    def __post_init__(self) -> None:
        self.line = Line(self.clock, lambda _: None)
        self.watchdog = Watchdog(self._connect, self._waiting, self.line, self.clock)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Upload]:
        self.ways.append(self.next_way)
        self.open += 1
        try:
            yield Upload(self._push, self.next_way)
        finally:
            self.open -= 1

    async def _push(self) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()  # a healthy process that forwards nothing

    async def _waiting(self) -> Waiting:
        return Waiting(self.count, None)


@asynccontextmanager
async def watched(rig: Rig) -> AsyncIterator[Rig]:
    task = asyncio.create_task(rig.watchdog.run())
    await rig.clock.settle()
    yield rig
    task.cancel()
    await asyncio.wait([task])
    assert rig.open == 0


async def test_an_upload_that_stands_still_gets_a_new_connection_and_then_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched(Rig()) as rig:
        await rig.clock.advance(STILL_S_MAX - 1)
        assert (len(rig.ways), rig.watchdog.is_stuck) == (1, False)
        await rig.clock.advance(LOOK_S)
        assert (len(rig.ways), rig.open, rig.watchdog.is_stuck) == (2, 1, False)
        assert "a new connection is made, waiting=3" in caplog.text

        await rig.clock.advance(STILL_S_MAX + LOOK_S)
        assert (len(rig.ways), rig.watchdog.is_stuck) == (3, True)
        assert caplog.text.count("over a new connection either") == 1
        await rig.clock.advance(10 * STILL_S_MAX)
        assert caplog.text.count("over a new connection either") == 1  # said once
        assert len(rig.ways) > 10  # and tried again and again


async def test_one_verdict_ends_the_alarm(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(Rig()) as rig:
        await rig.clock.advance(3 * STILL_S_MAX)
        assert "over a new connection either" in caplog.text

        with caplog.at_level(logging.INFO):
            rig.line.heard(Direction.UPLOAD, acknowledged=True)
            await rig.clock.advance(LOOK_S)
        assert not rig.watchdog.is_stuck
        assert "upload moves again" in caplog.text


@pytest.mark.parametrize("why", ["nothing waits", "no hello", "busy", "acks"])
async def test_what_has_a_reason_to_wait_is_left_alone(why: str) -> None:
    rig = Rig(count=0 if why == "nothing waits" else 3, next_way=Way(answers_hello=why != "no hello"))
    async with watched(rig):
        if why == "no hello":
            rig.line.failed(Direction.UPLOAD, HubUnreachable("no_connection"))
        if why == "busy":
            rig.line.failed(Direction.UPLOAD, HubBusy(600))
        for _ in range(100):
            if why == "acks":
                rig.line.heard(Direction.UPLOAD, acknowledged=True)
            await rig.clock.advance(20.0)
        assert (len(rig.ways), rig.watchdog.is_stuck) == (1, False)


async def test_a_hub_that_spreads_its_terminals_is_given_that_time() -> None:
    async with watched(Rig(next_way=Way(spread_s=300.0))) as rig:
        await rig.clock.advance(300.0 + STILL_S_MAX - 1)
        assert len(rig.ways) == 1
        await rig.clock.advance(LOOK_S)
        assert len(rig.ways) == 2


async def test_a_new_connection_without_a_hello_yet_is_counted_on() -> None:
    async with watched(Rig()) as rig:
        rig.next_way = Way(answers_hello=None)
        await rig.clock.advance(3 * STILL_S_MAX)
        assert rig.watchdog.is_stuck


async def test_an_error_of_the_upload_reaches_its_supervisor_as_it_was() -> None:
    rig = Rig(error=RuntimeError("planted"))

    with pytest.raises(RuntimeError, match="planted"):
        await rig.watchdog.run()
    assert rig.open == 0
