"""A loyalty card as a picture: QR and Code 128 of the same number, and the number to read aloud.

The QR is version 1, level M, digits only: readable at 80 camera pixels, by every engine, on every keyboard layout. Dark
on light with full quiet zones, because not every scanner reads inverted codes.
"""

from io import BytesIO

import qrcode
from PIL import Image, ImageDraw
from qrcode.constants import ERROR_CORRECT_M

from agent.codes import CARD_DIGITS_MAX, CARD_DIGITS_MIN, grouped
from agent.imaging import lettering

try:
    import zxingcpp
except ImportError:  # it draws the Code 128; without it the card has its QR alone
    zxingcpp = None  # type: ignore[assignment]

# A plastic card (ISO/IEC 7810 ID-1: 85.6 x 54 mm) at 300 dots per inch.
WIDTH, HEIGHT, DOTS_PER_INCH = 1012, 638, 300
_MARGIN = 40
_INK, _PAPER = 0, 255
_CAPTION_SIZE, _NUMBER_SIZE = 52, 54
_CAPTION_LINE, _NUMBER_LINE = 104, 560
_CODES_TOP = 150
_QR_MODULE, _QR_QUIET_MODULES = 11, 4
_BAR_MODULE_MAX, _BAR_HEIGHT = 4, 210
_BAR_TOP = _CODES_TOP + 54


def draw_card(number: str, caption: str | None = None) -> bytes:
    """Return a card as PNG: `number` (16 to 19 digits) as QR, as Code 128 and in groups of four, `caption` above.

    The same arguments always give the same bytes with the same library versions. A caption too wide is cut.

    Raises:
        ValueError: `number` is not 16 to 19 ASCII digits.
    """
    if not (number.isascii() and number.isdigit() and CARD_DIGITS_MIN <= len(number) <= CARD_DIGITS_MAX):
        raise ValueError(f"a card number has {CARD_DIGITS_MIN} to {CARD_DIGITS_MAX} digits and nothing else")
    card = Image.new("L", (WIDTH, HEIGHT), _PAPER)
    draw = ImageDraw.Draw(card)
    draw.rounded_rectangle((2, 2, WIDTH - 3, HEIGHT - 3), radius=36, outline=160, width=3)
    if caption:
        room = WIDTH - 2 * _MARGIN
        words = lettering.shortened(caption, _CAPTION_SIZE, room)
        lettering.write(draw, (_MARGIN, _CAPTION_LINE), words, _CAPTION_SIZE)
    qr = _draw_qr(number)
    card.paste(qr, (_MARGIN // 2, _CODES_TOP))
    if zxingcpp is not None:
        bars = _draw_code_128(number, width_max=WIDTH - _MARGIN - qr.width)
        card.paste(bars, (WIDTH - bars.width - _MARGIN // 2, _BAR_TOP))
    lettering.write(draw, (_MARGIN, _NUMBER_LINE), grouped(number), _NUMBER_SIZE)
    png = BytesIO()
    card.save(png, "PNG", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return png.getvalue()


def _draw_qr(number: str) -> Image.Image:
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=_QR_QUIET_MODULES)
    code.add_data(number)
    modules = code.get_matrix()
    small = Image.new("L", (len(modules), len(modules)), _PAPER)
    for y, row in enumerate(modules):
        for x, is_dark in enumerate(row):
            if is_dark:
                small.putpixel((x, y), _INK)
    side = len(modules) * _QR_MODULE
    return small.resize((side, side), Image.Resampling.NEAREST)


def _draw_code_128(number: str, width_max: int) -> Image.Image:
    bars = zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.Code128).to_image(scale=1)
    height, width = bars.shape
    drawn = Image.frombuffer("L", (width, height), bytes(memoryview(bars)), "raw", "L", 0, 1)  # type: ignore[arg-type]
    one_line = drawn.crop((0, height // 2, width, height // 2 + 1))
    module = min(_BAR_MODULE_MAX, width_max // width)
    return one_line.resize((width * module, _BAR_HEIGHT), Image.Resampling.NEAREST)
