"""What can go wrong between a picture and its codes, split by what the caller does next.

The picture is at fault (ImageTooLarge, ImageUnreadable): ask for another one. The picture broke the decoder
(DecoderTimeout, DecoderCrashed): a new child is already on its way, ask for another picture. There is no decoder at all
(DecoderUnavailable): say so and go on without pictures.
"""

from typing import ClassVar


class ImagingError(Exception):
    """Base of all. `code` is stable and goes into JSON; the message is for people and holds no scanned text."""

    code: ClassVar[str] = "imaging"


class ImageTooLarge(ImagingError):
    """The picture has more bytes or pixels than we decode."""

    code = "image_too_large"


class ImageUnreadable(ImagingError):
    """The bytes are no whole picture in a format we know."""

    code = "image_unreadable"


class DecoderTimeout(ImagingError):
    """Decoding took too long; the child was ended."""

    code = "decoder_timeout"


class DecoderCrashed(ImagingError):
    """The child ended or answered rubbish while it decoded."""

    code = "decoder_crashed"


class DecoderUnavailable(ImagingError):
    """No child can be started, or it has no engine to decode with."""

    code = "decoder_unavailable"
