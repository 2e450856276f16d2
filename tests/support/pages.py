"""The staff's page in a real Chromium, at a real till with the sample shop's customers and no hub.

Whatever the page does, it must ask nothing of anybody else, say nothing to the console and store nothing; that is
looked at on the way out of every test.
"""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright
from playwright.async_api import Error as PlaywrightError

from agent.config import Settings
from agent.demo.sample_shop import Member, Shop, make_shop
from agent.root import Till, running
from sync.contract.customers import Customer
from sync.contract.identifiers import Scheme
from sync.contract.program import Program
from sync.contract.protocol import CustomerPut
from sync.runtime.clock import Clock
from tests.support import shop
from tests.support.tills import Pos, enrol_by_hand, open_pos, settings

# Debian's Chromium without its window, where it is there: the same engine, and a quarter less of the processor's time.
_CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
CHROMIUM = next((path for path in _CHROMIUMS if path.exists()), None)
_FEATURES_OFF = (
    # With a window, Chromium's own address bar is a page of its own by now, drawn anew for each window that nobody
    # sees: two thirds of all the processor time that the tests of the page took.
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AiModeOmniboxEntryPoint",
    # What Playwright switches off; the last word on features is the only one, so it has to be said again here.
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(_FEATURES_OFF)}",
)
LAPTOP = (1366, 768)
Reword = Callable[[Mapping[str, str]], Mapping[str, str]]
Words = Mapping[str, Reword]
# A page on loopback answers within milliseconds; a shared core may stop for a while.
_WAIT_MS = 15_000


@asynccontextmanager
async def chromium(*arguments: str) -> AsyncIterator[Browser]:
    """Start Chromium, with further arguments of its command line, or skip where it is absent."""
    if CHROMIUM is None:
        pytest.skip(f"needs Chromium at {' or '.join(map(str, _CHROMIUMS))} (Debian: apt install {_CHROMIUMS[0].name})")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=(*_ARGUMENTS, *arguments))
        yield browser
        await browser.close()


