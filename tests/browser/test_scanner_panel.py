"""The scanner's panel in a real Chromium: it measures, says what it found, keeps it, and shows nobody's number."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.page_rules import axe, heard, layouts, listen
from tests.support.pages import chromium
from tests.support.wedge_rig import FRENCH, SETTINGS, US, Stream, at, down, rig, typed_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARDS = ("9990123412341239", "9990567856785674", "9990000011112226")
GAP, PREFIX, SUFFIX = (f"#scanner label:nth-of-type({n}) input" for n in (1, 2, 3))
END = "#scanner select"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@asynccontextmanager
async def opened(browser: Browser, language: str = "en", **context: Any) -> AsyncIterator[Page]:
    async with rig(browser, context=context) as page:
        await page.evaluate("(language) => openPanel(language)", language)
        yield page


async def press_at(page: Page, stream: Stream) -> None:
    await page.evaluate("(stream) => pressAt(stream)", stream)


async def measure(page: Page, *keys: Sequence[Mapping[str, Any]], gap_ms: int = 20) -> None:
    """Scan three times, so that the panel has heard the end of each."""
    for each in keys if len(keys) > 1 else keys * 3:
        await press_at(page, at(gap_ms, each))
        await page.wait_for_timeout(450)


def cards(before: str = "", after: str = "\n") -> list[list[dict[str, Any]]]:
    return [typed_on(US, f"{before}{card}{after}") for card in CARDS]


async def found(page: Page) -> list[str]:
    return await page.locator("#scanner .found li").all_inner_texts()


async def proposed(page: Page) -> dict[str, Any]:
    fields = [await page.locator(each).input_value() for each in (GAP, PREFIX, SUFFIX, END)]
    return dict(zip(("gap_ms", "prefix", "suffix", "end"), fields, strict=True))


@pytest.mark.parametrize(
    ("keys", "gap_ms", "expected", "said"),
    [
        (cards(), 5, {"gap_ms": "60", "end": "enter"}, ["It presses Enter at the end."]),
        (cards(), 50, {"gap_ms": "85", "end": "enter"}, ["It presses Enter at the end."]),
        (cards(), 100, {"gap_ms": "119", "end": "enter"}, ["It presses Enter at the end."]),
        (cards(after="\t"), 20, {"end": "tab"}, ["It presses Tab at the end."]),
        (
            cards(after="\n\n"),
            20,
            {"end": "enter"},
            ["It presses Enter at the end.", "It presses another key after that, which the till leaves out."],
        ),
        (
            cards(after=""),
            20,
            {"end": "none"},
            ["It presses no key at the end. Set it to press Enter, and scans are read at once."],
        ),
        (
            cards("~", "##\n"),
            20,
            {"prefix": "~", "suffix": "##", "end": "enter"},
            [
                "It presses Enter at the end.",
                "It sends ~ before each code, which the till takes off.",
                "It sends ## after each code, which the till takes off.",
            ],
        ),
        (
            cards("]C1"),
            20,
            {"prefix": "", "end": "enter"},
            ["It presses Enter at the end.", "It names the kind of code (]C1). Leave that on."],
        ),
        (
            [cards()[0], cards(after="\t")[1], cards()[2]],
            20,
            {"end": "any"},
            ["It presses Enter or Tab at the end."],
        ),
        (
            [cards()[0], cards(after="")[1], cards()[2]],
            20,
            {"end": "any"},
            ["It does not always press a key at the end. Measure again, or set it to press Enter."],
        ),
        (
            [typed_on(FRENCH, f"{card}\n") for card in CARDS],
            20,
            {"end": "enter"},
            [
                "It presses Enter at the end.",
                "It is set for another keyboard. Digits are right all the same; letters and signs may not be.",
            ],
        ),
        (
            [[{**key, "CapsLock": True} for key in keys] for keys in cards()],
            20,
            {"end": "enter"},
            ["It presses Enter at the end.", "Caps Lock is on and changes letters. Turn it off."],
        ),
    ],
)
async def test_it_says_what_it_found_and_what_it_would_keep(
    browser: Browser, keys: Sequence[Any], gap_ms: int, expected: dict[str, str], said: list[str]
) -> None:
    async with opened(browser) as page:
        await measure(page, *keys, gap_ms=gap_ms)
        assert await found(page) == [f"Its keys come {gap_ms} ms apart, {gap_ms} ms at most.", *said]
        assert await proposed(page) == {"gap_ms": "60", "prefix": "", "suffix": "", **expected}


async def test_a_stripe_and_what_cards_have_in_common_are_no_prefix(browser: Browser) -> None:
    async with opened(browser) as page:
        await measure(page, typed_on(US, ";9990123412341239=3012?\n"))
        assert await proposed(page) == {"gap_ms": "60", "prefix": "", "suffix": "", "end": "enter"}


async def test_a_slow_scanner_is_told_that_it_is_slow_and_a_hand_that_it_is_one(browser: Browser) -> None:
    async with opened(browser) as page:
        await measure(page, typed_on(US, "1234567"), gap_ms=150)
        await expect(page.locator("#scanner")).to_contain_text("That was typed by hand, or by a very slow scanner.")
        halting = [(130 if n % 4 == 0 else 90, key) for n, key in enumerate(cards()[0])]
        for _ in range(3):
            await press_at(page, halting)
        await expect(page.locator("#scanner .found")).to_contain_text("It is as slow as a person.")
        assert (await proposed(page))["gap_ms"] == "119"


async def test_one_late_key_is_the_machines(browser: Browser) -> None:
    async with opened(browser) as page:
        for pause in (20, 200, 20):
            await press_at(page, [*at(20, cards()[0][:5]), *at(pause, cards()[0][5:6]), *at(20, cards()[0][6:])])
        await expect(page.locator("#scanner .found li")).to_have_count(2)
        assert (await proposed(page))["gap_ms"] == "119"


async def test_what_is_saved_is_kept_by_the_till_and_in_force_at_once(browser: Browser) -> None:
    async with opened(browser) as page:
        await measure(page, *cards("~"))
        await page.locator(GAP).fill("7")
        await page.locator(SUFFIX).fill("!")
        await page.locator(END).select_option("Enter or Tab")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#scanner")).to_contain_text("Saved. Scan a card to try it.")
        kept = SETTINGS | {"gap_ms": 20, "prefix": "~", "suffix": "!", "end": "any"}
        assert await page.evaluate("() => log.put") == ["/api/v1/scanner", kept]
        assert (await proposed(page))["gap_ms"] == "20"
        await press_at(page, at(10, typed_on(US, f"~{CARDS[0]}!\n")))
        await expect(page.locator("#scanner")).to_contain_text("The till read 16 characters that end in 1239.")


async def test_what_the_till_refuses_is_said_and_stays_to_be_saved_again(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.locator(PREFIX).fill("##")
        for refusal, said in (({"code": "disk_full"}, "The disk of this till is full"), ({}, "does not answer")):
            await page.evaluate("(refusal) => { till.refusal = refusal; }", refusal)
            await page.get_by_role("button", name="Save").click()
            await expect(page.locator("#scanner .note")).to_contain_text(said)
            assert (await proposed(page))["prefix"] == "##"


async def test_settings_of_another_window_arrive_but_never_over_an_edit(browser: Browser) -> None:
    async with opened(browser) as page:
        other = SETTINGS | {"gap_ms": 33, "end": "tab"}
        await page.evaluate("(settings) => { panel.settings = settings; }", other)
        assert (await proposed(page))["gap_ms"] == "33"
        await page.locator(PREFIX).fill("x")
        await page.evaluate("(settings) => { panel.settings = settings; }", SETTINGS)
        assert await proposed(page) == {"gap_ms": "33", "prefix": "x", "suffix": "", "end": "tab"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CARDS[0], "The till read 16 characters that end in 1239."),
        (f"]C1{CARDS[0]}", "The till read 19 characters that end in 1239."),
        ("QAZ1ABCDEFGH", "The till read 12 characters that end in EFGH."),
        ("4111111111111111", "The till read 16 characters."),
        ("4111 1111 1111 1111", "The till read 19 characters."),
        ("9792030394440796", "The till read 16 characters."),
        ("%B4111111111111111^DOE/JANE^30121010000?", "The till read 40 characters."),
        (";9990123412341239=30121010000?", "The till read 30 characters."),
        ("378282246310005", "The till read 15 characters."),
        ("123456", "The till read 6 characters."),
    ],
)
async def test_a_scan_leaves_its_length_and_its_end_and_of_a_bank_card_nothing(
    browser: Browser, text: str, said: str
) -> None:
    async with opened(browser) as page:
        await press_at(page, at(10, typed_on(US, text + "\n")))
        await expect(page.locator("#scanner [role=status] p").nth(1)).to_have_text(said)
        shown = await page.content()
        assert not any(text[n : n + 5] in shown for n in range(len(text) - 4))
        assert "1111" not in shown


async def test_what_is_left_of_a_scan_leaves_soon_and_when_the_panel_closes(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.clock.install()
        line = page.locator("#scanner [role=status]")
        await press_at(page, at(10, cards()[0]))
        await page.clock.run_for(50)
        await expect(line).to_contain_text("1239")
        await page.clock.run_for(30_000)
        await expect(line).not_to_contain_text("1239")
        await press_at(page, at(10, cards()[0]))
        await page.clock.run_for(50)
        await expect(line).to_contain_text("1239")
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator("#scanner")).to_be_hidden()
        await page.evaluate("() => panel.open()")
        await expect(line).to_have_text("Scan any of the shop\u2019s cards 3 times.")


async def test_a_closed_panel_hears_nothing(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.evaluate("() => panel.close()")
        for keys in cards():
            await press_at(page, at(10, keys))
        assert await page.evaluate("() => log.scans") == list(CARDS)
        await page.evaluate("() => panel.open()")
        assert await found(page) == []


async def test_typing_into_its_fields_measures_nothing_and_a_scan_leaves_them_alone(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.locator(PREFIX).focus()
        await press_at(page, at(80, typed_on(US, "abcdefgh")))
        await page.wait_for_timeout(450)
        await expect(page.locator("#scanner")).to_contain_text("Scan any of the shop\u2019s cards 3 times.")
        await page.locator(PREFIX).fill("ab")
        await press_at(page, at(10, cards()[0]))
        await expect(page.locator("#scanner")).to_contain_text("Scan any of the shop\u2019s cards 2 times.")
        assert (await proposed(page))["prefix"] == "ab"


async def test_a_slow_scanners_end_presses_nothing(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.get_by_role("button", name="Save").focus()
        prevented = await page.evaluate(
            """(stream) => {
              let prevented;
              document.addEventListener("keydown", (event) => { prevented = event.defaultPrevented; });
              pressAt(stream);
              return prevented;
            }""",
            at(110, [*typed_on(US, CARDS[0]), down("Enter")]),
        )
        assert prevented is True


async def test_it_is_all_done_by_keyboard(browser: Browser) -> None:
    async with opened(browser) as page:
        await expect(page.locator("#scanner h2")).to_be_focused()
        for selector in ("button >> nth=0", *(each.removeprefix("#scanner ") for each in (GAP, PREFIX, SUFFIX, END))):
            await page.wait_for_timeout(130)
            await page.keyboard.press("Tab")
            await expect(page.locator(f"#scanner {selector}")).to_be_focused()
        await page.keyboard.press("n")
        await page.wait_for_timeout(450)
        await page.keyboard.press("Tab")
        await page.wait_for_timeout(130)
        await page.keyboard.press("Enter")
        await expect(page.locator("#scanner")).to_contain_text("Saved.")
        assert (await page.evaluate("() => log.put"))[1]["end"] == "none"


async def test_a_scan_is_announced_once(browser: Browser) -> None:
    async with opened(browser) as page:
        await listen(page)
        await press_at(page, at(10, cards("~")[0]))
        await page.wait_for_timeout(450)
        said = list(await heard(page))
        assert len(said) == 1
        assert len(said[0]) <= 120


async def test_the_language_switches_and_an_edit_stays(browser: Browser) -> None:
    async with opened(browser) as page:
        await page.locator(GAP).fill("77")
        await page.locator(END).select_option("Tab")
        await page.evaluate("() => { speak('fr'); panel.render(); }")
        await expect(page.locator("#scanner h2")).to_have_text("Lecteur")
        await expect(page.locator(END).locator("option:checked")).to_have_text("Tab")
        await expect(page.get_by_role("button", name="Enregistrer")).to_be_visible()
        assert await proposed(page) == {"gap_ms": "77", "prefix": "", "suffix": "", "end": "tab"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_it_can_be_seen_read_and_touched(
    browser: Browser, language: str, scheme: Literal["light", "dark"]
) -> None:
    async with opened(browser, language, color_scheme=scheme) as page:
        await measure(page, *[[{**key, "CapsLock": True} for key in keys] for keys in cards("]C1~", "#\n\n")])
        await page.locator("#scanner form button.go").click()
        await expect(page.locator("#scanner .note")).to_be_visible()
        assert list(await axe(page)) == []
        assert list(await layouts(page)) == []
