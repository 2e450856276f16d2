"""A shop in miniature that redeems: tills that spend what they hold by the shared arithmetic, and a simple reckoning.

The hub is its real books on a real file. Words get lost or come late, uploads come late, twice and in parts, points are
scarce. The reckoning knows the facts alone: who earned, who took back, who redeemed, who undid.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

from sync.contract.allowance import AllowancesWord, Spend, draw, remaining
from sync.contract.protocol import Outcome
from sync.hub.books.redemption_rows import listed_risks
from sync.hub.escrow.allowances import release
from sync.hub.people.merging import MergeRefused
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import NOW_MS, Books, card_id, customer
from tests.support.hub_events import reversal, sale
from tests.support.hub_redemptions import ask_for, enrolled, redemption, returned, undoing

CUSTOMERS = ("C-1", "C-2", "C-3")
NUMBERS = {customer_id: f"900000000000000{number}" for number, customer_id in enumerate(CUSTOMERS, start=1)}
CARDS = {customer_id: card_id(number) for customer_id, number in NUMBERS.items()}
OPENING = 40


@dataclass
class Till:
    """A till: its journal by incarnation, the hub's last word, and what its own events did to its allowances."""

    name: str
    sender: Sender
    journal: dict[str, list[str]] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    word: AllowancesWord | None = None
    late: list[AllowancesWord] = field(default_factory=list)
    spends: dict[str, list[Spend]] = field(default_factory=lambda: defaultdict(list))

    def write(self, sender: Sender, event: str) -> None:
        self.journal.setdefault(sender.inc, []).append(event)

    @property
    def seq(self) -> int:
        return len(self.journal.get(self.sender.inc, [])) + 1

    def rests(self, customer_ids: set[str]) -> list[tuple[str, int]]:
        """Return what is left of each allowance of these customers."""
        if self.word is None:
            return []
        return [
            (one.allowance_id, remaining(one.amount, one.spent, self.spends[one.allowance_id], self.word.applied))
            for one in self.word.allowances
            if one.customer_id in customer_ids and not one.recalled
        ]


@dataclass
class Redeemed:
    """A redemption: by whom, for whom, and from which allowances."""

    till: Till
    customer_id: str
    shares: dict[str, int]

    @property
    def points(self) -> int:
        return sum(self.shares.values())


