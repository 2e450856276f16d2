"""Takes the pictures of the README, in `packaging/pictures`: opens the sample shop, takes the line away, sells, looks.

    .venv/bin/python packaging/screenshot.py

Everything runs on this machine, in a folder that is thrown away. Needs the test dependencies and a Chromium (Debian:
apt install chromium).
"""  # noqa: INP001 - a command of its own, no module

import argparse
import asyncio
import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as BrowserError

from agent.demo.opening import DemoError, OpenShop, open_shop
from agent.demo.ports import PortsTaken, free_ports
from agent.demo.processes import ProcessFailed
from agent.demo.shop_files import ShopFiles
from agent.demo.waiting import NotSeen
from agent.till_client import TillNotRunning, TillRefused, till_client
from sync.runtime.clock import SystemClock

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FOLDER = Path(__file__).with_name("pictures")
LAPTOP, PHONE, SECOND_SCREEN = (1366, 768), (390, 844), (1024, 600)
# A page has few colours: a palette makes a picture a third as large, and nobody sees it.
COLOURS = 128
CURRENCY = "CAD"
# Smooth enough for a screen of any density.
SCALE = 1.5
_SAID = (BrowserError, DemoError, NotSeen, PortsTaken, ProcessFailed, TillNotRunning, TillRefused)
Theme = Literal["light", "dark"]


class Camera:
    """The shop's first till, and a browser in front of it."""

    def __init__(self, shop: OpenShop, browser: Browser, folder: Path) -> None:
        self._shop = shop
        self._browser = browser
        self._folder = folder
        self._settings = shop.settings(shop.tills[0])

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the till as the point of sale does."""
        async with till_client(self._settings) as till:
            answer: dict[str, Any] = await till.call("POST", path, body)
            return answer

    async def sell(self, card: str, net_minor: int) -> None:
        """Credit a sale of one line, as the point of sale does."""
        sale = {
            "sale_id": f"R-{uuid.uuid4().hex[:6].upper()}",
            "card": card,
            "lines": [{"quantity": "1", "net_minor": net_minor}],
            "net_minor": net_minor,
            "currency": CURRENCY,
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        await self.post("/api/v1/sales", sale)

    async def scan(self, page: Page, card: str) -> None:
        """Scan a card, and wait until the page shows its customer."""
        view = await self.post("/api/v1/scans", {"text": card})
        await page.locator(".name").filter(has_text=view["name"]).wait_for()

    @contextlib.asynccontextmanager
    async def page(self, size: tuple[int, int], theme: Theme = "light", shows: str = "page") -> AsyncIterator[Page]:
        """Open the staff's page, or the customer's display."""
        link = await self.post("/api/v1/page-links", {"for": shows})
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, device_scale_factor=SCALE, color_scheme=theme
        )
        page = await context.new_page()
        await page.goto(link["url"])
        await page.locator('body[data-link="live"]').wait_for()
        yield page
        await context.close()

    async def take(self, page: Page, name: str) -> None:
        """Write what the page shows."""
        png = await page.screenshot(animations="disabled", caret="hide")
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{name}.png"
        with Image.open(BytesIO(png)) as picture:
            picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        sys.stdout.write(f"{path}  {path.stat().st_size // 1_000} KB\n")


async def credit(page: Page, amount: str) -> None:
    """Credit an amount to who is shown, as the cashier does."""
    await page.locator("#amount").fill(amount)
    await page.locator("#amount").press("Enter")
    await page.locator("#view .pending").wait_for()


async def pictures(camera: Camera, shop: OpenShop) -> None:
    """Take every picture: the line is down, and sales wait. What the hub set aside while it was there can be used."""
    marie, julie = shop.sample.members[0].cards[0], shop.sample.members[3].cards[0]
    async with camera.page(LAPTOP) as page:
        await camera.scan(page, marie)
        await page.locator("#view .spendable").wait_for()
    await shop.hub.stop()
    await camera.sell(shop.sample.members[1].cards[0], 1_180)
    await camera.sell(shop.sample.unknown_card, 650)
    async with camera.page(LAPTOP) as page:
        await camera.scan(page, marie)
        await credit(page, "15.50")
        await page.locator("#amount").fill("13.50")
        await page.locator("#credit .go").filter(has_text="13 points").wait_for()
        await page.locator("#indicator [data-tone=mind]").wait_for()
        await page.locator("#shift .act").nth(2).wait_for()
        await camera.take(page, "day")
    async with camera.page(SECOND_SCREEN, shows="display") as page:
        await page.locator("#stage h1").wait_for()
        await camera.take(page, "display")
    async with camera.page(LAPTOP) as page:
        await camera.scan(page, marie)
        await page.keyboard.press("F7")
        await page.locator("#redeem .reward:focus").wait_for()
        await camera.take(page, "points")
    async with camera.page(LAPTOP, "dark") as page:
        await camera.scan(page, julie)
        await page.locator('#languages [lang="fr"]').click()
        await page.locator('html[lang="fr"]').wait_for()
        await camera.take(page, "night")
    async with camera.page(PHONE) as page:
        await camera.scan(page, marie)
        await camera.take(page, "phone")


def say(what: str) -> None:
    """Tell what takes time."""
    sys.stderr.write(f"{what} …\n")


async def take(folder: Path) -> None:
    """Open the shop, and take the pictures.

    Raises:
        BrowserError: Chromium is not there, or saw something else than it should.
        DemoError, NotSeen, PortsTaken, ProcessFailed, TillNotRunning, TillRefused: the shop does not run; one line.
    """
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="loyalty-pictures-") as state:
        async with open_shop(ShopFiles(Path(state)), free_ports(), clock) as shop, async_playwright() as playwright:
            await shop.start(say)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
            await pictures(Camera(shop, browser, folder), shop)
            await browser.close()


def main() -> int:
    """Take the pictures, and return the exit code."""
    parser = argparse.ArgumentParser(description="take the pictures of the README")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, metavar="DIR", help="default: packaging/pictures")
    asked = parser.parse_args()
    try:
        asyncio.run(take(asked.output))
    except _SAID as error:
        sys.stderr.write(f"screenshot: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