@dataclass
class Counter:
    """A till, its point of sale, and the page in front of it.

    `noise` is what the page said to the console or asked elsewhere; a test that makes some on purpose clears it.
    """

    of: Settings
    till: Till
    pos: Pos
    shop: Shop
    page: Page
    stack: AsyncExitStack
    noise: list[str] = field(default_factory=list)

    @property
    def faces(self) -> Sequence[Member]:
        """The sample shop's customers that are written by hand."""
        return [member for member in self.shop.members if member.sees]

    def face(self, name: str) -> Member:
        return next(member for member in self.faces if member.customer.given_name == name)

    async def link(self) -> str:
        """Return a one-time address of the page."""
        _, answer = await self.pos.post("/api/v1/page-links", {})
        return str(answer["url"])

    async def enter(self, text: str) -> None:
        """Type into the field, which F2 opens, and press Enter."""
        await self.page.locator("body[data-link]").wait_for()
        await self.page.keyboard.press("F2")
        await self.page.locator("#text").fill(text)
        await self.page.locator("#text").press("Enter")

    async def sell(self, sale_id: str, card: str, net_minor: int) -> None:
        body: dict[str, Any] = {
            "sale_id": sale_id,
            "card": card,
            "lines": [{"quantity": "1", "net_minor": net_minor}],
            "net_minor": net_minor,
            "currency": self.shop.program.currency,
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        status, answer = await self.pos.post("/api/v1/sales", body)
        assert status == 200, answer

    async def stop_till(self) -> None:
        """Stop the till as its process would end; the page stays."""
        await self.stack.aclose()

    def watch(self, page: Page) -> None:
        """Note whatever this page says to the console or asks of anybody but this till."""
        page.set_default_timeout(_WAIT_MS)
        page.on("console", lambda message: self.noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(self.pos.url) else self.noise.append(request.url),
        )


@asynccontextmanager
async def counter(  # noqa: PLR0913 - each is what one test or another is about
    browser: Browser,
    folder: Path,
    *,
    clock: Clock | None = None,
    customers: Sequence[tuple[Customer, str]] = (),
    as_of: datetime | None = None,
    words: Words | None = None,
    sounds: bool = True,
    **context: Any,
) -> AsyncIterator[Counter]:
    """Open the page at a till of the sample shop.

    Args:
        browser: of `chromium`.
        folder: for the till's state.
        clock: the till's; the real one unless given.
        customers: further customers, each with the number of a card.
        as_of: the hub's time of all balances; now unless given.
        words: what becomes of the texts of a language on their way to the page.
        sounds: whether the page may make any.
        context: of Playwright's `new_context`, such as `color_scheme`.
    """
    sample = _shop(date.today())  # noqa: DTZ011 - the page counts days by the machine's own calendar
    of = settings(folder, till={"state": folder / "state", "demo": True}, page={"sounds": sounds})
    enrol_by_hand(of, sample.program)
    shown = await browser.new_context(**({"viewport": _size(LAPTOP)} | context))
    await reword(shown, words or {})
    try:
        async with AsyncExitStack() as stack:
            till = await stack.enter_async_context(running(of, clock))
            pos = await stack.enter_async_context(open_pos(till, of))
            await _load(till, _rows(sample, customers), sample.program, as_of or datetime.now(UTC))
            page = await shown.new_page()
            at = Counter(of, till, pos, sample, page, stack)
            at.watch(page)
            await page.goto(await at.link())
            await page.locator('body[data-link="live"]').wait_for()
            try:
                yield at
            except Exception as error:
                error.add_note(await _shown_by(page))
                raise
            noise, stored = list(at.noise), await kept_by(page)
        assert (noise, stored) == ([], [])
    finally:
        await shown.close()


@functools.cache
def _shop(today: date) -> Shop:
    return make_shop(today)


async def resize(page: Page, size: tuple[int, int]) -> None:
    await page.set_viewport_size({"width": size[0], "height": size[1]})


async def reword(context: BrowserContext, words: Words) -> None:
    """Change the texts of each language on their way to the pages of a context."""

    def answering(change: Reword) -> Callable[[Route], Awaitable[None]]:
        async def answer(route: Route) -> None:
            given = await route.fetch()
            await route.fulfill(response=given, json=change(await given.json()))

        return answer

    for language, change in words.items():
        await context.route(f"**/texts/{language}*.json", answering(change))


def _size(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


def _rows(sample: Shop, customers: Sequence[tuple[Customer, str]]) -> Sequence[CustomerPut]:
    rows = [
        CustomerPut(
            customer=member.customer,
            identifiers=tuple(shop.ref(one.scheme, one.value) for one in member.identifiers),
            points=member.points,
        )
        for member in sample.members
        if member.sees
    ]
    return rows + [shop.put(customer, 100, [shop.ref(Scheme.CARD, card)]) for customer, card in customers]


async def _load(till: Till, rows: Sequence[CustomerPut], rules: Program, as_of: datetime) -> None:
    chunk = shop.chunk(*rows)
    manifest = shop.manifest([chunk], program=rules, as_of=as_of)
    await till.store.cache.begin_snapshot(manifest)
    await till.store.cache.load_chunk(1, chunk)
    await till.store.cache.finish_snapshot(manifest)


async def _shown_by(page: Page) -> str:
    """Return what the page says, for whoever reads why a test failed."""
    try:
        return f"the page said:\n{await page.locator('body').inner_text()}"
    except PlaywrightError as error:
        return f"the page said nothing: {error.message}"


async def kept_by(page: Page) -> list[Any]:
    """Return whatever the page keeps outside its memory, and whatever its scripts can read of its cookie."""
    kept: list[Any] = await page.evaluate(
        """async () => [
            ...Object.entries(localStorage), ...Object.entries(sessionStorage),
            ...(await indexedDB.databases()), ...(await caches.keys()), ...document.cookie.split(";").filter(Boolean),
            ...(await navigator.serviceWorker.getRegistrations()),
        ]"""
    )
    return kept
