"""Taking back at the page: ten seconds by one key, and the list to the end of the shift. No name stays in it."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from agent.screen import CUSTOMER_SHOWN_S
from tests.support.cashier import acts, lose_answers, shift, toast
from tests.support.clock import FakeClock
from tests.support.page_rules import LAPTOP, SMALL_TILL
from tests.support.pages import chromium, counter, resize

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Where the card, the side and each key stand.
_BOXES = """() => [...document.querySelectorAll("#card, #side, #foot, .key")].map((node) => {
  const { top, bottom } = node.getBoundingClientRect();
  return [node.id || node.textContent, Math.round(top), Math.round(bottom)];
})"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def test_the_last_credit_is_taken_back_by_one_key(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(toast(at)).to_contain_text("15 points credited to Marie")
        await expect(toast(at).get_by_role("button")).to_have_text(re.compile(r"^Undo \((10|\d)\)F6$"))
        await at.page.keyboard.press("F6")
        await expect(toast(at)).to_contain_text("15 points taken back")
        await expect(toast(at).get_by_role("button")).to_have_count(0)
        await expect(acts(at)).to_contain_text(["taken back"])
        await expect(at.page.locator("#view .pending")).to_have_count(0)
        await at.page.keyboard.press("F6")
        assert [act["state"] for act in await shift(at)] == ["taken_back"]


@pytest.mark.parametrize("size", [LAPTOP, SMALL_TILL], ids=["laptop", "small till"])
async def test_the_offer_to_undo_moves_nothing_while_it_comes_and_goes(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with counter(browser, tmp_path) as at:
        await resize(at.page, size)
        await at.enter(at.face("Julie").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Mme Bergeron")
        await expect(at.page.locator(".pill").first).to_contain_text("Offline")  # longer than what stands there before
        before = await at.page.evaluate(_BOXES)
        await at.sell("R-1", at.face("Julie").cards[0], 1_550)
        await expect(toast(at)).to_contain_text("15 points credited")
        assert await at.page.evaluate(_BOXES) == before
        await at.page.keyboard.press("F6")
        await expect(toast(at)).to_contain_text("15 points taken back")
        assert await at.page.evaluate(_BOXES) == before


async def test_the_offer_to_undo_ends_after_ten_seconds(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.clock.install(time=datetime.now(UTC))
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(toast(at)).to_be_visible()
        await at.page.clock.fast_forward(8_000)
        await expect(toast(at)).to_be_visible()
        await at.page.clock.fast_forward(2_500)
        await expect(toast(at)).to_be_hidden()
        assert "Marie" not in await toast(at).inner_html()
        await at.page.keyboard.press("F6")
        await expect(acts(at)).to_contain_text(["credited"])
        assert [act["state"] for act in await shift(at)] == ["credited"]


async def test_two_windows_that_undo_at_once_take_back_once(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        second = await at.page.context.new_page()
        at.watch(second)
        await second.goto(at.pos.url)
        await second.locator('body[data-link="live"]').wait_for()
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        for page in (at.page, second):
            await page.locator("#undo button").wait_for()
        for page in (at.page, second):
            await page.evaluate("() => document.querySelector('#undo button').click()")
        for page in (at.page, second):
            await expect(page.locator("#undo")).to_contain_text("15 points taken back")
            await expect(page.locator("#shift .act")).to_contain_text(["taken back"])
        assert [act["state"] for act in await shift(at)] == ["taken_back"]
        # The browser notes the second answer, which says that it was done already.
        assert all("409" in line for line in at.noise)
        at.noise.clear()


async def test_an_undo_whose_answer_was_lost_is_asked_again(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        asked = await lose_answers(at.page, "/reversals", times=1)
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(acts(at)).to_have_count(1)
        await acts(at).get_by_role("button").click()
        await expect(acts(at)).to_contain_text(["taken back"])
        await expect(toast(at)).to_contain_text("taken back")
        assert len(set(asked)) == 1
        at.noise.clear()


async def test_any_sale_of_the_shift_is_taken_back_from_the_list(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await at.sell("R-2", at.face("Daniel").cards[0], 900)
        await at.sell("R-3", at.shop.unknown_card, 400)
        await expect(acts(at)).to_have_count(3)
        await expect(acts(at).first).to_contain_text("kept for the card")
        await acts(at).last.get_by_role("button", name="Undo: $15.50").click()
        await expect(acts(at).last).to_contain_text("taken back")
        await expect(acts(at).last.get_by_role("button")).to_have_count(0)
        await expect(at.page.locator("#amount")).to_be_focused()
        assert [act["state"] for act in await shift(at)] == ["kept_for_card", "credited", "taken_back"]


async def test_the_list_holds_no_name(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock()
    async with counter(browser, tmp_path, clock=clock) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(acts(at)).to_have_count(1)
        assert "Marie" not in await at.page.locator("#shift").inner_html()
        await clock.advance(CUSTOMER_SHOWN_S)
        await expect(at.page.locator("#view h1")).to_have_text("Ready for the next card")
        await expect(acts(at)).to_have_count(1)
        assert "Marie" not in await at.page.content()


async def test_ending_the_shift_is_asked_about_in_its_place(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(acts(at)).to_have_count(1)
        await at.page.locator("#shift .end").click()
        asked = at.page.locator("#shift .ask")
        await expect(asked).to_contain_text(re.compile(r"End the shift with all sales since \d\d:\d\d\?"))
        await expect(asked.get_by_role("button", name="Keep it")).to_be_focused()
        await at.page.keyboard.press("Enter")
        await expect(asked).to_have_count(0)
        await expect(acts(at)).to_have_count(1)
        await at.page.locator("#shift .end").click()
        await asked.get_by_role("button", name="End the shift").click()
        await expect(at.page.locator("#shift")).to_contain_text("Nothing is credited yet.")
        await expect(toast(at)).to_be_hidden()
        assert await shift(at) == []


async def test_an_end_of_the_shift_whose_answer_was_lost_claims_nothing(browser: Browser, tmp_path: Path) -> None:
    """The shift had ended, and the page said that nothing was recorded."""
    async with counter(browser, tmp_path) as at:
        await lose_answers(at.page, "/api/v1/shifts", times=1)
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(acts(at)).to_have_count(1)
        await at.page.locator("#shift .end").click()
        await at.page.locator("#shift .ask").get_by_role("button", name="End the shift").click()
        await expect(at.page.locator("#shift p.note")).to_have_text(
            "The till\u2019s agent does not answer. Try again in a moment; doing it twice does no harm."
        )
        await expect(at.page.locator("#shift")).to_contain_text("Nothing is credited yet.")
        at.noise.clear()


async def test_a_list_longer_than_the_card_stays_within_it(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path, viewport={"width": 1024, "height": 600}) as at:
        for number in range(24):
            await at.sell(f"R-{number}", at.face("Marie").cards[0], 100 + number)
        await expect(acts(at)).to_have_count(20)
        await at.page.get_by_role("button", name="Show more").click()
        await expect(acts(at)).to_have_count(24)
        height = await at.page.evaluate("() => document.documentElement.scrollHeight")
        assert height <= 600


async def test_an_old_act_offers_no_undo_to_a_page_that_opens_later(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC) - timedelta(seconds=30))
    async with counter(browser, tmp_path, clock=clock) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(acts(at)).to_have_count(1)
        await expect(toast(at)).to_be_hidden()
