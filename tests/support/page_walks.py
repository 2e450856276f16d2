"""Every state of the staff's page, as walks: each leads one page from state to state and names each at which it stops.

A walk is written for any language of the page, so what it waits for is a part of the page or a spoken sentence, never
a text.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import expect

from agent.screen import HubShown
from sync.contract.protocol import Outcome, Reason, Verdict
from tests.support import shop
from tests.support.cashier import allow
from tests.support.clock import FakeClock
from tests.support.page_rules import heard
from tests.support.pages import Counter
from tests.support.wedge_rig import scan_keys

LONG_NAME = "Marie-Ève-Geneviève Beauchemin-Desrosiers de Saint-Hyacinthe"
# More than a search answers.
_NAMESAKES = 25
_SPOKEN_CHARS_MAX = 120
# So that a scan is over before the next one begins.
_SCANS_APART_MS = 500

OTHERS: Mapping[str, str] = {
    "a product": "5449000039231",
    "a coupon": "9900000000004",
    "a web address": "https://www.facebook.com/elyucateco",
    "a bank card": "4111111111111111",
    "a Wi-Fi code": "WIFI:T:WPA;S:Shop;P:secret;;",
    "a contact": "tel:+15145550123",
    "something unknown": "2/4-8/16-32",
}


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a page is led. `opened` is what `tests.support.pages.counter` is given besides."""

    name: str
    lead: Callable[[Counter], AsyncIterator[str]]
    opened: Callable[[], Mapping[str, Any]] = field(default=dict)

    def __str__(self) -> str:
        return self.name


async def scan(at: Counter, text: str) -> None:
    """Scan a text as the point of sale does; return when the page has shown it, and said so once."""
    await heard(at.page)
    await at.pos.post("/api/v1/scans", {"text": text})
    await _said_once(at)


async def sell(at: Counter, sale_id: str, card: str, net_minor: int) -> None:
    """Sell as the point of sale does; return when the page offers to undo it, and has said so once."""
    await heard(at.page)
    await at.sell(sale_id, card, net_minor)
    await at.page.locator("#undo button").wait_for()
    await _said_once(at)


async def _said_once(at: Counter) -> None:
    await at.page.wait_for_function("() => window.announcements.length > 0")
    said = await heard(at.page)
    assert len(said) == 1, said
    assert len(said[0]) <= _SPOKEN_CHARS_MAX, said


async def _customers(at: Counter) -> AsyncIterator[str]:
    yield "nothing"
    await scan(at, at.face("Marie").cards[0])
    yield "a customer with everything"
    await sell(at, "R-1", at.face("Marie").cards[0], 1_550)
    await at.page.locator("#view .pending").wait_for()
    yield "a customer with points pending"
    await scan(at, at.face("Daniel").cards[0])
    yield "a customer without consent"
    await scan(at, at.face("Julie").cards[0])
    yield "a caution"
    await scan(at, shop.card(501))
    yield "a long name"
    await scan(at, at.shop.unknown_card)
    yield "an unknown card"
    await sell(at, "R-2", at.shop.unknown_card, 720)
    await at.page.locator("#view .pending").wait_for()
    yield "an unknown card with points"
    await scan(at, shop.card(502))
    yield "a choice"


async def _others(at: Counter) -> AsyncIterator[str]:
    for name, text in OTHERS.items():
        await scan(at, text)
        yield name
    misread = at.face("Marie").cards[0]
    await scan(at, misread[:-1] + str((int(misread[-1]) + 1) % 10))
    yield "a misread card"


async def _searches(at: Counter) -> AsyncIterator[str]:
    await at.enter("gagnon")
    await expect(at.page.locator(".choice")).to_have_count(2)
    yield "a search that found two"
    await at.enter("namesake")
    await expect(at.page.locator(".choice")).to_have_count(20)
    yield "a search that found more than it shows"
    await at.enter("zzyzx")
    await expect(at.page.locator(".choice")).to_have_count(0)
    yield "a search that found nobody"
    await at.enter("zz")
    await at.page.locator("#entry .note").wait_for()
    yield "a search too short"
    await at.page.keyboard.press("Escape")
    await at.page.keyboard.press("F2")
    await at.page.locator("#text").wait_for()
    yield "a number about to be typed"


