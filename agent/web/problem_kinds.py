"""The problems of the local API that are about the counter: each error of a flow, as RFC 9457 has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import counter_errors
from agent.redemptions import NotSpendable, RewardUnknown
from agent.store.entries import ReversalIdReused, SaleIdReused
from agent.store.spends import GivingBackIdReused, RedemptionIdReused
from agent.web import access
from sync.runtime import problems
from sync.runtime.problems import Kind, Problem
from sync.runtime.sqlite_file import DatabaseError, DatabaseFull

CARD_ID_UNKNOWN = Kind(404, "card_id_unknown", "No card of this id was presented at this till.")
CARD_MISMATCH = Kind(409, "card_mismatch", "The card and the customer_id do not belong together.")
CHOICE_NEEDED = Kind(409, "choice_needed", "The card leads to several customers; name one by its customer_id.")
CURRENCY_REFUSED = Kind(422, "currency_refused", "The sale is in another currency than the program's.")
CUSTOMER_UNKNOWN = Kind(404, "customer_unknown", "No customer of this id is known at this till.")
DISK_FULL = Kind(507, "disk_full", "The disk is full: nothing was recorded; free some space and send it again.")
NOT_SPENDABLE = Kind(409, "not_spendable", "So many points cannot be used at this till now; see spendable and reason.")
NOT_A_CARD = Kind(422, "not_a_card", "The card text is none of the chain's card numbers.")
NO_PROGRAM = Kind(503, "no_program", "The hub has not given this till its rules yet.")
REDEMPTION_ID_REUSED = Kind(409, "redemption_id_reused", "Another redemption was recorded under this redemption_id.")
REVERSAL_ID_REUSED = Kind(409, "reversal_id_reused", "Another reversal was recorded under this reversal_id.")
REWARD_UNKNOWN = Kind(422, "reward_unknown", "The program has no reward of this id.")
SALE_FROM_THE_FUTURE = Kind(
    422, "sale_from_the_future", "occurred_at lies ahead of the till's clock, and over 24 hours ahead of the hub's."
)
SALE_ID_REUSED = Kind(409, "sale_id_reused", "Another sale was recorded under this sale_id.")
STORAGE_FAILED = Kind(503, "storage_failed", "The till's database refused: nothing was recorded; send it again.")
TOO_MANY_SEARCHES = Kind(429, "too_many_searches", "More searches than this till allows in a minute; wait a little.")

KINDS = (
    CARD_ID_UNKNOWN,
    CARD_MISMATCH,
    CHOICE_NEEDED,
    CURRENCY_REFUSED,
    CUSTOMER_UNKNOWN,
    DISK_FULL,
    NOT_A_CARD,
    NOT_SPENDABLE,
    NO_PROGRAM,
    REDEMPTION_ID_REUSED,
    REVERSAL_ID_REUSED,
    REWARD_UNKNOWN,
    SALE_FROM_THE_FUTURE,
    SALE_ID_REUSED,
    STORAGE_FAILED,
    TOO_MANY_SEARCHES,
)

# What every route with a body may answer, and every route that writes.
BODY = (problems.BODY_NOT_JSON, problems.BODY_TOO_LARGE, problems.BODY_INVALID)
STORAGE = (DISK_FULL, STORAGE_FAILED)

# Every code that this till can answer, with its meaning; the README's table is tested against it.
CODES = problems.codes([*problems.KINDS, *access.KINDS, *KINDS])

_BY_ERROR: tuple[tuple[type[Exception], Kind], ...] = (
    (counter_errors.CardIdUnknown, CARD_ID_UNKNOWN),
    (counter_errors.CardMismatch, CARD_MISMATCH),
    (counter_errors.ChoiceNeeded, CHOICE_NEEDED),
    (counter_errors.CurrencyRefused, CURRENCY_REFUSED),
    (counter_errors.CustomerUnknown, CUSTOMER_UNKNOWN),
    (counter_errors.NoProgram, NO_PROGRAM),
    (counter_errors.NotACard, NOT_A_CARD),
    (counter_errors.SaleFromTheFuture, SALE_FROM_THE_FUTURE),
    (SaleIdReused, SALE_ID_REUSED),
    (ReversalIdReused, REVERSAL_ID_REUSED),
    (RedemptionIdReused, REDEMPTION_ID_REUSED),
    (GivingBackIdReused, REVERSAL_ID_REUSED),
    (NotSpendable, NOT_SPENDABLE),
    (RewardUnknown, REWARD_UNKNOWN),
    (DatabaseFull, DISK_FULL),
    (DatabaseError, STORAGE_FAILED),
)
_ERRORS = tuple(error for error, _ in _BY_ERROR)


@contextmanager
def as_problems() -> Iterator[None]:
    """Raise what a flow raises within the block as the problem that stands for it."""
    try:
        yield
    except _ERRORS as error:
        kind = next(kind for kinds, kind in _BY_ERROR if isinstance(error, kinds))
        raise Problem(kind, _detail(error), members=_members(error)) from error


def _members(error: Exception) -> dict[str, Any] | None:
    if isinstance(error, NotSpendable):
        return {
            "asked": error.asked,
            "spendable": error.spendable,
            "waiting": error.waiting,
            "reason": error.reason.value,
        }
    return {"meaning": error.kind} if isinstance(error, counter_errors.NotACard) else None


def _detail(error: Exception) -> str:
    """Return our own words; those of the database name files, which are nobody's business here."""
    return "" if isinstance(error, DatabaseError) else str(error)
