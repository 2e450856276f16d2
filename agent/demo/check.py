"""The self-check: the main job by itself, with real processes, and a transcript that anybody can read.

A card's picture is read, its customer is shown, sales are credited and rewards redeemed with the line up and with the
line down, a till is killed in the middle of a sale, the line comes back; then the hub and both tills must agree to the
point, and the hub's ledger must hold each sale and each redemption once. The expected points are written down here, not
computed by what is checked.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from agent.codes import grouped
from agent.demo.opening import OpenShop
from agent.demo.processes import Program, run_command
from agent.demo.transcript import Transcript
from agent.demo.waiting import NotSeen, wait_for
from agent.till_client import TillNotRunning, TillRefused, till_client
from sync.runtime.clock import Clock

# An upload and a long poll take milliseconds on this machine; a busy one may need many times that.
ONLINE_S_MAX = 20.0
# After a loss a till asks again slower and slower, with dice: for a stop of some seconds that is some seconds more.
RECONNECT_S_MAX = 60.0
# About as long as a sale takes, so that the kill meets it anywhere: before its commit, or before its answer.
KILL_AFTER_S = 0.002
STEPS = 11


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale of the check: its id, its net amount in cents, and the points it must earn, one for each full dollar."""

    sale_id: str
    net_minor: int
    points: int


WITH_LINE = Sale("CHECK-1", 1275, 12)
TILL_1_WITHOUT_LINE = Sale("CHECK-2", 850, 8)
TILL_2_WITHOUT_LINE = Sale("CHECK-3", 2340, 23)
AT_THE_KILL = Sale("CHECK-4", 599, 5)


@dataclass(frozen=True, slots=True)
class Redemption:
    """A redemption of the check: its id, the reward, and what that costs."""

    redemption_id: str
    reward_id: str
    points: int


REWARD_WITH_LINE = Redemption("CHECK-R1", "filter", 100)
REWARD_WITHOUT_LINE = Redemption("CHECK-R2", "any-drink", 175)
# More than a till may give one customer on its own.
REWARD_TOO_LARGE = Redemption("CHECK-R3", "beans", 750)
REDEMPTIONS = (REWARD_WITH_LINE, REWARD_WITHOUT_LINE)
SALES = (WITH_LINE, TILL_1_WITHOUT_LINE, TILL_2_WITHOUT_LINE, AT_THE_KILL)


@dataclass(frozen=True, slots=True)
class Points:
    """A balance as a till shows it."""

    posted: int
    pending: int

    def __str__(self) -> str:
        return f"{self.posted + self.pending} points ({self.posted} posted, {self.pending} pending)"


