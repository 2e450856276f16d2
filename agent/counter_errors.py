"""Why the counter cannot do what it was asked, split by what the caller does next. Nothing was recorded."""


class CounterError(Exception):
    """Something cannot be done as asked; the type says what, the message says what to do."""


class NotACard(CounterError):
    """The card text of a sale is no card of ours; `kind` names what it is."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the card text is none of our card numbers but: {kind.replace('_', ' ')}")
        self.kind = kind


class CardIdUnknown(CounterError):
    """No card of this id was presented at this till, and it leads to nobody here."""

    def __init__(self) -> None:
        super().__init__("no card of this id was presented at this till; scan it, or send its number as card")


class ChoiceNeeded(CounterError):
    """The card leads to several customers."""

    def __init__(self) -> None:
        super().__init__("this card leads to several customers; send the customer_id of the one who is there")


class CardMismatch(CounterError):
    """The card does not lead to the customer that the sale names."""

    def __init__(self) -> None:
        super().__init__("this card does not lead to that customer; send one of the two, or scan again")


class CustomerUnknown(CounterError):
    """No customer of this id is known here."""

    def __init__(self) -> None:
        super().__init__("no customer of this id is known here; scan the card, or search")


class CurrencyRefused(CounterError):
    """The sale is in another currency than the program's."""

    def __init__(self, currency: str) -> None:
        super().__init__(f"points are counted in {currency} here; no other currency is credited")


class NoProgram(CounterError):
    """The hub has not given this till its rules yet."""

    def __init__(self) -> None:
        super().__init__("this till has no program yet; let it reach the hub once")


class SaleFromTheFuture(CounterError):
    """The hub's time proves that this lies more than a day ahead."""

    def __init__(self) -> None:
        super().__init__("occurred_at lies more than 24 hours ahead of the hub's time; check the clock that made it")
