"""The wedge: how the page tells a scanner that types from a person who types. Values only; the page measures.

A scanner sends its keys a few milliseconds apart, and a person does not: a gap as long as a person's is never a scan.
"""

import unicodedata
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from sync.contract.events import Strict

# From 120 ms between keys on it is a person, whatever the settings say.
GAP_MS_MIN, GAP_MS_DEFAULT, GAP_MS_MAX = 20, 90, 119
AFFIX_CHARS_MAX = 16
# Shorter than any card, a product number or a receipt; a longer least length would lose them.
CHARS_MIN_MIN, CHARS_MIN_DEFAULT, CHARS_MIN_MAX = 3, 6, 16


class End(StrEnum):
    """The key that a scanner presses behind a code."""

    ENTER = "enter"
    TAB = "tab"
    ANY = "any"
    NONE = "none"


def _can_be_typed(text: str) -> str:
    """Refuse what no key types: control characters, half surrogate pairs, marks that turn the line around."""
    if any(unicodedata.category(character)[0] == "C" for character in text):
        raise ValueError("must hold no control characters")
    return text


Affix = Annotated[str, Field(max_length=AFFIX_CHARS_MAX), AfterValidator(_can_be_typed)]


class Scanner(Strict):
    """The scanner at this till's page: the longest pause within a code, what stands around it, and how it ends."""

    gap_ms: int = Field(default=GAP_MS_DEFAULT, ge=GAP_MS_MIN, le=GAP_MS_MAX, strict=True)
    prefix: Affix = ""
    suffix: Affix = ""
    end: End = End.ANY
    chars_min: int = Field(default=CHARS_MIN_DEFAULT, ge=CHARS_MIN_MIN, le=CHARS_MIN_MAX, strict=True)
