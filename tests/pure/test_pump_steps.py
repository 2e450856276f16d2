import hashlib
import json
from datetime import UTC, datetime

import pytest

from sync.contract.chain import WITHHELD, digest
from sync.contract.events import EARNED, Event, UnknownEventType, read_fact
from sync.contract.program import EarnRule, Program
from sync.contract.protocol import (
    AppliedThrough,
    FeedPage,
    HelloAnswer,
    IncarnationLength,
    Outcome,
    SnapshotChunk,
    SnapshotManifest,
    UploadAnswer,
    Verdict,
)
from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, MessageTooLarge, TerminalRevoked
from sync.pump.ports import Batch
from sync.pump.steps import (
    AfterError,
    after_upload_error,
    applied_of,
    believed_chunk,
    believed_manifest,
    believed_page,
    believed_upload,
    withheld_marker,
)

INC, OTHER = "a" * 16, "b" * 16
AS_OF = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
BATCH = Batch(INC, 4, ("{}", "{}", "{}"))
SMALL = Batch(INC, 4, ("x" * 600,))
LARGE = Batch(INC, 4, ("x" * 60_000,))


@pytest.mark.parametrize(
    ("error", "batch", "expected"),
    [
        (HubUnreachable("timeout"), BATCH, AfterError.HELLO),
        (HubUnreachable("status_500"), SMALL, AfterError.HELLO),
        (HubBusy(3.0), BATCH, AfterError.SAME_AGAIN),
        (HubRefused("gap", {"applied_through": 2}), BATCH, AfterError.HELLO),
        (HubRefused("hello_required"), BATCH, AfterError.HELLO),
        (HubRefused("something_new"), BATCH, AfterError.HELLO),
        (TerminalRevoked("terminal_revoked"), BATCH, AfterError.HELLO),
        (MessageTooLarge(), Batch(INC, 4, ("x" * 3000, "x" * 3000)), AfterError.LESS),
        (MessageTooLarge(), BATCH, AfterError.HELLO),
        (MessageTooLarge(), LARGE, AfterError.WITHHOLD),
        (MessageTooLarge(), SMALL, AfterError.HELLO),
    ],
)
def test_each_error_has_one_next_step(error: HubError, batch: Batch, expected: AfterError) -> None:
    assert after_upload_error(error, batch) is expected


def test_an_incarnation_that_the_hub_does_not_name_is_one_it_has_nothing_of() -> None:
    asked = (IncarnationLength(inc=INC, length=7), IncarnationLength(inc=OTHER, length=3))
    answer = HelloAnswer(
        protocol="storesync/1",
        hub_epoch="e",
        applied=(AppliedThrough(inc=OTHER, through=2), AppliedThrough(inc="c" * 16, through=9)),
        max_batch_events=1,
        max_batch_bytes=1024,
        reconnect_spread_s=0,
        server_time=AS_OF,
    )

    assert applied_of(asked, answer) == (AppliedThrough(inc=INC, through=0), AppliedThrough(inc=OTHER, through=2))


def upload(through: int, *seqs: int, epoch: str = "e") -> UploadAnswer:
    results = tuple(Verdict(seq=seq, outcome=Outcome.APPLIED) for seq in seqs)
    return UploadAnswer(hub_epoch=epoch, applied_through=through, results=results)


def test_verdicts_on_the_whole_range_are_believed() -> None:
    assert believed_upload(BATCH, upload(6, 4, 5, 6), "e") == upload(6, 4, 5, 6)


def test_verdicts_on_the_first_part_of_a_range_are_believed() -> None:
    assert believed_upload(BATCH, upload(5, 4, 5), "e") == upload(5, 4, 5)


def test_nothing_is_settled_that_has_no_verdict() -> None:
    assert believed_upload(BATCH, upload(90, 4, 5, 6), "e").applied_through == 6


