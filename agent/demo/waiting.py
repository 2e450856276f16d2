"""Waiting for other processes: look again and again, with a limit, and say in the end what was seen instead."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sync.runtime.clock import Clock

# Quick enough that nobody waits for it, slow enough to leave a small machine to those who work.
_LOOK_S = 0.1

T = TypeVar("T")


class NotSeen(Exception):
    """Something is not as it must be; the message says what was expected and what was seen."""

    def __init__(self, what: str, expected: object, seen: object) -> None:
        super().__init__(f"{what}: expected {expected}, saw {seen}")


async def wait_for(what: str, expected: T, look: Callable[[], Awaitable[T]], *, within_s: float, clock: Clock) -> float:
    """Look until what is seen is what is expected, and return the seconds it took. `what` names it in the error.

    Raises:
        NotSeen: it was still another after `within_s`.
    """
    began_s = clock.monotonic()
    while (seen := await look()) != expected:
        if clock.monotonic() - began_s > within_s:
            raise NotSeen(f"{what}, within {within_s:g} s", expected, seen)
        await clock.sleep(_LOOK_S)
    return clock.monotonic() - began_s
