"""What a cashier waits for, in a real Chromium: from a key to the painted screen, with the hub off.

A scan runs from the scanner's last key, and a credit from Enter, by the time the browser gave the key. It is over two
animation frames after the page changed: the first of them paints it, so that up to a frame (17 ms) too much is counted,
on both sides alike.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Browser, CDPSession, Page, ViewportSize

from tests.bench import bare_page
from tests.bench.findings import Bound, Finding, percentile
from tests.bench.people import SEED, card
from tests.bench.processes import free_port, running
from tests.bench.rounds import interleaved, rounds_of
from tests.bench.wire import KeptAlive, answers, text
from tests.bench.world import Till, World
from tests.support.pages import chromium

# Acts of a round. A world of some hundred customers is only a try of the bench itself.
_ACTS_MAX, _CUSTOMERS_PER_ACT = 40, 50
_MS = 1_000
_TAKEN_S_MAX, _SCANS_MAX = 5, 3
_WINDOW: ViewportSize = {"width": 1366, "height": 768}
_VIEW, _TOAST = "#view", "#undo p"
Times = list[float]

# Waits until the words of a part are others than now. The page's own listener of keys comes first, and does not hide
# the key from this one.
_WATCH = """(selector) => {
  const words = () => document.querySelector(selector)?.textContent ?? "";
  let pressed = null;
  const before = words();
  const press = (event) => { if (event.key === "Enter") pressed = event.timeStamp; };
  addEventListener("keydown", press, { capture: true });
  window.taken = new Promise((done) => {
    const seen = new MutationObserver(() => {
      if (pressed === null || words() === before) return;
      seen.disconnect();
      removeEventListener("keydown", press, { capture: true });
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - pressed)));
    });
    seen.observe(document.body, { subtree: true, childList: true, characterData: true });
  });
}"""


async def page(world: World, rounds: int) -> list[Finding]:
    """Scan random cards by a stream of keys, and credit amounts to who is shown, at the real page and a bare one."""
    till = await world.till()
    with till.put_back():
        async with till.process(), chromium() as browser, _bare(world, till, browser) as bare_url:
            ours, raw = await _open(browser, _link(till)), await _open(browser, bare_url)
            counter, bare = _Counter(ours, till, world.size), _Bare(raw, world.size)
            scans = await interleaved(rounds, counter.scans, bare.scans)
            credits_ = await interleaved(rounds, counter.credits, bare.credits)
    same_page = "page that paints the same card on the same keys"
    return [
        *_found(world, "scan", scans, f"{same_page}, asking a bare aiohttp handler", 100.0),
        *_found(world, "credit", credits_, "bare aiohttp handler that commits a row (FULL), and a line of text", 150.0),
    ]


class _Window(NamedTuple):
    """A page in a window of its own, and the way by which keys come to it."""

    page: Page
    keys: CDPSession

    async def come_forward(self) -> None:
        """Take the keyboard: Chromium lets keys fall while one window gives way to another."""
        await self.page.bring_to_front()
        await self.page.evaluate("() => { window.heard = 0; }")
        while not await self.page.evaluate("() => window.heard"):
            await self.page.keyboard.press("Shift")

    async def type(self, signs: str) -> None:
        """Type as a scanner does: one key right after the other, whatever this process does meanwhile, and Enter."""
        presses = [(sign, f"Digit{sign}", sign, ord(sign)) for sign in signs] + [("Enter", "Enter", "\r", 13)]
        async with asyncio.TaskGroup() as group:
            for key, code, typed, number in presses:
                named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
                group.create_task(self.keys.send("Input.dispatchKeyEvent", {"type": "keyDown", "text": typed, **named}))
                group.create_task(self.keys.send("Input.dispatchKeyEvent", {"type": "keyUp", **named}))

    async def timed(self, selector: str, signs: str) -> float:
        """Return the seconds from the Enter behind these signs until the words of a part are others, and painted.

        A busy machine may bring the keys so far apart that they are typing and no scan; then they are scanned again.
        """
        for _ in range(_SCANS_MAX if signs else 1):
            await self.page.evaluate(_WATCH, selector)
            await self.type(signs)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TAKEN_S_MAX):
                    taken: float = await self.page.evaluate("() => window.taken")
                return taken / _MS
        raise RuntimeError(f"the page did not answer to {signs or 'Enter'}")


class _Counter:
    """The till's own page, and whoever stands at the counter."""

    def __init__(self, window: _Window, till: Till, customers: int) -> None:
        self._window = window
        self._till = till
        self._customers = customers
        self._die = random.Random(SEED)
        self._points = 0

    async def scans(self) -> Times:
        return [await self._scan(number) for number in await self._cards()]

    async def credits(self) -> Times:
        return [await self._credit(number) for number in await self._cards()]

    async def _cards(self) -> list[str]:
        await self._window.come_forward()
        numbers = self._die.sample(range(1, self._customers + 1), k=_acts(self._customers))
        return [card(number) for number in numbers]

    async def _scan(self, number: str) -> float:
        taken = await self._window.timed(_VIEW, number)
        with KeptAlive(self._till.port, self._till.headers) as asked:
            view = json.loads(asked.ask(asked.request("GET", "/api/v1/screen")).body)["view"]
        shown = await self._window.page.locator(f"{_VIEW} h1").text_content()
        if shown != view.get("name"):
            raise RuntimeError(f"the page painted {shown!r}, and the till shows {view}")
        return taken

    async def _credit(self, number: str) -> float:
        """Credit an amount that no credit before had, so that what is said of it is new, once its points are shown."""
        await self._scan(number)
        self._points += 1
        await self._window.page.locator("#amount").fill(f"{self._points}.00")
        await self._window.page.locator("#credit .go").filter(has_text=f"Credit {self._points} point").wait_for()
        return await self._window.timed(_TOAST, "")


