"""What a cashier does at the page, and what the page sounds like: for tests at a real Chromium."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from playwright.async_api import Locator, Page, Route, expect

from sync.contract.allowance import Allowance, AllowancesWord
from tests.support.pages import Counter
from tests.support.shop import EPOCH

# Several builds share this machine at times.
expect.set_options(timeout=15_000)

# All keys within one task of the browser and 2 ms apart: a scanner, however busy this machine is.
_SCAN = """(text) => {
  let time = performance.now();
  const press = (key, code) => {
    time += 2;
    for (const type of ["keydown", "keyup"]) {
      const event = new KeyboardEvent(type, { key, code, bubbles: true, cancelable: true });
      Object.defineProperty(event, "timeStamp", { value: time });
      document.activeElement.dispatchEvent(event);
    }
  };
  for (const sign of text) press(sign, /\\d/.test(sign) ? `Digit${sign}` : "");
  press("Enter", "Enter");
}"""
# Notes every tone, with the time at which it was asked for and at which it is to begin.
_LISTEN = """() => {
  window.tones = [];
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (at) {
    window.tones.push([this.frequency.value, at - this.context.currentTime]);
    start.call(this, at);
  };
}"""
# Notes every sentence that a screen reader is given, in both regions.
_HEAR = """() => {
  window.sentences = [];
  for (const id of ["polite", "urgent"]) {
    const node = document.getElementById(id);
    new MutationObserver(() => node.textContent && window.sentences.push(node.textContent))
      .observe(node, { childList: true, characterData: true, subtree: true });
  }
}"""


# A scanner may press its end key twice within this; a hand is slower.
_END_MS = 250
DAY_S = 24 * 3600


async def scan(at: Counter, text: str) -> None:
    """Scan a text as a wedge does, wherever the focus is."""
    await at.page.evaluate(_SCAN, text)
    await at.page.wait_for_timeout(_END_MS)


async def type_amount(page: Page, text: str) -> None:
    await page.keyboard.press("F4")
    await page.keyboard.type(text, delay=130)


def amount(at: Counter) -> Locator:
    return at.page.locator("#amount")


def toast(at: Counter) -> Locator:
    return at.page.locator("#undo")


def acts(at: Counter) -> Locator:
    return at.page.locator("#shift .act")


async def shift(at: Counter) -> Sequence[Mapping[str, Any]]:
    """Return the acts of this shift as the till has them, the newest first."""
    _, answer = await at.pos.get("/api/v1/acts?limit=50")
    rows: Sequence[Mapping[str, Any]] = answer["rows"]
    return rows


async def listen(page: Page) -> None:
    """Begin to note tones; the page has been touched, so that it may make some."""
    await page.keyboard.press("F4")
    await page.evaluate(_LISTEN)


async def tones(page: Page) -> list[tuple[float, float]]:
    """Return the tones since the last look, each with its hertz and the seconds until it begins."""
    return [(hertz, wait) for hertz, wait in await page.evaluate("() => window.tones.splice(0)")]


async def hear(page: Page) -> None:
    await page.evaluate(_HEAR)


async def sentences(page: Page) -> list[str]:
    said: list[str] = await page.evaluate("() => window.sentences.splice(0)")
    return said


async def catch(page: Page, pattern: str, handle: Callable[[Route], Awaitable[None] | None]) -> None:
    """Let a test answer what the page asks for, beginning with the very next call.

    Chromium says that calls are caught before the loaders of a page that is open know: on a busy machine a call of that
    moment reached the till. So one that changes nothing is made until it is caught.
    """
    is_caught = False

    async def probe(route: Route) -> None:
        nonlocal is_caught
        is_caught = True
        await route.continue_()

    await page.route(pattern, handle)
    await page.route("**/healthz?caught", probe)
    while not is_caught:
        await page.evaluate("() => fetch('/healthz?caught').then((answer) => answer.ok)")
    await page.unroute("**/healthz?caught")


async def lose_answers(page: Page, path: str, times: int) -> list[str]:
    """Let the till hear the first calls of a path, and the page nothing of its answers; return what was asked."""
    asked: list[str] = []

    async def handle(route: Route) -> None:
        asked.append(str(route.request.post_data))
        if len(asked) > times:
            return await route.continue_()
        await route.fetch()
        return await route.abort()

    await catch(page, f"**{path}", handle)
    return asked


async def allow(at: Counter, name: str, points: int) -> None:
    """Let the hub have said that this till may use so many points of a customer, and of nobody else."""
    customer_id = at.face(name).customer.customer_id
    word = AllowancesWord(
        hub_epoch=EPOCH,
        allowances=(
            Allowance(
                allowance_id=f"for-{customer_id}-{points}", customer_id=customer_id, amount=points, spent=0, ttl_s=DAY_S
            ),
        ),
        applied={},
    )
    assert await at.till.store.allowances.asking()(word)
