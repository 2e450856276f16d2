import asyncio
import contextlib
import gzip
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.contract.protocol import EnrolAnswer, SnapshotManifest
from sync.hub.config import HubConfig, HubSection
from sync.hub.feed.snapshot_files import write_chunk
from sync.hub.feed.snapshots import FRESH, KEPT
from sync.hub.people.customer_rows import Leaving
from sync.hub.people.customers import put_customers
from sync.hub.root import Hub, running
from sync.hub_client import open_session
from sync.hub_errors import HubBusy, HubRefused
from sync.runtime.clock import Clock
from tests.support.clock import FakeClock
from tests.support.hub_books import NOW_MS, customer
from tests.support.waiting import breath, eventually
from tests.support.wire_till import WireTill, enrolled, random_card

# Small chunks make a small shop's snapshot long.
CHUNK_ROWS = 10


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.hub.feed.snapshot_files.chunk_texts.__defaults__", (CHUNK_ROWS,))


@contextlib.asynccontextmanager
async def hub_of(folder: Path, clock: Clock | None = None) -> AsyncIterator[Hub]:
    async with running(HubConfig(hub=HubSection(state=folder / "hub", port=0)), clock) as hub:
        yield hub


@contextlib.asynccontextmanager
async def till_of(hub: Hub, enrolment: EnrolAnswer | None = None) -> AsyncIterator[WireTill]:
    async with open_session() as session:
        if enrolment is None:
            yield await enrolled(hub.url, await hub.invite("store-1"), session)
        else:
            yield WireTill(hub.url, enrolment, session)


async def fill(hub: Hub, customers: int) -> None:
    rows = [customer(f"C-{number:03d}", points=number + 1) for number in range(customers)]
    await hub.writer.write(lambda connection: put_customers(connection, rows, NOW_MS))


async def complete(till: WireTill, manifest: SnapshotManifest | None = None) -> SnapshotManifest:
    manifest = manifest or await till.client.snapshot_manifest(till.epoch)
    async with asyncio.timeout(20):
        while not manifest.complete:
            manifest = await till.client.snapshot_manifest(till.epoch, manifest.snapshot_id)
    return manifest


async def rows_of(till: WireTill, manifest: SnapshotManifest) -> list[dict[str, Any]]:
    rows = []
    for chunk in manifest.chunks:
        packed = await till.client.snapshot_chunk(till.epoch, manifest.snapshot_id, chunk.number)
        assert hashlib.sha256(packed).hexdigest() == chunk.sha256
        lines = gzip.decompress(packed).splitlines()
        assert len(lines) == chunk.rows <= CHUNK_ROWS
        rows += [json.loads(line) for line in lines]
    return rows


async def test_a_snapshot_holds_every_customer_in_order_and_every_waiting_card(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 25)
        stream = till.stream()
        stream.sale(random_card(), 700)
        await stream.put()

        manifest = await complete(till)
        rows = await rows_of(till, manifest)

    assert [row["customer"]["customer_id"] for row in rows[:25]] == [f"C-{number:03d}" for number in range(25)]
    assert [row["points"] for row in rows] == [*range(1, 26), 7]
    assert [chunk.number for chunk in manifest.chunks] == [1, 2, 3, 4]
    assert manifest.covered == {stream.inc: 1}
    assert manifest.program == hub.program


async def test_a_new_hub_has_an_empty_snapshot(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        manifest = await till.client.snapshot_manifest(till.epoch)

    assert (manifest.complete, manifest.chunks) == (True, ())


async def test_a_snapshot_is_as_of_one_position_while_uploads_go_on(tmp_path: Path) -> None:
    card = random_card()
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 60)
        stream = till.stream()
        for _ in range(60):
            stream.sale(card, 100)

        async def sell() -> None:
            for seq in range(1, 61):
                await stream.put(seq, seq)

        async with asyncio.TaskGroup() as group:
            group.create_task(sell())
            manifest = await complete(till)
        rows = await rows_of(till, manifest)
        seen = next((row["points"] for row in rows if row["op"] == "card"), 0)
        assert seen == manifest.covered.get(stream.inc, 0)

        points = seen
        for page in await till.pages(manifest.cursor, limit=1):
            points = next((change.points for change in page.changes if change.op == "card"), points)
            assert points == (page.covered or {stream.inc: points})[stream.inc]
        assert points == 60


