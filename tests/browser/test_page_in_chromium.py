"""The staff's page in a real Chromium, at a real till: what people see, and what the page never does."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from agent.root import running
from agent.screen import CUSTOMER_SHOWN_S, HubShown
from sync.contract.customers import CautionKind
from sync.contract.protocol import Outcome, Reason, Verdict
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.pages import chromium, counter

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The system's colours take every ground away; what is left of a button is its edge.
_WITHOUT_EDGES = """() => [...document.querySelectorAll("button, .key")]
  .filter((node) => node.checkVisibility() && parseFloat(getComputedStyle(node).borderTopWidth) < 1)
  .map((node) => node.textContent)"""

NO_BREAK = "\u00a0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def size_of(page: Page, selector: str) -> float:
    return float(
        await page.evaluate("(at) => parseFloat(getComputedStyle(document.querySelector(at)).fontSize)", selector)
    )


async def test_one_glance_gives_who_how_many_the_usual_and_what_to_say(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        card = at.face("Marie").cards[0]
        await at.sell("R-1", card, 1_550)
        await at.enter(card)
        view = at.page.locator("#view")
        await expect(view.locator("h1")).to_have_text("Marie")
        await expect(view.locator(".figure")).to_have_text("1,240")
        await expect(view.locator(".pending")).to_have_text(f"+{NO_BREAK}15 pending")
        await expect(view).to_contain_text("Gold")
        await expect(view).to_contain_text("Speaks French")
        await expect(view).to_contain_text("Oat flat white, no sugar")
        await expect(view).to_contain_text("“Your next coffee is on us.”")
        await expect(view).to_contain_text("In French: Votre prochain café est offert par la maison.")
        await expect(view.get_by_role("img")).to_have_attribute(
            "aria-label", "Next: a brunch for two at 1,500. 245 points to go."
        )
        await expect(at.page.locator("#brand")).to_contain_text("DEMO")
        await expect(at.page.locator("#polite")).to_have_text("Marie, 1,240 points")
        assert await size_of(at.page, ".name") >= 32
        assert await size_of(at.page, ".figure") >= 48


async def test_a_caution_has_an_icon_and_a_word_and_silences_the_offer(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        julie = at.face("Julie")
        assert julie.customer.cautions[0].kind is CautionKind.OPEN_COMPLAINT
        await at.enter(julie.cards[0])
        caution = at.page.locator(".caution")
        await expect(caution).to_contain_text("Mind")
        await expect(caution).to_contain_text("A complaint is open")
        await expect(caution.locator("svg")).to_be_visible()
        await expect(at.page.locator(".offer")).to_have_count(0)


async def test_the_line_being_down_is_said_calmly_and_the_outbox_is_counted(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Elizabeth").cards[0], 900)
        indicator = at.page.locator("#indicator")
        await expect(indicator).to_contain_text("Offline - points are saved here and will be sent")
        await expect(indicator).to_contain_text("1 to send, oldest under 1 min")
        await expect(indicator.locator("[data-tone]")).to_have_attribute("data-tone", "mind")
        await at.page.keyboard.press("F8")
        await expect(at.page.locator("#outbox .row")).to_contain_text("Sale R-1")
        await expect(at.page.locator("#outbox .row")).to_contain_text("To send · $9.00 · ")
        await expect(at.page.locator("#outbox")).to_contain_text("There is no line to the hub.")


async def test_green_means_sent_known_and_nothing_to_look_at(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        pill = at.page.locator("#indicator .pill")
        hub = HubShown(is_reachable=True, since=datetime.now(UTC), fault=None, is_loading_snapshot=False)
        at.till.screen.put_hub(hub)
        await expect(pill).to_have_attribute("data-tone", "good")
        await expect(pill).to_have_text("All sentThe hub is there")
        await pill.click()
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await expect(pill).to_have_attribute("data-tone", "calm")
        await expect(pill).to_contain_text("1 to send")
        parked = Verdict(seq=1, outcome=Outcome.PARKED, reason=Reason.UNKNOWN_PROGRAM)
        await shop.settle_all(at.till.store, {1: parked})
        await expect(pill).to_have_text("The hub is there")
        await expect(pill).to_have_attribute("data-tone", "calm")
        at.till.screen.put_hub(hub.model_copy(update={"is_reachable": False, "fault": "terminal_revoked"}))
        await expect(pill).to_have_text("This till needs support")
        await expect(at.page.locator("#outbox")).to_contain_text("The hub has shut this till out. Call support")
        at.till.screen.put_hub(hub.model_copy(update={"is_reachable": False, "fault": "status_502"}))
        await expect(at.page.locator("#outbox")).to_contain_text("in place of the hub (status_502)")


@pytest.mark.parametrize(
    ("age", "look", "said"),
    [
        (timedelta(minutes=1), None, None),
        (timedelta(minutes=40), "as-of", r"Balance as of .*\d\d:\d\d"),
        (timedelta(days=2), "as-of as-of-old", r"Balance as of \w+ \d+.*, \d\d:\d\d"),
    ],
)
async def test_a_balance_that_is_not_fresh_says_its_age(
    browser: Browser, tmp_path: Path, age: timedelta, look: str | None, said: str | None
) -> None:
    async with counter(browser, tmp_path, as_of=datetime.now(UTC) - age) as at:
        await at.enter(at.face("Marie").cards[0])
        await expect(at.page.locator(".figure")).to_have_text("1,240")
        as_of = at.page.locator(".as-of")
        if look is None or said is None:
            await expect(as_of).to_have_count(0)
            return
        await expect(as_of).to_have_attribute("class", look)
        await expect(as_of).to_have_text(re.compile(said))


async def test_the_language_switches_at_once_and_nothing_is_lost(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.enter(at.face("Marie").cards[0])
        await expect(at.page.locator(".name")).to_be_visible()
        await at.page.keyboard.press("F2")
        await at.page.locator("#text").fill("half a na")
        await at.page.get_by_role("button", name="Français").click()
        await expect(at.page.locator("html")).to_have_attribute("lang", "fr")
        await expect(at.page.locator("#view")).to_contain_text("« Votre prochain café est offert par la maison. »")
        await expect(at.page.locator(".figure")).to_have_text(f"1{NO_BREAK}240")
        await expect(at.page.locator("#indicator")).to_contain_text("Hors ligne - les points sont enregistrés ici")
        await expect(at.page.locator("#text")).to_have_value("half a na")
        await at.page.get_by_role("button", name="English").click()
        await expect(at.page.locator("#view")).to_contain_text("The usual")


async def test_markup_in_a_name_or_a_scan_is_only_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    customer = shop.whole_customer("c-evil", called=hostile)
    async with counter(browser, tmp_path, customers=[(customer, shop.card(9))]) as at:
        await at.enter(shop.card(9))
        await expect(at.page.locator(".name")).to_have_text(hostile)
        await at.enter("https://example.com/<script>alert(1)</script>")
        await expect(at.page.locator("#view")).to_contain_text("It leads to example.com, and was not opened.")
        assert await at.page.locator("#view img, #view script").count() == 0


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("4006381333931", "That is a product"),
        ("WIFI:S:shop;P:secret;;", "That is a Wi-Fi code"),
        ("9990000000000000", "Card not recognised."),
    ],
)
async def test_what_is_no_customer_is_named(browser: Browser, tmp_path: Path, text: str, title: str) -> None:
    async with counter(browser, tmp_path) as at:
        await at.enter(text)
        await expect(at.page.locator("#view h1")).to_have_text(title)
        await expect(at.page.locator("#view svg").first).to_be_visible()


@pytest.mark.parametrize("text", ["4111 1111 1111 1111", "%B4111111111111111^DOE/JANE^30121010000?"])
async def test_a_bank_card_leaves_nothing_on_the_page(browser: Browser, tmp_path: Path, text: str) -> None:
    async with counter(browser, tmp_path) as at:
        await at.enter(text)
        await expect(at.page.locator("#view h1")).to_have_text("This is a bank card; it was not kept")
        await expect(at.page.locator("#text")).to_have_value("")
        dump = await at.page.content()
        assert "41111111" not in dump.replace(" ", "")
        assert "DOE" not in dump


@pytest.mark.parametrize("by", ["gagnon", "phone"])
async def test_a_search_is_a_choice_for_a_person(browser: Browser, tmp_path: Path, by: str) -> None:
    async with counter(browser, tmp_path) as at:
        phone = next(one.value for one in at.face("Léa").identifiers if one.scheme == "phone")
        await at.enter(phone.removeprefix("+1") if by == "phone" else by)
        choices = at.page.locator(".choice")
        await expect(choices).to_have_count(2)
        await at.page.locator("#text").press("Enter")
        await expect(choices).to_have_count(2)
        await choices.filter(has_text="Thomas").click()
        await expect(at.page.locator(".name")).to_have_text("Thomas")


async def test_a_search_that_finds_nobody_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.enter("zzyzx")
        await expect(at.page.locator("#view")).to_contain_text("Nobody found")
        await at.page.keyboard.press("Escape")
        await expect(at.page.locator("#view")).to_contain_text("Ready for the next card")
        await at.enter("zz")
        await expect(at.page.locator("#entry")).to_contain_text("Type at least 3 characters to search.")


async def test_a_refused_sale_is_shown_with_its_reason_in_both_languages(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await at.sell("R-2", at.face("Marie").cards[0], 900)
        refused = Verdict(seq=1, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED)
        await shop.settle_all(at.till.store, {1: refused})
        await at.page.get_by_role("button", name="1 to look at").click()
        row = at.page.locator("#outbox .row")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("Refused")
        await expect(row).to_contain_text("This sale was credited before, and counts once. Nothing is left to do.")
        await at.page.get_by_role("button", name="Français").click()
        await expect(row).to_contain_text("Cette vente a déjà été créditée et compte une seule fois.")


async def test_the_customer_leaves_the_page_a_minute_after_the_last_act(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock()
    async with counter(browser, tmp_path, clock=clock) as at:
        await at.enter(at.face("Marie").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await clock.advance(CUSTOMER_SHOWN_S)
        await expect(at.page.locator("#view")).to_contain_text("Ready for the next card")
        assert "Marie" not in await at.page.content()


async def test_what_a_search_found_leaves_the_page_too(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.clock.install()
        await at.enter("gagnon")
        await expect(at.page.locator(".choice")).to_have_count(2)
        await at.page.clock.fast_forward(60_000)
        await expect(at.page.locator(".choice")).to_have_count(0)
        assert "Gagnon" not in await at.page.content()


async def test_a_reload_goes_on_and_a_used_link_opens_nothing(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        assert at.page.url == f"{at.pos.url}/"
        await at.page.reload()
        await at.enter(at.face("Marie").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Marie")
        link = await at.link()
        for expected in ("live", "ended"):
            stranger = await browser.new_context()
            page = await stranger.new_page()
            await page.goto(link)
            await page.locator(f'body[data-link="{expected}"]').wait_for()
            await stranger.close()
        await expect(at.page.locator(".name")).to_have_text("Marie")


async def test_two_windows_on_one_till_agree(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        second = await at.page.context.new_page()
        at.watch(second)
        await second.goto(at.pos.url)
        await second.locator('body[data-link="live"]').wait_for()
        await at.enter(at.face("Priya").cards[1])
        for page in (at.page, second):
            await expect(page.locator(".name")).to_have_text("Priya")


async def test_a_window_goes_on_when_another_is_opened_by_a_new_link(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        second = await at.page.context.new_page()
        await second.goto(await at.link())
        await second.locator('body[data-link="live"]').wait_for()
        await at.enter(at.face("Priya").cards[1])
        await expect(at.page.locator(".name")).to_have_text("Priya")
        # The browser notes the call whose cookie was replaced; the page has renewed its token since.
        assert all("401" in line for line in at.noise)
        at.noise.clear()


async def test_an_agent_that_stops_is_told_calmly_and_no_customer_stays(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.clock.install()
        await at.enter(at.face("Marie").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await at.stop_till()
        await expect(at.page.locator("#indicator")).to_contain_text(
            "The till\u2019s agent does not answer", timeout=2_000
        )
        await expect(at.page.locator("#urgent")).to_have_text("The till\u2019s agent does not answer")
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await at.enter("9990")
        await expect(at.page.locator("#entry")).to_contain_text("Try again in a moment; doing it twice does no harm.")
        await expect(at.page.locator("#text")).to_have_value("9990")
        await at.page.clock.fast_forward(60_000)
        assert "Marie" not in await at.page.content()
        await expect(at.page.locator("#view h1")).to_have_text("The till\u2019s agent does not answer")
        async with running(at.of):
            await expect(at.page.locator("#view h1")).to_have_text("Ready for the next card")
        at.noise.clear()


async def test_the_main_card_stands_above_the_fold_of_a_small_till(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path, viewport={"width": 1024, "height": 600}) as at:
        await at.enter(at.face("Elizabeth").cards[0])
        offer = await at.page.locator(".offer").bounding_box()
        assert offer is not None
        assert offer["y"] + offer["height"] <= 600


async def test_a_button_is_seen_to_be_one_in_the_colours_of_the_system(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path, forced_colors="active") as at:
        await at.enter("gagnon")
        await expect(at.page.locator("#view .choice")).to_have_count(2)
        assert await at.page.evaluate(_WITHOUT_EDGES) == []
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#view .go")).to_be_visible()
        assert await at.page.evaluate(_WITHOUT_EDGES) == []
