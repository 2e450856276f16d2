"""The till as it runs in a shop: a scan over HTTP, what the process holds in memory, how soon it is ready."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp

from tests.bench import bare_server
from tests.bench.findings import Bound, Finding, Round, percentile
from tests.bench.people import SEED, card
from tests.bench.processes import free_port, running
from tests.bench.rounds import interleaved, rounds_of
from tests.bench.wire import KeptAlive, answers, text
from tests.bench.world import Till, World

_SCANS = 500
_MS = 1_000
PATH = "/api/v1/scans"
_Taken = list[tuple[list[float], list[float]]]


async def scan(world: World, rounds: int) -> list[Finding]:
    """Scan random cards at the real agent, one request after the other on one connection, with the bearer key.

    Twice: by the client that a point of sale in Python would use, whose round trip is the one it waits for and the one
    the bound is about; and by a bare socket, which costs nothing itself, to see what the servers alone take.
    """
    till = await world.till()
    async with till.process(), _bare_server(world, till) as bare_port:
        thin = await _taken_by_socket(world, till, bare_port, rounds)
        usual = await _taken_by_aiohttp(world, till, bare_port, rounds)
    ratio, p99 = Bound("ratio", "<=", 4.0), Bound("ours", "<=", 10.0)
    return [
        *_found(world, "", "by the same aiohttp client", usual, ((ratio,), (p99,))),
        *_found(world, "_servers_alone", "by the same bare socket", thin, ((), (p99,))),
    ]


async def start_and_memory(world: World, rounds: int) -> list[Finding]:
    """Start the agent as after a clean stop; then scan, and look at what it holds, its decode child apart."""
    till = await world.till()
    starts, sizes = [], []
    async with till.process():
        pass  # the first start after a load is no clean one
    for _ in range(rounds):
        async with till.process() as started:
            starts.append(Round(started.ready_s))
            with KeptAlive(till.port, till.headers) as asked:
                await _scans(asked, _Cards(world.size).next())
            sizes.append(Round(started.rss_mb))
    return [
        Finding("start", "ready", world.size, "s", tuple(starts), bounds=(Bound("ours", "<=", 1.5),)),
        Finding("start", "rss", world.size, "MB", tuple(sizes), bounds=(Bound("ours", "<=", 100.0),)),
    ]


class _Cards:
    """Bodies of scans of random cards, made before the clock runs."""

    def __init__(self, customers: int) -> None:
        self._customers = customers
        self._die = random.Random(SEED)

    def next(self) -> list[bytes]:
        return [text({"text": card(number)}) for number in self._die.choices(range(1, self._customers + 1), k=_SCANS)]


@asynccontextmanager
async def _bare_server(world: World, till: Till) -> AsyncIterator[int]:
    """Run the bare handler in a process of its own; it answers what the till answered once. Return its port."""
    sample, port = world.folder / "answer.json", free_port()
    with KeptAlive(till.port, till.headers) as asked:
        sample.write_bytes(asked.ask(asked.request("POST", PATH, _Cards(world.size).next()[0])).body)
    arguments = (bare_server.__name__, str(port), sample)
    async with running(arguments, world.folder / "bare.log", lambda: answers(port, "/readyz")):
        yield port


async def _taken_by_socket(world: World, till: Till, bare_port: int, rounds: int) -> _Taken:
    cards = _Cards(world.size)
    with KeptAlive(till.port, till.headers) as ours, KeptAlive(bare_port) as raw:
        return await interleaved(rounds, ours=lambda: _scans(ours, cards.next()), raw=lambda: _scans(raw, cards.next()))


async def _taken_by_aiohttp(world: World, till: Till, bare_port: int, rounds: int) -> _Taken:
    cards = _Cards(world.size)
    headers = {**till.headers, "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        return await interleaved(
            rounds,
            ours=lambda: _posts(session, f"http://127.0.0.1:{till.port}{PATH}", cards.next()),
            raw=lambda: _posts(session, f"http://127.0.0.1:{bare_port}{PATH}", cards.next()),
        )


def _found(
    world: World, suffix: str, how: str, taken: _Taken, bounds: tuple[tuple[Bound, ...], tuple[Bound, ...]]
) -> list[Finding]:
    raw_is = f"aiohttp handler that parses the same JSON and answers as many bytes, asked {how}"
    notes: dict[str, float | str] = {
        "scans_per_round": _SCANS,
        "answer_bytes": (world.folder / "answer.json").stat().st_size,
    }
    shares = {"p50": 0.5, "p99": 0.99}
    return [
        Finding(
            "scan",
            name + suffix,
            world.size,
            "ms",
            rounds_of((percentile(ours, share) * _MS, percentile(raw, share) * _MS) for ours, raw in taken),
            raw_is,
            bound,
            notes,
        )
        for (name, share), bound in zip(shares.items(), bounds, strict=True)
    ]


async def _scans(server: KeptAlive, bodies: list[bytes]) -> list[float]:
    """Return the seconds of each scan. It blocks: nothing else runs in this process."""
    seconds = []
    for body in bodies:
        answer = server.ask(server.request("POST", PATH, body))
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{PATH} answered {answer.status}: {answer.body[:300]!r}")
        seconds.append(answer.seconds)
    return seconds


async def _posts(session: aiohttp.ClientSession, url: str, bodies: list[bytes]) -> list[float]:
    """Return the seconds of each scan, as a client in Python sees them."""
    seconds = []
    for body in bodies:
        start = time.perf_counter()
        async with session.post(url, data=body) as answer:
            await answer.read()
        seconds.append(time.perf_counter() - start)
        answer.raise_for_status()
    return seconds