class EscrowWorld:
    """All of it, driven by one die.

    In a rough world customers are parted again, allowances released by a person, and a redemption is taken back at two
    tills: there a store may lose, and still no point comes from nowhere.
    """

    def __init__(self, books: Books, seed: int, *, is_rough: bool = False) -> None:
        self.books = books
        self.is_rough = is_rough
        self.die = random.Random(seed)
        self.tills = [
            Till(f"till-{number}", Sender(f"till-{number}", "store-1", f"{number:016x}")) for number in (1, 2, 3)
        ]
        enrolled(books, *(till.sender for till in self.tills))
        for customer_id in CUSTOMERS:
            books.put(customer(customer_id, NUMBERS[customer_id], points=OPENING))
        self.sales: dict[str, tuple[str, int]] = {}
        self.reversed: set[str] = set()
        self.redeemed: dict[str, Redeemed] = {}
        self.undone: set[str] = set()
        self.edges: dict[str, str] = {}
        self.count = 10

    def step(self) -> None:
        """Let one thing happen."""
        till = self.die.choice(self.tills)
        acts = [
            *((self.sell, 12), (self.reverse, 6), (self.redeem, 30), (self.undo, 5), (self.give_back, 6)),
            *((self.ask, 25), (self.hear_late, 4), (self.upload, 25), (self.restart, 2), (self.merge, 2)),
        ]
        if self.is_rough:
            acts += [(self.part, 3), (self.release, 2), (self.undo_again, 3)]
        self.die.choices([act for act, _ in acts], [weight for _, weight in acts])[0](till)

    def sell(self, till: Till) -> None:
        self.count += 1
        customer_id, points = self.die.choice(CUSTOMERS), self.die.randrange(1, 30)
        self.sales[f"s-{self.count}"] = (customer_id, points)
        till.write(till.sender, sale(till.sender, till.seq, f"s-{self.count}", CARDS[customer_id], points * 100))

    def reverse(self, till: Till) -> None:
        if open_sales := sorted(set(self.sales) - self.reversed):
            sale_id = self.die.choice(open_sales)
            self.reversed.add(sale_id)
            till.write(till.sender, reversal(till.sender, till.seq, f"x-{sale_id}", sale_id))

    def redeem(self, till: Till) -> None:
        """Spend what the till holds of a customer, as the till knows the customer."""
        customer_id = self.die.choice(CUSTOMERS)
        rests = till.rests({customer_id, self.root(customer_id)})
        shares = {share.allowance_id: share.points for share in draw(self.die.randrange(1, 60), rests)}
        if not shares:
            return
        self.count += 1
        self.redeemed[f"r-{self.count}"] = Redeemed(till, customer_id, shares)
        for allowance_id, points in shares.items():
            till.spends[allowance_id].append(Spend(till.sender.inc, till.seq, points))
        event = redemption(till.sender, till.seq, f"r-{self.count}", shares, CARDS[customer_id])
        till.write(till.sender, event)

    def undo(self, till: Till) -> None:
        """Take a redemption back, once, at any till; at the till that recorded it its allowances grow back."""
        if not (open_ones := sorted(set(self.redeemed) - self.undone)):
            return
        redemption_id = self.die.choice(open_ones)
        self.undone.add(redemption_id)
        one = self.redeemed[redemption_id]
        if one.till is till:
            for allowance_id, points in one.shares.items():
                till.spends[allowance_id].append(Spend(till.sender.inc, till.seq, -points))
        till.write(till.sender, undoing(till.sender, till.seq, f"u-{redemption_id}", redemption_id))

    def give_back(self, till: Till) -> None:
        if till.word is not None and till.word.allowances:
            one = self.die.choice(till.word.allowances)
            till.spends[one.allowance_id].append(Spend(till.sender.inc, till.seq, None))
            till.write(till.sender, returned(till.sender, till.seq, one.allowance_id))

    def ask(self, till: Till) -> None:
        """Ask the hub; the word is heard, lost, or comes late."""
        wants = {self.die.choice(CUSTOMERS): self.die.randrange(1, 80)}
        word = ask_for(self.books, till.sender, wants if self.die.random() < 0.8 else {})
        fate = self.die.random()
        if fate < 0.6:
            till.word = word
        elif fate < 0.8:
            till.late.append(word)

    def hear_late(self, till: Till) -> None:
        if till.late:
            till.word = till.late.pop(self.die.randrange(len(till.late)))

    def upload(self, till: Till) -> None:
        """Send a part of the journal, begun at or before what the hub has."""
        inc = self.die.choice(sorted(till.journal) or [till.sender.inc])
        events = till.journal.get(inc, [])
        first = self.die.randrange(max(till.through[inc] - 2, 0), till.through[inc] + 1)
        last = min(first + self.die.randrange(1, 6), len(events))
        if first < last:
            sender = Sender(till.name, "store-1", inc)
            answer = self.books.upload(sender, first + 1, *events[first:last])
            assert all(one.outcome is not Outcome.REJECTED for one in answer.results)
            till.through[inc] = max(till.through[inc], last)

    def restart(self, till: Till) -> None:
        self.count += 1
        till.sender = Sender(till.name, "store-1", f"{self.count:016x}")

    def merge(self, _: Till) -> None:
        loser, winner = self.die.sample(CUSTOMERS, 2)
        try:
            if self.books.merge(loser, winner).is_new:
                self.edges[loser] = winner
        except MergeRefused:
            return

    def part(self, _: Till) -> None:
        if self.edges:
            loser = self.die.choice(sorted(self.edges))
            self.books.unmerge(loser)
            del self.edges[loser]

    def release(self, till: Till) -> None:
        self.books.write(partial(release, terminal_id=till.name, now_ms=NOW_MS))

    def undo_again(self, till: Till) -> None:
        if self.undone:
            redemption_id = self.die.choice(sorted(self.undone))
            self.count += 1
            till.write(till.sender, undoing(till.sender, till.seq, f"u-{self.count}", redemption_id))

    def root(self, customer_id: str) -> str:
        while customer_id in self.edges:
            customer_id = self.edges[customer_id]
        return customer_id

    def heal(self) -> None:
        """Let everything arrive."""
        for till in self.tills:
            for inc, events in till.journal.items():
                if events[till.through[inc] :]:
                    sender = Sender(till.name, "store-1", inc)
                    self.books.upload(sender, till.through[inc] + 1, *events[till.through[inc] :])
                    till.through[inc] = len(events)

    def check_rough(self) -> None:
        """Prove that all points are somewhere: with customers, at the stores' risk, or given by the hub."""
        self.books.check_sums()
        number = self.books.number
        facts = OPENING * len(CUSTOMERS)
        facts += sum(points for sale_id, (_, points) in self.sales.items() if sale_id not in self.reversed)
        facts -= sum(one.points for one_id, one in self.redeemed.items() if one_id not in self.undone)
        shown = number("SELECT sum(points - debt) FROM customers JOIN balances USING (customer_id)")
        given = number("SELECT sum(points) FROM entries WHERE kind = 'adjustment'")
        assert shown == facts + given + number("SELECT sum(points) FROM risks")

    def check(self) -> None:
        """Compare the books with the reckoning: every fact once, nothing below 0, nothing at anybody's risk."""
        self.books.check_sums()
        assert listed_risks(self.books.connection) == []
        expected: dict[str, int] = defaultdict(int)
        for customer_id in CUSTOMERS:
            expected[self.root(customer_id)] += OPENING
        for sale_id, (customer_id, points) in self.sales.items():
            expected[self.root(customer_id)] += 0 if sale_id in self.reversed else points
        for redemption_id, one in self.redeemed.items():
            expected[self.root(one.customer_id)] -= 0 if redemption_id in self.undone else one.points
        rows = self.books.connection.execute(
            "SELECT customer_id, points - debt FROM customers JOIN balances USING (customer_id)"
        ).fetchall()
        assert dict(rows) == dict(expected)
        assert self.books.number("SELECT count(*) FROM redemptions") == len(self.redeemed)
