"""Codes in picture files, for `loyalty-agent scan FILE…`: decode each, say what it means, and never show a bank card.

One bad file does not stop the others: what is wrong with it stands in its own answer.
"""

import asyncio
import errno
import json
import stat
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agent import codes
from agent.codes import DEFAULT_SCHEME, BankCard, CardNumber, CardScheme, Coupon, Meaning, Product
from agent.imaging.decoder import Decoder
from agent.imaging.errors import ImagingError
from agent.imaging.symbols import Code
from agent.imaging.wire import PICTURE_BYTES_MAX, Reading
from sync.contract.bank_cards import hide_bank_numbers

EXIT_ALL_READ, EXIT_SOME_NOT_READ = 0, 1

# What a picture is named for when it holds several things, none of them a card: what staff must mind comes first.
_KINDS_BY_WEIGHT = ("bank_card", "unreadable", "coupon", "product", "url", "wifi", "contact", "unknown")


@dataclass(frozen=True, slots=True)
class FoundCode:
    """One code of a picture as it may be shown, and what it means."""

    text: str = field(repr=False)
    symbology: str
    engine: str
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file gave nothing: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FileScan:
    """What one file gave.

    `kind` is `card`, `several_cards` (two of ours in one picture: ask which), `none` (no code), or the kind of what
    else it is (`agent.codes`). `card` is our number where it is exactly one, also beside a product. `ms` counts
    decoding.
    """

    file: str
    codes: tuple[FoundCode, ...] = ()
    kind: str = "none"
    card: str | None = field(default=None, repr=False)
    ms: float = 0.0
    problem: Problem | None = None

    @property
    def has_code(self) -> bool:
        """Say whether a code was read."""
        return bool(self.codes)


async def scan_files(
    paths: Iterable[Path], decoder: Decoder, scheme: CardScheme = DEFAULT_SCHEME
) -> AsyncIterator[FileScan]:
    """Yield what each file gives, in order, as soon as it is known.

    Raises:
        DecoderUnavailable: nothing can be decoded here at all.
    """
    await decoder.engines()
    for path in paths:
        yield await _scan_file(path, decoder, scheme)


def exit_code(scans: Iterable[FileScan]) -> int:
    """Return 0 when every file had a code that was read, otherwise 1."""
    return EXIT_ALL_READ if all(scan.has_code for scan in scans) else EXIT_SOME_NOT_READ


def json_line(scan: FileScan) -> str:
    """Return the scan as one line of JSON, in ASCII."""
    told: dict[str, object] = {
        "file": scan.file,
        "codes": [{"text": code.text, "symbology": code.symbology, "engine": code.engine} for code in scan.codes],
        "kind": scan.kind,
        "card": scan.card,
        "ms": scan.ms,
    }
    if scan.problem:
        told["error"] = {"code": scan.problem.code, "message": scan.problem.message}
    return json.dumps(told)


def text_line(scan: FileScan) -> str:
    """Return the scan as one line for people. Nothing in it can steer the terminal that shows it."""
    name = _printable(scan.file)
    if scan.problem:
        return f"{name}: {scan.problem.message}"
    if not scan.codes:
        return f"{name}: no code found ({scan.ms:g} ms)"
    what = f"card {codes.grouped(scan.card)}" if scan.card else scan.kind.replace("_", " ")
    seen = "; ".join(f"{code.symbology} {_printable(code.text)} [{code.engine}]" for code in scan.codes)
    return f"{name}: {what} ({seen}; {scan.ms:g} ms)"


async def texts_in(path: Path, decoder: Decoder) -> tuple[str, ...]:
    """Return the texts of all codes in a picture file.

    Raises:
        OSError: the file cannot be read.
        ImagingError: it is no picture that can be read.
    """
    reading = await decoder.read(await asyncio.to_thread(_read_file, path))
    return tuple(code.text for code in reading.codes)


async def _scan_file(path: Path, decoder: Decoder, scheme: CardScheme) -> FileScan:
    try:
        reading = await decoder.read(await asyncio.to_thread(_read_file, path))
    except OSError as error:
        why = error.strerror or "it cannot be opened"
        return FileScan(str(path), problem=Problem("file_unreadable", f"the file cannot be read: {why}"))
    except ImagingError as error:
        return FileScan(str(path), problem=Problem(error.code, str(error)))
    return understood(str(path), reading, scheme)


def understood(file: str, reading: Reading, scheme: CardScheme = DEFAULT_SCHEME) -> FileScan:
    """Return what the codes of one picture mean together: a card goes before all else, two cards are a choice."""
    found = tuple(_found(code, scheme) for code in reading.codes)
    numbers = {code.meaning.number for code in found if isinstance(code.meaning, CardNumber)}
    if len(numbers) == 1:
        return FileScan(file, found, CardNumber.kind, numbers.pop(), reading.ms)
    kinds = {code.meaning.kind for code in found}
    kind = "several_cards" if numbers else next((kind for kind in _KINDS_BY_WEIGHT if kind in kinds), "none")
    return FileScan(file, found, kind, None, reading.ms)


def one_code(reading: Reading, scheme: CardScheme = DEFAULT_SCHEME) -> Code | None:
    """Return the code that is meant in a picture: our one card, else the first code; None for none or two cards."""
    meant = understood("", reading, scheme)
    if meant.kind == "several_cards":
        return None
    pairs = zip(reading.codes, meant.codes, strict=True)
    cards = (code for code, found in pairs if isinstance(found.meaning, CardNumber))
    return next(cards, next(iter(reading.codes), None))


def _found(code: Code, scheme: CardScheme) -> FoundCode:
    meaning = codes.read(code.text, code.symbology, scheme)
    return FoundCode(_shown(code.text, meaning), code.symbology.value, code.engine, meaning)


def _shown(text: str, meaning: Meaning) -> str:
    if isinstance(meaning, BankCard):
        return meaning.masked
    # Digits of products and of our own cards are what they are; anything else may quote a bank card.
    return text if isinstance(meaning, (CardNumber, Product, Coupon)) else hide_bank_numbers(text)


def _read_file(path: Path) -> bytes:
    """Return the file's bytes, one more than the limit at most: a longer one is refused by the decoder."""
    if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would wait for ever
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        return file.read(PICTURE_BYTES_MAX + 1)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
