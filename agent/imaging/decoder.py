"""Pictures in, codes out, without blocking the loop and without trusting the libraries that do the work.

`Decoder` keeps one child process (`agent.imaging.child`), started at the first picture. One picture is in it at a time.
A child that takes too long or dies is ended and forgotten; the next picture starts a new one. This module imports none
of the picture libraries, so the agent's own memory stays small.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.imaging.errors import DecoderCrashed, DecoderTimeout, DecoderUnavailable, ImagingError
from agent.imaging.wire import (
    ANSWER_BYTES_MAX,
    LENGTH_BYTES,
    PICTURE_BYTES_MAX,
    Hello,
    Reading,
    frame,
    read_answer,
    read_hello,
    too_many_bytes,
)

ENGINES = ("zxing", "pyzbar")
# The slowest photograph of the development set takes 0.2 s; a cashier looks up after two.
TIMEOUT_S = 5.0
# Importing the libraries takes 0.3 s from a warm disk; a cold one on an old till may need many times that.
START_TIMEOUT_S = 20.0
# An idle child ends within milliseconds of its stdin; one that does not is killed.
CLOSE_TIMEOUT_S = 1.0

_SOURCE_ROOT = Path(__file__).parents[2]


def child_command(engines: Sequence[str] = ENGINES) -> tuple[str, ...]:
    """Return the command that starts the decode child. `-P`: no module is taken from the working folder."""
    return (sys.executable, "-P", "-m", "agent.imaging.child", *engines)


class Decoder:
    """Decodes pictures in a child process. Use it by `async with`; afterwards no process is left.

    Args:
        command: how the child is started; tests give a worse child here.
        timeout_s: seconds for one picture, after which its child is killed.
    """

    def __init__(self, *, command: Sequence[str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._command = tuple(command or child_command())
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._child: _Child | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            child, self._child = self._child, None
            if child:
                await child.close()

    async def engines(self) -> Hello:
        """Return which engines decode here and why the others are missing; starts the child where there is none.

        Raises:
            DecoderUnavailable: the child cannot be started, or has no engine at all.
        """
        async with self._turn:
            return (await self._started()).hello

    async def read(self, picture: bytes) -> Reading:
        """Return the codes in a picture file (PNG, JPEG, WebP, GIF, BMP). Waits for its turn.

        Raises:
            ImageTooLarge, ImageUnreadable: this picture cannot be decoded; the child lives on.
            DecoderTimeout, DecoderCrashed: the child is gone; the next call starts another.
            DecoderUnavailable: no child can be started, or it has no engine.
        """
        if len(picture) > PICTURE_BYTES_MAX:
            raise too_many_bytes(len(picture))
        async with self._turn:
            child = await self._started()
            answer: Reading | ImagingError | None = None
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await child.ask(picture)
            except TimeoutError as error:
                raise DecoderTimeout(
                    f"the picture was not decoded within {self._timeout_s:g} s: try another picture"
                ) from error
            finally:
                # Also when the caller is cancelled: a late answer must not be taken for that of the next picture.
                if answer is None:
                    self._child = None
                    await child.kill()
        if isinstance(answer, ImagingError):
            raise answer
        return answer

    async def _started(self) -> "_Child":
        if self._child is None:
            self._child = await _start(self._command)
        return self._child


class _Child:
    """A running decode child and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise DecoderUnavailable("the picture decoder was started without pipes")
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self.hello = Hello((), ())

    async def ask(self, picture: bytes) -> Reading | ImagingError:
        """Send one picture and return the answer: a reading, or what is wrong with the picture.

        Raises:
            DecoderCrashed: the child ended, or sent what is no answer.
        """
        try:
            self._stdin.write(frame(picture))
            await self._stdin.drain()
            return read_answer(await self.receive(), self.hello.engines)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise DecoderCrashed("the picture decoder ended while it looked at this picture: try another") from error

    async def receive(self) -> bytes:
        """Return the body of the child's next frame."""
        length = int.from_bytes(await self._stdout.readexactly(LENGTH_BYTES), "big")
        if length > ANSWER_BYTES_MAX:
            raise DecoderCrashed("the picture decoder gave no answer that makes sense: try another picture")
        return await self._stdout.readexactly(length)

    async def close(self) -> None:
        """End the child by ending its stdin; kill it where that does not help."""
        self._stdin.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._ended()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the child at once and wait until the system has forgotten it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._stdin.close()
        await self._ended()

    async def _ended(self) -> None:
        # An unread answer would keep the pipe, and with it the process's record, open for ever.
        while await self._stdout.read(ANSWER_BYTES_MAX):
            pass
        await self._process.wait()


async def _start(command: Sequence[str]) -> _Child:
    """Return a child that has said hello and has an engine."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # what the libraries print about a picture may hold its text
            env=_environment(),
        )
    except OSError as error:
        raise DecoderUnavailable(
            f"the picture decoder cannot be started ({error.strerror}): pictures are off"
        ) from error
    child = _Child(process)
    greeted = False
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            child.hello = read_hello(await child.receive())
        greeted = bool(child.hello.engines)
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, DecoderCrashed) as error:
        raise DecoderUnavailable("the picture decoder does not start: reinstall, or read codes by scanner") from error
    finally:
        if not greeted:
            await child.kill()
    if not greeted:
        raise DecoderUnavailable("no engine can decode pictures: " + "; ".join(child.hello.missing))
    return child


def _environment() -> dict[str, str]:
    """Return our own environment, in which the child finds the very code that runs here, installed or not."""
    paths = [str(_SOURCE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
