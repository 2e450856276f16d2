"""The programs of this hub: every version of the rules that was ever in force, numbered here.

The settings name one program; it has no version of its own. Where it differs from the newest, it becomes the next.
"""

from pathlib import Path

from pydantic import ConfigDict, ValidationError

from sync.contract.program import Program
from sync.hub.feed.feed_log import append, last_pos
from sync.hub.judging.posting import FeedRow
from sync.runtime.sqlite_file import Connection

PROGRAM_BYTES_MAX = 256 * 1024


class ProgramFileError(Exception):
    """The program's file cannot be used; the message names the file, the place and the fault."""


class _ProgramFile(Program):
    """A program as a person writes it: unknown keys are faults, and the hub numbers it."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1


def read_program(path: Path) -> Program:
    """Return the program in a JSON file, without a version of its own.

    Raises:
        ProgramFileError: it is missing, unreadable, too large, or no program.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(PROGRAM_BYTES_MAX + 1)
    except OSError as error:
        raise ProgramFileError(f"{path}: the program cannot be read: {error.strerror}") from error
    if len(raw) > PROGRAM_BYTES_MAX:
        raise ProgramFileError(f"{path}: is larger than {PROGRAM_BYTES_MAX} bytes, so it is no program")
    try:
        return Program.model_validate(_ProgramFile.model_validate_json(raw).model_dump())
    except ValidationError as error:
        faults = (
            f"{path}: {'.'.join(str(part) for part in detail['loc']) or 'the file'}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise ProgramFileError("\n".join(faults)) from None


def newest_program(connection: Connection) -> Program | None:
    """Return the program in force, or None in a new file."""
    row = connection.execute("SELECT document FROM programs ORDER BY version DESC LIMIT 1").fetchone()
    return Program.model_validate_json(row[0]) if row else None


def enact(connection: Connection, wanted: Program, now_ms: int) -> Program:
    """Return the program in force after `wanted` was asked for; its own version number does not count.

    The same rules again change nothing. Other rules become a new version, which the feed tells every terminal; events
    that were made under an old version stay valid.
    """
    newest = newest_program(connection)
    if newest is not None and wanted.model_copy(update={"version": newest.version}) == newest:
        return newest
    program = wanted.model_copy(update={"version": newest.version + 1 if newest else 1})
    connection.execute(
        "INSERT INTO programs (version, document, begun_ms) VALUES (?, ?, ?)",
        (program.version, program.model_dump_json(), now_ms),
    )
    append(connection, [FeedRow(last_pos(connection) + 1, "program", str(program.version))])
    return program
