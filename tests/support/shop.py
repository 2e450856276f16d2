"""A small shop for tests: its program, its customers, their cards, its sales, and what the hub says of them.

Everything has a default that works; a test names only what it is about.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from agent.codes import make_card_number
from agent.sales import Buyer, ReversalRequest, SaleRequest, fingerprint, plan_reversal, plan_sale
from agent.store import Store, damage, open_store
from agent.store.entries import Decision, Recorded, ReversalEntry, SaleEntry
from agent.store.files import till_file
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.customers import (
    Consent,
    Customer,
    IdentifierRef,
    LifetimeValue,
    Offer,
    Preference,
    Purpose,
    Wording,
)
from sync.contract.events import Flag
from sync.contract.identifiers import Identifier, Scheme, hint, identifier_id
from sync.contract.ledger import Balance
from sync.contract.program import EarnRule, Program, Reward, Tier, ValueBand
from sync.contract.protocol import (
    CardPut,
    Change,
    CustomerPut,
    FeedPage,
    Outcome,
    PresentedIdentifier,
    SnapshotChunk,
    SnapshotManifest,
    UploadAnswer,
    Verdict,
)
from sync.pump.ports import Batch
from sync.runtime.clock import Clock
from sync.runtime.sqlite_file import DatabaseFile
from tests.support.clock import FakeClock

DATABASE_KEY = bytes(range(32))
IDENTIFIER_KEY = bytes(range(32, 64))
TERMINAL_ID = "till-1"
STORE_ID = "store-1"
INC = "00000000000000a1"
EPOCH = "epoch-1"
MORNING = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
TODAY = date(2026, 3, 9)


def wording(text: str) -> Wording:
    return Wording(en=text, fr=f"{text} (fr)")


def program(version: int = 1, **changes: Any) -> Program:
    """One point a dollar; a cookie at 50 points, a coffee at 100."""
    return Program(
        version=version,
        currency="CAD",
        earn=EarnRule(points=1, per_minor=100),
        rewards=(
            Reward(reward_id="cookie", points=50, text=wording("Free cookie")),
            Reward(reward_id="coffee", points=100, text=wording("Free coffee")),
        ),
        tiers=(Tier(tier="gold", text=wording("Gold")), Tier(tier="silver", text=wording("Silver"))),
        value_bands=(
            ValueBand(band="new", from_minor=0, text=wording("New")),
            ValueBand(band="loyal", from_minor=50_000, text=wording("Loyal")),
        ),
    ).model_copy(update=changes)


def card(serial: int = 1) -> str:
    """The number of one of the shop's own cards."""
    return make_card_number(serial)


def card_id(number: str) -> str:
    return identifier_id(IDENTIFIER_KEY, Scheme.CARD, number)


def ref(scheme: Scheme, value: str) -> IdentifierRef:
    """An identifier as a terminal holds it; `value` is written as the hub writes it."""
    return IdentifierRef(id=identifier_id(IDENTIFIER_KEY, scheme, value), scheme=scheme.value, hint=hint(scheme, value))


def agreed(*purposes: Purpose, granted: bool = True, on: datetime = MORNING) -> tuple[Consent, ...]:
    return tuple(
        Consent(purpose=purpose, granted=granted, decided_at=on, wording_version="c-1", language="en")
        for purpose in purposes
    )


def offer(offer_id: str = "offer-1", **changes: Any) -> Offer:
    return Offer(offer_id=offer_id, text=wording("A free refill"), reason=wording("You come often")).model_copy(
        update=changes
    )


def customer(customer_id: str = "c-1", **changes: Any) -> Customer:
    """Marie Tremblay, who speaks French, agrees to nothing, and has no offer."""
    return Customer(
        customer_id=customer_id, given_name="Marie", family_name="Tremblay", language="fr", tier="gold"
    ).model_copy(update=changes)


def whole_customer(customer_id: str = "c-1", **changes: Any) -> Customer:
    """Marie with everything a customer can have, and consent to all of it."""
    everything: dict[str, Any] = {
        "called": "Mimi",
        "last_visit_on": date(2026, 3, 1),
        "preferences": (Preference(text=wording("Oat flat white"), source="staff", noted_on=date(2026, 1, 5)),),
        "clv": LifetimeValue(amount_minor=120_000, currency="CAD", as_of=date(2026, 2, 1), model="m-1"),
        "offers": (offer(),),
        "consents": agreed(*Purpose),
    }
    return customer(customer_id, **(everything | changes))


def put(
    who: Customer | None = None, points: int = 100, identifiers: Sequence[IdentifierRef] | None = None
) -> CustomerPut:
    """The customer as the feed brings them; without identifiers given, with card number 1."""
    refs = (ref(Scheme.CARD, card()),) if identifiers is None else tuple(identifiers)
    return CustomerPut(customer=who or customer(), identifiers=refs, points=points)


def cursor(position: int, epoch: str = EPOCH) -> str:
    return write_cursor(FeedCursor(epoch, position))


def page(*changes: Change, position: int = 1, covered: Mapping[str, int] | None = None, **more: Any) -> FeedPage:
    """A page of the feed that ends at `position`."""
    fields: dict[str, Any] = {
        "hub_epoch": EPOCH,
        "changes": changes,
        "covered": dict(covered or {}),
        "cursor": cursor(position),
        "more": False,
        "as_of": MORNING,
    }
    return FeedPage(**(fields | more))


