"""The network between a till and the hub, as one adversary. Implements the pump's port `Hub`.

To add a fault, add a row to `FAULTS`: a function that is given one call and answers it, or raises what a client makes
of such a network.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

from sync.contract.allowance import AllowancesRequest, AllowancesWord
from sync.contract.chain import Stretch, write_proof
from sync.contract.digest import BucketAnswer, DigestAnswer
from sync.contract.protocol import (
    CredentialAnswer,
    FeedPage,
    HelloAnswer,
    HelloRequest,
    IdentifiersAnswer,
    PresentedIdentifier,
    SnapshotManifest,
    UploadAnswer,
)
from sync.contract.signing import Prover
from sync.hub_errors import HubBusy, HubError, HubUnreachable
from sync.pump.ports import Batch
from tests.chaos.simulation.hub_side import Door, HubSide
from tests.chaos.simulation.virtual import Machine, pass_time

T = TypeVar("T")
Ask = Callable[[Door], Awaitable[Any]]
CLIENT_PATIENCE_S = 30.0


@dataclass
class Wire:
    """The way from one till to the hub; `note` takes a line for the trace."""

    terminal_id: str
    hub: HubSide
    machine: Machine
    note: Callable[[str], None]
    prover: Prover | None = None
    """What the till's process of now signs with."""
    fence: int = 0
    is_calm: bool = False
    down_until_s: float = 0.0
    snaps_for_s: float = 0.0
    """For how long the line breaks right behind the next hello; 0: not at all."""
    sends_nothing_until_s: float = 0.0
    """Until when a proxy lets no upload through, and all else."""
    kept: dict[object, Any] = field(default_factory=dict)
    """The newest answer to each question, for a proxy that answers from its memory."""

    def break_until(self, time_s: float) -> None:
        """Let nothing through before this time, unless all was made whole."""
        if not self.is_calm:
            self.down_until_s = max(self.down_until_s, time_s)

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        ask = self._call("hello", "hello", lambda door: door.hello(self.terminal_id, request))
        answer = cast("HelloAnswer", await ask)
        self.fence = answer.fence
        if self.snaps_for_s:
            self.break_until(asyncio.get_running_loop().time() + self.snaps_for_s)
            self.snaps_for_s = 0.0
        return answer

    async def upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        name = f"upload {batch.inc[:4]}/{batch.first}..{batch.last} epoch={hub_epoch[:4]}"
        question = ("upload", batch.inc, batch.first, batch.last)
        stretch = Stretch(self.terminal_id, batch.inc, batch.first, batch.links)
        assert self.prover is not None
        if not self.is_calm and asyncio.get_running_loop().time() < self.sends_nothing_until_s:
            raise HubUnreachable("timeout")
        proof = write_proof(self.prover.proof(stretch, batch.before, self.fence))
        answer = await self._call(name, question, lambda door: door.upload(self.terminal_id, batch, hub_epoch, proof))
        return cast("UploadAnswer", answer)

    async def feed(self, cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        def ask(door: Door) -> Awaitable[FeedPage]:
            return door.feed(self.terminal_id, cursor, hub_epoch, limit, wait_s)

        return cast("FeedPage", await self._call("feed", ("feed", cursor), ask))

    async def feed_until(self, cursor: str, hub_epoch: str, *, limit: int, until: str) -> FeedPage:  # noqa: ARG002 - the hub of a simulation sets its own
        def ask(door: Door) -> Awaitable[FeedPage]:
            return door.feed_until(self.terminal_id, cursor, hub_epoch, until)

        return cast("FeedPage", await self._call("feed until", ("feed", cursor, until), ask))

    async def digest(self, cursor: str, hub_epoch: str) -> DigestAnswer:
        def ask(door: Door) -> Awaitable[DigestAnswer]:
            return door.digest(cursor, hub_epoch)

        return cast("DigestAnswer", await self._call("digest", "digest", ask))

    async def bucket(self, number: int, hub_epoch: str) -> BucketAnswer:
        def ask(door: Door) -> Awaitable[BucketAnswer]:
            return door.bucket(number, hub_epoch)

        return cast("BucketAnswer", await self._call(f"bucket {number}", ("bucket", number), ask))

    async def snapshot_manifest(self, hub_epoch: str, snapshot_id: str | None = None) -> SnapshotManifest:
        def ask(door: Door) -> Awaitable[SnapshotManifest]:
            return door.manifest(self.terminal_id, hub_epoch, snapshot_id)

        return cast("SnapshotManifest", await self._call("manifest", ("manifest", snapshot_id), ask))

    async def snapshot_chunk(self, hub_epoch: str, snapshot_id: str, number: int) -> bytes:
        def ask(door: Door) -> Awaitable[bytes]:
            return door.chunk(hub_epoch, snapshot_id, number)

        return cast("bytes", await self._call(f"chunk {number}", ("chunk", snapshot_id, number), ask))

    async def send_identifiers(self, hub_epoch: str, presented: Sequence[PresentedIdentifier]) -> IdentifiersAnswer:
        def ask(door: Door) -> Awaitable[IdentifiersAnswer]:
            return door.identifiers(self.terminal_id, hub_epoch, presented)

        return cast("IdentifiersAnswer", await self._call("identifiers", None, ask))

    async def allowances(self, hub_epoch: str, request: AllowancesRequest) -> AllowancesWord:
        def ask(door: Door) -> Awaitable[AllowancesWord]:
            return door.allowances(self.terminal_id, hub_epoch, request)

        wanted = " ".join(f"{want.customer_id}>={want.points}" for want in request.want)
        return cast("AllowancesWord", await self._call(f"allowances {wanted}".rstrip(), "allowances", ask))

    async def rotate_credential(self) -> CredentialAnswer:
        raise NotImplementedError("no hub of a simulation asks for that")

    async def _call(self, name: str, question: object, ask: Ask) -> Any:
        call = Call(self, name, question, ask)
        loop = asyncio.get_running_loop()
        if loop.time() < self.down_until_s:
            await pass_time(self.machine.die.choice((0.0, 1.0)))
            raise HubUnreachable("refused")
        fault = FAULTS[0] if self.is_calm else self.machine.die.choices(FAULTS, _WEIGHTS)[0]
        try:
            answer = await fault.meet(call)
        except HubError as error:
            self.note(f"{self.terminal_id} {name}: {fault.name}: {error.code}")
            raise
        self.note(f"{self.terminal_id} {name}: {fault.name}: {_brief(answer)}")
        if question is not None:
            self.kept[question] = answer
        return answer


class Call(NamedTuple):
    """One call on its way."""

    wire: Wire
    name: str
    question: object
    ask: Ask

    async def pause(self, *seconds: float) -> None:
        """Let one of these times pass."""
        await pass_time(self.wire.machine.die.choice(seconds))

    async def deliver(self) -> Any:
        """Let the hub answer. What it began goes on when the till leaves, and ends when the hub dies."""
        hub = self.wire.hub
        if hub.door is None:
            raise HubUnreachable("refused")
        task = hub.machine.start(_asked(self.ask, hub.door))
        await asyncio.wait([task], timeout=CLIENT_PATIENCE_S)
        if not task.done():
            raise HubUnreachable("timeout")
        if task.cancelled():
            raise HubUnreachable("broken_connection")
        answer = task.result()
        if isinstance(answer, HubError):
            raise answer
        return answer

    def deliver_later(self, *seconds: float) -> None:
        """Let the call arrive when its caller has long given it up, at whatever hub there is then."""

        async def late() -> None:
            await self.pause(*seconds)
            try:
                await self.deliver()
                self.wire.note(f"{self.wire.terminal_id} {self.name}: arrived late")
            except HubError as error:
                self.wire.note(f"{self.wire.terminal_id} {self.name}: arrived late: {error.code}")

        NETWORK.append(asyncio.get_running_loop().create_task(late()))


# Calls that wander through the network and belong to no machine.
NETWORK: list["asyncio.Task[None]"] = []


async def _asked(ask: Ask, door: Door) -> Any:
    try:
        return await ask(door)
    except HubError as error:
        return error


async def _straight(call: Call) -> Any:
    await call.pause(0.0, 0.01, 0.01, 0.1)
    answer = await call.deliver()
    await call.pause(0.0, 0.01, 0.1)
    return answer


async def _slow(call: Call) -> Any:
    await call.pause(0.1, 1.0, 8.0)
    answer = await call.deliver()
    await call.pause(0.1, 4.0, 20.0)
    return answer


async def _lost(call: Call) -> Any:
    await call.pause(0.0, 1.0, 10.0)
    raise HubUnreachable("timeout")


async def _cut(call: Call) -> Any:
    await call.pause(0.0, 0.1, 5.0)
    await call.deliver()
    await call.pause(0.0, 2.0)
    raise HubUnreachable("cut_body")


async def _late(call: Call) -> Any:
    call.deliver_later(0.5, 5.0, 40.0)
    await call.pause(0.1, 10.0)
    raise HubUnreachable("timeout")


async def _twice(call: Call) -> Any:
    call.deliver_later(0.0, 1.0, 30.0)
    return await _straight(call)


async def _stale(call: Call) -> Any:
    """A proxy answers from its memory, although it was told not to."""
    if call.question in call.wire.kept:
        await call.pause(0.0, 1.0)
        return call.wire.kept[call.question]
    return await _straight(call)


async def _busy(call: Call) -> Any:
    await call.pause(0.0, 0.1)
    raise HubBusy(call.wire.machine.die.choice((None, 1.0, 10.0)))


async def _portal(call: Call) -> Any:
    await call.pause(0.0, 0.1)
    raise HubUnreachable("not_the_hub")


class Fault(NamedTuple):
    """One thing that the network does with a call, and how often."""

    name: str
    weight: int
    meet: Callable[[Call], Awaitable[Any]]


FAULTS = (
    Fault("straight", 60, _straight),
    Fault("slow", 8, _slow),
    Fault("lost", 6, _lost),
    Fault("cut reply", 8, _cut),
    Fault("late request", 6, _late),
    Fault("twice", 5, _twice),
    Fault("stale reply", 5, _stale),
    Fault("busy", 2, _busy),
    Fault("captive portal", 2, _portal),
)
_WEIGHTS = [fault.weight for fault in FAULTS]


def _brief(answer: object) -> str:
    if isinstance(answer, UploadAnswer):
        verdicts = " ".join(f"{verdict.seq}={verdict.outcome}" for verdict in answer.results)
        return f"epoch={answer.hub_epoch[:4]} {verdicts}"
    if isinstance(answer, FeedPage):
        covered = {inc[:4]: seq for inc, seq in answer.covered.items()}
        return f"epoch={answer.hub_epoch[:4]} changes={len(answer.changes)} covered={covered} more={answer.more}"
    if isinstance(answer, HelloAnswer):
        return f"epoch={answer.hub_epoch[:4]} applied={ {word.inc[:4]: word.through for word in answer.applied} }"
    if isinstance(answer, AllowancesWord):
        held = " ".join(
            f"{one.allowance_id[-4:]}:{one.customer_id}:{one.spent}/{one.amount}" for one in answer.allowances
        )
        return (
            f"epoch={answer.hub_epoch[:4]} [{held}] applied={ {inc[:4]: seq for inc, seq in answer.applied.items()} }"
        )
    if isinstance(answer, SnapshotManifest):
        return f"epoch={answer.hub_epoch[:4]} chunks={len(answer.chunks)} complete={answer.complete}"
    return type(answer).__name__
