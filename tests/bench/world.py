"""What is measured: one hub and one till with so many customers, made once per size by the product's own commands.

Everything lies in a folder that the caller names or throws away. A till of a finished world has loaded the hub's
snapshot the way a shop's till does.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path

from agent import keys
from agent.config import Settings
from agent.store import Store, open_store
from agent.version import VERSION
from sync.contract.protocol import EnrolRequest
from sync.hub.config import HubConfig
from sync.hub.root import running as running_here
from sync.hub_client import enrol
from sync.runtime.clock import SystemClock
from sync.runtime.settings import load
from tests.bench.people import customer_id, write_import_file
from tests.bench.plain import load_plain
from tests.bench.processes import Running, finished, free_port, running
from tests.bench.rounds import Stopwatch
from tests.bench.wire import answers

STORE_ID = "bench-1"
# A load of a million customers takes minutes; one that takes longer than this has hung.
LOAD_S_MAX = 1_800.0
_LOOK_S = 0.05
_WARM_BYTES = 4 * 1024 * 1024
_COUNTERS = 4


class Hub:
    """A hub's state folder, its settings, and its process."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.config = folder / "hub.toml"
        self._log = folder / "hub.log"
        if not self.config.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.config.write_text(
                f'[hub]\nstate = "{folder / "state"}"\nport = {port or free_port()}\n', encoding="utf-8"
            )

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @cached_property
    def port(self) -> int:
        return load(self.config, HubConfig).hub.port

    @property
    def database(self) -> Path:
        return self.state / "hub.db"

    def beside(self, name: str) -> "Hub":
        """Return another hub in a folder beside this one, for the same tills: it answers at the same address."""
        return Hub(self.folder.parent / name, self.port)

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[Running]:
        arguments = ("sync.hub", "run", "--config", self.config)
        async with running(arguments, self._log, lambda: answers(self.port, "/readyz")) as started:
            yield started

    async def import_customers(self, file: Path) -> float:
        """Import a file by the hub's own command and return the seconds it took, its start included."""
        watch = Stopwatch()
        await finished(("sync.hub", "import", file, "--config", self.config), self._log)
        return watch.seconds

    async def invite(self) -> str:
        """Return a one-time code for a new till of the store."""
        arguments = ("sync.hub", "terminals", "invite", "--store", STORE_ID, "--config", self.config)
        said = await finished(arguments, self._log)
        return said.split()[0]


class Till:
    """A till's state folder, its settings, its process, and its store opened in this process."""

    def __init__(self, folder: Path, hub_port: int) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self._log = folder / "till.log"
        if not self.config.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.config.write_text(
                f'[till]\nstate = "{folder / "state"}"\n[api]\nport = {free_port()}\n'
                f'[hub]\nurl = "http://127.0.0.1:{hub_port}"\n',
                encoding="utf-8",
            )

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @cached_property
    def settings(self) -> Settings:
        return load(self.config, Settings)

    @property
    def port(self) -> int:
        return self.settings.api.port

    @cached_property
    def enrolment(self) -> keys.Enrolment:
        return keys.read_enrolment(self.settings.enrolment_file)

    @property
    def identifier_key(self) -> bytes:
        return self.enrolment.identifier_key

    @property
    def database_key(self) -> bytes:
        return keys.database_key(self.settings.database_key_file, self.state / "till.db")

    @property
    def cache_number(self) -> int:
        return max(int(path.stem.removeprefix("cache-")) for path in self.state.glob("cache-*.db"))

    @property
    def headers(self) -> dict[str, str]:
        """The headers by which the point of sale asks; the key is made at the first start."""
        return {"Authorization": f"Bearer {keys.pos_key(self.settings.pos_key_file, None)}"}

    async def enrol(self, code: str) -> None:
        await finished(("agent", "enrol", code, "--config", self.config), self._log)

    async def enrol_here(self, code: str) -> None:
        """Enrol by the client alone, without a process for it; for a till that is no measure of an enrolment."""
        key = keys.terminal_key(self.settings.terminal_key_file)
        request = EnrolRequest(code=code, agent_version=VERSION, public_key=key.public)
        answer = await enrol(self.settings.hub.url, request)
        keys.write_enrolment(self.settings.enrolment_file, keys.Enrolment(hub_url=self.settings.hub.url, answer=answer))

    @contextlib.asynccontextmanager
    async def process(self) -> AsyncIterator[Running]:
        arguments = ("agent", "run", "--config", self.config)
        async with running(arguments, self._log, lambda: self._answers("/readyz")) as started:
            yield started

    @contextlib.asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        who = self.enrolment.answer
        async with open_store(
            self.state, self.database_key, terminal_id=who.terminal_id, store_id=who.store_id, clock=SystemClock()
        ) as store:
            if store.cache.program is None:
                await store.cache.keep_program(who.program)
            yield store

    @contextlib.contextmanager
    def put_back(self) -> Iterator[None]:
        """Bring the journal back to what it was, in the end. Nothing else is written while no hub is asked."""
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        for path in self.state.glob("till.db*"):
            shutil.copy2(path, kept)
        try:
            yield
        finally:
            for path in self.state.glob("till.db*"):
                path.unlink()
            for path in kept.iterdir():
                shutil.copy2(path, self.state)

    def knows(self, number: int) -> bool:
        """Tell whether the running till has that customer."""
        return self._answers(f"/api/v1/customers/{customer_id(number)}")

    def _answers(self, path: str) -> bool:
        return self.settings.pos_key_file.exists() and answers(self.port, path, self.headers)


