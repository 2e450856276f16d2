"""Opening the demo's shop: its hub and its tills as real processes, set up by the commands a shop uses.

What an earlier start has done is not done again, so a second start is only the start of three programs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from agent.config import Settings
from agent.demo.ports import TILLS, Ports, answers
from agent.demo.processes import Program, run_command
from agent.demo.sample_shop import Shop, make_shop
from agent.demo.shop_files import STORE_ID, SampleCard, ShopFiles, sample_cards
from agent.demo.waiting import wait_for
from agent.till_client import TillNotRunning, TillRefused, till_client
from sync.runtime.clock import Clock
from sync.runtime.state_lock import AlreadyRunning, hold, hold_folder

# A start takes a second; a cold disk or a busy machine may need many times that.
READY_S_MAX = 30.0

Say = Callable[[str], None]


class DemoError(Exception):
    """The demo cannot go on; the message is one line that says what to do."""


class OpenShop:
    """The hub and the tills of the sample shop."""

    def __init__(self, files: ShopFiles, ports: Ports, clock: Clock) -> None:
        self.files = files
        self.ports = ports
        self.sample: Shop = make_shop(clock.now().date())
        self.cards: list[SampleCard] = sample_cards(self.sample)
        self.hub = Program("the hub", ("sync.hub", "run", "--config", files.hub_config), files.log("hub"))
        self.tills = tuple(
            Program(
                f"till {number}", ("agent", "run", "--config", files.till_config(number)), files.log(f"till-{number}")
            )
            for number in range(1, TILLS + 1)
        )
        self._clock = clock

    def settings(self, till: Program) -> Settings:
        """Return the settings of one of the tills."""
        return self.files.till(self.tills.index(till) + 1)

    async def start(self, say: Say) -> None:
        """Set up what is not set up yet, start everything, and wait until each till knows the customers.

        Raises:
            ProcessFailed: a program ended, or a command failed.
            NotSeen: something is not ready in time.
        """
        self.files.write(self.sample, self.ports)
        if not self.files.is_imported():
            say(f"importing {len(self.sample.members)} customers into the hub")
            await self.hub_command("import", self.files.customers)
            self.files.note_import()
        new = [
            number for number in range(1, len(self.tills) + 1) if not self.files.till(number).enrolment_file.exists()
        ]
        # Before the hub runs: not every SQLite lets a second program write.
        codes = {number: await self._invite(number) for number in new}
        await self.hub.start()
        for number, till in enumerate(self.tills, start=1):
            if number in codes:
                say(f"enrolling till {number}")
                await self._enrol(number, codes[number])
            await till.start()
        self.files.draw_cards(self.cards)
        await self.hub_is_up()
        for till in self.tills:
            await self.till_is_up(till)

    async def hub_is_up(self) -> None:
        """Wait until the hub can be called.

        Raises:
            ProcessFailed: it ended.
            NotSeen: not in time.
        """

        async def hub_answers() -> bool:
            self.hub.check_running()
            return answers(self.ports.hub)

        await wait_for("the hub answers", True, hub_answers, within_s=READY_S_MAX, clock=self._clock)

    async def till_is_up(self, till: Program) -> None:
        """Wait until a till can be called and knows the customers.

        Raises:
            ProcessFailed: it ended.
            NotSeen: not in time.
        """
        settings = self.settings(till)
        last = self.sample.members[-1].cards[0]

        async def knows_the_last_customer() -> bool:
            till.check_running()
            try:
                async with till_client(settings) as client:
                    found = await client.call("POST", "/api/v1/customers/search", {"text": last})
            except (TillNotRunning, TillRefused):  # it is not there yet, or has been asked often enough for now
                return False
            return bool(found["people"])

        what = f"{till.name} knows the customers"
        await wait_for(what, True, knows_the_last_customer, within_s=READY_S_MAX, clock=self._clock)

    async def has_sent_all(self, till: Program) -> bool:
        """Tell whether a till reaches the hub, and none of its events waits."""
        try:
            async with till_client(self.settings(till)) as client:
                screen = await client.call("GET", "/api/v1/screen")
        except (TillNotRunning, TillRefused):
            return False
        return bool(screen["hub"]["is_reachable"]) and screen["outbox"]["waiting"] == 0

    async def page_link(self, till: Program) -> str:
        """Return an address that opens a till's page once, as `loyalty-agent open` prints it."""
        async with till_client(self.settings(till)) as client:
            return await client.page_link()

    async def stop(self) -> dict[str, int | None]:
        """End everything, all at once, and return the exit codes by name."""
        programs = (*self.tills, self.hub)
        async with asyncio.TaskGroup() as group:
            tasks = {program.name: group.create_task(program.stop()) for program in programs}
        return {name: task.result() for name, task in tasks.items()}

    async def hub_command(self, *arguments: str | Path) -> str:
        """Run `loyalty-hub ARGUMENTS` on the shop's hub and return what it printed.

        Raises:
            ProcessFailed: it failed.
        """
        command = ("sync.hub", *arguments, "--config", self.files.hub_config)
        return await run_command(f"loyalty-hub {arguments[0]}", command)

    async def _invite(self, number: int) -> str:
        said = await self.hub_command("terminals", "invite", "--store", STORE_ID, "--name", f"till {number}")
        return said.split()[0]

    async def _enrol(self, number: int, code: str) -> None:
        await self.hub_is_up()
        config = self.files.till_config(number)
        await run_command("loyalty-agent enrol", ("agent", "enrol", code, "--config", config))


@contextlib.asynccontextmanager
async def open_shop(files: ShopFiles, ports: Ports, clock: Clock) -> AsyncIterator[OpenShop]:
    """Have a shop that can be started, and leave none of its processes behind.

    Raises:
        DemoError: the folder is in use, or is not the demo's.
        PortsTaken: a port is.
    """
    _refuse_foreign(files)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_folder(files.lock))
        except AlreadyRunning as running:
            raise DemoError(
                f"the demo in {files.folder} runs already (process {running.pid}); stop that one, or start this one"
                " with --state and --port-base of its own"
            ) from None
        _refuse_left_over(files)
        ports.check_free()
        shop = OpenShop(files, ports, clock)
        try:
            yield shop
        finally:
            await shop.stop()


def _refuse_foreign(files: ShopFiles) -> None:
    """Refuse a folder with other things in it: the demo's folder is closed to other users, and may be deleted."""
    if files.folder.exists() and not files.lock.exists() and any(files.folder.iterdir()):
        raise DemoError(f"{files.folder} holds other things; name an empty folder, or one that is not there yet")


def _refuse_left_over(files: ShopFiles) -> None:
    """Refuse to start beside what a demo that was killed has left running."""
    left_over = []
    for lock in filter(Path.exists, files.locks):
        try:
            with hold(lock):
                pass
        except AlreadyRunning as running:
            left_over.append(str(running.pid))
    if left_over:
        raise DemoError(f"an earlier demo was killed and its programs still run; stop them: kill {' '.join(left_over)}")
