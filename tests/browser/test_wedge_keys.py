"""Scans and people's typing by real keys on a bare page: what has the focus keeps what it had, and hears nothing."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.pages import chromium
from tests.support.wedge_rig import FRENCH, US, largest_gap_ms, press_all, press_late, press_slowly, rig, typed_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = "9990123412341239"
GAP_MS = 90
# On a shared machine a key can come late: then the scanner was not as fast as the test says, and it scans again.
TRIES = 8
LOOK = """() => {
  const node = document.activeElement;
  const { id, value = null, selectionStart = null, selectionEnd = null, selectionDirection = null } = node;
  return [id, value, selectionStart, selectionEnd, selectionDirection];
}"""
HEARD = "() => log.events.filter(([type]) => type !== 'keydown')"
KEYS_HEARD = "() => log.events.filter(([type]) => type === 'keydown').map(([, , key]) => key)"
# Lets the page do nothing else for a while at one of its keydowns.
BUSY = """{{
  let keys = 0;
  window.addEventListener("keydown", () => {{
    const began = performance.now();
    if (++keys === {at}) while (performance.now() - began < {ms});
  }}, {{ capture: true }});
}}"""
# What has the focus, and how it got there; each leaves a caret or a selection of its own.
FOCUSES = {
    "nothing": "document.activeElement.blur()",
    "caret": "field.focus(); field.setSelectionRange(4, 4)",
    "selected": "field.focus(); field.setSelectionRange(2, 9, 'backward')",
    "all": "field.focus(); field.select()",
    "amount": "amount.focus(); amount.setSelectionRange(2, 2)",
    "number": "number.focus()",
    "note": "note.focus(); note.setSelectionRange(3, 6)",
    "full": "field.maxLength = field.value.length; field.focus(); field.setSelectionRange(1, 1)",
    "read-only": "field.readOnly = true; field.focus(); field.setSelectionRange(1, 3)",
    "button": "button.focus()",
    "send": "send.focus()",
    "dialog": "dialog.showModal(); inside.focus(); inside.setSelectionRange(0, 2)",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@asynccontextmanager
async def scanned(
    browser: Browser, focus: str, keys: Sequence[Mapping[str, Any]], gap_ms: int, *, lifts_last: bool = True
) -> AsyncIterator[tuple[Page, Any]]:
    """Scan by real keys; yields the page and what had the focus before."""
    for _ in range(TRIES):
        async with rig(browser) as page:
            before = await focused(page, focus)
            await press_all(page, keys, gap_ms, lifts_last=lifts_last)
            if await largest_gap_ms(page) <= GAP_MS:
                yield page, before
                return
    pytest.skip("this machine is too busy to press keys 90 ms apart")


async def focused(page: Page, focus: str) -> Any:
    """Give something the focus; returns how it is then."""
    await page.evaluate(f"() => {{ {FOCUSES.get(focus, focus)}; }}")
    before = await page.evaluate(LOOK)
    await page.evaluate("() => { log.events.length = 0; }")
    return before


@pytest.mark.parametrize("gap_ms", [5, 20, 50])
async def test_a_scanner_that_takes_its_time_is_read(browser: Browser, gap_ms: int) -> None:
    for _ in range(TRIES):
        async with rig(browser) as page:
            before = await focused(page, "selected")
            await press_slowly(page, typed_on(US, CARD + "\n"), gap_ms)
            if await largest_gap_ms(page) <= GAP_MS:
                assert await page.evaluate("() => log.scans") == [CARD]
                assert await page.evaluate(LOOK) == before
                return
    pytest.skip("this machine is too busy to press keys 90 ms apart")


@pytest.mark.parametrize(
    ("focus", "gap_ms", "end"),
    [
        *((focus, 5, "\n") for focus in FOCUSES),
        *((focus, 20, "\t") for focus in ("selected", "amount", "button", "dialog")),
        *((focus, 50, "\n\n") for focus in ("nothing", "caret", "note", "send")),
    ],
)
async def test_a_scan_is_read_and_what_has_the_focus_is_as_before(
    browser: Browser, focus: str, gap_ms: int, end: str
) -> None:
    async with scanned(browser, focus, typed_on(US, CARD + end), gap_ms) as (page, before):
        assert await page.evaluate("() => log.scans") == [CARD]
        assert await page.evaluate(LOOK) == before
        await page.wait_for_timeout(400)
        assert await page.evaluate(LOOK) == before
        assert await page.evaluate(HEARD) == []
        assert await page.evaluate(KEYS_HEARD) == ["9"]
        await page.evaluate("() => document.activeElement.blur()")
        assert await page.evaluate(HEARD) == []


async def test_a_scanner_that_pauses_behind_a_busy_page_is_known_to_have_paused(browser: Browser) -> None:
    """Two short waits, for the page and then for the next key, are one long one at the keyboard: four digits went."""
    async with rig(browser) as page:
        # The page sees either wait for itself: 70 ms, then 60 ms.
        await page.add_init_script(BUSY.format(at=4, ms=70))
        await page.reload()
        await page.locator("body[data-ready]").wait_for()
        await press_slowly(page, typed_on(US, CARD[:4]), 1)
        await page.wait_for_timeout(60)
        await press_slowly(page, typed_on(US, CARD[4:] + "\n"), 1)
        assert await largest_gap_ms(page) > GAP_MS


@pytest.mark.parametrize("busy_at", [1, 4, 16])
async def test_a_scan_is_read_though_the_page_is_busy_in_its_midst(browser: Browser, busy_at: int) -> None:
    async with rig(browser) as page:
        before = await focused(page, "selected")
        # Longer than a gap and its timer: the keys come late to the page, but their stamps say when they were pressed.
        await page.evaluate(BUSY.format(at=busy_at, ms=300))
        await press_all(page, typed_on(US, CARD + "\n"), 5)
        assert await page.evaluate("() => [log.scans, log.broken]") == [[CARD], []]
        assert await page.evaluate(LOOK) == before


@pytest.mark.parametrize("first", [8, 15, 16])
async def test_a_scan_is_read_though_its_rest_comes_after_it_was_given_up(browser: Browser, first: int) -> None:
    """A machine that stood still for a second brought the keys late: the end key alone would have pressed a button."""
    async with rig(browser) as page:
        before = await focused(page, "send")
        await press_late(page, typed_on(US, CARD + "\n"), 5, first=first, late_ms=1_100)
        assert await page.evaluate("() => [log.scans, log.broken]") == [[CARD], ["cut"]]
        assert await page.evaluate(LOOK) == before
        assert await page.evaluate(HEARD) == []


@pytest.mark.parametrize("gap_ms", [5, 50])
async def test_a_scanner_types_digits_on_a_french_keyboard(browser: Browser, gap_ms: int) -> None:
    async with scanned(browser, "caret", typed_on(FRENCH, CARD + "\n"), gap_ms) as (page, before):
        assert await page.evaluate("() => log.scans") == [CARD]
        assert await page.evaluate(LOOK) == before


@pytest.mark.parametrize("gap_ms", [120, 150])
async def test_a_person_types_into_a_field_and_enter_sends_it(browser: Browser, gap_ms: int) -> None:
    async with rig(browser) as page:
        await page.locator("#field").focus()
        await page.locator("#field").select_text()
        await page.keyboard.type("Zoé 1234", delay=gap_ms)
        assert await page.locator("#field").input_value() == "Zoé 1234"
        await page.wait_for_timeout(gap_ms)
        await page.keyboard.press("Enter")
        assert await page.evaluate("() => log.scans") == []
        heard = await page.evaluate(HEARD)
        assert [value for kind, _, value in heard if kind == "input"] == ["Zoé 1234"[: n + 1] for n in range(8)]
        assert [kind for kind, *_ in heard if kind == "submit"] == ["submit"]


async def test_what_a_person_types_fast_lands_in_order_at_the_caret(browser: Browser) -> None:
    async with rig(browser) as page:
        await page.evaluate("() => { field.focus(); field.setSelectionRange(4, 6); }")
        await page.keyboard.type("the", delay=40)
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.type("xy", delay=40)
        await page.wait_for_timeout(200)
        assert await page.evaluate(LOOK) == ["field", "halfthxye name", 8, 8, "forward"]
        assert await page.evaluate("() => log.scans") == []
        assert (await page.evaluate(HEARD))[-1] == ["input", "field", "halfthxye name"]
        await page.keyboard.press("Enter")
        assert (await page.evaluate(HEARD))[-1][0] == "submit"


async def test_an_amount_is_written_as_it_is_typed_and_sent_at_once(browser: Browser) -> None:
    async with rig(browser) as page:
        await page.evaluate("() => { amount.focus(); amount.select(); }")
        await page.keyboard.type("199", delay=30)
        await page.keyboard.press("Enter")
        assert await page.locator("#amount").input_value() == "1.99"
        assert [kind for kind, *_ in await page.evaluate(HEARD) if kind == "submit"] == ["submit"]
        assert await page.evaluate("() => log.scans") == []


async def test_what_a_person_typed_before_a_scan_is_still_a_change_after_it(browser: Browser) -> None:
    async with rig(browser) as page:
        await page.locator("#field").focus()
        await page.keyboard.press("End")
        await page.keyboard.press("x")
        await page.wait_for_timeout(300)
        await press_all(page, typed_on(US, CARD + "\n"), 1)
        await page.evaluate("() => document.activeElement.blur()")
        assert [one for one in await page.evaluate(HEARD) if one[0] == "change"] == [
            ["change", "field", "half a namex"]
        ]


async def test_a_focus_that_moves_in_mid_scan_gets_nothing(browser: Browser) -> None:
    async with rig(browser) as page:
        await page.evaluate("""() => {
          field.focus(); field.setSelectionRange(4, 4);
          let keys = 0;
          window.addEventListener("keydown", () => { if (++keys === 5) note.focus(); }, { capture: true });
        }""")
        await press_all(page, typed_on(US, CARD + "\n"), 5)
        assert await page.evaluate("() => [log.scans, document.activeElement.id, field.value, note.value]") == [
            [CARD],
            "note",
            "half a name",
            "two\nlines",
        ]


async def test_a_scan_that_breaks_off_is_told_and_leaves_nothing(browser: Browser) -> None:
    async with scanned(browser, "caret", typed_on(US, CARD[:10]), 1) as (page, before):
        await page.wait_for_timeout(1_100)
        assert await page.evaluate("() => [log.scans, log.broken]") == [[], ["cut"]]
        assert await page.evaluate(LOOK) == before
        assert await page.evaluate(HEARD) == []


async def test_an_end_key_that_sticks_does_nothing_more(browser: Browser) -> None:
    async with scanned(browser, "send", typed_on(US, CARD + "\n"), 5, lifts_last=False) as (page, _):
        session = await page.context.new_cdp_session(page)
        for _ in range(3):
            await page.wait_for_timeout(120)
            enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            await session.send("Input.dispatchKeyEvent", {"type": "keyDown", "autoRepeat": True, **enter})
        assert await page.evaluate("() => log.scans") == [CARD]
        assert await page.evaluate(HEARD) == []


async def test_characters_that_no_key_pressed_do_not_land_in_mid_scan(browser: Browser) -> None:
    async with rig(browser) as page:
        before = await focused(page, "caret")
        # Windows brings a character by itself where Alt and digits were pressed.
        await page.evaluate("""() => window.addEventListener("keydown", ({ key }) => {
          if (key === "3") document.execCommand("insertText", false, "é");
        })""")
        await press_all(page, typed_on(US, CARD + "\n"), 1)
        assert await page.evaluate("() => log.scans") == [CARD]
        assert await page.evaluate(LOOK) == before
        assert await page.evaluate(HEARD) == []


async def test_a_key_event_without_a_key_is_nobodys(browser: Browser) -> None:
    async with rig(browser) as page:
        await page.evaluate("openPanel('en')")
        await page.evaluate("() => document.body.dispatchEvent(new Event('keydown', { bubbles: true }))")
        assert await page.evaluate(KEYS_HEARD) == [""]
