"""From foreign bytes to a grey picture, within limits that are checked before anything is decoded.

A picture is hostile until proven small: a few kilobytes can unfold into gigabytes. So bytes are counted first, pixels
are read from the header, and only then is the rest decoded, to grey at once.
"""

import struct
import warnings
import zlib
from io import BytesIO

from PIL import Image

from agent.imaging.errors import ImageTooLarge, ImageUnreadable
from agent.imaging.wire import PICTURE_BYTES_MAX, too_many_bytes

# A usual phone takes 12 megapixels, a good camera 24-33. Decoded in colour, 40 are 160 MB in the child.
PIXELS_MAX = 40_000_000
# What phones, cameras and web pages make. Every further format is another C library open to strangers.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# What Pillow and the C libraries behind it raise on broken input; seen by mutating pictures byte by byte.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def open_grey(data: bytes) -> Image.Image:
    """Return the picture in 8-bit grey; what is transparent becomes white. Of an animation, the first frame.

    Raises:
        ImageTooLarge: more than PICTURE_BYTES_MAX bytes or PIXELS_MAX pixels, or more memory than the child may use.
        ImageUnreadable: no whole picture in one of FORMATS.
    """
    if len(data) > PICTURE_BYTES_MAX:
        raise too_many_bytes(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with its EXIF does not matter here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                return _grey(_checked(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise _too_many_pixels() from error
    except _BROKEN as error:
        known = ", ".join(FORMATS)
        raise ImageUnreadable(f"the file is no whole picture ({known}): take or save it again") from error


def shrunk(image: Image.Image, side_max: int) -> Image.Image:
    """Return the picture with no side longer than `side_max` pixels; itself where it is small enough."""
    if max(image.size) <= side_max:
        return image
    smaller = image.copy()
    smaller.thumbnail((side_max, side_max), Image.Resampling.BILINEAR)
    return smaller


def _checked(image: Image.Image) -> Image.Image:
    if image.width * image.height > PIXELS_MAX:
        raise _too_many_pixels()
    return image


def _too_many_pixels() -> ImageTooLarge:
    return ImageTooLarge(f"the picture has more than {PIXELS_MAX // 1_000_000} megapixels: send a smaller one")


def _grey(image: Image.Image) -> Image.Image:
    image.draft("L", image.size)  # lets a JPEG leave its colours undecoded
    if image.has_transparency_data:
        coloured = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        alpha = coloured.getchannel("A")
        return Image.composite(coloured.convert("L"), Image.new("L", image.size, 255), alpha)
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would cut off instead of scale
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("L")
