"""What a scanned or typed text means: our card, a product, a web address, a bank card, or nothing we know.

Everything that enters at the counter is a claim by a stranger: a code can hold HTML, SQL, a formula, control
characters or somebody's bank card. So a text comes out of here only as one of a few typed values. `read` and
`read_query` never raise, whatever the text; what is not ours is named for what it is and never treated as a customer;
and no value keeps more of a foreign text than staff may see. What identifies a person stays out of `repr`, so that no
log can leak it.

A text is first written one way (`normalise`, which changes nothing the second time): terminators off, AIM symbology
identifier off and kept as a hint, control characters refused, Code 39 stars and Codabar start and stop letters off.
"""

import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import ClassVar, TypeAlias
from urllib.parse import urlsplit

from sync.contract.bank_cards import is_bank_number, masked, overlaps_bank_range, track_number
from sync.contract.check_digits import UPC_E_DIGITS, gtin_valid, luhn_digit, luhn_valid, upc_e_to_upc_a
from sync.contract.identifiers import normalise_email, normalise_phone

# Longer than any card text we know (a signed token has 142 characters); a paste of a whole page stops here.
TEXT_CHARS_MAX = 512
# Above 15 digits nothing is a phone number (E.164) or a product code (GTIN-14) any more; ISO/IEC 7812 ends at 19.
CARD_DIGITS_MIN, CARD_DIGITS_MAX = 16, 19
# So that a chain has at least a million numbers behind its prefix, and the check digit.
_SERIAL_DIGITS_MIN = 6
# A read that lost or gained up to this many digits still looks like ours: say "scan again", not "unknown".
_NEAR_MISS_DIGITS = 3
# A typed number shorter than this is a phone number, not a bank card: Visa gave up 13 digits long ago.
_TYPED_BANK_DIGITS_MIN = 14


class Symbology(StrEnum):
    """The printed languages we read. The names are those of the photograph set and of every answer in JSON."""

    AZTEC = "Aztec"
    CODABAR = "Codabar"
    CODE_128 = "Code128"
    CODE_39 = "Code39"
    CODE_93 = "Code93"
    DATABAR = "DataBar"
    DATA_MATRIX = "DataMatrix"
    EAN_13 = "EAN-13"
    EAN_8 = "EAN-8"
    ITF = "ITF"
    PDF417 = "PDF417"
    QR = "QR"
    UPC_A = "UPC-A"
    UPC_E = "UPC-E"


