"""The customer's display in a real Chromium, in a window of its own, at a till with two customers and no hub.

As with the staff's page, it must ask nothing of anybody else, say nothing to the console and store nothing; that is
looked at on the way out of every test.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from agent.config import Settings
from agent.root import Till, running
from sync.contract.customers import Customer
from sync.contract.identifiers import Scheme
from sync.runtime.clock import Clock
from tests.support import shop
from tests.support.page_rules import resize
from tests.support.pages import Words, kept_by, reword
from tests.support.tills import Pos, enrol_by_hand, open_pos, settings

SHOP = "Café Parallèle"
# The smallest of second screens, a common one, a large one, and one that stands on its side.
SIZES = ((1024, 600), (1366, 768), (1920, 1080), (600, 1024))
MARIE, PRIYA = shop.card(1), shop.card(2)
PEOPLE = (
    (shop.whole_customer("c-marie", called="Marie", language="fr"), MARIE, 1_240),
    (shop.whole_customer("c-priya", called="Priya", language="en"), PRIYA, 905),
)


@dataclass
class Window:
    """A till, its point of sale, and the display in front of the customer. `noise`: what the display said or asked."""

    of: Settings
    till: Till
    pos: Pos
    page: Page
    stack: AsyncExitStack
    noise: list[str] = field(default_factory=list)

    async def scan(self, text: str) -> None:
        status, answer = await self.pos.post("/api/v1/scans", {"text": text})
        assert status == 200, answer

    async def sell(self, card: str, net_minor: int, sale_id: str = "s-1") -> None:
        body = {
            "sale_id": sale_id,
            "card": card,
            "lines": [{"quantity": "1", "net_minor": net_minor}],
            "net_minor": net_minor,
            "currency": shop.program().currency,
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        status, answer = await self.pos.post("/api/v1/sales", body)
        assert status == 200, answer

    async def link(self) -> str:
        """Return a one-time address of the display."""
        _, answer = await self.pos.post("/api/v1/page-links", {"for": "display"})
        return str(answer["url"])

    async def shows(self, kind: str) -> None:
        """Return once the display shows this kind of state."""
        await self.page.locator(f'body[data-kind="{kind}"]').wait_for()

    async def stop_till(self) -> None:
        """Stop the till as its process would end; the display stays."""
        await self.stack.aclose()

    def watch(self, page: Page) -> None:
        """Note whatever this page says to the console or asks of anybody but this till."""
        page.on("console", lambda message: self.noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(self.pos.url) else self.noise.append(request.url),
        )


@asynccontextmanager
async def window(
    browser: Browser,
    folder: Path,
    *,
    clock: Clock | None = None,
    customers: Sequence[tuple[Customer, str, int]] = PEOPLE,
    words: Words | None = None,
    till: Mapping[str, Any] | None = None,
    **context: Any,
) -> AsyncIterator[Window]:
    """Open the display by a link of its own.

    Args:
        browser: of `tests.support.pages.chromium`.
        folder: for the till's state.
        clock: the till's; the real one unless given.
        customers: each with the number of a card and the points that the hub posted.
        words: what becomes of the texts of a language on their way to the page.
        till: settings of the till, such as its language.
        context: of Playwright's `new_context`, such as `color_scheme`.
    """
    of = settings(folder, till={"state": folder / "state", "demo": True, "shop": SHOP, **(till or {})})
    enrol_by_hand(of)
    shown = await browser.new_context(**({"reduced_motion": "reduce"} | context))
    await reword(shown, words or {})
    try:
        async with AsyncExitStack() as stack:
            running_till = await stack.enter_async_context(running(of, clock))
            pos = await stack.enter_async_context(open_pos(running_till, of))
            await load(running_till, customers)
            at = Window(of, running_till, pos, await shown.new_page(), stack)
            at.watch(at.page)
            await resize(at.page, SIZES[0])
            await at.page.goto(await at.link())
            await at.page.locator('body[data-link="live"]').wait_for()
            yield at
            noise, stored = list(at.noise), await kept_by(at.page)
        assert (noise, stored) == ([], [])
    finally:
        await shown.close()


async def load(till: Till, customers: Sequence[tuple[Customer, str, int]] = PEOPLE) -> None:
    """Let the till hold these customers as the hub's snapshot gives them."""
    rows = [shop.put(customer, points, [shop.ref(Scheme.CARD, card)]) for customer, card, points in customers]
    chunk = shop.chunk(*rows)
    manifest = shop.manifest([chunk], as_of=datetime.now(UTC))
    await till.store.cache.begin_snapshot(manifest)
    await till.store.cache.load_chunk(1, chunk)
    await till.store.cache.finish_snapshot(manifest)
