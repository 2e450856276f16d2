"""What the agent and its decode child say to each other: frames of four length bytes (big-endian) and a body.

The child speaks first, a hello that names its engines; then each picture, sent as it is, is answered by one JSON
object. Both ends run the same release, so there is no version; a frame that does not fit is rubbish and ends the child.
"""

import json
from dataclasses import dataclass

from agent.codes import Symbology
from agent.imaging.errors import DecoderCrashed, ImageTooLarge, ImageUnreadable, ImagingError
from agent.imaging.symbols import Code

LENGTH_BYTES = 4
# A 12-megapixel JPEG of a phone has 3-6 MB; twice that is room enough, and copies of it stay cheap.
PICTURE_BYTES_MAX = 12 * 1024 * 1024
# 32 codes of the longest QR text (7,089 characters), each escaped in JSON, stay below this.
ANSWER_BYTES_MAX = 2 * 1024 * 1024
_ERRORS: dict[str, type[ImagingError]] = {error.code: error for error in (ImageTooLarge, ImageUnreadable)}


@dataclass(frozen=True, slots=True)
class Hello:
    """Which engines the child has, and why each of the others is missing."""

    engines: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one picture gave: its codes, the milliseconds it took in the child, and the engines that looked."""

    codes: tuple[Code, ...]
    ms: float
    engines: tuple[str, ...]


def too_many_bytes(count: int) -> ImageTooLarge:
    """Return the error for a picture file of `count` bytes; both ends refuse it."""
    return ImageTooLarge(f"the picture has {count:,} bytes, more than {PICTURE_BYTES_MAX:,}: send a smaller one")


def frame(body: bytes) -> bytes:
    """Return the body with its length before it."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def write_hello(hello: Hello) -> bytes:
    """Return the body of the child's first frame."""
    return json.dumps({"engines": hello.engines, "missing": hello.missing}).encode()


def write_codes(codes: list[Code], ms: float) -> bytes:
    """Return the body that answers a picture."""
    told = [[code.text, code.symbology.value, code.engine] for code in codes]
    return json.dumps({"codes": told, "ms": ms}).encode()


def write_error(error: ImagingError) -> bytes:
    """Return the body that answers a picture which cannot be read."""
    return json.dumps({"error": error.code, "message": str(error)}).encode()


def read_hello(body: bytes) -> Hello:
    """Return what the child said first.

    Raises:
        DecoderCrashed: it is no hello.
    """
    try:
        told = json.loads(body)
        return Hello(tuple(map(str, told["engines"])), tuple(map(str, told["missing"])))
    except (ValueError, KeyError, TypeError) as error:
        raise DecoderCrashed("the picture decoder did not start as it should: try again") from error


def read_answer(body: bytes, engines: tuple[str, ...]) -> Reading | ImagingError:
    """Return what the child answered: a reading, or what is wrong with the picture.

    Raises:
        DecoderCrashed: it is no answer.
    """
    try:
        told = json.loads(body)
        if "error" in told:
            return _ERRORS[told["error"]](str(told["message"]))
        codes = tuple(Code(str(text), Symbology(symbology), str(engine)) for text, symbology, engine in told["codes"])
        return Reading(codes, float(told["ms"]), engines)
    except (ValueError, KeyError, TypeError) as error:
        raise DecoderCrashed("the picture decoder gave no answer that makes sense: try another picture") from error
