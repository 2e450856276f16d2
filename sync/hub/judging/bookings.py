"""Bookings: accounts in memory, and the hub's own entries that keep them honest. Pure.

No account ever falls below what allowances hold of it. Points that a sale's reversal cannot take, because they are
spent or reserved, are owed: a debt, which is paid first by what the customer earns later. A debt stands beside the
events as an entry of its own, so that a balance is always the sum of the ledger.
"""

from dataclasses import dataclass, field

from sync.contract.allowance import free


@dataclass(frozen=True, slots=True)
class Entry:
    """A booking of the hub's own beside an event: `points` above 0 are owed from now on, below 0 they were paid."""

    event: int
    identifier: str
    points: int


@dataclass(kw_only=True, slots=True)
class Accounts:
    """The accounts that a run of events touches. A posting works on them in place.

    `owners` has an identifier only where it leads to exactly one customer; `closed` has those of people who were
    erased. `balances` and `reserved` are by customer, `tallies` and `debts` by identifier; `debts` has every identifier
    of these customers that owes. `is_recovering` while the hub does not know all allowances again after it was brought
    back from a backup: nobody can tell then which points are free, so none are. `grows_back`: whether an allowance gets
    back what a redemption's reversal frees. Not while the hub recovers, nor for what waited for the end of that: before
    the restore the points may have gone into another allowance, and terminals name all that they hold.
    """

    owners: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    tallies: dict[str, int] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    debts: dict[str, int] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    is_recovering: bool = False
    grows_back: bool = True
    touched_identifiers: set[str] = field(default_factory=set)
    touched_customers: set[str] = field(default_factory=set)

    def account(self, identifier: str) -> str:
        """Return whose the points on an identifier are: its customer's, or its own."""
        return self.owners.get(identifier, identifier)

    def is_nobodys(self, identifier: str) -> bool:
        """Tell whether the points on an identifier are an erased person's, which count nowhere."""
        return identifier in self.closed and identifier not in self.owners

    def posted(self, account: str) -> int:
        """Return the points of a customer, or of a bare identifier."""
        return self.balances[account] if account in self.balances else self.tallies.get(account, 0)

    def free(self, account: str) -> int:
        """Return the posted points that no allowance holds; never below 0, and none while the hub recovers."""
        return 0 if self.is_recovering else free(self.posted(account), self.reserved.get(account, 0))

    def post(self, identifier: str, points: int) -> None:
        """Add points to an identifier and to its customer."""
        self.tallies[identifier] = self.tallies.get(identifier, 0) + points
        self.touched_identifiers.add(identifier)
        owner = self.owners.get(identifier)
        if owner is not None:
            self.balances[owner] = self.balances.get(owner, 0) + points
            self.touched_customers.add(owner)

    def reserve(self, account: str, points: int) -> None:
        """Hold points of a customer back (or, below 0, let them go)."""
        self.reserved[account] = self.reserved.get(account, 0) + points
        self.touched_customers.add(account)

    def take(self, event: int, identifier: str, points: int) -> None:
        """Take points back that a sale had earned; what is not free is owed."""
        if self.is_nobodys(identifier):
            self.post(identifier, -points)
            return
        owed = points - min(points, self.free(self.account(identifier)))
        self.post(identifier, -points)
        if owed:
            self._owe(event, identifier, owed)

    def give(self, event: int, identifier: str, points: int) -> None:
        """Add points, and let them pay what their owner owes."""
        self.post(identifier, points)
        if self.debts and not self.is_nobodys(identifier):
            self.pay_debts(event, self.account(identifier), points)

    def pay_debts(self, event: int, account: str, points: int) -> int:
        """Let at most so many free points of an account pay what it owes; return how many did."""
        left = min(points, self.free(account))
        paid = 0
        for identifier in sorted(self.debts):
            part = min(self.debts[identifier], left - paid)
            if part > 0 and self.account(identifier) == account:
                self._owe(event, identifier, -part)
                paid += part
        return paid

    def _owe(self, event: int, identifier: str, points: int) -> None:
        self.entries.append(Entry(event, identifier, points))
        self.debts[identifier] = self.debts.get(identifier, 0) + points
        self.post(identifier, points)
