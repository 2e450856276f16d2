"""The customer's display in a real Chromium: what a customer reads, for how long, and that nobody else's data stays."""

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from agent.display import DISPLAYED_S
from agent.root import running
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.customer_windows import MARIE, PRIYA, SHOP, SIZES, Window, window
from tests.support.other_words import pseudo, right_to_left
from tests.support.page_rules import axe, heard, layout, listen, looks_alike, resize, shapes
from tests.support.pages import Reword, chromium, counter
from tests.support.tills import open_pos

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_BREAK = "\u00a0"
# At two metres a letter is read that is about a hundredth of a metre high: 38 px on a screen of 96 px to the inch.
READ_AT_TWO_METRES_PX = 38
# A name is to be taken in while walking up to the till, and a figure from the queue.
NAME_PX, FIGURE_PX = 64, 96
ALL_IN_SIGHT = "#bar *, #stage *, #foot *"
# Who is shown must be gone from all that a debugger or a copy of the page could find.
TRACES = """() => JSON.stringify([document.documentElement.outerHTML, document.title, location.href, history.state])"""

# Each text with its least contrast to the ground below it, whose gradient counts with every colour it runs through.
CONTRASTS = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const colours = (text) => (text.match(/rgba?\\([^)]*\\)/g) ?? []).map((one) => one.match(/[\\d.]+/g).map(Number))
    .filter(([, , , a = 1]) => a > 0);
  const grounds = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const { backgroundColor, backgroundImage } = getComputedStyle(at);
      const found = [...colours(backgroundColor), ...colours(backgroundImage)];
      if (found.length > 0) return found;
    }
    return [[255, 255, 255]];
  };
  const shows = (node) => [...node.childNodes].some((kid) => kid.nodeType === Node.TEXT_NODE && kid.data.trim());
  return [...document.body.querySelectorAll("*:not(noscript, .unseen)")].filter(shows).map((node) => {
    const text = luminance(colours(getComputedStyle(node).color)[0]);
    const ratio = (ground) => (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
    return [node.className, Math.min(...grounds(node).map(luminance).map(ratio))];
  });
}"""
MAIN = ("title", "hello", "figure", "plus")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def traces_of(page: Page, *names: str) -> list[str]:
    """Return which of these texts stand anywhere in the document; the till's port may hold any digits."""
    document = json.loads((await page.evaluate(TRACES)).replace(urlsplit(page.url).netloc, ""))
    return [name for name in names if any(name in str(part) for part in document)]


async def px(page: Page, selector: str) -> float:
    return float(
        await page.evaluate("(at) => parseFloat(getComputedStyle(document.querySelector(at)).fontSize)", selector)
    )


async def test_an_idle_display_invites_in_the_tills_language_and_says_demo(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, till={"language": "fr"}) as at:
        await expect(at.page.locator("h1")).to_have_text(SHOP)
        await expect(at.page.locator("#stage")).to_contain_text("Présentez votre carte et accumulez des points.")
        await expect(at.page.locator("#bar")).to_have_text("DEMO")
        await expect(at.page.locator("html")).to_have_attribute("lang", "fr")
        assert at.page.url == f"{at.pos.url}/customer"
        assert await at.page.title() == SHOP


async def test_a_shop_without_a_name_still_welcomes(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, till={"shop": None, "demo": False}) as at:
        await expect(at.page.locator("h1")).to_have_text("Welcome")
        await expect(at.page.locator("#bar")).to_have_text("")


