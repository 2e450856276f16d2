"""The decode child: reads pictures from stdin, answers codes on stdout, and may die without harm.

Pillow, zxing-cpp and zbar are C and C++ that look at strangers' bytes. They run here, apart from the till, without core
dumps, without the right to write a file, with bounded memory and a bounded time for each picture. The child lives until
its stdin ends, which also happens when the agent is killed. `python -m agent.imaging.child ENGINE…` starts it.
"""

import os
import signal
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import BinaryIO

from agent.imaging.engines import ENGINES, Engine, read_codes
from agent.imaging.errors import ImagingError
from agent.imaging.wire import LENGTH_BYTES, PICTURE_BYTES_MAX, Hello, frame, write_codes, write_error, write_hello

try:
    import resource
except ImportError:  # Windows: the time-out of the parent is the only limit there
    resource = None  # type: ignore[assignment]

# A WebP of 40 megapixels takes 640 MB on its way to grey, everything else half of that.
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
# The parent gives up long before. This one is for a child whose parent was killed while a picture kept it busy.
ORPHAN_SECONDS_MAX = 60


def main(arguments: Sequence[str]) -> None:
    """Serve until stdin ends, with the engines named in `arguments`."""
    pictures, answers = sys.stdin.buffer, _own_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the agent closes us in its own time
    engines = [engine for engine in ENGINES if engine.name in arguments]
    present = tuple(engine.name for engine in engines if engine.missing is None)
    _limit()
    _send(answers, write_hello(Hello(present, tuple(engine.missing for engine in engines if engine.missing))))
    while (picture := _receive(pictures)) is not None:
        _alarm(ORPHAN_SECONDS_MAX)
        _send(answers, _answer(picture, engines))
        _alarm(0)


def _own_stdout() -> BinaryIO:
    """Keep stdout for frames alone: whatever a C library prints goes to stderr instead."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit() -> None:
    """Give up what decoding does not need: core dumps (they would hold the picture), files, boundless memory."""
    sys.dont_write_bytecode = True
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))


def _alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _answer(picture: bytes, engines: Sequence[Engine]) -> bytes:
    started = perf_counter()
    try:
        codes = read_codes(picture, engines)
    except ImagingError as error:
        return write_error(error)
    return write_codes(codes, round((perf_counter() - started) * 1000, 1))


def _receive(pictures: BinaryIO) -> bytes | None:
    """Return the next picture, or None at the end. A length beyond the limit or half a frame is an end too."""
    head = pictures.read(LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or length > PICTURE_BYTES_MAX:
        return None
    picture = pictures.read(length)
    return picture if len(picture) == length else None


def _send(answers: BinaryIO, body: bytes) -> None:
    answers.write(frame(body))
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
