"""What the hub reserves for the shop's till, and redemptions on it. Everything has a default that works."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.purse import Purse
from agent.redemptions import Payer, RedemptionDraft, RedemptionRequest, plan_redemption, plan_redemption_reversal
from agent.sales import Buyer, fingerprint
from agent.store import Store
from agent.store.entries import Recorded
from agent.store.spends import GivingBackEntry, RedemptionDecision, RedemptionEntry
from sync.contract.allowance import Allowance, AllowancesWord, NotGranted
from sync.contract.ledger import Balance
from sync.contract.program import Program
from tests.support import shop
from tests.support.shop import EPOCH, MORNING

DAY_S = 24 * 3600


def allowance(amount: int = 100, allowance_id: str = "a-1", customer_id: str = "c-1", **changes: Any) -> Allowance:
    fields: dict[str, Any] = {"spent": 0, "ttl_s": DAY_S, "recalled": False}
    return Allowance(allowance_id=allowance_id, customer_id=customer_id, amount=amount, **(fields | changes))


def word(
    *allowances: Allowance, applied: Mapping[str, int] | None = None, refused: tuple[NotGranted, ...] = ()
) -> AllowancesWord:
    return AllowancesWord(hub_epoch=EPOCH, allowances=allowances, applied=dict(applied or {}), refused=refused)


async def hear(store: Store, said: AllowancesWord, *, by_hello: bool = True) -> bool:
    """Let the store hear the hub's word."""
    return await store.allowances.asking(by_hello=by_hello)(said)


def redemption(redemption_id: str = "d-1", points: int | None = None, **changes: Any) -> RedemptionRequest:
    """A redemption of customer c-1's card: of a cookie for 50, unless a number of points is given."""
    reward = {"points": points} if points is not None else {"reward_id": "cookie"}
    fields: dict[str, Any] = {
        "redemption_id": redemption_id,
        "card": None if "customer_id" in changes else shop.card(),
        "occurred_at": MORNING,
        "staff_ref": "ann",
    }
    return RedemptionRequest(**(fields | reward | changes))


def entry(
    store: Store,
    redemption_id: str = "d-1",
    points: int | None = None,
    *,
    rules: Program | None = None,
    is_last_resort: bool = False,
) -> RedemptionEntry:
    """A redemption on card number 1 as the counter records it, with goodwill where it is the last resort."""
    request = redemption(redemption_id, points)
    subject = shop.card_id(shop.card())
    recorded_at = store.journal.stamp().recorded_at

    def decide() -> RedemptionDecision:
        (holder,) = store.holders.of_identifier(subject)

        def plan(before: Balance, purse: Purse) -> RedemptionDraft:
            payer = Payer(Buyer(subject, holder.customer_id), before, holder.basis.as_of)
            tried = replace(purse, is_last_resort=is_last_resort)
            return plan_redemption(request, rules or shop.program(), payer, tried, recorded_at=recorded_at)

        return RedemptionDecision(holder.basis, holder.customer_id, plan)

    return RedemptionEntry(redemption_id, fingerprint(request, subject), decide)


async def redeem(
    store: Store, redemption_id: str = "d-1", points: int | None = None, *, rules: Program | None = None
) -> Recorded:
    """Record a redemption on card number 1 as the counter does."""
    return await store.redeemer.redeem(entry(store, redemption_id, points, rules=rules), store.journal.stamp())


async def give_back(store: Store, reversal_id: str = "g-1", redemption_id: str = "d-1") -> Recorded:
    """Record the reversal of a redemption as the counter does."""
    request = shop.reversal(reversal_id)
    stamp = store.journal.stamp()
    entry = GivingBackEntry(
        reversal_id,
        redemption_id,
        fingerprint(request, redemption_id),
        lambda here: plan_redemption_reversal(redemption_id, request, here, flags=(), recorded_at=stamp.recorded_at),
    )
    return await store.redeemer.give_back(entry, stamp)


def left(store: Store, customer_id: str = "c-1") -> int:
    """What the allowances of a customer still cover at this till."""
    return store.allowances.purse(customer_id, [shop.card_id(shop.card())]).remaining