async def test_a_customer_reads_name_and_points_in_their_own_language(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        for card, language, hello, figure in (
            (MARIE, "fr", "Bonjour, Marie", f"1{NO_BREAK}240"),
            (PRIYA, "en", "Hello, Priya", "905"),
        ):
            await at.scan(card)
            await expect(at.page.locator("h1")).to_have_text(hello)
            await expect(at.page.locator(".figure")).to_have_text(figure)
            await expect(at.page.locator("html")).to_have_attribute("lang", language)
            await expect(at.page.locator("html")).to_have_attribute("dir", "ltr")
            assert await px(at.page, ".hello") >= NAME_PX
            assert await px(at.page, ".figure") >= FIGURE_PX
            assert await px(at.page, ".unit") >= READ_AT_TWO_METRES_PX


async def test_points_earned_now_are_told_once_and_large(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        await listen(at.page)
        await at.sell(PRIYA, 1_550)
        await expect(at.page.locator(".earned")).to_contain_text(f"+{NO_BREAK}15points earned now")
        await expect(at.page.locator(".earned")).to_contain_text("In your balance shortly")
        await expect(at.page.locator(".figure")).to_have_text("905")
        assert await px(at.page, ".plus") >= FIGURE_PX
        assert await px(at.page, ".what") >= READ_AT_TWO_METRES_PX
        assert await heard(at.page) == [f"Hello, Priya. 905 points. +{NO_BREAK}15 points earned now"]


async def test_an_earlier_sale_is_still_to_be_counted_and_not_earned_now(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        await at.sell(PRIYA, 1_550)
        await at.shows("earned")
        await at.scan(MARIE)
        await at.scan(PRIYA)
        await expect(at.page.locator("h1")).to_have_text("Hello, Priya")
        await expect(at.page.locator(".pending")).to_have_text(f"+{NO_BREAK}15 still to be counted")
        await expect(at.page.locator(".earned")).to_have_count(0)


async def test_a_card_that_nobody_is_known_for_is_greeted_without_a_name(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        unknown = shop.card(77)
        await at.sell(unknown, 900)
        await expect(at.page.locator("h1")).to_have_text("Hello")
        await expect(at.page.locator(".plus")).to_have_text(f"+{NO_BREAK}9")
        assert await traces_of(at.page, unknown[-4:]) == []


async def test_the_customer_leaves_after_twenty_seconds_with_every_trace(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock()
    async with window(browser, tmp_path, clock=clock) as at:
        await at.scan(MARIE)
        await at.shows("welcome")
        assert await traces_of(at.page, "Marie", "240") == ["Marie", "240"]
        await clock.advance(DISPLAYED_S - 1)
        await expect(at.page.locator("h1")).to_have_text("Bonjour, Marie")
        await clock.advance(1)
        await at.shows("idle")
        assert await traces_of(at.page, "Marie", "240") == []
        await expect(at.page.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.parametrize("path", ["/api/v1/screen/clear", "/api/v1/screen/lock"])
async def test_clear_and_lock_take_the_customer_away_at_once(browser: Browser, tmp_path: Path, path: str) -> None:
    async with window(browser, tmp_path, clock=FakeClock()) as at:
        await at.sell(MARIE, 1_550)
        await at.shows("earned")
        await at.pos.post(path, {})
        await at.shows("idle")
        assert await traces_of(at.page, "Marie", "240", "15") == []


async def test_another_scan_takes_the_customer_away_at_once(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path, clock=FakeClock()) as at:
        await at.scan(MARIE)
        await at.shows("welcome")
        await at.scan("4006381333931")
        await at.shows("idle")
        assert await traces_of(at.page, "Marie", "240") == []
        await at.scan(MARIE)
        await at.shows("welcome")
        await at.scan(PRIYA)
        await expect(at.page.locator("h1")).to_have_text("Hello, Priya")
        assert await traces_of(at.page, "Marie", "240") == []


async def test_no_customer_stays_on_a_display_whose_till_is_gone(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        await at.page.clock.install()
        await at.scan(MARIE)
        await at.shows("welcome")
        await at.stop_till()
        await at.page.clock.run_for(15_000)
        assert await traces_of(at.page, "Marie") == ["Marie"]
        await at.page.clock.run_for(5_000)
        await at.shows("idle")
        assert await traces_of(at.page, "Marie", "240") == []
        async with running(at.of):
            await at.page.clock.run_for(3_000)
            await at.page.locator('body[data-link="live"]').wait_for()
        at.noise.clear()


async def test_no_customer_stays_where_the_till_hangs_and_says_nothing(browser: Browser, tmp_path: Path) -> None:
    """The till's clock stands still here, so the till never takes the customer away; the page does."""
    async with window(browser, tmp_path, clock=FakeClock()) as at:
        await at.page.clock.install()
        await at.sell(MARIE, 1_550)
        await at.shows("earned")
        await at.page.clock.run_for(20_000)
        await at.shows("idle")
        assert await traces_of(at.page, "Marie", "240") == []


async def test_a_display_whose_session_ended_shows_nobody_and_tells_staff(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        await at.scan(MARIE)
        await at.shows("welcome")
        at.of.sessions_file.write_bytes(b"")
        await at.stop_till()
        at.of.sessions_file.write_bytes(b"")
        async with running(at.of):
            await at.page.locator('body[data-link="ended"]').wait_for()
            await expect(at.page.locator("#foot")).to_contain_text("For staff: open the customer display again")
            assert await traces_of(at.page, "Marie") == []
            assert await axe(at.page) == []
            assert await layout(at.page, ALL_IN_SIGHT) == []
        at.noise.clear()


async def test_a_display_that_was_left_open_joins_the_page_of_the_next_shift(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        await at.page.clock.install()
        await at.stop_till()
        at.of.sessions_file.unlink()
        async with running(at.of) as till, open_pos(till, at.of) as pos:
            await at.page.clock.run_for(3_000)
            await at.page.locator('body[data-link="ended"]').wait_for()
            staff = await at.page.context.new_page()
            await staff.goto((await pos.post("/api/v1/page-links", {}))[1]["url"])
            await staff.locator('body[data-link="live"]').wait_for()
            await at.page.clock.run_for(15_000)
            await at.page.locator('body[data-link="live"]').wait_for()
            await expect(at.page.locator("#foot")).to_have_text("")
            await pos.post("/api/v1/scans", {"text": MARIE})
            await expect(at.page.locator("h1")).to_have_text("Bonjour, Marie")
            await expect(staff.locator(".name")).to_have_text("Marie")
        at.noise.clear()


async def test_staff_open_the_display_from_their_page_and_both_go_on(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        async with at.page.context.expect_page() as opening:
            await at.page.locator('a[href="/customer"]').click()
        display = await opening.value
        at.watch(display)
        await display.locator('body[data-link="live"]').wait_for()
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(display.locator("h1")).to_have_text("Bonjour, Marie")
        await expect(display.locator(".earned")).to_be_visible()
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await display.reload()
        await display.locator('body[data-link="live"]').wait_for()
        await at.page.reload()
        await at.page.locator('body[data-link="live"]').wait_for()
        await expect(display.locator("h1")).to_be_visible()
        assert await display.evaluate("() => window.opener") is None


async def test_a_link_opens_the_display_once_and_only_the_display(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        link = await at.link()
        for address, expected in (
            (link.replace("/customer#", "/#"), "ended"),
            (link, "ended"),
            (await at.link(), "live"),
        ):
            stranger = await browser.new_context()
            page = await stranger.new_page()
            await page.goto(address)
            await page.locator(f'body[data-link="{expected}"]').wait_for()
            await stranger.close()


async def test_markup_in_a_name_is_only_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    customer = shop.whole_customer("c-evil", called=hostile, language="en")
    async with window(browser, tmp_path, customers=[(customer, MARIE, 5)]) as at:
        await at.scan(MARIE)
        await expect(at.page.locator("h1")).to_have_text(f"Hello, {hostile}")
        assert await at.page.locator("#stage img, #stage script").count() == 0


async def every_state(at: Window) -> AsyncIterator[str]:
    """Bring each state about in turn."""
    yield "idle"
    await at.scan(MARIE)
    await at.shows("welcome")
    yield "welcome"
    await at.sell(MARIE, 1_550)
    await at.shows("earned")
    yield "earned"
    await at.sell(PRIYA, 900, "s-2")
    await expect(at.page.locator(".plus")).to_have_text(f"+{NO_BREAK}9")
    yield "earned by another"


async def complaints(at: Window) -> list[str]:
    """Return what is wrong with any state at any size."""
    found = []
    async for state in every_state(at):
        found += [f"{state}: {one}" for one in await axe(at.page)]
        for size in SIZES:
            await resize(at.page, size)
            found += [f"{state} {size}: {one}" for one in await layout(at.page, ALL_IN_SIGHT)]
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_every_state_is_accessible_and_fits_every_second_screen(
    browser: Browser, tmp_path: Path, language: Literal["en", "fr"], scheme: Literal["light", "dark"]
) -> None:
    customers = [
        (shop.whole_customer(f"c-{name}", called=name, language=language), card, points)
        for name, card, points in (("Marie", MARIE, 1_240), ("Priya", PRIYA, 905))
    ]
    async with window(browser, tmp_path, customers=customers, till={"language": language}, color_scheme=scheme) as at:
        assert await complaints(at) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out_from_its_ground_and_the_main_ones_more(
    browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    async with window(browser, tmp_path, color_scheme=scheme) as at:
        seen = set()
        async for state in every_state(at):
            for name, contrast in await at.page.evaluate(CONTRASTS):
                assert contrast >= (7 if name.split()[0] in MAIN else 4.5), (state, name, contrast)
                seen |= {name.split()[0]}
        assert seen >= {*MAIN, "invitation", "shop", "demo", "unit", "what", "note"}


async def test_long_names_and_large_figures_fit_too(browser: Browser, tmp_path: Path) -> None:
    customers = [
        (
            shop.whole_customer("c-1", called="Marie-Antoinette-Élisabeth de la Grande-Ville", language="fr"),
            MARIE,
            12_480,
        ),
        (shop.whole_customer("c-2", called="Wolfeschlegelsteinhausenbergerdorff", language="en"), PRIYA, 1_234_567),
    ]
    till = {"shop": "Boulangerie-pâtisserie de la Petite-Italie"[:40]}
    async with window(browser, tmp_path, customers=customers, till=till) as at:
        assert await complaints(at) == []
        await at.sell(PRIYA, 98_765_432, "s-3")
        await expect(at.page.locator(".plus")).to_have_text(f"+{NO_BREAK}987,654")
        for size in SIZES:
            await resize(at.page, size)
            assert await layout(at.page, ALL_IN_SIGHT) == [], size


@pytest.mark.parametrize(("change", "direction"), [(pseudo, "ltr"), (right_to_left, "rtl")], ids=["longer", "rtl"])
async def test_other_languages_fit_and_turn_the_display_around(
    browser: Browser, tmp_path: Path, change: Reword, direction: str
) -> None:
    async with window(browser, tmp_path, words={"en": change, "fr": change}) as at:
        await expect(at.page.locator("html")).to_have_attribute("dir", direction)
        assert await complaints(at) == []


@pytest.mark.parametrize(
    "preference", [{"forced_colors": "active"}, {"contrast": "more"}], ids=lambda one: next(iter(one))
)
async def test_every_state_stays_readable_in_the_colours_of_the_system(
    browser: Browser, tmp_path: Path, preference: dict[str, Any]
) -> None:
    async with window(browser, tmp_path, **preference) as at:
        assert await complaints(at) == []


async def test_the_states_differ_without_words_and_without_colour(browser: Browser, tmp_path: Path) -> None:
    async with window(browser, tmp_path) as at:
        looks = [await shapes(at.page, "body") async for state in every_state(at) if "another" not in state]
        for one, other in itertools.combinations(looks, 2):
            assert not looks_alike(one, other)


@pytest.mark.parametrize(("motion", "most"), [("reduce", 0), ("no-preference", 1)])
async def test_only_what_was_earned_moves_once_and_not_where_that_is_unwanted(
    browser: Browser, tmp_path: Path, motion: Literal["reduce", "no-preference"], most: int
) -> None:
    async with window(browser, tmp_path, reduced_motion=motion) as at:
        await at.page.evaluate(
            "() => { window.moved = 0; addEventListener('animationstart', () => { window.moved += 1; }); }"
        )
        async for _ in every_state(at):
            await at.page.evaluate("() => Promise.all(document.getAnimations().map((one) => one.finished))")
        assert (await at.page.evaluate("() => window.moved") > 0) is (most > 0)
        assert await at.page.evaluate("() => document.getAnimations().length") == 0