async def _old(at: Counter) -> AsyncIterator[str]:
    await scan(at, at.face("Marie").cards[0])
    await sell(at, "R-1", at.face("Marie").cards[0], 1_550)
    await at.page.locator("#view .pending").wait_for()
    await at.page.locator("#view .as-of").wait_for()
    yield "a balance of some time ago"


async def _credits(at: Counter) -> AsyncIterator[str]:
    page, amount = at.page, at.page.locator("#amount")
    await amount.press("Enter")
    await page.locator("#credit .note").wait_for()
    yield "a credit without an amount"
    await amount.fill("13.50")
    await page.locator("#amount-reading").filter(has_text="13").wait_for()
    yield "an amount that waits for a card"
    await scan(at, at.face("Marie").cards[0])
    await page.locator("#credit .go").filter(has_text="13").wait_for()
    yield "an amount typed"
    await amount.press("Enter")
    await page.locator("#undo button").wait_for()
    await expect(page.locator("#shift .act")).to_have_count(1)
    yield "a credit that can be undone"
    await page.keyboard.press("F6")
    await expect(page.locator("#shift .act-back")).to_have_count(1)
    yield "a credit taken back"
    await amount.fill("twelve")
    await amount.press("Enter")
    await page.locator("#credit .note").wait_for()
    yield "an amount that cannot be read"
    await amount.fill("21")
    await scan(at, at.shop.unknown_card)
    await page.locator("#credit .note").wait_for()
    yield "an amount that was typed for somebody else"
    await amount.fill("99000")
    await page.locator("#credit .go:not([aria-disabled=true])").wait_for()
    await page.locator("#credit .note").wait_for()
    yield "an amount beyond what a card keeps"
    before = await page.locator("#credit .note").inner_text()
    await amount.press("Enter")
    await expect(page.locator("#credit .note")).not_to_have_text(before, use_inner_text=True)
    yield "a large amount, asked about once"
    await amount.press("Enter")
    await expect(page.locator("#shift .act")).to_have_count(2)
    await page.locator("#undo button").wait_for()
    yield "points kept for a card"
    await page.locator("#shift .end").click()
    await page.locator("#shift .safe").wait_for()
    yield "the end of the shift, asked about"
    await page.keyboard.press("F9")
    await page.locator("#view [data-act=unlock], #view button").first.wait_for()
    await page.locator("#side").wait_for(state="hidden")
    yield "locked"


async def _points(at: Counter) -> AsyncIterator[str]:
    await allow(at, "Marie", 100)
    await scan(at, at.face("Marie").cards[0])
    await sell(at, "R-1", at.face("Marie").cards[0], 1_550)
    await at.page.locator("#view .spendable").wait_for()
    await at.page.keyboard.press("F7")
    await at.page.locator("#redeem .reward:focus").wait_for()
    yield "points about to be used"
    await at.page.locator("#points").fill("1000")
    await at.page.locator("#points").press("Enter")
    await at.page.locator("#redeem .note").wait_for()
    at.noise.clear()  # the browser notes the refusal
    yield "what can be used in place of what cannot"
    await at.page.locator("#redeem .reward").first.click()
    await at.page.locator("#redeem").wait_for(state="hidden")
    await at.page.locator("#shift .act").nth(1).wait_for()
    yield "points used"


async def _scanner(at: Counter) -> AsyncIterator[str]:
    await at.page.keyboard.press("F10")
    await at.page.locator("#scanner form").wait_for()
    yield "a scanner to be measured"
    for member in at.faces[:3]:
        await scan_keys(at.page, f"{member.cards[0]}\n")
        await at.page.wait_for_timeout(_SCANS_APART_MS)
    yield "a scanner measured"
    await at.page.locator("#scanner .go").click()
    await at.page.locator("#scanner .note").wait_for()
    yield "a scanner saved"