async def test_all_tills_get_the_same_snapshot_while_it_is_fresh(tmp_path: Path) -> None:
    clock = FakeClock()
    async with hub_of(tmp_path, clock) as hub, till_of(hub) as till, till_of(hub) as other:
        await fill(hub, 3)
        first = await complete(till)
        stream = till.stream()
        stream.sale(random_card())
        await stream.put()

        clock.set_wall(clock.now() + FRESH)
        assert (await complete(other)).snapshot_id == first.snapshot_id
        clock.set_wall(clock.now() + timedelta(seconds=1))
        later = await complete(other)
        assert later.snapshot_id != first.snapshot_id
        assert len(await rows_of(other, later)) == 4
        # A till in the middle of the former one may finish it.
        assert len(await rows_of(till, first)) == 3


async def test_only_the_newest_snapshots_stay_on_disk(tmp_path: Path) -> None:
    clock = FakeClock()
    made = []
    async with hub_of(tmp_path, clock) as hub, till_of(hub) as till:
        for _ in range(KEPT + 1):
            made.append(await complete(till))
            clock.set_wall(clock.now() + FRESH + timedelta(seconds=1))
        with pytest.raises(HubRefused, match="snapshot_unknown"):
            await till.client.snapshot_manifest(till.epoch, made[0].snapshot_id)

    kept = {path.name for path in (tmp_path / "hub" / "snapshots").iterdir()}
    assert kept == {manifest.snapshot_id for manifest in made[1:]}


async def test_a_till_goes_on_with_its_snapshot_after_the_hub_was_restarted(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 25)
        before = await complete(till)
        first = await till.client.snapshot_chunk(till.epoch, before.snapshot_id, 1)
        enrolment = till.enrolment

    async with hub_of(tmp_path) as hub, till_of(hub, enrolment) as till:
        after = await till.client.snapshot_manifest(till.epoch, before.snapshot_id)
        assert (after.chunks, after.cursor, after.complete) == (before.chunks, before.cursor, True)
        assert await till.client.snapshot_chunk(till.epoch, before.snapshot_id, 1) == first
        assert (await complete(till)).snapshot_id == before.snapshot_id


async def test_what_is_left_of_a_snapshot_that_was_cut_off_is_thrown_away(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 25)
        manifest = await complete(till)
        enrolment = till.enrolment
    folder = tmp_path / "hub" / "snapshots"
    cut = folder / ("0" * 32)
    await asyncio.to_thread(shutil.copytree, folder / manifest.snapshot_id, cut)
    (cut / "snapshot.json").unlink()
    (folder / manifest.snapshot_id / "00002.ndjson.gz").unlink()

    async with hub_of(tmp_path) as hub, till_of(hub, enrolment) as till:
        assert list(folder.iterdir()) == []
        for snapshot_id in (cut.name, manifest.snapshot_id):
            with pytest.raises(HubRefused, match="snapshot_unknown"):
                await till.client.snapshot_manifest(till.epoch, snapshot_id)
        assert len(await rows_of(till, await complete(till))) == 25


async def test_chunks_are_served_while_the_later_ones_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.hub.feed.snapshots.SOON_S", 0.05)
    gate = Gate(monkeypatch, opens_after=2)
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 45)
        growing = await till.client.snapshot_manifest(till.epoch)
        await eventually(lambda: gate.is_reached)
        growing = await till.client.snapshot_manifest(till.epoch, growing.snapshot_id)
        assert (growing.complete, [chunk.number for chunk in growing.chunks]) == (False, [1, 2])
        early = await rows_of(till, growing)
        with pytest.raises(HubRefused, match="snapshot_unknown"):
            await till.client.snapshot_chunk(till.epoch, growing.snapshot_id, 3)
        # The hub goes on with everything else meanwhile.
        stream = till.stream()
        stream.sale(random_card())
        assert (await stream.put()).applied_through == 1
        gate.open()
        manifest = await complete(till, growing)

        assert manifest.chunks[:2] == growing.chunks
        assert (await rows_of(till, manifest))[: len(early)] == early
        assert manifest.covered == {}


