"""An invitation drawn as a QR code, dark on light with its quiet zone: any camera and any hand scanner reads it."""

from io import BytesIO

import qrcode
from PIL import Image
from qrcode.constants import ERROR_CORRECT_M

_MODULE, _QUIET_MODULES = 10, 4
_INK, _PAPER = 0, 255


def draw_qr(text: str) -> bytes:
    """Return a text as a QR code in a PNG picture."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=_QUIET_MODULES)
    code.add_data(text)
    rows = code.get_matrix()
    small = Image.new("L", (len(rows), len(rows)), _PAPER)
    small.putdata([_INK if is_dark else _PAPER for row in rows for is_dark in row])
    side = len(rows) * _MODULE
    png = BytesIO()
    small.resize((side, side), Image.Resampling.NEAREST).save(png, "PNG")
    return png.getvalue()
