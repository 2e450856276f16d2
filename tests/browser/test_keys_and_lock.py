"""The keys, the lock, the sounds and the spoken word: what is done without a look, and what leaves in time."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from agent.screen import CUSTOMER_SHOWN_S, HubShown
from tests.support.cashier import amount, catch, hear, listen, scan, sentences, shift, toast, tones, type_amount
from tests.support.clock import FakeClock
from tests.support.pages import Counter, chromium, counter

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A sound begins at most this long after what it tells of was decided.
SOUND_WAIT_S_MAX = 0.05
PRODUCT, BANK_CARD = "4006381333931", "4111111111111111"


# Notes when sounds are made ready: within an event, or later.
_NOTE_MAKING = """() => {
  window.made = [];
  window.AudioContext = class extends AudioContext {
    constructor() {
      super();
      window.made.push(window.event?.type ?? "later");
    }
  };
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def show(at: Counter, text: str, look: str) -> None:
    await scan(at, text)
    await expect(at.page.locator("#card")).to_have_attribute("data-look", look)


async def test_every_key_stands_on_the_page(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await expect(toast(at)).to_be_visible()
        shown = set(await at.page.locator("kbd:visible").all_inner_texts())
        assert shown == {"F2", "F4", "F6", "F7", "F8", "F9", "F10", "Esc", "Enter"}
        await at.page.get_by_role("button", name="Français").click()
        shown = set(await at.page.locator("kbd:visible").all_inner_texts())
        assert shown == {"F2", "F4", "F6", "F7", "F8", "F9", "F10", "Échap", "Entrée"}


async def test_a_whole_sale_goes_by_keys_alone(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        press = at.page.keyboard.press
        await press("F2")
        await expect(at.page.locator("#text")).to_be_focused()
        await at.page.keyboard.type("gagnon", delay=130)
        await press("Enter")
        await expect(at.page.locator(".choice")).to_have_count(2)
        await press("Tab")
        await press("Tab")
        await expect(at.page.locator(".choice").first).to_be_focused()
        await press("Enter")
        await expect(at.page.locator(".name")).to_be_visible()
        await expect(at.page.locator("#text")).to_be_hidden()
        await expect(amount(at)).to_be_focused()
        await at.page.keyboard.type("4.50", delay=130)
        await press("Enter")
        await expect(toast(at)).to_contain_text("4 points credited")
        await press("F6")
        await expect(toast(at)).to_contain_text("4 points taken back")
        await press("Escape")
        await expect(at.page.locator("#view h1")).to_have_text("Ready for the next card")
        assert [act["state"] for act in await shift(at)] == ["taken_back"]


async def test_escape_closes_the_panel_and_then_the_customer(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, at.face("Marie").cards[0], "known")
        for key, panel in (("F8", "#outbox"), ("F10", "#scanner"), ("F2", "#entry")):
            await at.page.keyboard.press(key)
            await expect(at.page.locator(panel)).to_be_visible()
            await at.page.keyboard.press("Escape")
            await expect(at.page.locator(panel)).to_be_hidden()
            await expect(at.page.locator(".name")).to_have_text("Marie")
            await expect(amount(at)).to_be_focused()
        await at.page.keyboard.press("Escape")
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "nothing")


async def test_a_chord_or_a_key_held_down_does_nothing(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        for chord in ("Control+F8", "Alt+F8", "Shift+F8"):
            await at.page.keyboard.press(chord)
        await expect(at.page.locator("#outbox")).to_be_hidden()
        await at.page.keyboard.down("F8")
        await at.page.keyboard.down("F8")
        await expect(at.page.locator("#outbox")).to_be_visible()


async def test_the_same_card_twice_is_a_soft_note_and_one_scan(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        asked: list[str] = []
        at.page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/scans") else None)
        card = at.face("Marie").cards[0]
        await show(at, card, "known")
        await listen(at.page)
        await scan(at, card)
        await expect(at.page.locator("#credit .note")).to_have_text("Same card again: it is shown already.")
        await expect(at.page.locator(".name")).to_have_text("Marie")
        assert len(await tones(at.page)) == 1
        assert len(asked) == 1
        await at.page.wait_for_timeout(2_100)
        await scan(at, card)
        await expect(at.page.locator("#polite")).to_have_text("Marie, 1,240 points")
        assert len(asked) == 2


async def test_b_scanned_while_a_is_shown_closes_a(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, at.face("Marie").cards[0], "known")
        await show(at, at.face("Julie").cards[0], "mind")
        assert "Marie" not in await at.page.locator("#view").inner_html()


async def test_the_lock_takes_everybody_off_the_page_at_once(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(toast(at)).to_contain_text("Marie")
        await type_amount(at.page, "5")
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#view h1")).to_have_text("This till is locked")
        assert "Marie" not in await at.page.content()
        await expect(toast(at)).to_be_hidden()
        await expect(at.page.locator("#side")).to_be_hidden()
        await expect(at.page.get_by_role("button", name="Unlock")).to_be_focused()
        await listen(at.page)
        await scan(at, at.face("Julie").cards[0])
        await expect(at.page.locator("#urgent")).to_have_text("Locked: the scan was not taken.")
        assert await tones(at.page)
        await at.sell("R-2", at.face("Julie").cards[0], 900)
        assert at.till.screen.state.view.kind == "nothing"
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#view h1")).to_have_text("Ready for the next card")
        await expect(amount(at)).to_have_value("")
        await expect(amount(at)).to_be_focused()
        await expect(at.page.locator("#shift .act")).to_have_count(2)


async def test_a_till_that_does_not_answer_is_locked_on_the_page_and_when_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, at.face("Marie").cards[0], "known")
        lost = True
        await catch(at.page, "**/screen/lock", lambda route: route.abort() if lost else route.continue_())
        await at.page.keyboard.press("F9")
        await expect(at.page.locator("#view h1")).to_have_text("This till is locked")
        # The till has not heard of it, and tells of her again.
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await at.page.wait_for_timeout(300)
        assert "Marie" not in await at.page.content()
        before = at.till.screen.state.locked
        lost = False
        await at.page.wait_for_timeout(1_500)
        assert (before, at.till.screen.state.locked) == (False, True)
        at.noise.clear()


async def test_unlocking_right_behind_locking_leaves_nobody_before_a_locked_page(
    browser: Browser, tmp_path: Path
) -> None:
    async with counter(browser, tmp_path) as at:
        told = asyncio.Event()

        async def answer_late(route: Route) -> None:
            answer = await route.fetch()
            told.set()
            await at.page.wait_for_timeout(1_000)
            await route.fulfill(response=answer)

        await catch(at.page, "**/screen/lock", answer_late)
        await at.page.keyboard.press("F9")
        await told.wait()
        assert at.till.screen.state.locked
        await at.page.keyboard.press("F9")
        await expect(amount(at)).to_be_focused()
        assert not at.till.screen.state.locked


async def test_the_states_sound_unlike_each_other_and_begin_at_once(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await listen(at.page)
        tunes: dict[str, tuple[float, ...]] = {}
        scans = {
            "known": at.face("Marie").cards[0],
            "mind": at.face("Julie").cards[0],
            "unknown_card": at.shop.unknown_card,
            "other": PRODUCT,
            "refused": BANK_CARD,
        }
        for look, text in scans.items():
            await show(at, text, look)
            heard = await tones(at.page)
            assert heard, look
            assert heard[0][1] <= SOUND_WAIT_S_MAX
            tunes[look] = tuple(hertz for hertz, _ in heard)
        await at.sell("R-1", at.face("Marie").cards[0], 900)
        await expect(toast(at)).to_be_visible()
        tunes["credited"] = tuple(hertz for hertz, _ in await tones(at.page))
        await at.enter("gagnon")
        await expect(at.page.locator(".choice")).to_have_count(2)
        tunes["choice"] = tuple(hertz for hertz, _ in await tones(at.page))
        assert len(set(tunes.values())) == len(tunes) == 7


async def test_the_first_key_of_a_scan_does_not_wait_for_the_sounds(browser: Browser, tmp_path: Path) -> None:
    """Making the sounds ready held the first key up for 110 ms, so that the scan began with the second."""
    async with counter(browser, tmp_path) as at:
        await at.page.evaluate(_NOTE_MAKING)
        await at.page.keyboard.press("9")
        await at.page.wait_for_function("() => window.made.length > 0")
        assert await at.page.evaluate("() => window.made") == ["later"]


async def test_a_till_may_be_silent(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path, sounds=False) as at:
        await listen(at.page)
        await show(at, at.face("Marie").cards[0], "known")
        assert await tones(at.page) == []


async def test_a_scan_is_one_sentence_and_a_short_one(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await hear(at.page)
        for text in (
            at.face("Marie").cards[0],
            at.shop.unknown_card,
            PRODUCT,
            BANK_CARD,
            "https://example.com/" + "a" * 90,
        ):
            before = await at.page.locator("#view").inner_text()
            await scan(at, text)
            await expect(at.page.locator("#view")).not_to_have_text(before, use_inner_text=True)
            await at.page.wait_for_timeout(300)
            said = await sentences(at.page)
            assert len(said) == 1, said
            assert len(said[0]) <= 120


async def test_a_line_that_is_lost_is_told_and_told_again_when_it_is_back(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        there = HubShown(is_reachable=True, since=datetime.now(UTC), fault=None, is_loading_snapshot=False)
        at.till.screen.put_hub(there)
        await expect(at.page.locator("#indicator .pill")).to_have_attribute("data-tone", "good")
        away = there.model_copy(update={"is_reachable": False, "fault": "no_connection"})
        at.till.screen.put_hub(away)
        words = "Offline - points are saved here and will be sent"
        await expect(at.page.locator("#indicator .pill")).to_contain_text(words, timeout=2_000)
        await expect(at.page.locator("#indicator .pill svg")).to_be_visible()
        await expect(at.page.locator("#polite")).to_have_text(words)
        at.till.screen.put_hub(there)
        await expect(at.page.locator("#polite")).to_have_text("All sent")


async def test_a_switch_of_the_language_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(toast(at)).to_be_visible()
        await type_amount(at.page, "12,5")
        await at.page.keyboard.press("F8")
        await expect(at.page.locator("#outbox")).to_contain_text("Sale R-1")
        began = await at.page.evaluate("() => performance.now()")
        await at.page.get_by_role("button", name="Français").click()
        await expect(at.page.locator("html")).to_have_attribute("lang", "fr")
        assert await at.page.evaluate("() => performance.now()") - began < 2_000
        await expect(at.page.locator("#credit .go")).to_contain_text("Créditer 12 points")
        await expect(at.page.locator("#outbox")).to_contain_text("Vente R-1")
        await expect(toast(at)).to_contain_text("15 points crédités à Marie")
        await expect(amount(at)).to_have_value("12,5")
        await expect(at.page.locator("html")).to_have_attribute("dir", "ltr")
        await at.page.keyboard.press("F8")
        await expect(at.page.locator("#shift .act")).to_contain_text([re.compile(r"15,50\s\$.*\d\d h \d\d · crédité")])


async def test_a_language_from_right_to_left_turns_the_page(browser: Browser, tmp_path: Path) -> None:
    words = {"fr": lambda texts: {**texts, "page.dir": "rtl"} if "page.dir" in texts else texts}
    async with counter(browser, tmp_path, words=words) as at:
        await at.page.get_by_role("button", name="Français").click()
        await expect(at.page.locator("html")).to_have_attribute("dir", "rtl")
        card, side = await at.page.locator("#card").bounding_box(), await at.page.locator("#side").bounding_box()
        assert card is not None
        assert side is not None
        assert side["x"] < card["x"]


async def test_nothing_of_a_customer_stays_after_a_minute(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock()
    async with counter(browser, tmp_path, clock=clock) as at:
        await show(at, at.face("Marie").cards[0], "known")
        await at.page.keyboard.type("45", delay=130)
        await show(at, at.face("Julie").cards[0], "mind")
        await expect(at.page.locator("#credit .note")).to_contain_text("Marie")
        await clock.advance(CUSTOMER_SHOWN_S)
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "nothing")
        dump = await at.page.content()
        for name in ("Marie", "Julie", "Bergeron"):
            assert name not in dump


async def test_what_was_half_typed_leaves_too(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.clock.install()
        await at.page.keyboard.press("F2")
        await at.page.locator("#text").fill("tremblay")
        await at.page.clock.fast_forward(60_000)
        await expect(at.page.locator("#text")).to_have_value("")


async def test_a_scan_that_broke_off_is_said(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.evaluate(
            """() => {
              const time = performance.now();
              for (const [at, sign] of [..."99905838055"].entries()) {
                const key = { key: sign, code: `Digit${sign}`, bubbles: true, cancelable: true };
                const event = new KeyboardEvent("keydown", key);
                Object.defineProperty(event, "timeStamp", { value: time + 2 * at });
                document.activeElement.dispatchEvent(event);
              }
            }"""
        )
        await expect(at.page.locator("#urgent")).to_have_text("The scan broke off. Scan again.")
        await expect(at.page.locator("#credit .note")).to_have_text("The scan broke off. Scan again.")
