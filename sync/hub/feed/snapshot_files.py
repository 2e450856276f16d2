"""Snapshots on disk: gzipped NDJSON chunks and a small file that says what they are. Chunks never change.

`<folder>/<id>/00001.ndjson.gz …` and, once all are there, `snapshot.json`. A folder without the latter was cut off and
is thrown away at the next start.
"""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from sync.contract.protocol import SNAPSHOT_CHUNK_ROWS, SnapshotChunk
from sync.hub.feed.feed_log import last_pos
from sync.hub.feed.pages import card_text, customer_text
from sync.hub.programs import newest_program
from sync.runtime.sqlite_file import Connection
from sync.runtime.state_lock import private_folder, write_private

# Level 1 packs 5,000 customers in a twentieth of a second; level 6 takes three times that for a sixth fewer bytes.
_GZIP_LEVEL = 1
# The points that wait on identifiers which lead to nobody, or to several.
BARE_CARDS = (
    "SELECT identifier, points FROM tallies WHERE points <> 0 "
    "AND (SELECT count(*) FROM identifiers WHERE id = tallies.identifier) <> 1 "
    "AND NOT EXISTS (SELECT 1 FROM erased_identifiers WHERE id = tallies.identifier AND is_closed) "
    "ORDER BY identifier"
)
_MANIFEST = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a snapshot is as of: a position of the feed, the program in force there as JSON, and a time."""

    pos: int
    program: str
    as_of: datetime


@dataclass(slots=True)
class Snapshot:
    """A snapshot and how far it is written; `chunks` only grows."""

    snapshot_id: str
    epoch: str
    begun: Begun
    chunks: list[SnapshotChunk] = field(default_factory=list)
    complete: bool = False


def begin(connection: Connection, now: datetime) -> Begun:
    """Return what a snapshot that is read in this transaction is as of."""
    program = newest_program(connection)
    if program is None:
        raise LookupError("the hub has no program; start it once before a snapshot is made")
    return Begun(last_pos(connection), program.model_dump_json(), now)


def chunk_texts(connection: Connection, chunk_rows: int = SNAPSHOT_CHUNK_ROWS) -> Iterator[tuple[int, str]]:
    """Yield the rows of every chunk and its NDJSON: all customers by id, then the points that wait on bare cards."""
    customers = connection.execute(
        "SELECT wire, refs, balances.points FROM customers "
        "JOIN balances ON balances.customer_id = customers.customer_id ORDER BY customers.customer_id"
    )
    while rows := customers.fetchmany(chunk_rows):
        yield len(rows), "".join([customer_text(wire, refs, points) + "\n" for wire, refs, points in rows])
    cards = connection.execute(BARE_CARDS)
    while rows := cards.fetchmany(chunk_rows):
        yield len(rows), "".join([card_text(identifier, points) + "\n" for identifier, points in rows])


def chunk_path(folder: Path, snapshot_id: str, number: int) -> Path:
    """Return where a chunk lies."""
    return folder / snapshot_id / f"{number:05d}.ndjson.gz"


def write_chunk(folder: Path, snapshot_id: str, number: int, rows: int, text: str) -> SnapshotChunk:
    """Write a chunk, whole and durable, and return its entry in the manifest."""
    path = chunk_path(folder, snapshot_id, number)
    if number == 1:
        private_folder(path.parent)
    data = gzip.compress(text.encode(), compresslevel=_GZIP_LEVEL, mtime=0)
    write_private(path, data)
    return SnapshotChunk(number=number, rows=rows, sha256=hashlib.sha256(data).hexdigest())


def write_complete(folder: Path, snapshot: Snapshot) -> None:
    """Note that a snapshot has all of its chunks."""
    document = {
        "epoch": snapshot.epoch,
        "pos": snapshot.begun.pos,
        "program": snapshot.begun.program,
        "as_of": snapshot.begun.as_of.isoformat(),
        "chunks": [chunk.model_dump() for chunk in snapshot.chunks],
    }
    path = private_folder(folder / snapshot.snapshot_id) / _MANIFEST
    write_private(path, json.dumps(document).encode())


def read_complete(folder: Path, epoch: str) -> list[Snapshot]:
    """Return the complete snapshots of this epoch, the oldest first; throw everything else away."""
    kept = []
    for place in sorted(private_folder(folder).iterdir()):
        snapshot = _read(place)
        if snapshot is None or snapshot.epoch != epoch:
            shutil.rmtree(place, ignore_errors=True)
        else:
            kept.append(snapshot)
    return sorted(kept, key=lambda snapshot: snapshot.begun.as_of)


def remove(folder: Path, snapshot_id: str) -> None:
    """Delete a snapshot's files."""
    shutil.rmtree(folder / snapshot_id, ignore_errors=True)


def remove_before(folder: Path, epoch: str, pos: int) -> None:
    """Delete the snapshots from before a position; for when no hub runs."""
    for snapshot in read_complete(folder, epoch):
        if snapshot.begun.pos < pos:
            remove(folder, snapshot.snapshot_id)


_AS_OF: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


def _read(place: Path) -> Snapshot | None:
    try:
        document = json.loads((place / _MANIFEST).read_bytes())
        begun = Begun(document["pos"], document["program"], _AS_OF.validate_python(document["as_of"]))
        chunks = [SnapshotChunk.model_validate(chunk) for chunk in document["chunks"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    if not all(chunk_path(place.parent, place.name, chunk.number).is_file() for chunk in chunks):
        return None
    return Snapshot(place.name, document["epoch"], begun, chunks, complete=True)