async def _outbox(at: Counter) -> AsyncIterator[str]:
    sales = 6
    for number in range(1, sales + 1):
        await sell(at, f"R-{number}", at.face("Marie").cards[0], 900)
    await expect(at.page.locator("#shift .act")).to_have_count(sales)
    yield "sales waiting, the line down"
    await at.page.keyboard.press("F8")
    await expect(at.page.locator("#outbox .row")).to_have_count(sales)
    yield "what waits"
    journal = at.till.store.journal
    await journal.withhold(journal.terminal.inc, 1, "message_too_large")
    verdicts = [
        Verdict(seq=2, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED),
        Verdict(seq=3, outcome=Outcome.REJECTED, reason=Reason.POINTS_MISMATCH),
        Verdict(seq=4, outcome=Outcome.PARKED, reason=Reason.UNKNOWN_PROGRAM),
    ]
    await shop.settle_all(at.till.store, {verdict.seq: verdict for verdict in verdicts})
    await expect(at.page.locator("#outbox .row")).to_have_count(4)
    yield "something refused, held and withheld"
    await at.page.locator("#indicator .badge").click()
    await expect(at.page.locator("#outbox .row")).to_have_count(2)
    yield "what was refused"


async def _line(at: Counter) -> AsyncIterator[str]:
    good = HubShown(is_reachable=True, since=datetime.now(UTC), fault=None, is_loading_snapshot=False)
    pill = at.page.locator("#indicator [data-tone]")
    at.till.screen.put_hub(good)
    await expect(pill).to_have_attribute("data-tone", "good")
    yield "all is sent"
    at.till.screen.put_hub(good.model_copy(update={"is_loading_snapshot": True}))
    await expect(pill).to_have_attribute("data-tone", "calm")
    yield "customers are loading"
    at.till.screen.put_hub(good.model_copy(update={"is_reachable": False, "fault": "terminal_revoked"}))
    await expect(pill).to_have_attribute("data-tone", "mind")
    yield "the hub shut this till out"


async def _silence(at: Counter) -> AsyncIterator[str]:
    await scan(at, at.face("Marie").cards[0])
    await at.stop_till()
    await at.page.locator('body[data-link="silent"]').wait_for()
    at.noise.clear()
    yield "the agent is silent"
    at.noise.clear()


async def _ended(at: Counter) -> AsyncIterator[str]:
    await at.page.context.clear_cookies()
    await at.page.reload()
    await at.page.locator('body[data-link="ended"]').wait_for()
    yield "the session is over"
    at.noise.clear()


def _people() -> Mapping[str, Any]:
    sharing = [
        (shop.whole_customer(f"c-{nth}", called=name), shop.card(502)) for nth, name in enumerate(("Anne", "Zoé"))
    ]
    return {"customers": [(shop.whole_customer("c-long", called=LONG_NAME), shop.card(501)), *sharing]}


def _namesakes() -> Mapping[str, Any]:
    return {
        "customers": [
            (shop.customer(f"c-{number}", family_name="Namesake"), shop.card(600 + number))
            for number in range(_NAMESAKES)
        ]
    }


def _aged(age: timedelta) -> Callable[[], Mapping[str, Any]]:
    return lambda: {"as_of": datetime.now(UTC) - age}


def _still() -> Mapping[str, Any]:
    """Nothing happens by itself: the till does not look for its hub again."""
    return {"clock": FakeClock(datetime.now(UTC))}


WALKS = (
    Walk("customers", _customers, _people),
    Walk("others", _others),
    Walk("searches", _searches, _namesakes),
    Walk("stale", _old, _aged(timedelta(minutes=40))),
    Walk("old", _old, _aged(timedelta(days=2))),
    Walk("credits", _credits),
    Walk("points", _points),
    Walk("scanner", _scanner),
    Walk("outbox", _outbox),
    Walk("line", _line, _still),
    Walk("silence", _silence),
    Walk("ended", _ended),
)
