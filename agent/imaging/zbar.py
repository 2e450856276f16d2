"""The second engine: pyzbar over the system's libzbar. Reads linear codes and QR, and some that zxing-cpp does not.

zbar is C from a time of friendlier pictures; that is one reason why decoding happens in a child process.
"""

from PIL import Image

from agent.codes import Symbology
from agent.imaging.errors import ImageUnreadable
from agent.imaging.symbols import Sighting

try:
    from pyzbar import pyzbar
    from pyzbar.pyzbar_error import PyZbarError
except (ImportError, OSError):  # pyzbar raises ImportError without libzbar, ctypes OSError with a broken one
    pyzbar = None

NAME = "pyzbar"
MISSING = "libzbar cannot be loaded: install the system package libzbar0" if pyzbar is None else None

_SYMBOLOGY = {
    "CODABAR": Symbology.CODABAR,
    "CODE128": Symbology.CODE_128,
    "CODE39": Symbology.CODE_39,
    "EAN13": Symbology.EAN_13,
    "EAN8": Symbology.EAN_8,
    "I25": Symbology.ITF,
    "QRCODE": Symbology.QR,
    "UPCA": Symbology.UPC_A,
    "UPCE": Symbology.UPC_E,
}
_SYMBOLS = None if pyzbar is None else [pyzbar.ZBarSymbol[name] for name in _SYMBOLOGY]


def read(grey: Image.Image) -> list[Sighting]:
    """Return what zbar sees. Texts beyond ASCII are left out: it guesses their encoding, and wrongly (22 of 520 QR)."""
    try:
        found = pyzbar.decode(grey, symbols=_SYMBOLS)
    except PyZbarError as error:
        raise ImageUnreadable("the picture cannot be decoded: take it again") from error
    return [
        Sighting(symbol.data.decode("ascii"), _SYMBOLOGY[symbol.type], symbol.quality)
        for symbol in found
        if symbol.data.isascii() and symbol.type in _SYMBOLOGY
    ]
