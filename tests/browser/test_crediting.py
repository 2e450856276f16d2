"""Crediting at the page: an amount, one key, and whom it belongs to, whatever the line does meanwhile."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from agent.root import running
from sync.contract.identifiers import Scheme
from tests.support import shop
from tests.support.cashier import acts, amount, catch, lose_answers, scan, shift, toast, type_amount
from tests.support.pages import Counter, chromium, counter
from tests.support.tills import open_pos

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_BREAK = "\u00a0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def show(at: Counter, name: str) -> None:
    """Scan a customer's card; return when the amount may be typed."""
    await scan(at, at.face(name).cards[0])
    await expect(at.page.locator(".name")).to_have_text(name)
    await expect(amount(at)).to_be_focused()


READ = "async ([text, digits]) => (await import('/static/amount.js')).readAmount(text, digits)"
READINGS = [
    ("13.50", 2, 1_350),
    ("13,50", 2, 1_350),
    ("13.5", 2, 1_350),
    (".5", 2, 50),
    ("13.", 2, 1_300),
    ("$13", 2, 1_300),
    ("13,50 $", 2, 1_350),
    ("1 234,56", 2, 123_456),
    ("1\u00a0234,56", 2, 123_456),
    ("1\u202f234,56 $", 2, 123_456),
    ("1,234.56", 2, 123_456),
    ("1.234,56", 2, 123_456),
    ("1,234", 2, 123_400),
    ("1,234", 0, 1_234),
    ("1 234", 0, 1_234),
    ("1,350,000", 0, 1_350_000),
    ("1.234", 3, 1_234),
    ("", 2, "empty"),
    ("  ", 2, "empty"),
    ("0", 2, "negative"),
    ("-5", 2, "negative"),
    ("(5.00)", 2, "negative"),
    ("abc", 2, "unread"),
    ("$", 2, "unread"),
    ("13 50", 2, "unread"),
    ("13.505", 2, "unread"),
    ("1.234", 2, "unread"),
    ("12,34,567", 2, "unread"),
    ("1,2.3", 2, "unread"),
    ("0,500", 2, "unread"),
    ("13.50", 0, "unread"),
    ("9990000000000000", 2, "too_large"),
    ("4006381333931", 2, "too_large"),
]


