"""kill -9 and a new start of the real agent, under pages that stay open: they are back by themselves."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from agent import keys
from agent.root import running
from tests.support.customer_windows import MARIE, load
from tests.support.pages import chromium
from tests.support.processes import Program, program
from tests.support.tills import NO_HUB, Pos, enrol_by_hand, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The promise of the page, from when the agent answers again; kill -9 itself and the agent's own start come before.
BACK_MS = 3_000
# Longer than a page waits between two tries, and more tries than a browser takes patiently.
BETWEEN_TRIES_MS, TRIES = 1_100, 20
LIVE = 'body[data-link="live"]'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@dataclass
class Counter:
    """A till as a process of its own, its point of sale, and one browser."""

    agent: Program
    pos: Pos
    context: BrowserContext
    sessions_file: Path

    async def open(self, what: str) -> Page:
        """Open the page or the display by a link."""
        _, link = await self.pos.post("/api/v1/page-links", {"for": what})
        page = await self.context.new_page()
        await page.goto(link["url"])
        await page.locator(LIVE).wait_for()
        return page

    async def another(self, path: str) -> Page:
        """Open a further window by the browser's cookie alone."""
        page = await self.context.new_page()
        await page.goto(self.pos.url + path)
        await page.locator(LIVE).wait_for()
        return page

    async def shows_marie(self, pages: list[Page], display: Page | None = None) -> None:
        """Scan a card, and see its customer on every page within `BACK_MS`: only a page that is live can know."""
        until = time.monotonic() + BACK_MS / 1000
        status, _ = await self.pos.post("/api/v1/scans", {"text": MARIE})
        assert status == 200
        for page in pages:
            left_ms = max(1.0, (until - time.monotonic()) * 1000)
            await expect(page.locator(".name")).to_have_text("Marie", timeout=left_ms)
        if display is not None:
            left_ms = max(1.0, (until - time.monotonic()) * 1000)
            await expect(display.locator("h1")).to_have_text("Bonjour, Marie", timeout=left_ms)


@asynccontextmanager
async def counter(browser: Browser, folder: Path) -> AsyncIterator[Counter]:
    of = settings(folder)
    enrol_by_hand(of)
    async with running(of) as till:
        await load(till)
    config = folder / "config.toml"
    config.write_text(
        f'[till]\nstate = "{of.till.state}"\n[api]\nport = {of.api.port}\n[hub]\nurl = "{NO_HUB}"\n', encoding="utf-8"
    )
    url = f"http://127.0.0.1:{of.api.port}"
    headers = {"Authorization": f"Bearer {keys.pos_key(of.pos_key_file, None)}"}
    context = await browser.new_context(reduced_motion="reduce")
    try:
        async with (
            program(("agent", "run", "--config", str(config)), f"{url}/healthz", folder / "agent.log") as agent,
            aiohttp.ClientSession(headers=headers) as session,
        ):
            await agent.start()
            yield Counter(agent, Pos(session, url), context, of.sessions_file)
    finally:
        await context.close()


async def test_two_pages_and_a_display_are_back_within_three_seconds_of_the_agent(
    browser: Browser, tmp_path: Path
) -> None:
    async with counter(browser, tmp_path) as at:
        first = await at.open("page")
        second = await at.another("/")
        display = await at.another("/customer")
        for _ in range(2):
            await at.agent.kill()
            await at.agent.start()
            await at.shows_marie([first, second], display)
            await at.pos.post("/api/v1/screen/clear", {})


async def test_a_page_that_waited_long_is_not_kept_waiting(browser: Browser, tmp_path: Path) -> None:
    """Chromium holds a socket back for up to five seconds where some fifteen failed before, so none may fail."""
    async with counter(browser, tmp_path) as at:
        pages = [await at.open("page"), await at.open("display")]
        tried: list[str] = []
        for page in pages:
            await page.clock.install()
        await at.agent.kill()
        for page in pages:
            page.on("websocket", lambda socket: tried.append(socket.url))
            for _ in range(TRIES):
                async with page.expect_event("requestfailed", lambda request: request.url.endswith("/healthz")):
                    await page.clock.run_for(BETWEEN_TRIES_MS)
        assert tried == []
        for page in pages:
            await page.clock.resume()
        await at.agent.start()
        await at.shows_marie(pages[:1], pages[1])
        assert len(tried) == len(pages)


async def test_reloaded_pages_are_let_in_by_their_cookies(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        page = await at.open("page")
        display = await at.open("display")
        await at.agent.kill()
        await at.agent.start()
        for one in (page, display):
            await one.reload()
            await one.locator(LIVE).wait_for(timeout=BACK_MS)
        await at.shows_marie([page], display)


async def test_a_till_that_cannot_trust_its_list_of_pages_asks_for_a_new_link(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        page = await at.open("page")
        await at.agent.kill()
        at.sessions_file.chmod(0o644)
        await at.agent.start()
        await page.locator('body[data-link="ended"]').wait_for()
        assert "no page of before is let in" in at.agent.log.read_text(encoding="utf-8")
        again = await at.open("page")
        await at.shows_marie([again])