def chunk(*rows: CustomerPut | CardPut) -> bytes:
    """One chunk of a snapshot, as it lies at the hub."""
    return gzip.compress("".join(row.model_dump_json() + "\n" for row in rows).encode(), mtime=0)


def manifest(chunks: Iterable[bytes] = (), position: int = 1, **changes: Any) -> SnapshotManifest:
    """The manifest of a whole snapshot of these chunks."""
    named = tuple(
        SnapshotChunk(number=number, rows=_rows_in(data), sha256=hashlib.sha256(data).hexdigest())
        for number, data in enumerate(chunks, start=1)
    )
    fields: dict[str, Any] = {
        "snapshot_id": "snapshot-1",
        "hub_epoch": EPOCH,
        "cursor": cursor(position),
        "covered": {},
        "program": program(),
        "as_of": MORNING,
        "chunks": named,
        "complete": True,
    }
    return SnapshotManifest(**(fields | changes))


def _rows_in(chunk: bytes) -> int:
    """Count the rows of a chunk, none in what is no chunk."""
    try:
        return gzip.decompress(chunk).count(b"\n")
    except (OSError, EOFError, zlib.error):
        return 0


def sale(sale_id: str = "s-1", *net_minor: int, **changes: Any) -> SaleRequest:
    """A sale on card number 1, of one line of 15.00 unless other amounts are given."""
    amounts = net_minor or (1_500,)
    fields: dict[str, Any] = {
        "sale_id": sale_id,
        "card": None if "customer_id" in changes else card(),
        "lines": tuple({"quantity": "1", "net_minor": amount} for amount in amounts),
        "net_minor": sum(amounts),
        "tax_minor": 0,
        "currency": "CAD",
        "occurred_at": MORNING,
        "staff_ref": "ann",
    }
    return SaleRequest(**(fields | changes))


def reversal(reversal_id: str = "r-1", **changes: Any) -> ReversalRequest:
    fields: dict[str, Any] = {"reversal_id": reversal_id, "occurred_at": MORNING, "staff_ref": "ann"}
    return ReversalRequest(**(fields | changes))


def verdicts(*results: Verdict, epoch: str = EPOCH) -> UploadAnswer:
    return UploadAnswer(
        hub_epoch=epoch, applied_through=max((verdict.seq for verdict in results), default=0), results=results
    )


def open_till(folder: Path, clock: Clock | None = None, inc: str = INC) -> AbstractAsyncContextManager[Store]:
    """The store of the shop's till, as one process start opens it."""
    return open_store(
        folder, DATABASE_KEY, terminal_id=TERMINAL_ID, store_id=STORE_ID, clock=clock or FakeClock(MORNING), inc=inc
    )


def salvage(folder: Path) -> None:
    """Let the till's file go the way of a damaged one."""
    till = till_file(folder, DATABASE_KEY)
    fresh = DatabaseFile(folder / "till.db.salvaged", till.application_id, till.migrations, till.key)
    damage._salvage(till, fresh, MORNING)
    damage._swap(till.path, fresh.path, MORNING)


async def credit(store: Store, sale_id: str = "s-1", net_minor: int = 1_500, number: str | None = None) -> Recorded:
    """Record a sale on a card as the counter does, by the shop's program."""
    number = number or card()
    request = sale(sale_id, net_minor, card=number)
    presented = PresentedIdentifier(id=card_id(number), identifier=Identifier(scheme=Scheme.CARD, value=number))
    stamp = store.journal.stamp()

    def decide() -> Decision:
        holders = store.holders.of_identifier(presented.id)
        holder = holders[0] if len(holders) == 1 else None
        basis = holder.basis if holder else store.holders.card(presented.id)
        flags = () if holders else (Flag.CARD_UNKNOWN,)
        buyer = Buyer(presented.id, holder.customer_id if holder else None, flags)
        return Decision(
            basis,
            lambda before: plan_sale(
                request, program(), buyer, before, as_of=basis.as_of, recorded_at=stamp.recorded_at
            ),
            None if holders else presented,
        )

    return await store.journal.record_sale(SaleEntry(sale_id, fingerprint(request, presented.id), decide), stamp)


async def take_back(store: Store, reversal_id: str = "r-1", sale_id: str = "s-1") -> Recorded:
    """Record a reversal as the counter does."""
    request = reversal(reversal_id)
    stamp = store.journal.stamp()
    entry = ReversalEntry(
        reversal_id,
        sale_id,
        fingerprint(request, sale_id),
        lambda here: plan_reversal(sale_id, request, here, flags=(), recorded_at=stamp.recorded_at),
    )
    return await store.journal.record_reversal(entry, stamp)


def balance(store: Store, number: str | None = None) -> Balance:
    """The points that a card's customer has here, or the card itself."""
    found = store.customers.by_identifier(card_id(number or card()))
    return found.people[0].account.balance if len(found.people) == 1 else found.card.balance


async def settle_all(store: Store, outcomes: Mapping[int, Verdict] | None = None) -> Batch | None:
    """Let the hub apply the next batch; `outcomes` are the verdicts that differ, by seq."""
    batch = await store.journal.next_batch(500, 1_000_000)
    if batch is not None:
        seqs = range(batch.first, batch.last + 1)
        await store.journal.settle(
            batch.inc,
            verdicts(*((outcomes or {}).get(seq, Verdict(seq=seq, outcome=Outcome.APPLIED)) for seq in seqs)),
        )
    return batch
