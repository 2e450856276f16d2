"""A shop in miniature: tills that sell, upload and read the hub's feed, and a second, simple reckoning beside the hub.

The hub is its real books on a real file. The reckoning knows the shop's facts alone: what was sold on which card, what
was reversed, which card was whose, and at which position of the feed that was so. Each till keeps a cache from pages
and snapshots as a terminal does. `check` compares the two.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

from sync.contract.protocol import Outcome, UploadAnswer
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.pages import covered
from sync.hub.feed.snapshot_files import chunk_texts
from sync.hub.people.customer_rows import Leaving
from sync.hub.people.merging import MergeRefused
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import Books, card_id, customer
from tests.support.hub_events import reversal, sale

CARDS = tuple(card_id(f"99900000000000{number:02d}") for number in range(5))
NUMBERS = {card_id(f"99900000000000{number:02d}"): f"99900000000000{number:02d}" for number in range(5)}
CUSTOMERS = ("C-1", "C-2", "C-3", "C-4")

Key = tuple[str, int]  # incarnation, seq


@dataclass
class State:
    """What is true at one position of the feed."""

    ledger: dict[str, int]
    opening: dict[str, int]
    own: dict[str, frozenset[str]]  # customer -> its cards
    edges: dict[str, str]  # loser -> winner
    closed: set[str]  # cards of people who were erased

    def root(self, customer_id: str) -> str:
        while customer_id in self.edges:
            customer_id = self.edges[customer_id]
        return customer_id

    @property
    def cards(self) -> dict[str, frozenset[str]]:
        """What is shown: each customer that stands by itself, with the cards of all who are merged into it."""
        shown: dict[str, frozenset[str]] = {}
        for customer_id, cards in self.own.items():
            root = self.root(customer_id)
            shown[root] = shown.get(root, frozenset()) | cards
        return shown

    def customers_of(self, card: str) -> set[str]:
        return {customer_id for customer_id, cards in self.cards.items() if card in cards}

    def posted(self) -> dict[str, int]:
        """Every account with points: customers by id, bare cards by theirs."""
        accounts: dict[str, int] = {}
        for customer_id in self.own:
            root = self.root(customer_id)
            accounts[root] = accounts.get(root, 0) + self.opening.get(customer_id, 0)
        for card in CARDS:
            customers = self.customers_of(card)
            if not customers and card in self.closed:
                continue
            account = customers.pop() if len(customers) == 1 else card
            accounts[account] = accounts.get(account, 0) + self.ledger.get(card, 0)
        return {account: points for account, points in accounts.items() if points}


@dataclass
class Till:
    """A till: its journal by incarnation, what it would show locally, and its cache."""

    terminal_id: str
    journal: dict[str, list[str]] = field(default_factory=dict)
    uploaded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    local: dict[Key, tuple[str, int]] = field(default_factory=dict)
    cursor: int = 0
    posted: dict[str, int] = field(default_factory=dict)
    cards: dict[str, frozenset[str]] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)

    def pending(self) -> dict[Key, tuple[str, int]]:
        return {key: delta for key, delta in self.local.items() if key[1] > self.covered.get(key[0], 0)}

    def take(self, text: str) -> None:
        """Apply one change as a terminal does."""
        change: dict[str, Any] = json.loads(text)
        match change["op"]:
            case "customer":
                customer_id = change["customer"]["customer_id"]
                self.cards[customer_id] = frozenset(ref["id"] for ref in change["identifiers"])
                self.posted[customer_id] = change["points"]
            case "balance":
                self.posted[change["customer_id"]] = change["points"]
            case "card":
                self.posted[change["identifier"]] = change["points"]
            case "gone":
                self.cards.pop(change["customer_id"], None)
                self.posted.pop(change["customer_id"], None)


class World:
    """All of it, driven by one die."""

    def __init__(self, books: Books, seed: int) -> None:
        self.books = books
        self.die = random.Random(seed)
        self.tills = [Till(f"till-{number}") for number in range(3)]
        self.now = State({}, {}, {}, {}, set())
        self.states: dict[int, State] = {}
        self.sales: dict[str, tuple[str, int, str]] = {}  # sale -> card, points, till; only those that will count
        self.booked: set[str] = set()
        self.reversed: set[str] = set()
        self.buried: set[str] = set()
        self.waiting: set[str] = set()
        self.facts: dict[Key, tuple[str, str]] = {}  # event -> what it is, sale
        self.placed: dict[Key, int] = {}  # event -> its position
        self.left_at = 0
        self.merged_at: set[int] = set()  # positions within a merge, where no page may end
        self.checks = 0
        self._count = 0
        self._note()

    def step(self) -> None:
        """Let one thing happen."""
        till = self.die.choice(self.tills)
        action = self.die.choices(
            (
                self.sell,
                self.reverse,
                self.restart,
                self.upload,
                self.change_customer,
                self.merge,
                self.unmerge,
                self.read,
                self.reload,
            ),
            (30, 10, 3, 20, 12, 6, 4, 30, 2),
        )[0]
        action(till)

    def sell(self, till: Till) -> None:
        self._count += 1
        sale_id, card, points = f"s-{self._count}", self.die.choice(CARDS), self.die.randrange(1, 30)
        is_wrong = self.die.random() < 0.15
        inc, seq, sender = self._next(till)
        changes = {"currency": "EUR"} if is_wrong else {}
        till.journal[inc].append(sale(sender, seq, sale_id, card, points * 100, **changes))
        till.local[(inc, seq)] = (card, points)
        self.facts[(inc, seq)] = ("sale", sale_id)
        if not is_wrong:
            self.sales[sale_id] = (card, points, till.terminal_id)

    def reverse(self, till: Till) -> None:
        """Reverse a sale of any till; the till knows the points of its own only."""
        open_sales = sorted(set(self.sales) - self.reversed)
        if not open_sales:
            return
        sale_id = self.die.choice(open_sales)
        self.reversed.add(sale_id)
        inc, seq, sender = self._next(till)
        till.journal[inc].append(reversal(sender, seq, f"r-{sale_id}", sale_id))
        self.facts[(inc, seq)] = ("reversal", sale_id)
        card, points, seller = self.sales[sale_id]
        if seller == till.terminal_id:
            till.local[(inc, seq)] = (card, -points)

    def restart(self, till: Till) -> None:
        self._count += 1
        till.journal[f"{self._count:016x}"] = []

    def upload(self, till: Till) -> None:
        """Send the oldest events that were not sent; sometimes the answer gets lost and they go again."""
        for inc, events in till.journal.items():
            first = till.uploaded[inc] + 1
            if first <= len(events):
                batch = events[first - 1 : first - 1 + self.die.randrange(1, 6)]
                sender = Sender(till.terminal_id, "store-1", inc)
                answer = self.books.upload(sender, first, *batch)
                self._reckon(till, inc, answer)
                if self.die.random() < 0.2:
                    again = self.books.upload(sender, first, *batch)
                    assert Outcome.APPLIED not in {verdict.outcome for verdict in again.results}
                till.uploaded[inc] = answer.applied_through
                return

    def change_customer(self, _: Till) -> None:
        """Import a customer with some cards, perhaps another's; or one leaves."""
        customer_id = self.die.choice(CUSTOMERS)
        if self.die.random() < 0.15:
            self._leave(customer_id, is_erased=self.die.random() < 0.5)
        else:
            self._count += 1
            cards = self.die.sample(CARDS, self.die.randrange(0, 3))
            points = self.die.choice((None, 0, 40))
            self.books.put(
                customer(customer_id, *(NUMBERS[card] for card in cards), points=points, name=f"N{self._count}")
            )
            if customer_id not in self.now.own and points:
                self.now.opening.setdefault(customer_id, points)
            self.now.own[customer_id] = frozenset(cards)
            for card in self.now.closed & set(cards):  # a card that is given to somebody again begins at 0
                self.now.ledger[card] = 0
                self.buried |= {sale_id for sale_id in self.booked if self.sales[sale_id][0] == card}
            self.now.closed -= set(cards)
        self._note()

    def _leave(self, customer_id: str, *, is_erased: bool) -> None:
        """Let one leave; who is erased takes along everybody merged with it."""
        reason: Literal["erased", "out_of_scope"] = "erased" if is_erased else "out_of_scope"
        root = self.now.root(customer_id)
        together = {one for one in self.now.own if self.now.root(one) == root} if is_erased else {customer_id}
        self.left_at = self.books.put(Leaving(customer_id, reason)).pos
        cards: set[str] = set()
        for one in together:
            cards |= self.now.own.pop(one, frozenset())
            self.now.edges = {loser: winner for loser, winner in self.now.edges.items() if one not in (loser, winner)}
        if is_erased:
            self.now.closed |= {card for card in cards if not self.now.customers_of(card)}

    def merge(self, _: Till) -> None:
        """Merge any two customers; one that cannot be leaves everything as it is."""
        loser, winner = self.die.choice(CUSTOMERS), self.die.choice(CUSTOMERS)
        is_possible = {loser, winner} <= set(self.now.own) and loser != self.now.root(winner)
        if loser in self.now.edges:  # a second time is harmless, another winner is refused
            is_possible = winner in self._winners(loser)
        before = last_pos(self.books.connection)
        try:
            merged = self.books.merge(loser, winner)
        except MergeRefused:
            assert not is_possible
            return
        self.merged_at |= set(range(before + 1, merged.pos))
        assert is_possible
        assert merged.is_new == (loser not in self.now.edges)
        if merged.is_new:
            self.now.edges[loser] = winner
        self._note()

    def unmerge(self, _: Till) -> None:
        loser = self.die.choice(CUSTOMERS)
        before = last_pos(self.books.connection)
        try:
            ended = self.books.unmerge(loser)
        except MergeRefused:
            assert loser not in self.now.edges
            return
        self.merged_at |= set(range(before + 1, ended.pos))
        del self.now.edges[loser]
        self._note()

    def _winners(self, loser: str) -> set[str]:
        found: set[str] = set()
        while loser in self.now.edges:
            loser = self.now.edges[loser]
            found.add(loser)
        return found

    def read(self, till: Till) -> None:
        """Read one page and check what it makes the till show."""
        page = self.books.page(till.terminal_id, till.cursor, self.die.choice((1, 2, 3, 50)))
        for text in page.changes:
            till.take(text)
        till.covered |= page.covered
        till.cursor = page.pos
        self.check(till)

    def reload(self, till: Till) -> None:
        """Begin the cache anew from a snapshot."""
        pos = last_pos(self.books.connection)
        till.posted, till.cards, till.cursor = {}, {}, pos
        for rows, text in chunk_texts(self.books.connection, chunk_rows=2):
            lines = text.splitlines()
            assert len(lines) == rows
            for line in lines:
                till.take(line)
        till.covered = covered(self.books.connection, till.terminal_id, pos)
        self.check(till)

    def check(self, till: Till) -> None:
        """Prove that the till's cache is the reckoning at its cursor, and that it counts each of its events once."""
        state = self.states.get(till.cursor)
        if state is None:
            assert till.cursor not in self.merged_at
            return  # the page ends inside one commit that moved points between accounts
        if till.cursor < self.left_at:
            return  # a customer who left is taken off every page at once, also off those of before
        self.checks += 1
        assert {account: points for account, points in till.posted.items() if points} == state.posted()
        assert till.cards == state.cards
        missing = {key for key in till.local if self.placed.get(key, till.cursor + 1) > till.cursor}
        assert set(till.pending()) == missing

    def finish(self) -> None:
        """Send and read everything, and check that all tills agree with the reckoning."""
        for till in self.tills:
            while any(till.uploaded[inc] < len(events) for inc, events in till.journal.items()):
                self.upload(till)
        for till in self.tills:
            while till.cursor < last_pos(self.books.connection):
                self.read(till)
            self.check(till)
            assert till.pending() == {}
        self.books.check_sums()

    def part_all(self) -> None:
        """End every merge and prove that each customer has its own points and cards again, on every till."""
        for loser in self.die.sample(sorted(self.now.edges), len(self.now.edges)):
            self.books.unmerge(loser)
        self.now.edges.clear()
        self._note()
        assert self.books.number("SELECT count(*) FROM origins") == 0
        assert self.now.cards == self.now.own
        self.finish()

    def _next(self, till: Till) -> tuple[str, int, Sender]:
        if not till.journal:
            self.restart(till)
        inc = list(till.journal)[-1]
        return inc, len(till.journal[inc]) + 1, Sender(till.terminal_id, "store-1", inc)

    def _reckon(self, till: Till, inc: str, answer: UploadAnswer) -> None:
        """Book what the hub said it applied, and note what is true at each position."""
        rows = self.books.connection.execute(
            "SELECT seq, pos FROM events JOIN streams USING (stream) WHERE inc = ?", (inc,)
        )
        positions: dict[int, int] = dict(rows.fetchall())
        settles = False
        for verdict in answer.results:
            kind, sale_id = self.facts[(inc, verdict.seq)]
            pos = self.placed[(inc, verdict.seq)] = positions[verdict.seq]
            if verdict.outcome is Outcome.REJECTED:
                assert sale_id not in self.sales
                till.local.pop((inc, verdict.seq))
            elif kind == "sale":
                assert verdict.outcome is Outcome.APPLIED
                self.booked.add(sale_id)
                self._book(sale_id, 1)
                if sale_id in self.waiting:
                    self._book(sale_id, -1)
                    settles = True
            elif sale_id in self.booked:
                assert verdict.outcome is Outcome.APPLIED
                self._book(sale_id, -1)
            else:
                assert verdict.outcome is Outcome.PARKED
                self.waiting.add(sale_id)
            if not settles:
                self.states[pos] = self._copy()
        self._note()

    def _book(self, sale_id: str, sign: int) -> None:
        card, points, _ = self.sales[sale_id]
        if sale_id in self.buried:
            return  # a sale to somebody who was erased; the card is another's now
        self.now.ledger[card] = self.now.ledger.get(card, 0) + sign * points

    def _note(self) -> None:
        self.states[last_pos(self.books.connection)] = self._copy()

    def _copy(self) -> State:
        return State(
            dict(self.now.ledger),
            dict(self.now.opening),
            dict(self.now.own),
            dict(self.now.edges),
            set(self.now.closed),
        )
