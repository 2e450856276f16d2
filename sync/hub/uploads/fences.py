"""Fences: one process of a terminal runs at a time, and what an earlier one had made ends where it is said to end.

A hello of a new process fences all earlier incarnations: each may grow to the length that the process has on its disk,
or where it has none, to what the hub holds. Every change of the running process has a number, which uploads must name:
so what a dead process left on its way is refused, and whoever names the number is alive. Only a living process can
make a fork; a late message cannot.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.contract.chain import Proof
from sync.contract.protocol import INCARNATIONS_PER_HELLO_MAX, IncarnationLength
from sync.runtime.sqlite_file import Connection


class StaleFence(Exception):
    """Another process said hello since, or this one was restarted: say hello before anything else."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a terminal stands: quarantined or not, and whether its running process told of events that were left."""

    is_quarantined: bool
    is_suspect: bool


def step_in(connection: Connection, terminal_id: str, running: str | None, told: Sequence[IncarnationLength]) -> int:
    """Take note of the process that says hello, fence the others where it is new, and return the fence's number."""
    row = connection.execute(
        "SELECT running, fence, is_proven FROM terminals WHERE terminal_id = ?", (terminal_id,)
    ).fetchone()
    if row is None:
        return 0
    before, number, is_proven = row
    if running is None or running == before:
        return int(number)
    if not is_proven:
        # Nobody knows whether it lives: its hello may have been on its way since before this process began.
        connection.execute(
            "UPDATE streams SET fenced_at = NULL, fenced_by = NULL, is_left = 0"
            " WHERE terminal_id = ? AND fenced_by = ?",
            (terminal_id, number),
        )
    number += 1
    is_suspect = not _is_fenced(connection, terminal_id, running) and _fence(
        connection, terminal_id, running, before, number, told
    )
    connection.execute(
        "UPDATE terminals SET running = ?, fence = ?, is_proven = 0, is_suspect = ? WHERE terminal_id = ?",
        (running, number, is_suspect, terminal_id),
    )
    return int(number)


def standing(connection: Connection, terminal_id: str, proof: Proof | None) -> Standing:
    """Return how the terminal of an upload stands, which proves its process alive.

    Raises:
        StaleFence: it was sent by another process than the running one, or before its last hello.
    """
    row = connection.execute(
        "SELECT running, fence, is_proven, is_suspect, quarantined_ms IS NOT NULL FROM terminals WHERE terminal_id = ?",
        (terminal_id,),
    ).fetchone()
    if row is None:
        return Standing(is_quarantined=False, is_suspect=False)
    running, number, is_proven, is_suspect, is_quarantined = row
    if proof is None:
        return Standing(bool(is_quarantined), is_suspect=False)
    if running is not None and (proof.by, proof.fence) != (running, number):
        raise StaleFence
    if not is_proven:
        connection.execute("UPDATE terminals SET is_proven = 1 WHERE terminal_id = ?", (terminal_id,))
    return Standing(bool(is_quarantined), bool(is_suspect))


def is_quarantined(connection: Connection, terminal_id: str) -> bool:
    """Tell whether new events of a terminal are parked, because two histories of it met."""
    row = connection.execute(
        "SELECT quarantined_ms IS NOT NULL FROM terminals WHERE terminal_id = ?", (terminal_id,)
    ).fetchone()
    return row is not None and bool(row[0])


def quarantine(connection: Connection, terminal_id: str, now: datetime) -> None:
    """Park all new events of a terminal from now on, until a person releases it."""
    connection.execute(
        "UPDATE terminals SET quarantined_ms = coalesce(quarantined_ms, ?) WHERE terminal_id = ?",
        (int(now.timestamp() * 1000), terminal_id),
    )


def lift(connection: Connection, terminal_id: str) -> None:
    """End a quarantine, and the fences: whichever process goes on is the terminal."""
    connection.execute(
        "UPDATE terminals SET quarantined_ms = NULL, is_suspect = 0 WHERE terminal_id = ?", (terminal_id,)
    )
    connection.execute(
        "UPDATE streams SET fenced_at = NULL, fenced_by = NULL, is_left = 0 WHERE terminal_id = ?", (terminal_id,)
    )


def _is_fenced(connection: Connection, terminal_id: str, inc: str) -> bool:
    row = connection.execute(
        "SELECT fenced_at IS NOT NULL FROM streams WHERE terminal_id = ? AND inc = ?", (terminal_id, inc)
    ).fetchone()
    return row is not None and bool(row[0])


def _fence(
    connection: Connection,
    terminal_id: str,
    running: str,
    before: str | None,
    number: int,
    told: Sequence[IncarnationLength],
) -> bool:
    """Fence all but the running incarnation; tell whether it told of one that was left behind earlier.

    Where the list is full, who is not on it may be on the disk all the same, and is not fenced.
    """
    lengths = json.dumps({one.inc: one.length for one in told})
    left = connection.execute(
        "SELECT 1 FROM streams WHERE terminal_id = ? AND is_left AND inc IN (SELECT key FROM json_each(?)) LIMIT 1",
        (terminal_id, lengths),
    ).fetchone()
    connection.execute(
        "INSERT INTO streams (terminal_id, inc, through, last_pos)"
        " SELECT ?1, key, 0, 0 FROM (SELECT key FROM json_each(?2) UNION SELECT ?3) WHERE true ON CONFLICT DO NOTHING",
        (terminal_id, lengths, running),
    )
    connection.execute(
        "UPDATE streams SET"
        " fenced_at = max(through, coalesce((SELECT value FROM json_each(?2) WHERE key = inc), through)),"
        " fenced_by = ?3,"
        " is_left = inc IS ?4 AND through > 0 AND NOT EXISTS (SELECT 1 FROM json_each(?2) WHERE key = inc)"
        " WHERE terminal_id = ?1 AND fenced_at IS NULL AND fork_of IS NULL AND inc <> ?5"
        " AND (?6 OR inc IN (SELECT key FROM json_each(?2)))",
        (terminal_id, lengths, number, before, running, len(told) < INCARNATIONS_PER_HELLO_MAX),
    )
    return left is not None
