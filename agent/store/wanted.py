"""What is wanted of a damaged till: its tables with their keys, in the order in which they are brought over."""

from dataclasses import dataclass

from sync.contract.events import EARNED, REDEEMED, REDEMPTION_REVERSED, REVERSED

# Rows read at once; a failure costs a connection, a small chunk a little time.
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its key, whether the keys are whole numbers, and the type of event that names its rows."""

    name: str
    key: str
    is_numbered: bool = True
    named_in: str | None = None


# `pending`, `spends` and `goodwill` follow from the journal. How long the hub has had events begins anew; so does its
# word on what this till may spend.
TABLES = (
    Table("journal", "position"),
    Table("bygone", "position"),
    Table("incarnations", "number"),
    Table("set_aside", "position"),
    Table("sales", "sale_id", is_numbered=False, named_in=EARNED),
    Table("reversals", "reversal_id", is_numbered=False, named_in=REVERSED),
    Table("redemptions", "redemption_id", is_numbered=False, named_in=REDEEMED),
    Table("redemption_reversals", "reversal_id", is_numbered=False, named_in=REDEMPTION_REVERSED),
    Table("presented", "id", is_numbered=False),
    Table("programs", "version"),
    Table("live_cache", "id"),
    Table("shift", "id"),
    Table("scanner", "id"),
)