@pytest.mark.parametrize(
    "answer",
    [
        upload(6, 4, 5, 6, epoch="before-the-restore"),
        upload(6),
        upload(6, 5, 6),
        upload(6, 4, 6),
        upload(6, 4, 4, 5),
        upload(9, 4, 5, 6, 7),
        upload(5, 4, 5, 6),
    ],
)
def test_an_answer_to_another_question_is_not_believed(answer: UploadAnswer) -> None:
    with pytest.raises(HubUnreachable):
        believed_upload(BATCH, answer, "e")


def page(cursor: str, *, epoch: str = "e", more: bool = False) -> FeedPage:
    return FeedPage(hub_epoch=epoch, changes=(), covered={}, cursor=cursor, more=more, as_of=AS_OF)


def test_a_page_that_goes_on_or_has_nothing_new_is_believed() -> None:
    assert believed_page("c1", page("c2", more=True), "e").cursor == "c2"
    assert believed_page("c1", page("c1"), "e").cursor == "c1"


@pytest.mark.parametrize("seen", [page("c2", epoch="other"), page("c1", more=True)])
def test_a_foreign_page_and_one_that_would_loop_are_not_believed(seen: FeedPage) -> None:
    with pytest.raises(HubUnreachable):
        believed_page("c1", seen, "e")


def manifest(*hashes: str, **changed: object) -> SnapshotManifest:
    chunks = tuple(SnapshotChunk(number=number, rows=1, sha256=text * 64) for number, text in enumerate(hashes, 1))
    program = Program(version=1, currency="CAD", earn=EarnRule(points=1, per_minor=100))
    whole = SnapshotManifest(
        snapshot_id="s",
        hub_epoch="e",
        cursor="c",
        covered={},
        program=program,
        as_of=AS_OF,
        chunks=chunks,
        complete=False,
    )
    return whole.model_copy(update=changed)


def test_a_manifest_that_grew_is_believed() -> None:
    grown = manifest("1", "2", "3", complete=True)

    assert believed_manifest(None, grown, "e") == grown
    assert believed_manifest(manifest("1", "2"), grown, "e") == grown


@pytest.mark.parametrize(
    "seen",
    [
        manifest("1", "2", hub_epoch="other"),
        manifest("1", "2", snapshot_id="other"),
        manifest("1", "2", cursor="other"),
        manifest("1"),
        manifest("1", "3"),
        manifest("1", "2", chunks=(SnapshotChunk(number=2, rows=1, sha256="1" * 64),)),
    ],
)
def test_a_manifest_that_contradicts_itself_is_not_believed(seen: SnapshotManifest) -> None:
    with pytest.raises(HubUnreachable):
        believed_manifest(manifest("1", "2"), seen, "e")


def test_a_chunk_is_believed_by_its_hash_alone() -> None:
    chunk = SnapshotChunk(number=1, rows=1, sha256=hashlib.sha256(b"rows").hexdigest())

    assert believed_chunk(chunk, b"rows") == b"rows"
    with pytest.raises(HubUnreachable):
        believed_chunk(chunk, b"row")


def test_the_marker_of_a_withheld_event_keeps_its_identity_and_nothing_of_its_body() -> None:
    event = {
        "specversion": "1.0",
        "id": f"t1/{INC}/4",
        "source": "/stores/s1/terminals/t1",
        "type": EARNED,
        "subject": "0" * 32,
        "time": "2026-03-09T09:00:00Z",
        "inc": INC,
        "seq": 4,
        "bootid": "boot-1",
        "monoms": 5,
        "data": {"sale_id": "secret-sale", "note": "é" * 10},
    }
    text = json.dumps(event, ensure_ascii=False)

    marker = Event.model_validate_json(withheld_marker(text))

    assert (marker.id, marker.inc, marker.seq, marker.type) == (event["id"], INC, 4, WITHHELD)
    assert marker.subject is None
    assert marker.data == {"type": EARNED, "size": len(text.encode()), "digest": digest(text).hex()}
    assert "secret-sale" not in withheld_marker(text)
    with pytest.raises(UnknownEventType):  # so a hub parks it
        read_fact(marker)
