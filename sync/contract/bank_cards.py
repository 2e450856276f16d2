"""How a bank card is told from everything else, so that its number goes no further than this.

A bank card can be swiped, scanned or typed at the counter by mistake. It must be named, never treated as a customer,
and never shown, stored or logged: only the masked form leaves this room. The ranges also fence our own card numbers
off: a prefix inside one of them is refused, so that no card of ours can ever be taken for money.
"""

import re
from typing import NamedTuple

from sync.contract.check_digits import luhn_valid


class Range(NamedTuple):
    """Issuer numbers `first` to `last` (equally long digits), with the card lengths they are given out in."""

    first: str
    last: str
    digits_min: int
    digits_max: int


# Public issuer ranges of ISO/IEC 7812 numbers, wide rather than narrow: a miss would store a bank card.
RANGES = (
    Range("1", "1", 15, 15),  # UATP, airlines
    Range("1946", "1946", 16, 16),  # GPN
    Range("2200", "2205", 16, 19),  # Mir, Borica
    Range("2221", "2720", 16, 16),  # Mastercard
    Range("300", "305", 14, 19),  # Diners Club
    Range("309", "309", 14, 19),  # Diners Club
    Range("34", "34", 15, 15),  # American Express
    Range("3528", "3589", 16, 19),  # JCB
    Range("36", "36", 14, 19),  # Diners Club
    Range("37", "37", 15, 15),  # American Express
    Range("38", "39", 14, 19),  # Diners Club
    Range("4", "4", 13, 19),  # Visa
    Range("50", "50", 12, 19),  # Maestro, Dankort, Verve, RuPay
    Range("51", "55", 16, 16),  # Mastercard
    Range("56", "69", 12, 19),  # Maestro, Discover, UnionPay, RuPay, InterPayment
    Range("81", "82", 16, 19),  # UnionPay, RuPay
    Range("8600", "8600", 16, 16),  # Uzcard
    Range("9051", "9051", 16, 16),  # ArCa
    Range("9112", "9112", 16, 16),  # Belkart
    Range("9417", "9417", 16, 16),  # Elcard
    Range("9704", "9704", 16, 19),  # Napas
    Range("9792", "9792", 16, 16),  # Troy
    Range("9804", "9804", 16, 16),  # Prostir
    Range("9860", "9860", 16, 16),  # Humo
)

# Track 1 begins `%B`, track 2 `;` (ISO/IEC 7813). A reader set to drop sentinels sends the text without them.
_TRACK_1 = re.compile(r"(?:^|%)B([0-9][0-9 ]{10,21}[0-9])\^", re.IGNORECASE)
_TRACK_2 = re.compile(r"(?:^|;)([0-9]{12,19})=[0-9]{4}")
_NUMBER_IN_TEXT = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")


def is_bank_number(digits: str) -> bool:
    """Say whether ASCII `digits` are a bank card number: its issuer's range, its length, and a right Luhn digit."""
    return any(
        bank.first <= digits[: len(bank.first)] <= bank.last and bank.digits_min <= len(digits) <= bank.digits_max
        for bank in RANGES
    ) and luhn_valid(digits)


def track_number(text: str) -> str | None:
    """Return the account number of a magnetic stripe's track 1 or 2, or None where `text` is no such track."""
    found = _TRACK_1.search(text) or _TRACK_2.search(text)
    return found[1].replace(" ", "") if found else None


def overlaps_bank_range(prefix: str) -> bool:
    """Say whether any number that begins with `prefix` (ASCII digits) could lie in a bank range, at any length."""
    return any(
        prefix.ljust(len(bank.first), "0")[: len(bank.first)] <= bank.last
        and prefix.ljust(len(bank.first), "9")[: len(bank.first)] >= bank.first
        for bank in RANGES
    )


def masked(number: str) -> str:
    """Return the only form of a bank card number that may be shown: `•••• 1234`."""
    return f"•••• {number[-4:]}"


def hide_bank_numbers(text: str) -> str:
    """Return `text` with each bank card number of 13 digits and more inside it masked."""

    def hide(found: re.Match[str]) -> str:
        digits = re.sub(r"[ -]", "", found[0])
        return masked(digits) if is_bank_number(digits) else found[0]

    return _NUMBER_IN_TEXT.sub(hide, text)
