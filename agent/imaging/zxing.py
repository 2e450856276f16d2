"""The first engine: zxing-cpp. Reads every symbology we take, in any direction, inverted ones too."""

from PIL import Image

from agent.codes import Symbology
from agent.imaging.symbols import Sighting

try:
    import zxingcpp
except ImportError:  # a platform without a wheel: pyzbar serves alone
    zxingcpp = None  # type: ignore[assignment]

NAME = "zxing"
MISSING = "zxing-cpp cannot be loaded: install the Python package zxing-cpp" if zxingcpp is None else None

# Not DataBar, Code 93, MaxiCode and the rest: nobody prints them on cards, and each adds phantoms.
_SYMBOLOGY_BY_NAME = {
    "Aztec": Symbology.AZTEC,
    "Codabar": Symbology.CODABAR,
    "Code128": Symbology.CODE_128,
    "Code39": Symbology.CODE_39,
    "DataMatrix": Symbology.DATA_MATRIX,
    "EAN13": Symbology.EAN_13,
    "EAN8": Symbology.EAN_8,
    "ITF": Symbology.ITF,
    "PDF417": Symbology.PDF417,
    "QRCode": Symbology.QR,
    "UPCA": Symbology.UPC_A,
    "UPCE": Symbology.UPC_E,
}
_SYMBOLOGY = (
    {}
    if zxingcpp is None
    else {getattr(zxingcpp.BarcodeFormat, name): symbology for name, symbology in _SYMBOLOGY_BY_NAME.items()}
)


def read(grey: Image.Image) -> list[Sighting]:
    """Return what zxing-cpp sees. Group separators stay in the text; its default would write brackets instead."""
    found = zxingcpp.read_barcodes(
        grey, formats=zxingcpp.BarcodeFormats(list(_SYMBOLOGY)), text_mode=zxingcpp.TextMode.Plain
    )
    return [
        Sighting(barcode.text, symbology)
        for barcode in found
        # Variants (micro QR, stacked ones) answer by the family they belong to.
        if (symbology := _SYMBOLOGY.get(barcode.format) or _SYMBOLOGY.get(barcode.symbology))
    ]
