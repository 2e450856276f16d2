"""Words on a drawn card, in English and French, with the one font that Pillow always has.

That font (Aileron) stops at ASCII and a few quotes. Another font from the system would make cards differ from machine
to machine and fail on a bare one, so accents are drawn here, over or under the plain letter.
"""

import unicodedata

from PIL import ImageDraw, ImageFont

# Letters that do not fall apart into a plain letter and a mark, written as where there is no better.
_PLAIN = str.maketrans({"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})
_BEYOND_ASCII = frozenset("«»°·“”…\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}")
_UNKNOWN = "?"
_ELLIPSIS = "…"
# Strokes of each mark in units of the letter size; x from the middle of the letter, y from just above (or below) it.
_ABOVE = {
    "\N{COMBINING GRAVE ACCENT}": (((0.04, 0.0), (-0.07, -0.14)),),
    "\N{COMBINING ACUTE ACCENT}": (((-0.04, 0.0), (0.07, -0.14)),),
    "\N{COMBINING CIRCUMFLEX ACCENT}": (((-0.12, 0.0), (0.0, -0.13), (0.12, 0.0)),),
    "\N{COMBINING CARON}": (((-0.12, -0.13), (0.0, 0.0), (0.12, -0.13)),),
    "\N{COMBINING TILDE}": (((-0.14, -0.02), (-0.06, -0.09), (0.06, -0.02), (0.14, -0.09)),),
    "\N{COMBINING DIAERESIS}": (((-0.13, -0.04), (-0.08, -0.04)), ((0.08, -0.04), (0.13, -0.04))),
    "\N{COMBINING RING ABOVE}": (((0.0, 0.0), (-0.06, -0.06), (0.0, -0.12), (0.06, -0.06), (0.0, 0.0)),),
}
_BELOW = {
    "\N{COMBINING CEDILLA}": (((0.0, 0.0), (0.0, 0.04), (0.06, 0.09), (0.0, 0.15), (-0.07, 0.14)),),
}
_GAP = 0.07
_STROKE = 0.07
_LETTERS_WITH_A_DOT = "ij"

Strokes = tuple[tuple[tuple[float, float], ...], ...]


def shortened(text: str, size: int, width_max: int) -> str:
    """Return `text`, cut with an ellipsis where it is wider than `width_max` pixels at `size`."""
    font, text = _font(size), unicodedata.normalize("NFC", text)
    if _width(font, text) <= width_max:
        return text
    while text and _width(font, text + _ELLIPSIS) > width_max:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, *, ink: int = 0, paper: int = 255
) -> None:
    """Write `text` from `at` (left end of the base line, pixels); a letter that cannot be drawn becomes a `?`."""
    font = _font(size)
    x, base_line = float(at[0]), at[1]
    for letter, marks in _letters(text):
        draw.text((x, base_line), letter, font=font, fill=ink, anchor="ls")
        left, top, right, bottom = font.getbbox(letter, anchor="ls")
        if letter in _LETTERS_WITH_A_DOT and any(mark in _ABOVE for mark in marks):
            x_height = font.getbbox("x", anchor="ls")[1]
            draw.rectangle((x + left, base_line + top, x + right, base_line + x_height - 1), fill=paper)
            top = x_height
        middle = x + (left + right) / 2
        for mark in marks:
            if mark in _ABOVE:
                _stroke(draw, _ABOVE[mark], (middle, base_line + top - _GAP * size), size, ink)
            elif mark in _BELOW:
                _stroke(draw, _BELOW[mark], (middle, base_line + bottom), size, ink)
        x += font.getlength(letter)


def _stroke(draw: ImageDraw.ImageDraw, strokes: Strokes, origin: tuple[float, float], size: int, ink: int) -> None:
    for points in strokes:
        line = [(origin[0] + x * size, origin[1] + y * size) for x, y in points]
        draw.line(line, fill=ink, width=max(1, round(_STROKE * size)), joint="curve")


def _letters(text: str) -> list[tuple[str, str]]:
    """Return each letter that the font has, with the marks that stand on it."""
    letters: list[tuple[str, str]] = []
    for character in unicodedata.normalize("NFD", text.translate(_PLAIN)):
        if unicodedata.combining(character):
            if letters:
                letters[-1] = (letters[-1][0], letters[-1][1] + character)
        elif (character.isascii() and character.isprintable()) or character in _BEYOND_ASCII:
            letters.append((character, ""))
        else:
            letters.append((_UNKNOWN, ""))
    return letters


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType: install the wheel of the lock file")
    return font


def _width(font: ImageFont.FreeTypeFont, text: str) -> float:
    return sum(font.getlength(letter) for letter, _ in _letters(text))
