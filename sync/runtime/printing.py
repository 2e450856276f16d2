"""Printing: what a command says on standard output, to a person or into a pipe."""

import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO


def until_unread(command: Callable[[], int], failed: int) -> int:
    """Run a command and return its exit code, or `failed` where what it printed did not get out.

    That is quiet where whoever read it has gone (`| head`), and is said where the disk under it is full. What was
    printed is brought out here: the interpreter's own last flush would complain where nobody can catch it.
    """
    code = failed
    try:
        try:
            code = command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go(sys.stdout)
        return failed
    except OSError as error:  # of the flush: a command says its own, and one that failed has said why
        _let_go(sys.stdout)
        if code != failed:
            print(f"standard output: {file_fault(error)}", file=sys.stderr)  # noqa: T201
        return failed
    finally:
        try:
            sys.stderr.flush()
        except OSError:  # what nobody can be told changes nothing
            _let_go(sys.stderr)
    return code


def tell(line: str) -> None:
    """Print a line at once, or go on without it where the disk under standard output is full: it is news, not work."""
    try:
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _let_go(sys.stdout)


def file_fault(error: OSError) -> str:
    """Return what a command says where the system refuses it a file."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and try again"
    return f"{error.filename or 'a file'}: {error.strerror or 'cannot be used'}"


def _let_go(stream: TextIO) -> None:
    """Send what a stream still holds back, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 point", "2 points"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
