"""Takes `packaging/screenshot.png`, the picture in the README, from a till that runs.

    sh packaging/demo.sh                                    # in one terminal; then stop its hub, as it says how
    .venv/bin/python packaging/screenshot.py demo-state/till-1/config.toml CARD --sell 1550 --sell 480

CARD is the number of a sample card. Sales are credited to it first, and only on a till that says DEMO. Needs the test
dependencies and a Chromium (Debian: apt install chromium).
"""  # noqa: INP001 - a command of its own, no module

import argparse
import asyncio
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Error as BrowserError
from playwright.async_api import async_playwright

from agent.config import Settings
from agent.till_client import TillClient, TillNotRunning, TillRefused, till_client
from sync.runtime.settings import SettingsError, load

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1366, 768
# Written smooth enough for a screen of any density.
SCALE = 1.5
_LANGUAGES = {"en": "English", "fr": "Français"}


class NoDemo(Exception):
    """The till serves real customers, so nothing is sold for a picture."""


async def sell(till: TillClient, card: str, net_minor: int, currency: str) -> None:
    """Credit a sale of one line to the card, under an id of its own."""
    sale: dict[str, Any] = {
        "sale_id": f"R-{uuid.uuid4().hex[:6].upper()}",
        "card": card,
        "lines": [{"quantity": "1", "net_minor": net_minor}],
        "net_minor": net_minor,
        "currency": currency,
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    await till.call("POST", "/api/v1/sales", sale)


async def photograph(link: str, asked: argparse.Namespace) -> None:
    """Open the page by its one-time address, enter the card, and write the picture."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = await browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            device_scale_factor=SCALE,
            color_scheme="dark" if asked.dark else "light",
        )
        await page.goto(link)
        await page.locator('body[data-link="live"]').wait_for()
        await page.get_by_role("button", name=_LANGUAGES[asked.language]).click()
        await page.locator("#text").fill(asked.card)
        await page.locator("#text").press("Enter")
        await page.locator(".figure").wait_for()
        if asked.sell:
            await page.locator("#outbox .row").first.wait_for()
        await page.screenshot(path=asked.output)
        await browser.close()


async def take(asked: argparse.Namespace) -> None:
    """Take the picture.

    Raises:
        NoDemo: sales were asked for on a till that is no demo.
        SettingsError, TillNotRunning, TillRefused: the till cannot be asked; the message is one line.
        BrowserError: Chromium is not there, or saw something else than a customer.
    """
    settings = load(asked.config, Settings)
    if asked.sell and not settings.till.demo:
        raise NoDemo("this till is no demo: nothing is sold for a picture; leave out --sell")
    async with till_client(settings) as till:
        for net_minor in asked.sell:
            await sell(till, asked.card, net_minor, asked.currency)
        await photograph(await till.page_link(), asked)


def main() -> int:
    """Take the picture, and return the exit code."""
    parser = argparse.ArgumentParser(description="take the picture in the README from a till that runs")
    parser.add_argument("config", type=Path, help="the settings of the till, config.toml")
    parser.add_argument("card", help="a card number to show")
    parser.add_argument("--sell", type=int, action="append", default=[], metavar="MINOR", help="credit a sale first")
    parser.add_argument("--currency", default="CAD", help="currency of these sales (default: CAD)")
    parser.add_argument("--language", choices=sorted(_LANGUAGES), default="en")
    parser.add_argument("--dark", action="store_true", help="in the colours of the night")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("screenshot.png"))
    asked = parser.parse_args()
    try:
        asyncio.run(take(asked))
    except (NoDemo, SettingsError, TillNotRunning, TillRefused, BrowserError) as error:
        sys.stderr.write(f"screenshot: {error}\n")
        return 1
    sys.stdout.write(f"{asked.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
