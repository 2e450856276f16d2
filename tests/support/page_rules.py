"""What every state of a page must keep: accessibility by axe-core, and the boxes that people see and touch.

Each rule returns complaints as texts and asserts nothing, so that one look at a state tells everything that is wrong
with it, and `tests/browser/test_page_rules.py` can plant a fault and see each rule find it.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.async_api import Page

# Issue and checklist: targets 44 px, the one main act of a state 64 px, 8 px between any two.
TARGET_PX = 44
PRIMARY_PX = 64
GAP_PX = 8
TARGETS = "button, a[href], input, select, textarea, summary, [role=button], [tabindex='0']"
PRIMARIES = ".go, .primary"
# The focus is a ring of 2 px that stands out from its ground; what is read from afar stands out more.
RING_PX, RING_CONTRAST = 2, 3.0
FIGURES, FIGURE_CONTRAST = "#view :is(.name, .figure), .amount", 7.0
# Who, how many, and how true that is, unless somebody types a number above it.
MAIN_CARD = "#entry[hidden] ~ #view :is(h1, .figure, .pending, .spendable, .as-of)"

LAPTOP = (1366, 768)
SMALL_TILL = (1024, 600)
PHONE = (390, 844)
# The narrowest of phones, where the offer to undo may push the card down for its ten seconds.
NARROW = (320, 640)
# A laptop at 200 % is a laptop with half the room.
ZOOMED = (683, 384)
# What must stand above the fold, by the size of the window.
FOLDS = dict.fromkeys((LAPTOP, SMALL_TILL, PHONE, ZOOMED), MAIN_CARD) | {NARROW: f"body:has(#undo[hidden]) {MAIN_CARD}"}
# The same for words that nobody wrote: what stands above the fold of a narrow window, real words tell.
FOLDS_OF_TILLS = FOLDS | dict.fromkeys((PHONE, NARROW, ZOOMED), "#nothing")

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
# So many dots that differ by so many of 255 shades of grey are seen at arm's length.
VISIBLE_DOTS, VISIBLE_SHADES = 40, 48

_AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_RUN_AXE = """async (standards) => {
  const options = { runOnly: { type: "tag", values: standards }, resultTypes: ["violations"], preload: false };
  const { violations } = await axe.run(document, options);
  return violations.map(({ id, help, nodes }) =>
    `${id}: ${help}: ${nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).slice(0, 4).join("; ")}`);
}"""
_HAS_AXE = "() => typeof axe === 'object'"
_LAYOUT = Path(__file__).with_name("page_layout.js").read_text(encoding="utf-8").partition("\n\n")[2]
_FOCUS = Path(__file__).with_name("page_focus.js").read_text(encoding="utf-8").partition("\n\n")[2]
_LISTEN = """() => {
  window.announcements = [];
  for (const node of document.querySelectorAll("[role=status], [role=alert], [aria-live]")) {
    const note = () => node.textContent.trim() && window.announcements.push(node.textContent.trim());
    new MutationObserver(note).observe(node, { childList: true, characterData: true, subtree: true });
  }
}"""
# Through the style sheet's own objects, because the page's policy takes no other styles. Icons get one dark tone.
_TAKE_WORDS = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`* { color: transparent !important } .icon { color: #222 !important; stroke: #222 !important }`);
  document.adoptedStyleSheets.push(sheet);
}"""
_GIVE_WORDS = "() => { document.adoptedStyleSheets.pop(); }"


async def axe(page: Page) -> Sequence[str]:
    """Return what axe-core holds against the page as it stands, by the WCAG 2.2 AA rules.

    It looks at the whole page at once: what a bar that stays in place hides now can be scrolled into sight.
    """
    if not await page.evaluate(_HAS_AXE):
        await page.evaluate(_AXE)
    window = page.viewport_size
    height = await page.evaluate("() => document.documentElement.scrollHeight")
    if window and height > window["height"]:
        await page.set_viewport_size({"width": window["width"], "height": height})
    found: list[str] = await page.evaluate(_RUN_AXE, list(STANDARDS))
    if window and height > window["height"]:
        await page.set_viewport_size(window)
    return [f"axe {one}" for one in found]


async def layout(page: Page, fold: str = MAIN_CARD) -> Sequence[str]:
    """Return what is small, too near, overlapping, cut off, outside, below the fold, or blinking."""
    asked: dict[str, Any] = {
        "target": TARGET_PX,
        "primary": PRIMARY_PX,
        "gap": GAP_PX,
        "targets": TARGETS,
        "primaries": PRIMARIES,
        "fold": fold,
    }
    found: list[str] = await page.evaluate(_LAYOUT, asked)
    return found


async def layouts(page: Page, folds: Mapping[tuple[int, int], str] = FOLDS) -> Mapping[str, Sequence[str]]:
    """Return the complaints of `layout` by size, where there are any; the window is a laptop's again in the end."""
    found = {}
    for size, fold in folds.items():
        await resize(page, size)
        if said := await layout(page, fold):
            found[f"{size[0]}x{size[1]}"] = said
    await resize(page, LAPTOP)
    return found


async def focus(page: Page) -> Sequence[str]:
    """Return what takes no focus, shows none, or lies covered with it, and which figure is too pale."""
    await page.keyboard.press("Tab")
    asked: dict[str, Any] = {
        "targets": TARGETS,
        "figures": FIGURES,
        "ring": RING_PX,
        "ringContrast": RING_CONTRAST,
        "figureContrast": FIGURE_CONTRAST,
    }
    found: list[str] = await page.evaluate(_FOCUS, asked)
    return found


async def resize(page: Page, size: tuple[int, int]) -> None:
    await page.set_viewport_size({"width": size[0], "height": size[1]})


async def listen(page: Page) -> None:
    """Note from now on what the live regions that are there now say; none that comes later is heard."""
    await page.evaluate(_LISTEN)


async def heard(page: Page) -> Sequence[str]:
    """Return what was said since the last call."""
    said: list[str] = await page.evaluate("() => window.announcements.splice(0)")
    return said


async def shapes(page: Page, selector: str) -> Image.Image:
    """Return a part of the page without its words and in shades of grey: what tells states apart at a glance."""
    await page.evaluate(_TAKE_WORDS)
    png = await page.locator(selector).first.screenshot(animations="disabled", caret="hide")
    await page.evaluate(_GIVE_WORDS)
    with Image.open(BytesIO(png)) as picture:
        return picture.convert("L")


def looks_alike(one: Image.Image, other: Image.Image) -> bool:
    """Tell whether hardly a dot of one picture differs visibly from the other."""
    room = (max(one.width, other.width), max(one.height, other.height))
    laid = [_on_white(picture, room) for picture in (one, other)]
    seen = ImageChops.difference(*laid).point(lambda shade: 255 * (shade > VISIBLE_SHADES))
    return seen.histogram()[255] < VISIBLE_DOTS


def _on_white(picture: Image.Image, room: tuple[int, int]) -> Image.Image:
    ground = Image.new("L", room, 255)
    ground.paste(picture, (0, 0))
    return ground
