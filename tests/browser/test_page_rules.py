"""Each rule of `tests/support/page_rules.py` meets a planted fault that it must find, and a page without any."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support import page_rules
from tests.support.pages import chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLEAN = """
<style>
  body { margin: 16px; font: 16px/1.4 sans-serif; color: #111; background: #fff }
  :focus-visible { outline: 3px solid #0b4f9e }
  button { display: block; min-height: 48px; min-width: 48px; margin-block: 8px; color: #111; background: #eee }
  .go { min-height: 64px }
  @keyframes blink { to { opacity: 0.5 } }
</style>
<main id="view"><h1>Marie</h1><p class="figure">1,240</p><button>Undo</button><button class="go">Credit</button></main>
<p role="status" style="position: absolute; width: 1px; height: 1px; overflow: hidden"></p>
"""
FAULTS = {
    "small: button": "<button style='min-height: 0; height: 20px'>Tiny</button>",
    "small: button “Main”": "<button class='go' style='min-height: 48px; height: 48px'>Main</button>",
    "overlap: button": "<button>One</button><button style='margin-top: -30px'>Two</button>",
    "gap: button": "<button style='margin: 0'>One</button><button style='margin: 3px 0 0'>Two</button>",
    "overlap: “Over": "<p>Over and over</p><p style='margin-top: -30px'>it goes</p>",
    "overlap: “Name": "<p>Name of the customer</p><button style='margin-top: -45px'>Open</button>",
    "outside:": "<p style='position: absolute; left: -40px'>Beyond the edge</p>",
    "spills:": "<button style='width: 60px; white-space: nowrap'>A label that is too long</button>",
    "cut: p": "<p style='height: 20px; width: 90px; overflow: hidden'>Words that nobody sees to their end</p>",
    "ends in dots": "<p style='width: 30px; overflow: clip; text-overflow: ellipsis; white-space: pre'>So long</p>",
    "scroll:": "<p style='width: 1500px; background: #eee'>Wide</p>",
    "fold: h1": "<p id='entry' hidden></p><main id='view'><div style='height: 900px'></div><h1>Marie</h1></main>",
    "covered:": (
        "<div style='height: 700px'></div><p>Last</p>"
        "<footer style='position: fixed; bottom: 0; height: 80px'><button>Act</button></footer>"
    ),
    "blinks:": "<p style='animation: blink 1s infinite alternate'>Look here</p>",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    page = await browser.new_page(viewport={"width": 1024, "height": 600})
    yield page
    await page.close()


async def put(page: Page, body: str = "") -> None:
    await page.set_content(f"<!doctype html><html lang='en'><title>Till</title>{CLEAN}{body}")


async def test_a_page_without_a_fault_is_let_through(page: Page) -> None:
    await put(page)
    assert await page_rules.axe(page) == []
    assert await page_rules.layouts(page) == {}
    assert await page_rules.focus(page) == []


@pytest.mark.parametrize("complaint", FAULTS)
async def test_each_rule_of_layout_finds_the_fault_it_is_there_for(page: Page, complaint: str) -> None:
    await put(page, FAULTS[complaint])
    found = await page_rules.layout(page)
    assert any(complaint in one for one in found), found


@pytest.mark.parametrize(
    ("complaint", "fault"),
    [
        ("does not take it", "<span role='button'>No key opens this</span>"),
        ("is 0 px wide", "<button style='outline: none'>Bare</button>"),
        ("a contrast of", "<style>:focus-visible { outline: 3px solid #eee }</style>"),
        ("lies under", "<button>Low</button><div style='position: fixed; inset: 0; background: #fff'></div>"),
        ("contrast: p “1,240”", "<style>.figure { color: #777 }</style>"),
    ],
)
async def test_each_rule_of_focus_and_figures_finds_the_fault_it_is_there_for(
    page: Page, complaint: str, fault: str
) -> None:
    await put(page, fault)
    found = await page_rules.focus(page)
    assert any(complaint in one for one in found), found


async def test_what_nobody_can_see_or_reach_is_no_fault(page: Page) -> None:
    await put(
        page,
        "<div inert><button style='min-height: 0'>x</button></div><button hidden>y</button>"
        "<div style='visibility: hidden'><button style='min-height: 0'>z</button></div>",
    )
    assert await page_rules.layout(page) == []


@pytest.mark.parametrize(
    ("complaint", "fault"),
    [
        ("color-contrast", "<p style='color: #999'>Pale</p>"),
        ("button-name", "<button></button>"),
        ("label", "<input type='text'>"),
        ("aria-roles", "<p role='pill'>Sent</p>"),
        ("target-size", "<button style='all: unset; height: 12px'>a</button><button style='all: unset'>b</button>"),
    ],
)
async def test_axe_finds_the_fault_it_is_there_for(page: Page, complaint: str, fault: str) -> None:
    await put(page, fault)
    found = await page_rules.axe(page)
    assert any(complaint in one for one in found), found


async def test_what_is_said_is_heard_once_and_only_where_a_region_was_there_before(page: Page) -> None:
    await put(page)
    await page_rules.listen(page)
    await page.evaluate("() => { document.querySelector('[role=status]').textContent = 'Marie, 1,240 points'; }")
    await page.evaluate(
        """() => {
            const late = document.createElement("p");
            late.setAttribute("role", "alert");
            document.body.append(late);
            late.textContent = "Nobody hears this";
        }"""
    )
    assert await page_rules.heard(page) == ["Marie, 1,240 points"]
    assert await page_rules.heard(page) == []


async def test_shapes_differ_where_words_and_colours_are_taken_away(page: Page) -> None:
    signs = {
        "circle": "<circle cx='12' cy='12' r='9'/>",
        "square": "<rect x='3' y='3' width='18' height='18'/>",
    }
    pictures = []
    for sign, word, colour in (("circle", "Sent", "#060"), ("circle", "Held", "#600"), ("square", "Sent", "#060")):
        svg = f"<svg class='icon' viewBox='0 0 24 24' width='56' fill='none' stroke='currentColor'>{signs[sign]}</svg>"
        await put(page, f"<p id='state' style='color: {colour}'>{svg}<span>{word}</span></p>")
        pictures.append(await page_rules.shapes(page, "#state"))
    circle, also_circle, square = pictures
    assert page_rules.looks_alike(circle, also_circle)
    assert not page_rules.looks_alike(circle, square)