class Check:
    """The main job in a shop that is not open yet."""

    def __init__(self, shop: OpenShop, transcript: Transcript, clock: Clock) -> None:
        self._shop = shop
        self._transcript = transcript
        self._clock = clock
        self._till_1, self._till_2 = shop.tills
        self._customer = shop.sample.members[0]
        self._opening = self._customer.points
        self._occurred_at = clock.now().isoformat()

    async def run(self) -> None:
        """Do the whole job.

        Raises:
            NotSeen, ProcessFailed, TillNotRunning, TillRefused: something is not as it must be.
        """
        await self._open()
        await self._read_picture()
        await self._scan()
        await self._sell_with_line()
        await self._redeem_with_line()
        await self._stop_hub()
        await self._sell_without_line()
        await self._redeem_without_line()
        await self._kill_till()
        await self._start_hub()
        await self._compare()

    async def _open(self) -> None:
        with self._transcript.step("Open a shop: a hub and two tills"):
            await self._shop.start(lambda _: None)
            people = len(self._shop.sample.members)
            self._transcript.seen(f"the hub has imported {people} customers; none of them is real")
            self._transcript.seen("two tills are enrolled, run, and know the customers")

    async def _read_picture(self) -> None:
        card = self._shop.cards[0]
        with self._transcript.step("Read the picture of a card"):
            picture = self._shop.files.cards / card.file_name
            line = json.loads(await run_command("loyalty-agent scan", ("agent", "scan", "--json", picture)))
            _same("the card in the picture", card.number, line["card"])
            codes = ", ".join(f"{code['symbology']} by {code['engine']}" for code in line["codes"])
            self._transcript.seen(f"{card.file_name}: {grouped(line['card'])} ({codes}) in {line['ms']:g} ms")

    async def _scan(self) -> None:
        with self._transcript.step("Show the customer on till 1"):
            began_s = self._clock.monotonic()
            view = await self._call(self._till_1, "scans", {"text": self._card, "symbology": "QR"})
            took_ms = (self._clock.monotonic() - began_s) * 1000
            customer = self._customer.customer
            _same("whom the card leads to", customer.customer_id, view.get("customer_id", view["kind"]))
            _same("till 1", Points(self._opening, 0), _points(view))
            likes = "; ".join(preference["text"]["en"] for preference in view["preferences"])
            self._transcript.seen(f"{view['name']}, {view['tier']['tier']}, likes: {likes}")
            self._transcript.seen(f"{_points(view)}, {took_ms:.0f} ms after the scan")

    async def _sell_with_line(self) -> None:
        with self._transcript.step("Credit a sale with the line up, and send it twice"):
            first = await self._sell(self._till_1, WITH_LINE)
            again = await self._sell(self._till_1, WITH_LINE)
            _same("the answer to the second sending", first, again)
            self._transcript.seen(f"{WITH_LINE.sale_id}: +{WITH_LINE.points}; sent again, the same answer")
            expected = Points(self._opening + WITH_LINE.points, 0)
            for till in self._shop.tills:
                took_s = await self._until_shown(till, expected, ONLINE_S_MAX)
                self._transcript.seen(f"{till.name}: {expected} after {took_s:.1f} s")

    async def _redeem_with_line(self) -> None:
        with self._transcript.step("Redeem a reward with the line up, and send it twice"):
            first = await self._redeem(self._till_1, REWARD_WITH_LINE)
            again = await self._redeem(self._till_1, REWARD_WITH_LINE)
            _same("the answer to the second sending", first, again)
            self._transcript.seen(
                f"{REWARD_WITH_LINE.reward_id}: -{REWARD_WITH_LINE.points}; sent again, the same answer"
            )
            for till in self._shop.tills:
                took_s = await self._until_shown(till, Points(self._posted, 0), ONLINE_S_MAX)
                self._transcript.seen(f"{till.name}: {Points(self._posted, 0)} after {took_s:.1f} s")
            needed = REWARD_WITHOUT_LINE.points
            what = f"{needed} points or more are reserved for till 1"
            await wait_for(what, True, lambda: self._can_spend(needed), within_s=ONLINE_S_MAX, clock=self._clock)
            view = await self._view(self._till_1)
            self._transcript.seen(
                f"till 1: {view['spendable']} points are reserved for it, and can be used with no line"
            )

    async def _stop_hub(self) -> None:
        with self._transcript.step("Stop the hub: the line is down"):
            _same("the hub's exit code", 0, await self._shop.hub.stop())
            for till in self._shop.tills:
                await self._until_reachable(till, expected=False)
            self._transcript.seen("both tills say that they are offline")

    async def _sell_without_line(self) -> None:
        with self._transcript.step("Credit on both tills without a line"):
            posted = self._posted
            for till, sale in ((self._till_1, TILL_1_WITHOUT_LINE), (self._till_2, TILL_2_WITHOUT_LINE)):
                await self._sell(till, sale)
                await self._is_shown(till, Points(posted, sale.points))
                self._transcript.seen(f"{till.name}: {sale.sale_id}: +{sale.points}, {Points(posted, sale.points)}")

    async def _redeem_without_line(self) -> None:
        with self._transcript.step("Redeem without a line, within what is reserved"):
            answer = await self._redeem(self._till_1, REWARD_WITHOUT_LINE)
            pending = TILL_1_WITHOUT_LINE.points - REWARD_WITHOUT_LINE.points
            await self._is_shown(self._till_1, Points(self._posted, pending))
            self._transcript.seen(
                f"{REWARD_WITHOUT_LINE.reward_id}: -{REWARD_WITHOUT_LINE.points}, {Points(self._posted, pending)}"
            )
            refused = await self._refused(self._till_1, REWARD_TOO_LARGE)
            _same("what can be used now", answer["spendable"], refused["spendable"])
            self._transcript.seen(
                f"{REWARD_TOO_LARGE.reward_id} for {REWARD_TOO_LARGE.points}: not now ({refused['reason']});"
                f" {refused['spendable']} points can be used, {refused['waiting']} more are waiting"
            )

    async def _kill_till(self) -> None:
        with self._transcript.step("kill -9 till 1 in the middle of a sale, and start it again"):
            async with asyncio.TaskGroup() as group:
                selling = group.create_task(self._sell_unless_killed())
                await self._clock.sleep(KILL_AFTER_S)
                await self._till_1.kill()
            heard = "came before the kill" if selling.result() else "was lost"
            self._transcript.seen(f"killed; its answer to {AT_THE_KILL.sale_id} {heard}")
            await self._till_1.start()
            await self._shop.till_is_up(self._till_1)
            posted, pending = self._posted, TILL_1_WITHOUT_LINE.points - REWARD_WITHOUT_LINE.points
            had_committed = await self._shown(self._till_1) != Points(posted, pending)
            self._transcript.seen(f"till 1 is back; it had {'' if had_committed else 'not '}committed that sale")
            await self._sell(self._till_1, AT_THE_KILL)
            expected = Points(posted, pending + AT_THE_KILL.points)
            await self._is_shown(self._till_1, expected)
            self._transcript.seen(f"the point of sale asks again: {expected}")

    async def _start_hub(self) -> None:
        with self._transcript.step("Start the hub: the line is up"):
            await self._shop.hub.start()
            await self._shop.hub_is_up()
            expected = Points(self._total, 0)
            for till in self._shop.tills:
                took_s = await self._until_shown(till, expected, RECONNECT_S_MAX)
                self._transcript.seen(f"{till.name}: {expected} after {took_s:.1f} s more")

    async def _compare(self) -> None:
        with self._transcript.step("Compare the hub's books"):
            exported = [json.loads(line) for line in (await self._shop.hub_command("export", "-")).splitlines()]
            at_hub = {row["customer_id"]: row["points"] for row in exported}
            _same("the hub's balance", self._total, at_hub[self._customer.customer.customer_id])
            others = {member.customer.customer_id: member.points for member in self._shop.sample.members[1:]}
            _same("balances of others that changed", [], [one for one in others if others[one] != at_hub[one]])
            earned = " + ".join(str(sale.points) for sale in SALES)
            spent = " - ".join(str(redemption.points) for redemption in REDEMPTIONS)
            self._transcript.seen(f"{self._opening} + {earned} - {spent} = {self._total}")
            events = [json.loads(line) for line in (await self._shop.hub_command("events")).splitlines()]
            _same(
                "the hub's ledger", [(sale.sale_id, "applied", sale.points) for sale in SALES], _of(events, "sale_id")
            )
            redeemed = [(redemption.redemption_id, "applied", -redemption.points) for redemption in REDEMPTIONS]
            _same("the hub's redemptions", redeemed, _of(events, "redemption_id"))
            for till in self._shop.tills:
                outbox = await self._call(till, "outbox")
                _same(f"what waits on {till.name}", [], outbox["rows"])
            self._transcript.seen(
                f"each of the {len(SALES)} sales and {len(REDEMPTIONS)} redemptions stands in the ledger once;"
                " nothing waits on a till"
            )
            _same("the exit codes", {0}, set((await self._shop.stop()).values()))
            self._transcript.seen("all processes ended cleanly when they were told to")

    @property
    def _posted(self) -> int:
        """What the hub has posted while the line is down."""
        return self._opening + WITH_LINE.points - REWARD_WITH_LINE.points

    @property
    def _total(self) -> int:
        earned, spent = sum(sale.points for sale in SALES), sum(redemption.points for redemption in REDEMPTIONS)
        return self._opening + earned - spent

    @property
    def _card(self) -> str:
        return self._customer.cards[0]

    async def _call(self, till: Program, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with till_client(self._shop.settings(till)) as client:
            return await client.call("POST" if body is not None else "GET", f"/api/v1/{path}", body)

    async def _sell(self, till: Program, sale: Sale) -> dict[str, Any]:
        """Send a sale as a point of sale does, and return the till's answer."""
        answer = await self._call(till, "sales", self._sale_body(sale))
        _same(f"points of {sale.sale_id}", sale.points, answer["points"])
        return answer

    async def _redeem(self, till: Program, redemption: Redemption) -> dict[str, Any]:
        """Redeem as a point of sale does, and return the till's answer."""
        answer = await self._call(till, "redemptions", self._redemption_body(redemption))
        _same(f"points of {redemption.redemption_id}", redemption.points, answer["points"])
        return answer

    async def _refused(self, till: Program, redemption: Redemption) -> dict[str, Any]:
        """Ask for what cannot be, and return the till's refusal."""
        try:
            answer = await self._call(till, "redemptions", self._redemption_body(redemption))
        except TillRefused as refused:
            _same("the refusal", "not_spendable", refused.problem.get("code"))
            return dict(refused.problem)
        raise NotSeen(f"{redemption.redemption_id} is refused", "not_spendable", answer["state"])

    def _redemption_body(self, redemption: Redemption) -> dict[str, Any]:
        return {
            "redemption_id": redemption.redemption_id,
            "card": self._card,
            "occurred_at": self._occurred_at,
            "reward_id": redemption.reward_id,
        }

    async def _can_spend(self, points: int) -> bool:
        return ((await self._view(self._till_1))["spendable"] or 0) >= points

    def _sale_body(self, sale: Sale) -> dict[str, Any]:
        return {
            "sale_id": sale.sale_id,
            "card": self._card,
            "occurred_at": self._occurred_at,
            "currency": self._shop.sample.program.currency,
            "lines": [{"quantity": "1", "net_minor": sale.net_minor}],
            "net_minor": sale.net_minor,
        }

    async def _sell_unless_killed(self) -> bool:
        """Send a sale to a till that is being killed; tell whether its answer was heard."""
        try:
            await self._call(self._till_1, "sales", self._sale_body(AT_THE_KILL))
        except (TillNotRunning, TillRefused):
            return False
        return True

    async def _shown(self, till: Program) -> Points:
        return _points(await self._view(till))

    async def _view(self, till: Program) -> dict[str, Any]:
        return await self._call(till, f"customers/{self._customer.customer.customer_id}")

    async def _is_shown(self, till: Program, expected: Points) -> None:
        _same(till.name, expected, await self._shown(till))

    async def _until_shown(self, till: Program, expected: Points, within_s: float) -> float:
        return await wait_for(till.name, expected, lambda: self._shown(till), within_s=within_s, clock=self._clock)

    async def _until_reachable(self, till: Program, *, expected: bool) -> None:
        async def is_reachable() -> bool:
            return bool((await self._call(till, "screen"))["hub"]["is_reachable"])

        await wait_for(f"{till.name} reaches the hub", expected, is_reachable, within_s=ONLINE_S_MAX, clock=self._clock)


def _points(view: dict[str, Any]) -> Points:
    balance = view["balance"]
    return Points(balance["posted"], balance["pending"])


def _of(events: list[dict[str, Any]], name: str) -> list[tuple[str, str, int]]:
    """Return those of the hub's events that name a thing of this kind, in the order of the things."""
    named = [row for row in events if name in row["event"]["data"]]
    return sorted((row["event"]["data"][name], row["outcome"], row["points"]) for row in named)


def _same(what: str, expected: object, seen: object) -> None:
    if seen != expected:
        raise NotSeen(what, expected, seen)
