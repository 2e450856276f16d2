"""The self-check's transcript: numbered steps, what was seen in each, and how long it took."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sync.runtime.clock import Clock

Say = Callable[[str], None]
_INDENT = " " * 6


class Transcript:
    """Writes a check as it goes on, line by line, so that a reader sees where it stands."""

    def __init__(self, say: Say, clock: Clock, steps: int) -> None:
        """Take where the lines go, and how many steps there will be."""
        self._say = say
        self._clock = clock
        self._steps = steps
        self._step = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Head a step; what fails inside leaves it without its time."""
        self._step += 1
        began_s = self._clock.monotonic()
        self._say(f"{f'{self._step}/{self._steps}':>5} {title}")
        yield
        self._say(f"{_INDENT}  {self._clock.monotonic() - began_s:.1f} s")

    def seen(self, what: str) -> None:
        """Note what is as it must be."""
        self._say(f"{_INDENT}✓ {what}")

    def failed(self, why: str) -> None:
        """Note what is not."""
        for line in why.splitlines():
            self._say(f"{_INDENT}✗ {line}")
