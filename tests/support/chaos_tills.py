"""Whole tills in this process: the real store, counter, pump and client, against a hub behind a proxy."""

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.codes import CardScheme, make_card_number
from agent.counter import Counter
from agent.recognition import Chain, HubWord
from agent.sales import ReversalRequest, SaleRequest
from agent.screen import Screen
from agent.store import Store, open_store
from agent.store.outbox import OutboxFigures
from sync.contract.identifiers import Scheme, identifier_id
from sync.contract.protocol import EnrolAnswer, FeedPage
from sync.contract.signing import Prover, SigningKey
from sync.hub.people.importing import Desk, Fault, import_customers
from sync.hub_client import HubClient, enrol, open_session
from sync.hub_line import Timeouts
from sync.pump.line import Line
from sync.pump.puller import Puller
from sync.pump.pusher import Pusher, Terminal
from sync.runtime.clock import SystemClock
from sync.runtime.state_lock import private_folder
from tests.support.clock import FakeClock
from tests.support.hubs import HubUnderTest
from tests.support.wire_till import enrolling

KEY = bytes(range(32))
# A hub on loopback answers within milliseconds, on a busy machine within half a second; a black hole is told soon.
FAST = Timeouts(connect_s=2.0, read_s=0.6, total_s=1.2)


def card(serial: int) -> str:
    """The number of one of the chain's own cards."""
    return make_card_number(serial)


@dataclass
class Flicker:
    """What was shown at each observation of the cards whose points one till alone knows to the last.

    `in_flight` holds the points of a sale between the till's commit and the answer to whoever sold.
    """

    expected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    observations: int = 0
    wrong: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass
class ChaosTill:
    """One till; `flicker` notes each figure that was shown and should not have been."""

    enrolment: EnrolAnswer
    store: Store
    counter: Counter
    clock: FakeClock
    line: Line
    flicker: Flicker = field(default_factory=Flicker)

    def card_id(self, number: str) -> str:
        return identifier_id(bytes.fromhex(self.enrolment.identifier_key), Scheme.CARD, number)

    async def sell(self, number: str, sale_id: str, net_minor: int, *, watched: bool = False) -> int:
        """Credit a sale of one line; return its points. A watched card is bought on at this till only."""
        request = SaleRequest.model_validate(
            {
                "sale_id": sale_id,
                "card": number,
                "lines": ({"quantity": "1", "net_minor": net_minor},),
                "net_minor": net_minor,
                "currency": self.enrolment.program.currency,
                "occurred_at": self.clock.now(),
            }
        )
        if watched:
            self.flicker.in_flight[number] = net_minor // 100
        points = (await self.counter.sale(request)).points
        if watched:
            self.flicker.expected[number] += points
            self.flicker.in_flight[number] = 0
        return points

    async def take_back(self, sale_id: str, reversal_id: str) -> int:
        request = ReversalRequest.model_validate({"reversal_id": reversal_id, "occurred_at": self.clock.now()})
        return (await self.counter.reverse(sale_id, request)).points

    def shown(self, number: str) -> int:
        """The points that staff see for a card."""
        found = self.store.customers.by_identifier(self.card_id(number))
        account = found.people[0].account if len(found.people) == 1 else found.card
        return account.balance.shown

    def pending(self, number: str) -> int:
        found = self.store.customers.by_identifier(self.card_id(number))
        account = found.people[0].account if len(found.people) == 1 else found.card
        return account.balance.pending

    def observe(self) -> None:
        """Look at every watched card, and note what is wrong."""
        for number, expected in self.flicker.expected.items():
            self.flicker.observations += 1
            shown = self.shown(number)
            if shown not in (expected, expected + self.flicker.in_flight[number]):
                self.flicker.wrong.append((number, shown, expected))

    def outbox(self) -> OutboxFigures:
        return self.store.outbox.figures()


class ShortPolls(HubClient):
    """The client with polls that never wait: a black hole is then told in a moment, not after 25 s of real time."""

    async def feed(self, cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:  # noqa: ARG002
        return await super().feed(cursor, hub_epoch, limit=limit, wait_s=0)


@contextlib.asynccontextmanager
async def chaos_till(
    folder: Path, enrolment: EnrolAnswer, url: str, clock: FakeClock, inc: str | None = None
) -> AsyncIterator[ChaosTill]:
    """Run a till whose way to the hub leads through `url`; the state stays in `folder` for the next start."""
    private_folder(folder)
    async with (
        open_store(
            folder, KEY, terminal_id=enrolment.terminal_id, store_id=enrolment.store_id, clock=clock, inc=inc
        ) as store,
        open_session() as session,
        asyncio.TaskGroup() as group,
    ):
        await store.cache.keep_program(enrolment.program)
        line = Line(clock, lambda _: None)
        key = SigningKey(hashlib.sha256(enrolment.terminal_id.encode()).digest())
        prover = Prover(store.journal.terminal.inc, key)
        hub = ShortPolls(session, url, enrolment.terminal_id, lambda: enrolment.credential, FAST, prover=prover)
        screen = Screen(clock, demo=False, language="en")
        chain = Chain(bytes.fromhex(enrolment.identifier_key), CardScheme(), "1")
        counter = Counter(store, screen, chain, clock, HubWord())
        till = ChaosTill(enrolment, store, counter, clock, line)
        terminal = Terminal("0.1.0", store.cache.cursor, _keep_nothing, key.public, running=prover.by)
        puller = Puller(store.cache, hub, line, lambda _: till.observe(), clock)
        loops = [Pusher(store.journal, hub, line, terminal, clock).run(), puller.run()]
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield till
        finally:
            for task in tasks:
                task.cancel()


async def enrolled(hub: HubUnderTest, store_id: str = "store-1") -> EnrolAnswer:
    """Return a new terminal of that hub, which hears of the terminal's key at its first hello."""
    answer = await enrol(hub.url, enrolling(await hub.invite(store_id)))
    await hub.forget_key(answer.terminal_id)
    return answer


async def _keep_nothing(_: str) -> None:
    """No test here rotates a credential."""


async def import_cards(hub: HubUnderTest, folder: Path, serials: Sequence[int], points: int = 0) -> None:
    """Make a customer known for each of these cards: `customer-7` has card 7 and an opening balance."""
    opening = str(points) if points else ""
    lines = ["customer_id,given_name,language,card,points"]
    lines += [f"customer-{serial},Person{serial},en,{card(serial)},{opening}" for serial in serials]
    path = folder / "customers.csv"
    await asyncio.to_thread(path.write_text, "\n".join(lines) + "\n", encoding="utf-8")
    faults: list[Fault] = []
    desk = Desk(
        hub.inside.writer,
        SystemClock(),
        hub.inside.founding.identifier_key,
        country_code="1",
        on_fault=faults.append,
        on_warning=faults.append,
        on_progress=lambda _: None,
    )
    done = await import_customers(path, desk)
    assert (done.new, faults) == (len(serials), [])
