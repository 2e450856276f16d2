"""What an engine saw, and whether to believe it.

A false read is worse than none: it opens the wrong customer or names the wrong thing, while a missed one is simply
scanned again. The rules stand on 1,052 real photographs: which symbologies engines see where there are none, and how
such phantoms look.
"""

import re
from dataclasses import dataclass, field

from agent.codes import Symbology
from sync.contract.check_digits import UPC_E_DIGITS, gtin_valid, upc_e_to_upc_a

RETAIL = frozenset({Symbology.EAN_13, Symbology.EAN_8, Symbology.UPC_A, Symbology.UPC_E})
# Without a check of their own, or (retail) with one that both engines have been seen to satisfy with wrong digits.
WEAK = RETAIL | {Symbology.CODABAR, Symbology.CODE_39, Symbology.ITF}
# Nothing in an ITF code says where it ends: a part of one is a whole one, and retries return such parts.
UNTOUCHED_ONLY = frozenset({Symbology.ITF})
# One-character Code 39 and short ITF and Codabar are what engines see in textures and in other codes.
_CHARS_MIN = {
    Symbology.CODABAR: 6,
    Symbology.CODE_128: 3,
    Symbology.CODE_39: 6,
    Symbology.ITF: 6,
}
# zbar counts the scan lines that agree. Phantoms came from one line; real reads of these symbologies from more.
_LINES_MIN = {
    Symbology.CODABAR: 2,
    Symbology.CODE_39: 2,
    Symbology.EAN_13: 2,
    Symbology.EAN_8: 2,
    Symbology.ITF: 4,
    Symbology.UPC_A: 2,
    Symbology.UPC_E: 2,
}
_EAN_13_DIGITS = 13
_CODABAR_FRAME = re.compile(r"[A-D](.*)[A-D]", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Code:
    """One code in a picture. `text` may be anything, also somebody's bank card: only `agent.codes` says what it is."""

    text: str = field(repr=False)
    symbology: Symbology
    engine: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an engine reports: `lines` is the number of scan lines that agree, where the engine counts them."""

    text: str = field(repr=False)
    symbology: Symbology
    lines: int | None = None


def believed(sighting: Sighting, engine: str, *, untouched: bool) -> Code | None:
    """Return the code in the project's one way of writing it, or None where it is more likely a phantom.

    A GTIN-13 that begins with 0 is a UPC-A of 12 digits; a UPC-E comes expanded to 12; Codabar comes without its start
    and stop letters. `untouched` says that the engine saw the picture as it is, not a sharpened one.
    """
    text, symbology = sighting.text, sighting.symbology
    if symbology in RETAIL:
        text, symbology = _retail(text, symbology)
        if not gtin_valid(text):
            return None
    elif symbology is Symbology.CODABAR and (inner := _CODABAR_FRAME.fullmatch(text)):
        text = inner[1]
    elif symbology is Symbology.ITF and len(text) % 2:
        return None
    if symbology in UNTOUCHED_ONLY and not untouched:
        return None
    if len(text) < _CHARS_MIN.get(symbology, 1):
        return None
    if sighting.lines is not None and sighting.lines < _LINES_MIN.get(symbology, 0):
        return None
    return Code(text, symbology, engine)


def without_contradictions(first: list[Code], second: list[Code]) -> list[Code]:
    """Return what stays of `first`, all weak reads, after another engine saw `second` in the same picture.

    The second engine can confirm, add a code of a strong symbology, or contradict: where both see the same family of
    symbology and agree on not one text, neither is believed. It cannot add another weak read.
    """
    kept = [code for code in first if not _contradicted(code, first, second)]
    seen = {code.text for code in kept}
    return kept + [code for code in second if code.symbology not in WEAK and code.text not in seen]


def _retail(text: str, symbology: Symbology) -> tuple[str, Symbology]:
    if symbology is Symbology.UPC_E and len(text) == UPC_E_DIGITS:
        return upc_e_to_upc_a(text), symbology
    if len(text) == _EAN_13_DIGITS and text.startswith("0"):
        return text[1:], symbology if symbology is Symbology.UPC_E else Symbology.UPC_A
    return text, symbology


def _contradicted(code: Code, first: list[Code], second: list[Code]) -> bool:
    family = RETAIL if code.symbology in RETAIL else {code.symbology}
    ours = {other.text for other in first if other.symbology in family}
    theirs = {other.text for other in second if other.symbology in family}
    return bool(theirs) and ours.isdisjoint(theirs)
