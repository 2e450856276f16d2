"""Keys as scanners and people press them, and a bare page with a wedge on it to press them on.

What a scanner presses is the layout it is set for; what arrives is the layout of the till. Both are written down here
for the layouts of shops in English and French (xkb: us, fr, be).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, CDPSession, Page, Route

from agent.texts import LANGUAGES
from agent.web.page import STATIC, catalogues

Event = tuple[int, Mapping[str, Any]]
Stream = Sequence[Event]

RIG = "http://wedge.test/"
SETTINGS = {"gap_ms": 90, "prefix": "", "suffix": "", "end": "any", "chars_min": 6}
_HTML = Path(__file__).with_name("wedge_rig.html").read_text(encoding="utf-8")
_STATIC = resources.files("agent.web").joinpath("static")
_FILES = {f"static/{name}": _STATIC.joinpath(name).read_text(encoding="utf-8") for name in STATIC} | {
    f"texts/{name}": json.dumps(dict(words)) for language in LANGUAGES for name, words in catalogues(language).items()
}
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}
_SHIFT = 8
_VIRTUAL_KEYS = {"Enter": 13, "Tab": 9, "ArrowDown": 40}


class Key(NamedTuple):
    """Where a character stands on a keyboard."""

    code: str
    is_shifted: bool = False


def _rows(*rows: tuple[Sequence[str], str, str]) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for codes, plain, shifted in rows:
        keys |= {sign: Key(code) for code, sign in zip(codes, plain, strict=True)}
        keys |= {sign: Key(code, is_shifted=True) for code, sign in zip(codes, shifted, strict=True)}
    return {"\n": Key("Enter"), "\t": Key("Tab"), **keys}


_DIGITS = [*(f"Digit{digit}" for digit in "1234567890"), "Minus", "Equal"]
_SIGNS = (
    "Backquote",
    "BracketLeft",
    "BracketRight",
    "Backslash",
    "Semicolon",
    "Quote",
    "Comma",
    "Period",
    "Slash",
    "Space",
)
_UPPER = "QWERTYUIOPASDFGHJKLZXCVBNM"
_LETTERS = [f"Key{letter}" for letter in _UPPER]
US = _rows(
    (_DIGITS, "1234567890-=", "!@#$%^&*()_+"),
    (_LETTERS, _UPPER.lower(), _UPPER),
    (_SIGNS, "`[]\\;',./ ", '~{}|:"<>?\u00a0'),
)
_FRENCH_UPPER = "AZERTYUIOPQSDFGHJKLWXCVBN"
FRENCH = _rows(
    (_DIGITS, "&é\"'(-è_çà)=", "1234567890°+"),
    (_LETTERS[:-1], _FRENCH_UPPER.lower(), _FRENCH_UPPER),
    (("Semicolon", "Comma", "Period", "KeyM", "Slash", "Space"), "m;:,! ", "M./?§\u00a0"),
)


def typed_on(layout: Mapping[str, Key], text: str, *, set_for: Mapping[str, Key] = US) -> list[dict[str, Any]]:
    """Return the keydowns of a text: pressed where `set_for` has its characters, seen as `layout` has the keys."""
    seen = {key: sign for sign, key in layout.items()}
    return [down(seen.get(set_for[sign], "Dead"), set_for[sign].code, shift=set_for[sign].is_shifted) for sign in text]


def down(key: str, code: str | None = None, *, shift: bool = False, **more: Any) -> dict[str, Any]:
    """Return one keydown as the pure part takes it."""
    named = {"\n": "Enter", "\t": "Tab"}.get(key, key)
    modifiers = {"shiftKey": shift, "ctrlKey": False, "altKey": False, "metaKey": False}
    return {"key": named, "code": code or named, "isComposing": False, **modifiers, **more}


def alt_code(digits: str) -> list[dict[str, Any]]:
    """Return Alt held down over digits of the number pad."""
    return [
        down("Alt", "AltLeft", altKey=True),
        *(down(digit, f"Numpad{digit}", altKey=True) for digit in digits),
        down("Alt", "AltLeft", type="keyup"),
    ]


def at(ms: int, events: Sequence[Mapping[str, Any]]) -> list[Event]:
    """Return the events with that many ms before each."""
    return [(ms, event) for event in events]


@asynccontextmanager
async def rig(browser: Browser, context: Mapping[str, Any] | None = None) -> AsyncIterator[Page]:
    """Open the bare page; nothing of it leaves the machine. `context` is of Playwright's `new_context`."""
    shown = await browser.new_context(**(context or {}))
    page = await shown.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.route("**/*", _serve)
    await page.goto(RIG)
    await page.locator("body[data-ready]").wait_for()
    yield page
    assert errors == []
    await shown.close()


