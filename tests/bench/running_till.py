"""The till as it runs in a shop: a scan over HTTP, what the process holds in memory, how soon it is ready."""

import random
from http import HTTPStatus

from tests.bench import bare_server
from tests.bench.findings import Bound, Finding, Round, percentile
from tests.bench.people import SEED, card
from tests.bench.processes import free_port, running
from tests.bench.rounds import interleaved, rounds_of
from tests.bench.wire import KeptAlive, answers, text
from tests.bench.world import World

_SCANS = 500
_MS = 1_000
PATH = "/api/v1/scans"


async def scan(world: World, rounds: int) -> list[Finding]:
    """Scan random cards at the real agent, one request after the other on one connection, with the bearer key."""
    till = await world.till()
    cards = _Cards(world.size)
    sample, port = world.folder / "answer.json", free_port()
    async with till.process():
        with KeptAlive(till.port, till.headers) as ours:
            sample.write_bytes(ours.ask(ours.request("POST", PATH, cards.next()[0])).body)
            async with running(
                (bare_server.__name__, str(port), sample), world.folder / "bare.log", lambda: answers(port, "/readyz")
            ):
                with KeptAlive(port) as raw:
                    taken = await interleaved(
                        rounds, ours=lambda: _scans(ours, cards.next()), raw=lambda: _scans(raw, cards.next())
                    )
    raw_is = "aiohttp handler that parses the same JSON and answers as many bytes, same client"
    notes: dict[str, float | str] = {"scans_per_round": _SCANS, "answer_bytes": sample.stat().st_size}
    p50s, p99s = (
        rounds_of((percentile(of_ours, share) * _MS, percentile(of_raw, share) * _MS) for of_ours, of_raw in taken)
        for share in (0.5, 0.99)
    )
    return [
        Finding("scan", "p50", world.size, "ms", p50s, raw_is, (Bound("ratio", "<=", 4.0),), notes),
        Finding("scan", "p99", world.size, "ms", p99s, raw_is, (Bound("ours", "<=", 10.0),), notes),
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


async def _scans(server: KeptAlive, bodies: list[bytes]) -> list[float]:
    """Return the seconds of each scan. It blocks: nothing else runs in this process."""
    seconds = []
    for body in bodies:
        answer = server.ask(server.request("POST", PATH, body))
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{PATH} answered {answer.status}: {answer.body[:300]!r}")
        seconds.append(answer.seconds)
    return seconds