async def test_an_amount_is_read_as_both_languages_write_it(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        for text, digits, expected in READINGS:
            read = await at.page.evaluate(READ, [text, digits])
            assert (text, digits, read.get("minor", read.get("remark"))) == (text, digits, expected)


async def test_after_a_scan_the_amount_and_one_key_are_all(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, "Marie")
        await at.page.keyboard.type("13,50", delay=130)
        button = at.page.locator("#credit .go")
        await expect(button).to_have_text("Credit 13 pointsEnter")
        await expect(at.page.locator("#amount-reading")).to_have_text("$13.50 for Marie")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("13 points credited to Marie")
        await expect(at.page.locator("#polite")).to_have_text("13 points credited to Marie")
        await expect(at.page.locator("#view .pending")).to_have_text(f"+{NO_BREAK}13 pending")
        await expect(acts(at)).to_contain_text(["$13.50"])
        await expect(amount(at)).to_have_value("")
        await expect(amount(at)).to_be_focused()
        (act,) = await shift(at)
        assert (act["net_minor"], act["points"], act["state"]) == (1_350, 13, "credited")
        assert re.fullmatch(r"page-[0-9a-f-]{36}", act["sale_id"])


async def test_a_credit_does_not_wait_for_the_word_on_its_points(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await catch(at.page, "**/api/v1/quotes", lambda _: None)
        await show(at, "Marie")
        await at.page.keyboard.type("8", delay=130)
        await expect(at.page.locator("#credit .go")).to_have_text("Credit $8.00Enter")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("8 points credited to Marie")


async def test_a_slip_of_the_fingers_is_asked_about_once(browser: Browser, tmp_path: Path) -> None:
    """A digit left in the field once turned $8.20 into $912,758.20, and one key credited it."""
    async with counter(browser, tmp_path) as at:
        await show(at, "Marie")
        await type_amount(at.page, "1000")
        await at.page.keyboard.press("Enter")
        note = at.page.locator("#credit .note")
        await expect(note).to_have_text("$1,000.00 is a large amount. Confirm once more to credit it.")
        await at.page.keyboard.press("5")
        await expect(note).to_have_count(0)
        await at.page.keyboard.press("Enter")
        await expect(note).to_contain_text("$10,005.00 is a large amount")
        assert await shift(at) == []
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("10,005 points credited to Marie")
        await type_amount(at.page, "999,99")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("999 points credited to Marie")


async def test_an_amount_typed_before_the_scan_waits_for_the_card(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await type_amount(at.page, "9.00")
        await expect(at.page.locator("#amount-reading")).to_have_text("$9.00 waits for the next card")
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_have_text(
            "Scan or search the customer first. The amount stays here."
        )
        await scan(at, at.face("Marie").cards[0])
        await expect(at.page.locator("#credit .go")).to_contain_text("Credit 9 points")
        await expect(at.page.locator("#credit .note")).to_have_count(0)
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("9 points credited to Marie")


async def test_an_amount_typed_for_one_is_never_credited_to_another(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await scan(at, at.face("Marie").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await at.page.keyboard.type("45", delay=130)
        await scan(at, at.face("Daniel").cards[0])
        await expect(at.page.locator(".name")).to_have_text(at.face("Daniel").customer.given_name)
        await expect(amount(at)).to_have_value("")
        said = "$45.00 was typed for Marie and was not credited."
        await expect(at.page.locator("#credit .note")).to_have_text(said)
        await expect(at.page.locator("#polite")).to_contain_text(said)
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_have_text("Type the amount of the sale first.")
        assert await shift(at) == []


async def test_a_card_that_is_read_twice_does_not_hide_what_was_not_credited(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, "Marie")
        await at.page.keyboard.type("45", delay=130)
        await scan(at, at.face("Daniel").cards[0])
        said = "$45.00 was typed for Marie and was not credited."
        await expect(at.page.locator("#credit .note")).to_have_text(said)
        await scan(at, at.face("Daniel").cards[0])
        await expect(at.page.locator("#polite")).to_have_text("Same card again: it is shown already.")
        await expect(at.page.locator("#credit .note")).to_have_text(said)


async def test_an_unknown_card_keeps_points_by_its_own_id(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await scan(at, at.shop.unknown_card)
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "unknown_card")
        await expect(amount(at)).to_be_focused()
        await at.page.keyboard.type("900", delay=130)
        await expect(at.page.locator("#credit .go")).to_contain_text("Credit 500 points")
        await expect(at.page.locator("#credit .note")).to_contain_text("keeps no more points")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text(re.compile(r"500 points kept for card .*\d{4}"))
        assert [act["state"] for act in await shift(at)] == ["kept_for_card"]


async def test_a_customer_whom_another_scanned_is_not_taken_for_the_card_before(
    browser: Browser, tmp_path: Path
) -> None:
    async with counter(browser, tmp_path) as at:
        await scan(at, at.shop.unknown_card)
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "unknown_card")
        await at.pos.post("/api/v1/scans", {"text": at.face("Marie").cards[0]})
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await type_amount(at.page, "20")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("20 points credited to Marie")


async def test_a_card_that_turns_into_a_customer_keeps_its_amount(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await scan(at, at.shop.unknown_card)
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "unknown_card")
        await at.page.keyboard.type("20", delay=130)
        known = shop.put(shop.customer("c-new"), 0, [shop.ref(Scheme.CARD, at.shop.unknown_card)])
        await at.till.store.cache.apply(shop.page(known, position=2))
        at.till.screen.touched(None)
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await expect(amount(at)).to_have_value("20")
        await at.page.keyboard.press("Enter")
        await expect(toast(at)).to_contain_text("20 points credited to Marie")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oops", "This cannot be read as an amount. Type it like $1,234.56."),
        ("-5", "An amount is more than zero. To take points back, use undo."),
        ("99999999999", "This is too large for an amount. A card number goes into the search (F2)."),
    ],
)
async def test_an_odd_amount_is_remarked_on_calmly(browser: Browser, tmp_path: Path, text: str, said: str) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, "Marie")
        await amount(at).fill(text)
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_have_text(said)
        await expect(at.page.locator("#urgent")).to_have_text(said)
        await expect(amount(at)).to_have_value(text)
        assert await shift(at) == []


async def test_an_answer_that_was_lost_never_credits_twice(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        asked = await lose_answers(at.page, "/api/v1/sales", times=2)
        await show(at, "Marie")
        await at.page.keyboard.type("7", delay=130)
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_have_text(
            "$7.00 for Marie: not confirmed yet. The page keeps asking."
        )
        await expect(at.page.locator("#credit .note")).to_have_count(0)
        assert len(asked) == 3
        assert len(set(asked)) == 1
        assert [act["points"] for act in await shift(at)] == [7]
        at.noise.clear()


async def test_a_credit_outlives_an_agent_that_stops(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await show(at, "Marie")
        await at.stop_till()
        await at.page.keyboard.type("11", delay=130)
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_contain_text("not confirmed yet")
        async with running(at.of) as till, open_pos(till, at.of) as pos:
            await expect(acts(at)).to_contain_text(["$11.00"])
            await expect(at.page.locator("#credit .note")).to_have_count(0)
            _, answer = await pos.get("/api/v1/acts?limit=50")
            assert [act["points"] for act in answer["rows"]] == [11]
        at.noise.clear()


async def test_a_credit_under_way_is_told_by_the_name_it_is_for(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        go = asyncio.Event()

        async def hold(route: Route) -> None:
            await go.wait()
            await route.continue_()

        await catch(at.page, "**/api/v1/sales", hold)
        await show(at, "Marie")
        await at.page.keyboard.type("30", delay=130)
        await at.page.keyboard.press("Enter")
        await scan(at, at.face("Julie").cards[0])
        await expect(at.page.locator(".name")).not_to_have_text("Marie")
        go.set()
        await expect(toast(at)).to_contain_text("30 points credited to Marie")


async def refuse_sales(at: Counter, go: asyncio.Event | None = None) -> None:
    """Answer each sale with a full disk; where `go` is given, once that is set."""

    async def refuse(route: Route) -> None:
        if go is not None:
            await go.wait()
        await route.fulfill(status=507, body=json.dumps({"code": "disk_full"}))

    await catch(at.page, "**/api/v1/sales", refuse)


async def test_a_refused_credit_gives_the_amount_back(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await refuse_sales(at)
        await show(at, "Marie")
        await at.page.keyboard.type("12", delay=130)
        await at.page.keyboard.press("Enter")
        await expect(at.page.locator("#credit .note")).to_contain_text("The disk of this till is full")
        await expect(amount(at)).to_have_value("12")
        at.noise.clear()


async def test_an_amount_that_was_given_back_is_never_credited_to_another(browser: Browser, tmp_path: Path) -> None:
    """Given back with no owner it waited in the field for the next card, and one key credited it to somebody else."""
    async with counter(browser, tmp_path) as at:
        await refuse_sales(at)
        await show(at, "Marie")
        await at.page.keyboard.type("12", delay=130)
        await at.page.keyboard.press("Enter")
        await expect(amount(at)).to_have_value("12")
        await at.page.unroute("**/api/v1/sales")
        await scan(at, at.face("Julie").cards[0])
        note = at.page.locator("#credit .note")
        await expect(note).to_have_text("$12.00 was typed for Marie and was not credited.")
        await expect(amount(at)).to_have_value("")
        await at.page.keyboard.press("Enter")
        await expect(note).to_have_text("Type the amount of the sale first.")
        assert await shift(at) == []
        at.noise.clear()


async def test_a_credit_that_is_refused_behind_the_next_card_is_told_by_its_name(
    browser: Browser, tmp_path: Path
) -> None:
    async with counter(browser, tmp_path) as at:
        go = asyncio.Event()
        await refuse_sales(at, go)
        await show(at, "Marie")
        await at.page.keyboard.type("12", delay=130)
        await at.page.keyboard.press("Enter")
        await scan(at, at.face("Daniel").cards[0])
        await expect(at.page.locator(".name")).to_have_text("Daniel")
        go.set()
        note = at.page.locator("#credit .note")
        await expect(note).to_contain_text(
            "$12.00 was typed for Marie and was not credited. The disk of this till is full"
        )
        await expect(amount(at)).to_have_value("")
        at.noise.clear()


async def test_a_sale_of_the_point_of_sale_appears_by_itself(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.sell("R-1", at.face("Marie").cards[0], 1_550)
        await expect(at.page.locator(".name")).to_have_text("Marie")
        await expect(toast(at)).to_contain_text("15 points credited to Marie")
        await expect(acts(at)).to_contain_text(["$15.50"])


async def test_the_amount_is_asked_for_in_the_currency_of_the_program(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await at.page.get_by_role("button", name="Français").click()
        await show(at, "Marie")
        await at.page.keyboard.type("1234.5", delay=130)
        await expect(at.page.locator("#amount-reading")).to_have_text(f"1{NO_BREAK}234,50{NO_BREAK}$ pour Marie")
        await at.page.get_by_role("button", name="English").click()
        await expect(at.page.locator("#amount-reading")).to_have_text("$1,234.50 for Marie")
        await expect(amount(at)).to_have_value("1234.5")


MONEY = """async ([text, currency]) => {
  const [{ readAmount }, { minorDigits, money }] = await Promise.all(
    ["amount", "words"].map((name) => import(`/static/${name}.js`)));
  const { minor } = readAmount(text, minorDigits(currency));
  return [minor, money(minor, currency)];
}"""


COUNTED = [
    ("CAD", "1234.50", 123_450),
    ("LBP", "1234.50", 123_450),
    ("RSD", "1234", 123_400),
    ("ALL", "1234.50", 123_450),
    ("MGA", "1234.50", 123_450),
    ("JPY", "1234", 1_234),
    ("XAF", "1234", 1_234),
    ("KWD", "1234.500", 1_234_500),
    ("IQD", "1234.500", 1_234_500),
    ("CLF", "1234.5000", 12_345_000),
]


async def test_an_amount_is_counted_in_the_minor_units_of_iso_4217(browser: Browser, tmp_path: Path) -> None:
    """The browser writes 1,234 LBP without decimals; taken for its minor unit, a sale would count a hundredth."""
    async with counter(browser, tmp_path) as at:
        for currency, text, minor in COUNTED:
            read, shown = await at.page.evaluate(MONEY, [text, currency])
            assert (currency, read, re.sub(r"\D", "", shown)) == (currency, minor, str(minor))