class Gate:
    """Holds the making of a snapshot back after some chunks, on the thread that makes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, opens_after: int) -> None:
        from_here = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        self.is_reached = False
        real = write_chunk

        def held(folder: Path, snapshot_id: str, number: int, rows: int, text: str) -> Any:
            if number > opens_after:
                self.is_reached = True
                asyncio.run_coroutine_threadsafe(self._opened.wait(), from_here).result()
            return real(folder, snapshot_id, number, rows, text)

        monkeypatch.setattr("sync.hub.feed.snapshots.write_chunk", held)

    def open(self) -> None:
        self._opened.set()


async def test_a_full_disk_is_a_busy_hub_and_the_next_try_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.feed.snapshots.SOON_S", 0.05)
    monkeypatch.setattr("sync.runtime.supervise.RESTART_S_MIN", 0.01)
    monkeypatch.setattr("sync.runtime.supervise.RESTART_S_MAX", 0.02)
    is_full = True
    real = write_chunk

    def on_a_full_disk(folder: Path, snapshot_id: str, number: int, rows: int, text: str) -> Any:
        if is_full:
            raise OSError(28, "No space left on device")
        return real(folder, snapshot_id, number, rows, text)

    monkeypatch.setattr("sync.hub.feed.snapshots.write_chunk", on_a_full_disk)
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 3)
        with contextlib.suppress(HubBusy):  # or a manifest of the try under way, which is gone a moment later
            await till.client.snapshot_manifest(till.epoch)
        stream = till.stream()
        stream.sale(random_card())
        assert (await stream.put()).applied_through == 1
        is_full = False

        async def is_made() -> bool:
            try:
                return (await till.client.snapshot_manifest(till.epoch)).complete
            except HubBusy:
                return False

        await eventually(is_made)
        assert len(await rows_of(till, await complete(till))) == 4
    assert len(list((tmp_path / "hub" / "snapshots").iterdir())) == 1


async def test_a_snapshot_that_nobody_asks_for_any_more_leaves_the_disk(tmp_path: Path) -> None:
    clock = FakeClock()
    folder = tmp_path / "hub" / "snapshots"
    async with hub_of(tmp_path, clock) as hub, till_of(hub) as till:
        await complete(till)
        assert len(list(folder.iterdir())) == 1
        async with asyncio.timeout(20):
            while list(folder.iterdir()):
                await clock.advance(3600)
                await breath()


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub does not look for erasures by itself: as between two looks, and before the first one of a start."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("sync.hub.feed.snapshots.Snapshots.drop_erased", never)


async def gives_nobody_erased(till: WireTill, before: SnapshotManifest) -> None:
    with pytest.raises(HubRefused, match="snapshot_unknown"):
        await till.client.snapshot_chunk(till.epoch, before.snapshot_id, 1)
    with pytest.raises(HubRefused, match="snapshot_unknown"):
        await till.client.snapshot_manifest(till.epoch, before.snapshot_id)
    rows = await rows_of(till, await complete(till))
    assert [row["customer"]["customer_id"] for row in rows] == ["C-001", "C-002"]


ERASED = [Leaving("C-000", "erased")]


@pytest.mark.usefixtures("no_looks")
async def test_a_snapshot_from_before_an_erasure_is_not_given_out_from_the_commit_on(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 3)
        before = await complete(till)
        await hub.writer.write(lambda connection: put_customers(connection, ERASED, NOW_MS))
        await gives_nobody_erased(till, before)


@pytest.mark.parametrize("asks_first_for", ["manifest", "chunk", "current"])
@pytest.mark.usefixtures("no_looks")
async def test_nor_right_after_a_start(tmp_path: Path, asks_first_for: str) -> None:
    async with hub_of(tmp_path) as hub, till_of(hub) as till:
        await fill(hub, 3)
        before = await complete(till)
        enrolment = till.enrolment
        await hub.writer.write(lambda connection: put_customers(connection, ERASED, NOW_MS))
    async with hub_of(tmp_path) as hub, till_of(hub, enrolment) as till:
        if asks_first_for == "manifest":
            with pytest.raises(HubRefused, match="snapshot_unknown"):
                await till.client.snapshot_manifest(till.epoch, before.snapshot_id)
        elif asks_first_for == "current":
            assert (await complete(till)).snapshot_id != before.snapshot_id
        await gives_nobody_erased(till, before)
