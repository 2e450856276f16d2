"""A pusher over a journal and a hub in memory, on a clock that a test moves."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sync.pump.line import HubState, Line
from sync.pump.pusher import Pusher, Terminal
from tests.support.clock import FakeClock
from tests.support.pump_fakes import MemoryHub, MemoryJournal


@dataclass
class PusherRig:
    clock: FakeClock = field(default_factory=FakeClock)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    states: list[HubState] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = MemoryHub(self.clock)
        self.line = Line(self.clock, self.states.append)
        terminal = Terminal("0.1.0", self._cursor, self._keep)
        self.pusher = Pusher(self.journal, self.hub, self.line, terminal, self.clock)

    async def _cursor(self) -> str | None:
        return "cursor-1"

    async def _keep(self, credential: str) -> None:
        self.credentials.append(credential)

    async def until(self, done: Callable[[], bool], within_s: float) -> None:
        """Let time pass until something is so; the assertion says that it came to be in time."""
        waited_s = 0.0
        await self.clock.settle()
        while not done() and waited_s < within_s:
            await self.clock.advance(0.25)
            waited_s += 0.25
        assert done()

    def all_at_hub(self) -> bool:
        return self.hub.streams == self.journal.events and len(self.journal.verdicts) == sum(
            map(len, self.journal.events.values())
        )
