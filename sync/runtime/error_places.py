"""Where an error came from, without what it said.

A message may quote a phone number or a card that the failing code held; a log must not. The places in the code are
enough to find the fault.
"""

import traceback
from collections.abc import Iterator


def type_name(error: BaseException) -> str:
    """Return the error's type with its module."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def places(error: BaseException) -> str:
    """Return where an error, what caused it and what it groups were raised: one line per frame, no messages."""
    return "\n".join(_lines(error, ""))


def told_as_bug(error: Exception) -> str:
    """Return what a command says of an error that nobody foresaw: what to do about it, and its places."""
    return (
        "this is a bug in the program, not in what you asked for; please report it with the lines below, which hold "
        f"no personal data\n{places(error)}"
    )


def _lines(error: BaseException, indent: str) -> Iterator[str]:
    current: BaseException | None = error
    while current is not None:
        yield f"{indent}{type_name(current)} at"
        for frame in traceback.extract_tb(current.__traceback__):
            yield f"{indent}  {frame.filename}:{frame.lineno} in {frame.name}"
        if isinstance(current, BaseExceptionGroup):
            for member in current.exceptions:
                yield from _lines(member, indent + "  ")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
