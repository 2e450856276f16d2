"""Scans at the real page by real keys: they reach the till from wherever the focus is, and never act by themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from agent.wedge import End, Scanner
from tests.support.pages import Counter, chromium, counter
from tests.support.wedge_rig import US, press_late, scan_keys, typed_on

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@asynccontextmanager
async def till(browser: Browser, folder: Path) -> AsyncIterator[Counter]:
    async with counter(browser, folder) as at:
        await expect(at.page.locator("#amount")).to_be_focused()
        yield at


async def type_slowly(page: Page, text: str) -> None:
    await page.keyboard.type(text, delay=130)


@pytest.mark.parametrize(
    "focus",
    [
        "document.activeElement.blur()",
        "document.querySelector('#languages button').focus()",
        "document.querySelector('#amount').focus()",
        "document.querySelector('#keys button').focus()",
    ],
)
async def test_a_scan_shows_its_customer_wherever_the_focus_is(browser: Browser, tmp_path: Path, focus: str) -> None:
    async with till(browser, tmp_path) as at:
        await at.page.evaluate(f"() => {focus}")
        await scan_keys(at.page, at.face("Marie").cards[0] + "\n")
        await expect(at.page.locator(".name")).to_contain_text("Marie")
        await expect(at.page.locator("#amount")).to_have_value("")
        await expect(at.page.locator("html")).to_have_attribute("lang", "en")


async def test_a_machine_that_stood_still_in_mid_scan_finds_the_customer_once_it_goes_on(
    browser: Browser, tmp_path: Path
) -> None:
    async with till(browser, tmp_path) as at:
        card = at.face("Marie").cards[0]
        await press_late(at.page, typed_on(US, card + "\n"), 10, first=9, late_ms=1_100)
        await expect(at.page.locator(".name")).to_contain_text("Marie")
        await expect(at.page.locator("#credit .note")).to_be_hidden()
        await expect(at.page.locator("#amount")).to_have_value("")


async def test_an_amount_waits_for_the_card_and_a_scan_never_credits_it(browser: Browser, tmp_path: Path) -> None:
    async with till(browser, tmp_path) as at:
        await type_slowly(at.page, "12.50")
        await scan_keys(at.page, at.face("Marie").cards[0] + "\n")
        await expect(at.page.locator(".name")).to_contain_text("Marie")
        await expect(at.page.locator("#amount")).to_have_value("12.50")
        await scan_keys(at.page, at.face("Marie").cards[0] + "\n")
        await at.page.wait_for_timeout(500)
        await expect(at.page.locator("#amount")).to_have_value("12.50")
        _, acts = await at.pos.get("/api/v1/acts")
        assert acts["rows"] == []
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#shift .row-points")).to_have_count(1)


async def test_a_locked_till_takes_no_scan(browser: Browser, tmp_path: Path) -> None:
    async with till(browser, tmp_path) as at:
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#view h1")).to_have_text("This till is locked")
        await scan_keys(at.page, at.face("Marie").cards[0] + "\n")
        await at.page.wait_for_timeout(300)
        await expect(at.page.locator("#view h1")).to_have_text("This till is locked")
        assert "Marie" not in await at.page.content()


async def test_the_scanner_is_measured_saved_and_tried_at_the_till(browser: Browser, tmp_path: Path) -> None:
    async with till(browser, tmp_path) as at:
        second = await at.page.context.new_page()
        at.watch(second)
        await second.goto(at.pos.url)
        await second.locator('body[data-link="live"]').wait_for()
        await at.page.bring_to_front()
        await at.page.keyboard.press("F10")
        panel = at.page.locator("#scanner")
        await expect(panel.locator("h2")).to_be_focused()
        for member in at.faces[:3]:
            await scan_keys(at.page, f"~{member.cards[0]}\n\n")
            await at.page.wait_for_timeout(600)
        await expect(panel).to_contain_text("It sends ~ before each code, which the till takes off.")
        await expect(panel).to_contain_text("It presses Enter at the end.")
        await expect(panel).to_contain_text("Its keys come 10 ms apart, 10 ms at most.")
        await panel.get_by_role("button", name="Save").click()
        await expect(panel).to_contain_text("Saved. Scan a card to try it.")
        assert at.till.store.scanner.read() == Scanner(gap_ms=60, prefix="~", end=End.ENTER)
        card = at.face("Marie").cards[0]
        await scan_keys(at.page, f"~{card}\n")
        await expect(panel).to_contain_text(f"The till read 16 characters that end in {card[-4:]}.")
        assert card not in await at.page.content()
        await at.page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        await second.bring_to_front()
        await scan_keys(second, f"~{card}\n")
        await expect(second.locator(".name")).to_contain_text("Marie")


async def test_what_was_typed_in_the_search_is_there_again_after_a_scan(browser: Browser, tmp_path: Path) -> None:
    async with till(browser, tmp_path) as at:
        await at.page.keyboard.press("F2")
        await type_slowly(at.page, "gag")
        await scan_keys(at.page, at.face("Marie").cards[0] + "\n")
        await expect(at.page.locator(".name")).to_contain_text("Marie")
        await expect(at.page.locator("#text")).to_be_hidden()
        await at.page.keyboard.press("F2")
        await expect(at.page.locator("#text")).to_have_value("gag")
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#text")).to_have_value("")


async def test_what_the_hub_says_of_an_unknown_card_is_shown_at_once(browser: Browser, tmp_path: Path) -> None:
    async with till(browser, tmp_path) as at:
        await scan_keys(at.page, at.shop.unknown_card + "\n")
        view = at.page.locator("#view")
        await expect(view).to_contain_text("The hub will be asked as soon as it can be reached.")
        (wish,) = await at.till.store.journal.unsent_identifiers(10)
        await at.till.store.journal.identifiers_sent([wish.id], [])
        await expect(view).to_contain_text("The hub knows nobody with this card.")
