"""Rounds: ours, raw, ours, raw …, after one of each that is thrown away, so that both are warm and neither is lucky."""

import gc
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tests.bench.findings import Round

T = TypeVar("T")
Take = Callable[[], Awaitable[T]]


async def interleaved(rounds: int, ours: Take[T], raw: Take[T]) -> list[tuple[T, T]]:
    """Return (ours, raw) of each round. Ours comes first, because some raw things repeat what ours has written."""
    await ours()
    await raw()
    taken = []
    for _ in range(rounds):
        gc.collect()
        one_of_ours = await ours()
        gc.collect()
        taken.append((one_of_ours, await raw()))
    return taken


def rounds_of(taken: Iterable[tuple[float, float]]) -> tuple[Round, ...]:
    return tuple(Round(ours, raw) for ours, raw in taken)


def rounds_for(size: int, rounds: int, rows_in_all: int) -> int:
    """Return how often a measure that handles every customer is taken: no more rows in all than that, and once."""
    return max(1, min(rounds, rows_in_all // size))


class Stopwatch:
    """Seconds of wall time since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start