class _Bare:
    """The bare page."""

    def __init__(self, window: _Window, customers: int) -> None:
        self._window = window
        self._acts = _acts(customers)

    async def scans(self) -> Times:
        return await self._taken(_VIEW, card(1))

    async def credits(self) -> Times:
        return await self._taken(_TOAST, "")

    async def _taken(self, selector: str, signs: str) -> Times:
        await self._window.come_forward()
        return [await self._window.timed(selector, signs) for _ in range(self._acts)]


def _acts(customers: int) -> int:
    return min(_ACTS_MAX, customers // _CUSTOMERS_PER_ACT)


def _link(till: Till) -> str:
    with KeptAlive(till.port, till.headers) as asked:
        link: dict[str, str] = json.loads(asked.ask(asked.request("POST", "/api/v1/page-links", text({}))).body)
    return link["url"]


async def _open(browser: Browser, address: str) -> _Window:
    context = await browser.new_context(viewport=_WINDOW)
    page = await context.new_page()
    await page.goto(address)
    await page.locator('body[data-link="live"]').wait_for()
    await page.evaluate("() => { addEventListener('keydown', () => { window.heard += 1; }, { capture: true }); }")
    return _Window(page, await context.new_cdp_session(page))


@asynccontextmanager
async def _bare(world: World, till: Till, browser: Browser) -> AsyncIterator[str]:
    """Run the bare server on what the till's own page painted for one customer. Yield its address."""
    folder, port = world.folder / "bare-page", free_port()
    folder.mkdir(exist_ok=True)
    page = (await _open(browser, _link(till))).page
    with KeptAlive(till.port, till.headers) as asked:
        view = asked.ask(asked.request("POST", bare_page.SCANS, text({"text": card(1)}))).body
    await page.locator(f"{_VIEW} .figure").wait_for()
    _write(folder, view, await page.locator(_VIEW).inner_html())
    await page.context.close()
    arguments = (bare_page.__name__, str(port), folder)
    async with running(arguments, world.folder / "bare-page.log", lambda: answers(port, bare_page.READY)):
        yield f"http://127.0.0.1:{port}/"


def _write(folder: Path, view: bytes, painted: str) -> None:
    style = resources.files("agent.web").joinpath("static", "style.css").read_bytes()
    for name, body in (("view.json", view), ("card.html", painted.encode()), ("style.css", style)):
        (folder / name).write_bytes(body)


def _found(
    world: World, number: str, taken: list[tuple[Times, Times]], raw_is: str, p95_ms_max: float
) -> list[Finding]:
    bounds: dict[str, tuple[float, tuple[Bound, ...]]] = {
        "p50": (0.5, ()),
        "p95": (0.95, (Bound("ours", "<=", p95_ms_max),)),
    }
    return [
        Finding(
            "page",
            f"{number}_{name}",
            world.size,
            "ms",
            rounds_of((percentile(ours, share) * _MS, percentile(raw, share) * _MS) for ours, raw in taken),
            raw_is,
            bound,
            {"acts_per_round": len(taken[0][0])},
        )
        for name, (share, bound) in bounds.items()
    ]
