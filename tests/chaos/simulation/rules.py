"""The rules that carry weight, each with a way to switch it off and the number of seeds that must miss it.

The ways are patches of the product, here and nowhere else: no flag of the product can do it. To add a rule, add a row.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from unittest import mock

from agent.store import allowances, journal
from agent.store.trust import trust_of
from sync.hub.escrow import grants, reserving
from sync.hub.escrow.recovery import note_declared
from sync.hub.judging.times import BusinessDay
from sync.hub.uploads import intake
from sync.hub.uploads.fences import Standing
from sync.hub.uploads.intake import Applied
from sync.hub.uploads.streams import open_stream
from sync.hub.uploads.upload import Upload
from sync.pump import puller, pusher, snapshot, steps
from sync.runtime.sqlite_file import Connection
from tests.chaos.simulation.hub_side import Door
from tests.chaos.simulation.till_side import TillSide
from tests.chaos.simulation.world import Result, simulate


class Rule(NamedTuple):
    """A rule, how it is switched off, and within how many seeds its absence must break a promise.

    `kind` is the kind of shops in which that is looked for, where it takes faults that seldom meet elsewhere.
    """

    off: Callable[[], contextlib.AbstractContextManager[Any]]
    seeds_max: int
    kind: str | None = None

    def simulate(self, seed: int) -> Result:
        """Run a seed without the rule."""
        with self.off():
            return simulate(seed, self.kind)


@contextlib.contextmanager
def no_dedupe() -> Iterator[None]:
    """The hub takes every upload for a new one."""
    apply_upload = intake.apply_upload

    def apply(connection: Connection, upload: Upload, now: datetime, day: BusinessDay) -> Applied:
        stream = open_stream(connection, upload.sender.terminal_id, upload.sender.inc)
        shift = max(stream.through - upload.first + 1, 0)
        moved = tuple(replace(item, seq=item.seq + shift) for item in upload.items)
        applied = apply_upload(connection, replace(upload, first=upload.first + shift, items=moved), now, day)
        verdicts = tuple(one.model_copy(update={"seq": one.seq - shift}) for one in applied.verdicts)
        return replace(applied, verdicts=verdicts)

    with mock.patch.object(intake, "apply_upload", apply):
        yield


def nothing_kept_after_ack() -> contextlib.AbstractContextManager[Any]:
    """A till forgets an event when the hub has it, so a hub that lost it cannot be given it again."""
    return mock.patch.object(journal, "rewind", return_value=())


def no_coverage() -> contextlib.AbstractContextManager[Any]:
    """A till takes an event out of the pending sum when the hub has it, and not when the balance contains it."""

    def drop(connection: Connection, _: Mapping[str, int]) -> None:
        connection.execute(
            "DELETE FROM pending WHERE EXISTS"
            " (SELECT 1 FROM incarnations i WHERE i.inc = pending.inc AND pending.seq <= i.acked_through)"
        )

    return mock.patch.object(journal, "sweep", drop)


@contextlib.contextmanager
def no_epoch() -> Iterator[None]:
    """Nobody looks at the hub's epoch."""
    upload, page, manifest = steps.believed_upload, steps.believed_page, steps.believed_manifest
    with (
        mock.patch.object(Door, "checks_epoch", new=False),
        mock.patch.object(pusher, "believed_upload", lambda batch, answer, _: upload(batch, answer, answer.hub_epoch)),
        mock.patch.object(puller, "believed_page", lambda cursor, seen, _: page(cursor, seen, seen.hub_epoch)),
        mock.patch.object(snapshot, "believed_manifest", lambda known, seen, _: manifest(known, seen, seen.hub_epoch)),
    ):
        yield


def one_incarnation() -> contextlib.AbstractContextManager[Any]:
    """A till counts on from the last number it finds, start after start."""
    return mock.patch.object(TillSide, "new_inc", return_value="5" * 16)


def no_fence() -> contextlib.AbstractContextManager[Any]:
    """The hub does not ask which process sends: a dead one's late messages look like those of a second till."""
    return mock.patch.object(intake, "standing", return_value=Standing(is_quarantined=False, is_suspect=False))


def no_escrow() -> contextlib.AbstractContextManager[Any]:
    """The hub promises the same points to several tills."""
    return mock.patch.object(grants, "free", lambda posted, _: posted)


def no_own_spends() -> contextlib.AbstractContextManager[Any]:
    """A till forgets what it spent of an allowance until the hub has heard of it."""
    return mock.patch.object(allowances, "remaining", lambda amount, spent, *_: amount - spent)


def no_freeze() -> contextlib.AbstractContextManager[Any]:
    """A till that has forgotten what it spent believes what stands in its file."""
    return mock.patch.object(allowances, "trust_of", lambda row: replace(trust_of(row), is_frozen=False))


def no_drain() -> contextlib.AbstractContextManager[Any]:
    """A hub that was brought back grants again when each till has said hello, whatever they still have to send."""
    return mock.patch.object(
        reserving, "note_declared", lambda connection, terminal_id, _: note_declared(connection, terminal_id, {})
    )


RULES = {
    "dedupe": Rule(no_dedupe, 10),
    "retention": Rule(nothing_kept_after_ack, 30),
    "coverage": Rule(no_coverage, 10),
    "epoch": Rule(no_epoch, 80),
    "incarnation": Rule(one_incarnation, 40),
    "fence": Rule(no_fence, 150, kind="restarts"),
    "escrow": Rule(no_escrow, 20),
    "own spends": Rule(no_own_spends, 40, kind="forgetful"),
    "freeze": Rule(no_freeze, 80, kind="forgetful"),
    "drain": Rule(no_drain, 40, kind="restored"),
}
