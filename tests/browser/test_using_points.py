"""Using points at the page: what can be used now, two keys to use it, a kind word where it cannot, and a way back."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from agent.screen import CUSTOMER_SHOWN_S, HubShown
from tests.support.cashier import (
    acts,
    allow,
    amount,
    hear,
    listen,
    lose_answers,
    scan,
    sentences,
    shift,
    toast,
    tones,
    type_amount,
)
from tests.support.clock import FakeClock
from tests.support.pages import Counter, chromium, counter

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_BREAK, MINUS = "\u00a0", "\u2212"
REFUSAL = "The hub has not set these aside yet."
LIMIT = "More than this till may give without the hub."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def show(at: Counter, name: str) -> None:
    """Scan a customer's card; return when they are shown."""
    await scan(at, at.face(name).cards[0])
    who = at.face(name).customer
    await expect(at.page.locator(".name")).to_have_text(who.called or who.given_name)


def panel(at: Counter) -> Locator:
    return at.page.locator("#redeem")


def reward(at: Counter, words: str) -> Locator:
    return panel(at).locator(".reward").filter(has_text=words)


async def test_two_keys_use_points_with_the_line_down_and_one_gives_them_back(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        asked: list[str] = []
        at.page.on("request", lambda request: asked.append(request.url))
        await allow(at, "Marie", 400)
        await show(at, "Marie")
        await listen(at.page)
        await hear(at.page)
        spendable = at.page.locator("#view .spendable")
        await expect(spendable).to_have_text("400 can be used now")
        assert not any("redeem.js" in url for url in asked)

        await at.page.keyboard.press("F7")
        await expect(reward(at, "a free breakfast")).to_be_focused()
        await expect(amount(at)).to_be_hidden()
        await expect(panel(at).locator(".now")).to_have_text("840 points are waiting; 400 can be used now.")
        await expect(panel(at).locator(".reward").first).to_contain_text("400 points")
        await expect(reward(at, "a 340 g bag of beans")).to_contain_text(LIMIT)
        await expect(reward(at, "a 340 g bag of beans")).to_have_attribute("aria-disabled", "true")
        await expect(reward(at, "a brunch for two")).to_have_count(0)
        await at.page.keyboard.press("Enter")

        words = "400 points used for a free breakfast"
        await expect(toast(at)).to_contain_text(words)
        await expect(panel(at)).to_be_hidden()
        await expect(amount(at)).to_be_focused()
        await expect(at.page.locator("#view .pending")).to_have_text(f"{MINUS}{NO_BREAK}400 pending")
        await expect(spendable).to_have_count(0)
        await expect(acts(at)).to_contain_text([re.compile(rf"a free breakfast.*used.*{MINUS}.400")])
        used = await tones(at.page)
        await at.page.keyboard.press("F6")
        await expect(toast(at)).to_contain_text("400 points given back")
        await expect(at.page.locator("#view .pending")).to_have_count(0)
        await expect(spendable).to_have_count(0)  # the hub has to hear of it before they are used again
        await expect(acts(at)).to_contain_text([re.compile(r"given back")])
        given_back = await tones(at.page)
        assert await sentences(at.page) == [words, "400 points given back"]
        assert len({tuple(hertz for hertz, _ in tune) for tune in (used, given_back)} - {()}) == 2
        assert [(act["kind"], act["state"]) for act in await shift(at)] == [("redemption", "given_back")]

        await allow(at, "Marie", 300)
        await expect(spendable).to_have_text("300 can be used now")
        await at.page.get_by_role("button", name="Use points").click()
        await reward(at, "a free filter coffee").click()
        await expect(toast(at)).to_contain_text("100 points used for a free filter coffee")
        await acts(at).first.get_by_role("button", name="Undo: a free filter coffee").click()
        await expect(acts(at).first).to_contain_text("given back")
        await expect(spendable).to_have_text("200 can be used now")


async def test_what_cannot_be_used_is_said_with_what_can(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await allow(at, "Marie", 60)
        await show(at, "Marie")
        await listen(at.page)
        await at.page.keyboard.press("F7")
        note, points = panel(at).locator(".note"), panel(at).locator("#points")
        await points.fill("12.5")
        await points.press("Enter")
        await expect(note).to_have_text("Type a whole number of points, like 40.")
        await points.fill("4 00")
        await expect(note).to_have_count(0)
        await tones(at.page)
        await points.press("Enter")
        said = f"{REFUSAL} 1,180 points are waiting; 60 can be used now."
        await expect(note).to_have_text(said)
        await expect(at.page.locator("#urgent")).to_have_text(said)
        assert await tones(at.page)
        go = panel(at).get_by_role("button", name="Use 60 points")
        await expect(go).to_be_focused()
        await reward(at, "a free breakfast").click(force=True)
        await expect(note).to_have_text(said)
        await expect(reward(at, "a free oatmeal cookie")).to_be_focused()
        await at.page.get_by_role("button", name="Français").click()
        french = f"1{NO_BREAK}180 points sont en attente; échangeables maintenant{NO_BREAK}: 60."
        await expect(note).to_contain_text(french)
        await at.page.get_by_role("button", name="English").click()
        await points.fill("60")
        await points.press("Enter")
        await expect(toast(at)).to_contain_text("60 points used")
        await expect(panel(at)).to_be_hidden()
        await expect(acts(at)).to_contain_text(["60 points"])
        assert [act["points"] for act in await shift(at)] == [60]
        at.noise.clear()  # the browser notes each refusal

        await at.page.keyboard.press("F7")
        await expect(panel(at).locator(".now")).to_have_text("1,180 points are waiting; none can be used now.")
        there = HubShown(is_reachable=True, since=datetime.now(UTC), fault=None, is_loading_snapshot=False)
        at.till.screen.put_hub(there)
        await expect(reward(at, "a free breakfast")).to_contain_text("The hub is asked first.")
        await expect(panel(at).locator(".reward[aria-disabled]")).to_have_count(0)


async def test_points_are_used_only_while_their_owner_is_shown(browser: Browser, tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    async with counter(browser, tmp_path, clock=clock) as at:
        note = at.page.locator("#credit .note")
        await at.page.keyboard.press("F7")
        await expect(note).to_have_text("Scan or search the customer first. The amount stays here.")
        await scan(at, at.shop.unknown_card)
        await expect(at.page.locator("#card")).to_have_attribute("data-look", "unknown_card")
        await at.page.keyboard.press("F7")
        await expect(note).to_have_text("Points on this card can be used once the hub knows whose it is.")
        await expect(panel(at)).to_be_hidden()

        await allow(at, "Marie", 400)
        await show(at, "Marie")
        await type_amount(at.page, "20")
        await at.page.keyboard.press("F7")
        await expect(reward(at, "a free breakfast")).to_be_focused()
        await show(at, "Julie")
        await expect(panel(at)).to_be_hidden()
        await expect(amount(at)).to_be_focused()
        await expect(note).to_contain_text("was typed for Marie")
        for leave in ("time", "lock"):
            await at.pos.post("/api/v1/scans", {"text": at.face("Marie").cards[0]})
            await expect(at.page.locator(".name")).to_have_text("Marie")
            await at.page.keyboard.press("F7")
            await expect(reward(at, "a free breakfast")).to_be_focused()
            if leave == "time":
                await clock.advance(CUSTOMER_SHOWN_S)
            else:
                await at.page.keyboard.press("F9")
            await expect(panel(at)).to_be_hidden()
            look = "nothing" if leave == "time" else "locked"
            await expect(at.page.locator("#card")).to_have_attribute("data-look", look)
            dump = await at.page.content()
            assert "Marie" not in dump
            assert "breakfast" not in dump
        assert await shift(at) == []


async def test_two_windows_agree_and_a_lost_answer_uses_points_once(browser: Browser, tmp_path: Path) -> None:
    async with counter(browser, tmp_path) as at:
        await allow(at, "Marie", 400)
        await show(at, "Marie")
        second = await at.page.context.new_page()
        at.watch(second)
        await second.goto(at.pos.url)
        await second.locator('body[data-link="live"]').wait_for()
        for page in (at.page, second):
            await page.keyboard.press("F7")
            await expect(page.locator("#redeem .reward").first).to_be_focused()
        asked = await lose_answers(at.page, "/api/v1/redemptions", times=1)
        await reward(at, "any drink free").click()
        for page in (at.page, second):
            await expect(page.locator("#undo")).to_contain_text("175 points used for any drink free")
            await expect(page.locator("#redeem")).to_be_hidden()
            await expect(page.locator("#view .spendable")).to_have_text("225 can be used now")
            await expect(page.locator("#shift .act")).to_contain_text(["any drink free"])
        for page in (at.page, second):
            await page.evaluate("() => document.querySelector('#undo button').click()")
        for page in (at.page, second):
            await expect(page.locator("#undo")).to_contain_text("175 points given back")
        assert len(set(asked)) == 1
        assert [act["state"] for act in await shift(at)] == ["given_back"]
        at.noise.clear()
