"""Printing: what a command says on standard output, to a person or into a pipe."""

import errno
import os
import sys
from collections.abc import Callable


def until_unread(command: Callable[[], int], unread: int) -> int:
    """Run a command and return its exit code; quietly `unread` where whoever read its output has gone (`| head`).

    What was printed is brought out here: the interpreter's own last flush would complain where nobody can catch it.
    """
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        return unread


def tell(line: str) -> None:
    """Print a line at once, or go on without it where the disk under standard output is full: it is news, not work."""
    try:
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _let_go()


def file_fault(error: OSError) -> str:
    """Return what a command says where the system refuses it a file."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and try again"
    return f"{error.filename or 'a file'}: {error.strerror or 'cannot be used'}"


def _let_go() -> None:
    """Send what is still held back, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 point", "2 points"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