_SYMBOLOGIES = {symbology.value: symbology for symbology in Symbology}
_RETAIL = frozenset({Symbology.EAN_13, Symbology.EAN_8, Symbology.UPC_A, Symbology.UPC_E})
# ISO/IEC 15424: `]`, a letter, a modifier. Modifier 4 of E is EAN-8.
_AIM = re.compile(r"\]([A-Za-z])([0-9A-Za-z])")
_AIM_SYMBOLOGY = {
    "A": Symbology.CODE_39,
    "C": Symbology.CODE_128,
    "E": Symbology.EAN_13,
    "F": Symbology.CODABAR,
    "G": Symbology.CODE_93,
    "I": Symbology.ITF,
    "L": Symbology.PDF417,
    "Q": Symbology.QR,
    "d": Symbology.DATA_MATRIX,
    "e": Symbology.DATABAR,
    "z": Symbology.AZTEC,
}
# No-break spaces and the byte order mark come with pasted text. GS is a space to `str.strip()`, so it is never bare.
_ENDS = " \t\r\n\u00a0\u202f\ufeff"
# GS separates fields in GS1 codes, line ends and tabs stand inside contact cards; no number reaches across them.
_REFUSED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1c\x1e\x1f\x7f-\x9f\ud800-\udfff]")
_CODABAR = re.compile(r"[A-D]([0-9\-$:/.+]+)[A-D]", re.IGNORECASE)
_SPACED_DIGITS = re.compile(r"[0-9](?:[ \-\u00a0\u202f\u2011\u2013]?[0-9])*")
_NOT_DIGITS = re.compile(r"[^0-9]")
_WEB = re.compile(r"(?:https?://|www\.)[^\s\\]+", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_CONTACT_STARTS = ("BEGIN:VCARD", "MECARD:", "BIZCARD:", "MATMSG:", "MAILTO:", "TEL:", "SMS:", "SMSTO:")
_GTIN_14_DIGITS = 14
_COUPON_STARTS = ("98", "99", "05")  # GS1 refund receipts and coupons; UPC-A number system 5


class CardSchemeError(ValueError):
    """A configured card scheme cannot be used; the message says what to change."""


class Reason(StrEnum):
    """Why a text could not be used."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    CONTROL_CHARACTERS = "control_characters"
    CHECK_DIGIT = "check_digit"  # one of ours (or a product) with a wrong digit: scan again
    CARD_LENGTH = "card_length"  # begins like one of ours, with digits lost or gained: scan again


@dataclass(frozen=True, slots=True)
class CardScheme:
    """How a chain's own card numbers are built: `prefix`, serial, Luhn digit; `length` digits in all.

    The default prefix is 9 (national use) and 999 (left to users by ISO 3166-1), so no issuer can ever hold it.
    """

    prefix: str = "9990"
    length: int = CARD_DIGITS_MIN

    def __post_init__(self) -> None:
        """Refuse a scheme whose numbers could be taken for something else."""
        if not re.fullmatch(r"[0-9]+", self.prefix):
            raise CardSchemeError(f"card prefix {self.prefix!r} must be digits only, for example '9990'")
        if not CARD_DIGITS_MIN <= self.length <= CARD_DIGITS_MAX:
            raise CardSchemeError(f"card length {self.length} must be from {CARD_DIGITS_MIN} to {CARD_DIGITS_MAX}")
        if self.serial_digits < _SERIAL_DIGITS_MIN:
            raise CardSchemeError(f"card prefix {self.prefix!r} leaves no room for serial numbers: make it shorter")
        if overlaps_bank_range(self.prefix):
            raise CardSchemeError(f"card prefix {self.prefix!r} lies in a bank card range: choose another, like '9990'")

    @property
    def serial_digits(self) -> int:
        """How many digits stand between the prefix and the check digit."""
        return self.length - len(self.prefix) - 1


DEFAULT_SCHEME = CardScheme()


@dataclass(frozen=True, slots=True)
class CardNumber:
    """One of our own cards, with a right check digit."""

    kind: ClassVar[str] = "card"
    number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A product code, padded to 14 digits."""

    kind: ClassVar[str] = "product"
    gtin14: str


@dataclass(frozen=True, slots=True)
class Coupon:
    """A money-off coupon or refund receipt in a product code's clothes, padded to 14 digits."""

    kind: ClassVar[str] = "coupon"
    gtin14: str


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A web address, of which only the host is kept (lower case, punycode): the rest may carry anything."""

    kind: ClassVar[str] = "url"
    host: str


@dataclass(frozen=True, slots=True)
class BankCard:
    """A bank card; `masked` is all that is left of its number."""

    kind: ClassVar[str] = "bank_card"
    masked: str


@dataclass(frozen=True, slots=True)
class Wifi:
    """A Wi-Fi password; nothing of it is kept."""

    kind: ClassVar[str] = "wifi"


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody's contact card, or a mail, phone or message link; nothing of it is kept."""

    kind: ClassVar[str] = "contact"


@dataclass(frozen=True, slots=True)
class OtherText:
    """A text that means nothing here; nothing of it is kept."""

    kind: ClassVar[str] = "unknown"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A text that cannot be used at all, or a misread card."""

    kind: ClassVar[str] = "unreadable"
    reason: Reason


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone number in E.164, as the hub writes it."""

    kind: ClassVar[str] = "phone"
    e164: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail address in lower case, as the hub writes it."""

    kind: ClassVar[str] = "email"
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """Any other search text, with single spaces between its words."""

    kind: ClassVar[str] = "name"
    text: str = field(repr=False)


Meaning: TypeAlias = CardNumber | Product | Coupon | WebAddress | BankCard | Wifi | Contact | OtherText | Unreadable
Query: TypeAlias = CardNumber | Phone | Email | Name | BankCard | Unreadable


@dataclass(frozen=True, slots=True)
class Normal:
    """A text written one way, with what is known of the code it was printed in."""

    text: str = field(repr=False)
    symbology: Symbology | None


def read(text: str, symbology: str | None = None, scheme: CardScheme = DEFAULT_SCHEME) -> Meaning:
    """Return what a scanned or typed text means. Never raises.

    `symbology` is one of the names in `Symbology` where the reader knows it; any other name is no hint. A retail code
    is always a product, even where its digits could be a bank card's.
    """
    normal = normalise(text, symbology)
    if isinstance(normal, Unreadable):
        return normal
    if _SPACED_DIGITS.fullmatch(normal.text):
        return _read_number(normal, scheme)
    upper = normal.text.upper()
    if upper.startswith("WIFI:"):
        return Wifi()
    if upper.startswith(_CONTACT_STARTS):
        return Contact()
    account = track_number(normal.text)
    if account:
        own = _own_card(account, scheme)
        return own if isinstance(own, CardNumber) else BankCard(masked(account))
    return _read_web_address(normal.text) or OtherText()


def read_query(text: str, scheme: CardScheme = DEFAULT_SCHEME, country_code: str = "1") -> Query:
    """Return what staff typed into the search: a card, a phone, an e-mail, or else a name. Never raises.

    `country_code` is put before ten digits that come without `+`, as at the hub (`sync.contract.identifiers`).
    """
    normal = normalise(text)
    if isinstance(normal, Unreadable):
        return normal
    digits = _NOT_DIGITS.sub("", normal.text) if _SPACED_DIGITS.fullmatch(normal.text) else ""
    own = _own_card(digits, scheme)
    if own:
        return own
    if len(digits) >= _TYPED_BANK_DIGITS_MIN and is_bank_number(digits):
        return BankCard(masked(digits))
    account = track_number(normal.text)
    if account:
        return BankCard(masked(account))
    address = normalise_email(normal.text)
    if address:
        return Email(address)
    phone = normalise_phone(normal.text, country_code=country_code)
    return Phone(phone) if phone else Name(" ".join(normal.text.split()))


def normalise(text: str, symbology: str | None = None) -> Normal | Unreadable:
    """Return `text` written one way, or why it cannot be used. A second time changes nothing."""
    if len(text) > TEXT_CHARS_MAX:
        return Unreadable(Reason.TOO_LONG)
    known = _SYMBOLOGIES.get(symbology or "")
    before = None
    while text != before:
        before = text
        text = text.strip(_ENDS)
        if aim := _AIM.match(text):
            text = text[aim.end() :]
            known = Symbology.EAN_8 if aim[0] == "]E4" else _AIM_SYMBOLOGY.get(aim[1], known)
        text = _without_frame(text, known)
    if not text:
        return Unreadable(Reason.EMPTY)
    return Unreadable(Reason.CONTROL_CHARACTERS) if _REFUSED.search(text) else Normal(text, known)


def make_card_number(serial: int, scheme: CardScheme = DEFAULT_SCHEME) -> str:
    """Return the card number with that serial (from 0), ending in its Luhn digit.

    Raises:
        ValueError: the scheme has no such serial.
    """
    if not 0 <= serial < 10**scheme.serial_digits:
        raise ValueError(f"serial {serial} does not fit: the scheme has {scheme.serial_digits} digits for it")
    payload = f"{scheme.prefix}{serial:0{scheme.serial_digits}d}"
    return payload + luhn_digit(payload)


def grouped(number: str) -> str:
    """Return a card number as it is printed, in groups of four."""
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def to_json(meaning: Meaning | Query) -> dict[str, str]:
    """Return the meaning as JSON members: `kind`, and what the value holds under its own names."""
    return {"kind": meaning.kind, **asdict(meaning)}


def _without_frame(text: str, symbology: Symbology | None) -> str:
    """Take off what frames a text in its symbology and is no part of it."""
    if symbology is Symbology.CODE_39 and len(text) > 1 and text[0] == text[-1] == "*":
        return text[1:-1]
    if symbology is Symbology.CODABAR and (inner := _CODABAR.fullmatch(text)):
        return inner[1]
    return text


def _read_number(normal: Normal, scheme: CardScheme) -> Meaning:
    digits = _NOT_DIGITS.sub("", normal.text)
    if normal.symbology in _RETAIL:
        return _read_retail(digits, normal.symbology)
    own = _own_card(digits, scheme)
    if isinstance(own, CardNumber):
        return own
    bank = is_bank_number(digits)
    # Fourteen digits can be both, and only ITF says "carton". With fewer digits, products are commoner by far.
    doubtful = bank and len(digits) == _GTIN_14_DIGITS and normal.symbology is not Symbology.ITF
    if digits == normal.text and gtin_valid(digits) and not doubtful:
        return _product_or_coupon(digits)
    if bank:
        return BankCard(masked(digits))
    return own or OtherText()


def _own_card(digits: str, scheme: CardScheme) -> CardNumber | Unreadable | None:
    """Return the card, why it is a misread one, or None where the digits are not ours at all."""
    if not digits.startswith(scheme.prefix) or abs(len(digits) - scheme.length) > _NEAR_MISS_DIGITS:
        return None
    if len(digits) != scheme.length:
        return Unreadable(Reason.CARD_LENGTH)
    return CardNumber(digits) if luhn_valid(digits) else Unreadable(Reason.CHECK_DIGIT)


def _read_retail(digits: str, symbology: Symbology | None) -> Meaning:
    if symbology is Symbology.UPC_E and len(digits) == UPC_E_DIGITS:
        digits = upc_e_to_upc_a(digits)
    return _product_or_coupon(digits) if gtin_valid(digits) else Unreadable(Reason.CHECK_DIGIT)


def _product_or_coupon(digits: str) -> Product | Coupon:
    gtin14 = digits.zfill(_GTIN_14_DIGITS)
    return Coupon(gtin14) if gtin14[0] == "0" and gtin14[1:].startswith(_COUPON_STARTS) else Product(gtin14)


def _read_web_address(text: str) -> WebAddress | None:
    if not _WEB.fullmatch(text):
        return None
    try:
        host = urlsplit(text if "://" in text else f"//{text}").hostname or ""
        host = host.encode("idna").decode("ascii").lower()
    except ValueError:  # a broken [address] or a name that cannot be encoded: no web address
        return None
    return WebAddress(host) if _HOST.fullmatch(host) else None
