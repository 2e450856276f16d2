"""The demo as a person plays it: what to open and to scan, the line taken away and given back, processes looked after.

The hub stops and starts by a key, or by a signal where nobody sits at a keyboard. A till that ends by itself is said
and started again, as a service manager would; it comes back with every sale it had confirmed.
"""

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.demo.opening import OpenShop, Say
from agent.demo.processes import ProcessFailed, Program
from agent.demo.shop_files import cards_table, shared_phone
from agent.demo.waiting import NotSeen
from agent.till_client import TillNotRunning, TillRefused
from sync.runtime.clock import Clock

# As a service manager does: a till that falls at once must not keep the machine busy.
RESTART_AFTER_S = 1.0
LOOK_S = 0.5
_HUB_KEY, _OPEN_KEY = "h", "o"
_KEYS_BYTES_MAX = 256
_LINE_DOWN = "the line is down; scan and sell on, then start it again"
# An EAN-13 with a right check digit.
_PRODUCT = "4006381333931"


class Show:
    """Runs a shop until it is cancelled."""

    def __init__(self, shop: OpenShop, say: Say, clock: Clock) -> None:
        """Take a shop that is not started yet, and where lines for people go."""
        self._shop = shop
        self._say = say
        self._clock = clock
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._hub_started = asyncio.Event()

    async def run(self) -> None:
        """Start everything, tell how to play with it, and look after it; never returns.

        Raises:
            NotSeen, ProcessFailed: it does not start.
        """
        began_s = self._clock.monotonic()
        shop, people = self._shop.sample.name, len(self._shop.sample.members)
        self._say(f"DEMO  {shop}: a hub, two tills and {people} customers, none of them real\n")
        await self._shop.start(lambda what: self._say(f"  {what} …"))
        self._say(f"  running after {self._clock.monotonic() - began_s:.1f} s\n")
        with self._listening() as has_keyboard:
            await self._say_addresses()
            self._say("\n".join(self._tour(has_keyboard=has_keyboard)))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._obey())
                group.create_task(self._tell_agreement())
                group.create_task(self._watch_hub())
                for till in self._shop.tills:
                    group.create_task(self._watch_till(till))

    async def _say_addresses(self) -> None:
        for till in self._shop.tills:
            try:
                self._say(f"  {till.name}   {await self._shop.page_link(till)}")
            except (TillNotRunning, TillRefused) as error:
                self._say(f"  {till.name}   {error}")
        self._say("  Each address opens once, within a minute.\n")

    def _tour(self, *, has_keyboard: bool) -> list[str]:
        """Return how to play with it, in lines."""
        files = self._shop.files
        agent = shlex.quote(_shown(Path(sys.executable).with_name("loyalty-agent")))
        config = shlex.quote(_shown(files.till_config(1)))
        if has_keyboard:
            keys = [
                f"  {_HUB_KEY} + Enter  stops the hub: the line is down. The same again starts it.",
                f"  {_OPEN_KEY} + Enter  prints new addresses.",
            ]
        else:
            keys = [
                f"  kill -USR1 {os.getpid()}  stops the hub: the line is down. The same again starts it.",
                f"  {agent} open --config {config}  prints a new address.",
            ]
        return [
            f"  Cards as pictures, by these numbers, in {_shown(files.cards)}:",
            *(f"    {row}" for row in cards_table(self._shop.cards)),
            "  Show one to a scanner, or type its number into a till. Try these too:",
            f"    {shared_phone(self._shop.sample)} leads to two customers; {_PRODUCT} is a product, and no customer",
            "",
            "  To sell as a point of sale does (README, step 3), this prints its key:",
            f"    {agent} key show --config {config}",
            "",
            *keys,
            f"  Ctrl-C     stops everything. To begin anew, delete {_shown(files.folder)}",
            "",
        ]

    @contextlib.contextmanager
    def _listening(self) -> Iterator[bool]:
        """Take keys from whoever sits at the terminal, and the signal that means the hub's key; tell if one sits."""
        loop = asyncio.get_running_loop()
        has_keyboard = sys.stdin is not None and sys.stdin.isatty()
        if has_keyboard:
            # Where the demo is put into the background, a read must fail and not stop the process.
            signal.signal(signal.SIGTTIN, signal.SIG_IGN)
            loop.add_reader(sys.stdin.fileno(), self._read_keys)
        loop.add_signal_handler(signal.SIGUSR1, self._keys.put_nowait, _HUB_KEY)
        try:
            yield has_keyboard
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            if has_keyboard:
                loop.remove_reader(sys.stdin.fileno())

    def _read_keys(self) -> None:
        try:
            typed = os.read(sys.stdin.fileno(), _KEYS_BYTES_MAX)
        except OSError:
            typed = b""
        if not typed:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        for line in typed.decode(errors="replace").split():
            self._keys.put_nowait(line.lower())

    async def _obey(self) -> None:
        while True:
            key = await self._keys.get()
            if key == _HUB_KEY:
                await self._turn_line()
            elif key == _OPEN_KEY:
                await self._say_addresses()
            else:
                self._say(f"  {_HUB_KEY} stops or starts the hub, {_OPEN_KEY} prints new addresses, Ctrl-C ends")

    async def _turn_line(self) -> None:
        if self._shop.hub.is_running:
            await self._shop.hub.stop()
            self._say(f"  the hub is stopped: {_LINE_DOWN}")
            return
        await self._shop.hub.start()
        try:
            await self._shop.hub_is_up()
        except NotSeen as error:
            self._say(f"  {error}")
            return
        except ProcessFailed:  # whoever watches the hub says it
            return
        self._say("  the hub runs: the tills find it by themselves, at the latest within a minute")
        self._hub_started.set()

    async def _tell_agreement(self) -> None:
        """After each start of the hub, say when all that waited has arrived there."""
        while True:
            await self._hub_started.wait()
            self._hub_started.clear()
            began_s = self._clock.monotonic()
            while self._shop.hub.is_running and not await self._all_arrived():
                await self._clock.sleep(LOOK_S)
            if self._shop.hub.is_running:
                took_s = self._clock.monotonic() - began_s
                self._say(f"  both tills have the hub again after {took_s:.0f} s, and nothing waits to be sent")

    async def _all_arrived(self) -> bool:
        return all([await self._shop.has_sent_all(till) for till in self._shop.tills])

    async def _watch_hub(self) -> None:
        while True:
            self._say(f"  {await self._shop.hub.ended_unasked()}\n  {_LINE_DOWN}")

    async def _watch_till(self, till: Program) -> None:
        """Start a till again whenever it ended by itself, unless it does not come up any more."""
        while True:
            self._say(f"  {await till.ended_unasked()}")
            await self._clock.sleep(RESTART_AFTER_S)
            await till.start()
            try:
                await self._shop.till_is_up(till)
                self._say(f"  {till.name} is back   {await self._shop.page_link(till)}")
            except (NotSeen, ProcessFailed, TillNotRunning, TillRefused) as error:
                self._say(f"  {till.name} is left alone: {error}")
                return


def _shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
