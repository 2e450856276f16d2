"""How fast the pump goes: when to ask again after which error, and how much to send at once. Rules, and one ladder.

The pump is the only owner of network backoff, and tenacity climbs it. Full jitter spreads a fleet that lost its hub in
the same second; the floor keeps a single till from hammering; the hub's own Retry-After wins, with jitter on top only.
There is no last try: what waits is money.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from sync.hub_errors import HubBusy, HubError, TerminalRevoked

# A till has few events at a time; a backlog earns the hub's limit within seconds.
EVENTS_START = 100
# Below this a slow line is not helped any more: the headers outweigh the events.
EVENTS_MIN = 50
EVENTS_STEP = 50
BYTES_MIN = 1024
BYTES_STEP = 4096

# What a larger message makes more likely; a refused connection or a 500 says nothing about size.
SIZE_FAULTS = {"timeout", "broken_connection", "cut_body"}

T = TypeVar("T")
# Returns a number from 0 up to 1, each as likely as any other.
Chance = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits of waiting, in seconds."""

    floor_s: float = 0.5
    cap_s: float = 60.0
    # A revoked terminal asks whether a person has let it in again.
    revoked_s: float = 60.0


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How much goes into one upload: additive increase on success, multiplicative decrease on trouble (AIMD)."""

    events: int
    size_bytes: int

    def grown(self, most: "BatchSize") -> "BatchSize":
        """Return the size after a success, within `most`."""
        return BatchSize(self.events + EVENTS_STEP, self.size_bytes + BYTES_STEP).within(most)

    def after_fault(self, code: str) -> "BatchSize":
        """Return the size after an error of that code: half the events where a smaller message may pass."""
        if code not in SIZE_FAULTS:
            return self
        return replace(self, events=max(self.events // 2, min(EVENTS_MIN, self.events)))

    def after_refusal(self, sent_bytes: int) -> "BatchSize":
        """Return the size after the network refused to carry `sent_bytes`: half of those."""
        return replace(self, size_bytes=max(min(sent_bytes, self.size_bytes) // 2, BYTES_MIN))

    def within(self, most: "BatchSize") -> "BatchSize":
        """Return the smaller of each."""
        return BatchSize(min(self.events, most.events), min(self.size_bytes, most.size_bytes))


def delay_s(pace: Pace, error: BaseException | None, attempt: int, chance: float) -> float:
    """Return the seconds to wait after try number `attempt` (from 1) ended in `error`.

    `chance` is from 0 up to 1. Backoff: uniform between the floor and floor * 2**attempt, below the cap ("full
    jitter", with a floor because it can come out as 0).
    """
    if isinstance(error, TerminalRevoked):
        return pace.revoked_s * (1 + chance)
    if isinstance(error, HubBusy) and error.retry_after_s is not None:
        return max(error.retry_after_s, pace.floor_s) + chance * max(1.0, error.retry_after_s / 4)
    # The exponent is bounded, because 2.0**2000 is an error and a hub can be away for months.
    upper = min(pace.cap_s, pace.floor_s * 2.0 ** min(attempt, 32))
    return pace.floor_s + chance * max(upper - pace.floor_s, 0.0)


class Ladder:
    """Asks again, slower and slower, until it works; each call starts at the bottom."""

    def __init__(
        self, pace: Pace, wait: Callable[[float, BaseException | None], Awaitable[None]], chance: Chance | None = None
    ) -> None:
        """Take the limits and the way to wait: it is given the seconds and the error they are waited for."""
        self._pace = pace
        self._wait = wait
        self._chance = chance or random.SystemRandom().random
        self._error: BaseException | None = None

    async def climb(self, turn: Callable[[], Awaitable[T]]) -> T:
        """Return what `turn` returns, asked again after each `HubError`, for as long as it takes."""
        # Nearly every turn works, and a ladder costs more than most of them: it is put up behind the first that fails.
        try:
            return await turn()
        except HubError as error:
            self._error = error
        await self._sleep(delay_s(self._pace, self._error, 1, self._chance()))
        retrying = AsyncRetrying(
            stop=stop_never,
            retry=retry_if_exception_type(HubError),
            wait=self._delay_s,
            sleep=self._sleep,
        )
        return await retrying(turn)

    def chance(self) -> float:
        """Return the next number of the ladder's own dice, for a wait that belongs to it."""
        return self._chance()

    def _delay_s(self, state: RetryCallState) -> float:
        self._error = state.outcome.exception() if state.outcome else None
        return delay_s(self._pace, self._error, state.attempt_number + 1, self._chance())

    async def _sleep(self, seconds: float) -> None:
        await self._wait(seconds, self._error)
