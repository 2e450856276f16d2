"""The staff's page without a mouse, without eyes, and turned around."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import page_rules
from tests.support.other_words import right_to_left
from tests.support.pages import chromium, counter
from tests.support.waiting import eventually
from tests.support.wedge_rig import scan_keys

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A person's keys; faster ones are a scanner's.
HUMAN_MS = 130
# The parts that make the page up, and where they stand. The indicator takes the width of its words.
PARTS = ("#brand", "#languages", "#card", "#side", "#credit", "#keys")
# The offer to undo counts its seconds down.
_NAME = "(node) => node.id || (node.getAttribute('aria-label') || node.textContent).trim().replace(/[0-9]+\\)/, '')"
_NAMES = f"(nodes) => nodes.map({_NAME})"
_TAB_STOPS = f"() => document.activeElement === document.body ? '' : ({_NAME})(document.activeElement)"
# More than any state of the page has.
STOPS_MAX = 80


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def tab_stops(page: Page) -> set[str]:
    """Press Tab until the focus has gone around once, past the ends of the page, and return where it stopped."""
    stops: list[str] = []
    while stops.count("") < 2:
        assert len(stops) < STOPS_MAX, stops
        await page.keyboard.press("Tab")
        stops.append(await page.evaluate(_TAB_STOPS))
    return set(stops) - {""}


async def targets(page: Page) -> set[str]:
    """Return all that the focus should stop at."""
    found: list[str] = await page.locator(page_rules.TARGETS).filter(visible=True).evaluate_all(_NAMES)
    return set(found)


async def test_a_whole_turn_at_the_counter_needs_no_mouse(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        page, keys = at.page, at.page.keyboard
        await scan_keys(page, f"{at.face('Marie').cards[0]}\n")
        await expect(page.locator(".name")).to_contain_text("Marie")
        await keys.type("13.50", delay=HUMAN_MS)
        await expect(page.locator("#credit .go")).to_contain_text("Credit 13 points")
        await keys.press("Enter")
        await expect(page.locator("#undo")).to_contain_text("13 points credited to Marie")
        await keys.press("F6")
        await expect(page.locator("#undo")).to_contain_text("13 points taken back")
        await keys.press("F2")
        await keys.type("gagnon", delay=HUMAN_MS)
        await keys.press("Enter")
        await expect(page.locator(".choice")).to_have_count(2)
        for _ in range(12):
            await keys.press("Tab")
            if await page.locator(".choice:focus").count():
                break
        chosen = await page.locator(".choice:focus .choice-name").inner_text()
        await keys.press("Enter")
        await expect(page.locator(".name")).to_contain_text(chosen.split()[0])
        await keys.press("F8")
        await expect(page.locator("#outbox h2")).to_be_focused()
        await keys.press("Escape")
        await expect(page.locator("#outbox")).to_be_hidden()
        await keys.press("Escape")
        await expect(page.locator("#view")).to_contain_text("Ready for the next card")
        await keys.press("F9")
        await expect(page.locator("#view button")).to_be_focused()
        await eventually(lambda: at.till.screen.state.locked)
        await keys.press("Enter")
        await expect(page.locator("#amount")).to_be_focused()


async def test_tab_goes_everywhere_and_is_caught_nowhere(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await scan_keys(at.page, f"{at.face('Marie').cards[0]}\n")
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await at.page.locator("#undo button").wait_for()
        await at.page.locator("#shift .act").wait_for()
        # The indicator is a stop, and its name says what waits.
        await at.page.get_by_text("1 to send").first.wait_for()
        assert await tab_stops(at.page) == await targets(at.page)
        await at.page.keyboard.press("F8")
        await expect(at.page.locator("#outbox h2")).to_be_focused()
        await at.page.keyboard.press("F2")
        await expect(at.page.locator("#text")).to_be_focused()
        assert await tab_stops(at.page) == await targets(at.page)


async def test_every_act_shows_its_key(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await at.page.locator("#undo button").wait_for()
        shown = await at.page.locator("kbd").filter(visible=True).all_inner_texts()
        assert {"F2", "F4", "F6", "F8", "F9", "Enter", "Esc"} <= set(shown)


async def test_the_regions_that_speak_are_there_before_the_page_says_anything(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        answer = await at.page.request.get(at.pos.url)
        document = await answer.text()
        assert '<p id="polite" class="unseen" role="status"></p>' in document
        assert '<p id="urgent" class="unseen" role="alert"></p>' in document
        assert await at.page.locator("[role=status], [role=alert], [aria-live]").count() == 2


@pytest.mark.parametrize("size", [page_rules.LAPTOP, page_rules.PHONE])
async def test_the_page_is_its_own_mirror_from_right_to_left(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with counter(browser, tmp_path, words={"fr": right_to_left}) as at:
        await scan_keys(at.page, f"{at.face('Marie').cards[0]}\n")
        await at.page.locator(".figure").wait_for()
        await page_rules.resize(at.page, size)
        sides: list[dict[str, tuple[float, float]]] = []
        for language in ("en", "fr"):
            await at.page.locator(f'#languages [lang="{language}"]').click()
            await expect(at.page.locator("html")).to_have_attribute("dir", "ltr" if language == "en" else "rtl")
            found = {part: await at.page.locator(part).bounding_box() for part in (*PARTS, ".figure")}
            sides.append({part: (box["x"], box["x"] + box["width"]) for part, box in found.items() if box})
        assert sides[0].keys() == sides[1].keys() == {*PARTS, ".figure"}
        width = size[0]
        for part in ("#card", "#side", "#credit"):
            (left, right), (mirrored_left, mirrored_right) = sides[0][part], sides[1][part]
            assert (mirrored_left, mirrored_right) == pytest.approx((width - right, width - left), abs=1), part
        for part in ("#brand", "#languages"):
            middle, mirrored = (sum(side[part]) / 2 for side in sides)
            assert (middle < width / 2) != (mirrored < width / 2), part
