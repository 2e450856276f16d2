"""What the files of a real hub and a real till say, and what must be true of it whoever was killed when."""

import json
from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import keys
from agent.store.files import cache_file, till_file
from sync.hub.founding import database_file
from sync.runtime.database import open_reader
from sync.runtime.sqlite_file import Connection

_NAMES = ("reversal_id", "redemption_id", "sale_id")


@dataclass(frozen=True, slots=True)
class HubBooks:
    """The hub's books: balances by customer, and `held` by open allowances."""

    raws: list[str]
    outcomes: list[str]
    posted: dict[str, int]
    ledger: dict[str, int]
    debts: dict[str, int]
    reserved: dict[str, int]
    held: dict[str, int]
    risks: list[Any]

    def names(self) -> Tally[str]:
        """Return how often each thing that a point of sale named stands here; a reversal by its own name."""
        facts = (json.loads(raw)["data"] for raw in self.raws)
        return Tally(fact[name] for fact in facts if (name := next((one for one in _NAMES if one in fact), None)))

    def could_pay(self) -> set[str]:
        """Return who owes points and has free ones beside it: nobody, once the hub rests."""
        return {who for who, debt in self.debts.items() if debt and self.posted[who] > self.reserved[who]}

    def check(self, expected: Mapping[str, int]) -> None:
        """Assert that balances are those of an independent book, and that nobody spent what was not there.

        A sale taken back after its points were spent is owed: then nothing is free, and the balance says 0 or what is
        reserved, not less.
        """
        assert self.posted == self.ledger
        assert {who: points - self.debts[who] for who, points in self.posted.items()} == expected
        assert self.reserved == {who: self.held.get(who, 0) for who in self.posted}
        assert all(points >= self.reserved[who] >= 0 for who, points in self.posted.items())
        assert not self.could_pay()
        assert self.risks == []  # what loyalty_hub_risk_points tells


@dataclass(frozen=True, slots=True)
class TillBooks:
    """The till's journal, and the balances in its cache."""

    committed: list[str]
    cached: dict[str, int]
    cards_with_points: list[Any]


async def hub_books(state: Path) -> HubBooks:
    """Read a hub's file, whether it runs or not."""
    async with open_reader(database_file(state)) as reader:
        return await reader.read(_hub_books)


async def till_books(state: Path) -> TillBooks:
    """Read a till's files."""
    key = keys.database_key(state / "keys" / "database.key", state / "till.db")
    async with open_reader(till_file(state, key)) as reader:
        committed, number = await reader.read(_journal)
    async with open_reader(cache_file(state, key, number)) as reader:
        cached, cards = await reader.read(_cache)
    return TillBooks(committed, cached, cards)


def _hub_books(connection: Connection) -> HubBooks:
    def sums(sql: str) -> dict[str, int]:
        return dict(connection.execute(sql).fetchall())

    return HubBooks(
        raws=[row[0] for row in connection.execute("SELECT raw FROM events ORDER BY number")],
        outcomes=[row[0] for row in connection.execute("SELECT DISTINCT outcome FROM events")],
        posted=sums("SELECT customer_id, points FROM balances"),
        ledger=sums("SELECT customer_id, sum(points) FROM ledger GROUP BY customer_id"),
        debts=sums("SELECT customer_id, debt FROM balances"),
        reserved=sums("SELECT customer_id, reserved FROM balances"),
        held=sums("SELECT account, sum(amount - spent) FROM allowances WHERE closed_ms IS NULL GROUP BY account"),
        risks=connection.execute("SELECT store_id, kind, points FROM risks").fetchall(),
    )


def _journal(connection: Connection) -> tuple[list[str], int]:
    (number,) = connection.execute("SELECT number FROM live_cache").fetchone() or (1,)
    return [row[0] for row in connection.execute("SELECT event FROM journal ORDER BY position")], number


def _cache(connection: Connection) -> tuple[dict[str, int], list[Any]]:
    customers: dict[str, int] = dict(connection.execute("SELECT customer_id, points FROM customers").fetchall())
    return customers, connection.execute("SELECT * FROM cards WHERE points <> 0").fetchall()