async def play(page: Page, stream: Stream, **settings: Any) -> Any:
    """Play a stream into the pure part; see `play` in the page."""
    return await page.evaluate("([settings, stream]) => play(settings, stream)", [settings, stream])


async def press_all(page: Page, events: Sequence[Mapping[str, Any]], gap_ms: int, *, lifts_last: bool = True) -> None:
    """Press real keys that far apart by the keyboard's own time, in time however busy this machine is."""
    sent = list(_sent(events, gap_ms))
    session = await page.context.new_cdp_session(page)
    await _dispatch(session, sent if lifts_last else sent[:-1])
    await session.detach()


async def press_late(page: Page, events: Sequence[Mapping[str, Any]], gap_ms: int, *, first: int, late_ms: int) -> None:
    """Press real keys that far apart by the keyboard's own time, and bring the page all but the `first` late."""
    sent = list(_sent(events, gap_ms))
    session = await page.context.new_cdp_session(page)
    await _dispatch(session, sent[: 2 * first])
    await page.wait_for_timeout(late_ms)
    await _dispatch(session, sent[2 * first :])
    await session.detach()


async def _dispatch(session: CDPSession, sent: Iterable[dict[str, Any]]) -> None:
    await asyncio.gather(*(session.send("Input.dispatchKeyEvent", each) for each in sent))


async def press_slowly(page: Page, events: Sequence[Mapping[str, Any]], gap_ms: int) -> None:
    """Press real keys, and wait that long after each."""
    session = await page.context.new_cdp_session(page)
    for event in _sent(events, 0):
        await session.send("Input.dispatchKeyEvent", {name: of for name, of in event.items() if name != "timestamp"})
        if event["type"] == "keyUp":
            await page.wait_for_timeout(gap_ms)
    await session.detach()


async def largest_gap_ms(page: Page) -> float:
    """Return the longest that the page waited for a key, or that lay between two, in ms."""
    return float(
        await page.evaluate(
            "() => Math.max(...[log.times, log.stamps].flatMap((all) => all.slice(1).map((at, n) => at - all[n])))"
        )
    )


async def scan_keys(page: Page, text: str, gap_ms: int = 10) -> None:
    """Press the keys of a text as a scanner set for US does at a till with a US keyboard."""
    await press_all(page, typed_on(US, text), gap_ms)


def _sent(events: Sequence[Mapping[str, Any]], gap_ms: int) -> Iterator[dict[str, Any]]:
    start_s = time.time()
    for number, event in enumerate(events):
        told = _told(event) | {"timestamp": start_s + number * gap_ms / 1000}
        yield {**told, "type": "keyDown" if "text" in told else "rawKeyDown"}
        yield {**told, "type": "keyUp", "text": ""}


def _told(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key as the keyboard of the machine would tell of it."""
    key = event["key"]
    told = {"key": key, "code": event["code"], "modifiers": _SHIFT if event["shiftKey"] else 0}
    told["windowsVirtualKeyCode"] = _VIRTUAL_KEYS.get(key, 0)
    text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
    return told | ({"text": text} if text else {})


async def _serve(route: Route) -> None:
    name = route.request.url.removeprefix(RIG)
    if name == "":
        await route.fulfill(body=_HTML, content_type=_TYPES["html"])
    elif name in _FILES:
        await route.fulfill(body=_FILES[name], content_type=_TYPES[name.rpartition(".")[2]])
    else:
        await route.fulfill(status=204)