class World:
    """A hub and a till of one size, each made when it is first asked for."""

    def __init__(self, folder: Path, size: int, say: Callable[[str], None]) -> None:
        self.folder = folder / str(size)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.size = size
        self.say = say

    async def hub(self) -> Hub:
        hub = Hub(self.folder / "hub")
        if not self.is_made("hub"):
            file = await self.import_file()
            self.say(f"importing {self.size:,} customers")
            seconds = await hub.import_customers(file)
            file.unlink()
            self.made("hub", import_s=seconds)
        return hub

    async def import_file(self) -> Path:
        file = self.folder / "customers.ndjson"
        self.say(f"making up {self.size:,} customers")
        await asyncio.to_thread(write_import_file, file, self.size)
        return file

    async def new_till(self, hub: Hub, name: str) -> Till:
        """Return an empty till that is enrolled at the running hub."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        till = Till(folder, hub.port)
        await till.enrol(await hub.invite())
        return till

    async def till(self) -> Till:
        """Return the till that holds all customers; its process is not running."""
        hub = await self.hub()
        if not self.is_made("till"):
            async with hub.process() as hub_process:
                till, figures = await self.loaded_till(hub, "till")
                figures["hub_peak_rss_mb"] = hub_process.peak_rss_mb
            figures["cache_mb"] = sum(path.stat().st_size for path in till.state.glob("cache-*")) / 1_000_000
            self.made("till", **figures)
        till = Till(self.folder / "till", hub.port)
        await asyncio.to_thread(_warm, [till.state / "till.db", *till.state.glob("cache-*.db")])
        return till

    async def counters(self) -> list[Till]:
        """Return four tills that only sell, the one with all customers first. The others know nobody; the hub does."""
        first, hub = await self.till(), await self.hub()
        names = [f"counter-{nth}" for nth in range(2, _COUNTERS + 1)]
        if not self.is_made("counters"):
            for name in names:
                shutil.rmtree(self.folder / name, ignore_errors=True)
            async with running_here(load(hub.config, HubConfig)) as started:
                for name in names:
                    await Till(self.folder / name, hub.port).enrol_here(await started.invite(STORE_ID))
            self.made("counters", number=_COUNTERS)
        return [first, *(Till(self.folder / name, hub.port) for name in names)]

    async def loaded_till(self, hub: Hub, name: str) -> tuple[Till, dict[str, float]]:
        """Return a new till that has loaded all customers of the running hub, and what that cost."""
        till = await self.new_till(hub, name)
        self.say(f"loading {self.size:,} customers into an empty till")
        async with till.process() as started:
            seconds = await started.until(lambda: till.knows(self.size), LOAD_S_MAX, look_s=_LOOK_S)
            return till, {"load_s": seconds, "peak_rss_mb": started.peak_rss_mb}

    async def plain(self, *, anew: bool = False) -> Path:
        """Return the plain SQLite file with the rows of the till's cache, made `anew` where its cost is asked for."""
        path = self.folder / "plain.db"
        if anew or not self.is_made("plain"):
            till = await self.till()
            self.say(f"loading {self.size:,} customers into plain SQLite")
            loaded = await asyncio.to_thread(load_plain, path, till.state, till.database_key, till.cache_number)
            self.made("plain", rows=loaded.rows, load_s=loaded.seconds)
        await asyncio.to_thread(_warm, [path])
        return path

    def figures(self, part: str) -> dict[str, float]:
        """Return what making a part cost."""
        figures: dict[str, float] = json.loads(self._note(part).read_text(encoding="utf-8"))
        return figures

    def is_made(self, part: str) -> bool:
        """Tell whether a part of this world was made before."""
        return self._note(part).exists()

    def made(self, part: str, **figures: float) -> None:
        """Note that a part of this world is made, and what that cost."""
        self._note(part).write_text(json.dumps(figures), encoding="utf-8")

    def _note(self, part: str) -> Path:
        return self.folder / f"{part}.json"


def _warm(paths: Iterable[Path]) -> None:
    """Read files through once, so that the system holds them: a shop's till has run for hours, a bench has not."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(_WARM_BYTES):
                pass
