"""Identifiers: how a card, phone or e-mail leads to a customer without its value standing in any event.

Both ends must write a value the same way before they hash it, so the writing rules live here. The id is a keyed
hash: two tills that are offline agree on it for a card that neither has ever seen, and nobody without the hub's
key can turn it back into a phone number.
"""

import hashlib
import hmac
import re
from enum import StrEnum
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

# 128 bits of the hash: collisions stay out of reach for any number of customers, and an index entry stays small.
IDENTIFIER_ID_HEX_DIGITS = 32
IDENTIFIER_VALUE_CHARS_MAX = 254
# E.164 allows 15 digits; below 7 nothing is a subscriber number.
PHONE_DIGITS_MIN, PHONE_DIGITS_MAX = 7, 15
# North America: a national number has ten digits and follows country code 1.
_NATIONAL_DIGITS = 10

_PHONE = re.compile(r"\+?[0-9 ().\-]{7,25}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\"<>]{1,64}@[^@\s\x00-\x1f\"<>]{1,189}\.[^@\s\x00-\x1f\"<>.]{2,63}")
_CARD = re.compile(r"[0-9A-Z]{4,64}")


class Scheme(StrEnum):
    """The kinds of identifier a customer can be found by."""

    CARD = "card"
    PHONE = "phone"
    EMAIL = "email"


class Identifier(BaseModel):
    """A value that leads to a customer, as imported or as presented at the counter. Personal data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scheme: Scheme
    value: str = Field(min_length=1, max_length=IDENTIFIER_VALUE_CHARS_MAX)


def identifier_id(key: bytes, scheme: Scheme, value: str) -> str:
    """Return the opaque id of a normalised value: 32 hex digits of HMAC-SHA256(key, scheme NUL value).

    `key` is the hub's identifier key, given to each terminal when it is enrolled.
    """
    keyed = _keyed(key).copy()
    keyed.update(scheme.encode() + b"\0" + value.encode())
    return keyed.hexdigest()[:IDENTIFIER_ID_HEX_DIGITS]


def normalise(scheme: Scheme, text: str, *, country_code: str = "1") -> str | None:
    """Return the one way this value is written, or None where the text is no such value."""
    if scheme is Scheme.PHONE:
        return normalise_phone(text, country_code=country_code)
    if scheme is Scheme.EMAIL:
        return normalise_email(text)
    return normalise_card(text)


def normalise_phone(text: str, *, country_code: str = "1") -> str | None:
    """Return E.164 (`+15145550123`), or None. Ten digits without `+` get the shop's country code."""
    text = text.strip()
    if not _PHONE.fullmatch(text):
        return None
    digits = re.sub(r"\D", "", text)
    if not text.startswith("+"):
        if digits.startswith("00"):
            digits = digits[2:]
        elif len(digits) == _NATIONAL_DIGITS:
            digits = country_code + digits
    return f"+{digits}" if PHONE_DIGITS_MIN <= len(digits) <= PHONE_DIGITS_MAX else None


def normalise_email(text: str) -> str | None:
    """Return the address in lower case, or None. Lower case, because people write it either way at a counter."""
    text = text.strip().lower()
    return text if _EMAIL.fullmatch(text) else None


def normalise_card(text: str) -> str | None:
    """Return the card text without spaces and hyphens, in capitals, or None where it is no card text."""
    text = re.sub(r"[ \-]", "", text).upper()
    return text if _CARD.fullmatch(text) else None


def hint(scheme: Scheme, value: str) -> str:
    """Return just enough of a value to tell two customers apart: `•• 0123`, `j•••@example.com`."""
    if scheme is Scheme.EMAIL:
        name, _, domain = value.partition("@")
        return f"{name[:1]}•••@{domain}"
    return f"•• {value[-4:]}"


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return the hash with the key already in it: setting that up costs more than hashing a card number."""
    return hmac.new(key, digestmod=hashlib.sha256)
