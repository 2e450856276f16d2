"""Redemptions as a terminal journals them, and allowances in a hub's books, for tests of the hub's rooms."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sync.contract.allowance import AllowancesRequest, AllowancesWord, Want
from sync.contract.events import ALLOWANCE_RETURNED, REDEEMED, REDEMPTION_REVERSED, canonical_json
from sync.hub.escrow.allowances import Asker, word_for
from sync.hub.escrow.reserving import grant_all
from sync.hub.uploads.batch import Sender
from tests.support.hub_books import NOW, Books, customer, open_books
from tests.support.hub_events import CARD, event

Shares = Mapping[str, int]
NUMBER = "9000000000000001"
ONE = Sender("till-1", "store-1", "1" * 16)
TWO = Sender("till-2", "store-1", "2" * 16)


@contextmanager
def two_tills(folder: Path) -> Iterator[Books]:
    """Two tills of a store, and a customer with 100 points; in the end every balance is the sum of its rows."""
    with open_books(folder) as books:
        enrolled(books, ONE, TWO)
        books.put(customer("C-1", NUMBER, points=100))
        yield books
        books.check_sums()


def redemption_data(redemption_id: str, shares: Shares, goodwill: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the data of a redemption that these allowances pay."""
    return {
        "redemption_id": redemption_id,
        "points": sum(shares.values()) + goodwill,
        "program_version": 1,
        "shares": [{"allowance_id": one, "points": points} for one, points in shares.items()],
        "goodwill": goodwill,
    } | changes


def redemption(
    sender: Sender, seq: int, redemption_id: str, shares: Shares, subject: str = CARD, goodwill: int = 0
) -> str:
    """Return a redemption as journalled."""
    data = redemption_data(redemption_id, shares, goodwill)
    return canonical_json(event(sender, seq, REDEEMED, data, subject=subject))


def undoing(sender: Sender, seq: int, reversal_id: str, redemption_id: str) -> str:
    """Return a redemption's reversal as journalled."""
    data = {"reversal_id": reversal_id, "redemption_id": redemption_id}
    return canonical_json(event(sender, seq, REDEMPTION_REVERSED, data))


def returned(sender: Sender, seq: int, allowance_id: str) -> str:
    """Return an allowance's return as journalled."""
    return canonical_json(event(sender, seq, ALLOWANCE_RETURNED, {"allowance_id": allowance_id}))


def asker(sender: Sender) -> Asker:
    return Asker(sender.terminal_id, sender.store_id, "e")


def ask(books: Books, sender: Sender, now: datetime = NOW, **wants: int) -> AllowancesWord:
    """Let a terminal ask for points (customer `C_1` is C-1), and return the hub's word."""
    return ask_for(books, sender, {name.replace("_", "-"): points for name, points in wants.items()}, now)


def ask_for(books: Books, sender: Sender, wants: Mapping[str, int], now: datetime = NOW) -> AllowancesWord:
    """Let a terminal ask for points of customers, and return the hub's word."""
    request = AllowancesRequest(want=tuple(Want(customer_id=one, points=points) for one, points in wants.items()))

    def work(connection: Any) -> AllowancesWord:
        refused = grant_all(connection, asker(sender), request, [], now)
        return word_for(connection, asker(sender), now, refused)

    return books.write(work)


def enrolled(books: Books, *senders: Sender) -> None:
    """Make the terminals known, as an enrolment does."""

    def work(connection: Any) -> None:
        for sender in senders:
            connection.execute(
                "INSERT INTO terminals (terminal_id, store_id, name, credential_hash, enrolled_ms, hello_ms, "
                "agent_version) VALUES (?, ?, '', ?, 0, ?, '')",
                (
                    sender.terminal_id,
                    sender.store_id,
                    sender.terminal_id.encode().ljust(32),
                    int(NOW.timestamp() * 1000),
                ),
            )

    books.write(work)
