"""The page's words as no translator wrote them, to see that any language fits.

The pseudo-locale is English that is 40 % longer, accented, and stands in brackets, so that a text that is cut or glued
to another is seen. The words from right to left are letters of Arabic in place of ours: enough to turn the page around.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping

LONGER = 0.4
DIRECTION = "page.dir"
_ACCENTS = str.maketrans("AEIOUYaeiouycnszgdlrt", "ÅÉÎØÛÝåéîøûýçñšžĝđłŕŧ")
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"
_PLACEHOLDER = re.compile(r"(\{\w+\})")
_VOWELS = "aeiouyAEIOUY"


def pseudo(catalogue: Mapping[str, str]) -> dict[str, str]:
    """Return the catalogue in the pseudo-locale; its placeholders stay."""
    return {key: text if key == DIRECTION else _pseudo_text(text) for key, text in catalogue.items()}


def right_to_left(catalogue: Mapping[str, str]) -> dict[str, str]:
    """Return the catalogue in letters that run from right to left, and its direction with it."""
    return {key: _each_part(text, _arabic_part) for key, text in catalogue.items()} | {DIRECTION: "rtl"}


def _pseudo_text(text: str) -> str:
    letters = len(_PLACEHOLDER.sub("", text))
    longer = math.ceil(letters * LONGER)
    vowels = sum(sign in _VOWELS for sign in _PLACEHOLDER.sub("", text))
    each, more = divmod(longer, vowels) if vowels else (0, 0)
    extra = itertools.chain(itertools.repeat(each + 1, more), itertools.repeat(each))

    def lengthen(part: str) -> str:
        return "".join(sign * (1 + next(extra)) if sign in _VOWELS else sign for sign in part).translate(_ACCENTS)

    return f"[{_each_part(text, lengthen)}{'' if vowels else '~' * longer}]"


def _arabic_part(part: str) -> str:
    return re.sub(r"[^\W\d_]", lambda found: _ARABIC[ord(found[0]) % len(_ARABIC)], part)


def _each_part(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if place % 2 else change(part) for place, part in enumerate(_PLACEHOLDER.split(text)))
