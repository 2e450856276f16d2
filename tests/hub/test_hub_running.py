import asyncio
import contextlib
import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from sync.contract.protocol import FEED_WAIT_S_MAX, Outcome, ProgramPut
from sync.hub.config import HubConfig, ProgramSection
from sync.hub.people.importing import Desk, Fault, import_customers
from sync.hub.root import Hub, desk, running
from sync.hub.terminals.roster import INVITATION_TRIES, ask_to_rotate
from sync.hub_client import enrol, open_session
from sync.hub_errors import HubRefused
from sync.runtime.clock import SystemClock
from tests.support.clock import FakeClock
from tests.support.hub_tills import config_of, till_of
from tests.support.waiting import eventually
from tests.support.wire_till import WireTill, enrolling, random_card


async def import_beside(config: HubConfig, folder: Path, rows: str) -> None:
    """Import a file as another process does: through a connection of its own."""
    path = folder / "customers.csv"
    await asyncio.to_thread(path.write_text, f"customer_id,given_name,language,card,points\n{rows}\n")
    async with desk(config) as (writer, founding):
        told: list[Fault] = []
        await import_customers(
            path,
            Desk(
                writer,
                SystemClock(),
                founding.identifier_key,
                "1",
                told.append,
                told.append,
                lambda _: None,
                beside_hub=True,
            ),
        )
        assert told == []


async def test_an_import_beside_the_running_hub_wakes_a_waiting_till(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as hub, till_of(hub) as till, asyncio.TaskGroup() as group:
        cursor = await till.feed_start()
        poll = group.create_task(till.client.feed(cursor, till.epoch, limit=10, wait_s=FEED_WAIT_S_MAX))
        await import_beside(config, tmp_path, "C-1,Zoé,fr,,120")

        async with asyncio.timeout(5):
            page = await poll

    assert [(change.op, getattr(change, "points", None)) for change in page.changes] == [("customer", 120)]


async def is_polling(clock: FakeClock) -> None:
    """Return once the hub holds a poll open: then somebody sleeps for as long as a poll may last."""
    await eventually(lambda: any(abs(seconds - FEED_WAIT_S_MAX) < 1 for seconds in clock.sleepers))


async def test_a_long_poll_holds_no_transaction_open(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(config_of(tmp_path), clock) as hub, till_of(hub) as till, asyncio.TaskGroup() as group:
        cursor = await till.feed_start()
        poll = group.create_task(till.client.feed(cursor, till.epoch, limit=10, wait_s=FEED_WAIT_S_MAX))
        await is_polling(clock)
        await till.hello()
        checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
        row = await hub.writer.outside_transaction(lambda connection: connection.execute(checkpoint).fetchone())
        assert row == (0, 0, 0)  # a reader in the middle of a transaction would make it busy

        stream = till.stream()
        stream.sale(random_card())
        await stream.put()
        assert (await poll).covered == {stream.inc: 1}


async def test_a_poll_ends_when_its_time_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(config_of(tmp_path), clock) as hub, till_of(hub) as till, asyncio.TaskGroup() as group:
        cursor = await till.feed_start()
        poll = group.create_task(till.client.feed(cursor, till.epoch, limit=10, wait_s=FEED_WAIT_S_MAX))
        await is_polling(clock)
        await clock.advance(FEED_WAIT_S_MAX - 1)
        assert not poll.done()
        await clock.advance(1)
        page = await poll

    assert (page.changes, page.cursor, page.more) == ((), cursor, False)


async def test_a_poll_ends_when_the_hub_stops(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_session() as session, asyncio.TaskGroup() as group:
        async with running(config_of(tmp_path), clock) as hub, till_of(hub) as enrolled:
            till = WireTill(hub.url, enrolled.enrolment, session)
            cursor = await till.feed_start()
            poll = group.create_task(till.client.feed(cursor, till.epoch, limit=10, wait_s=FEED_WAIT_S_MAX))
            await is_polling(clock)

        assert (await poll).changes == ()


async def test_a_till_that_missed_more_than_the_feed_keeps_loads_a_snapshot(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        cursor = await till.feed_start()
        stream = till.stream()
        for _ in range(20):
            stream.sale(random_card())
        await stream.put()
        enrolment = till.enrolment

    async with running(config_of(tmp_path, feed_rows_kept=5)) as hub, open_session() as session:
        till = WireTill(hub.url, enrolment, session, till.key)
        await eventually(partial(pruned_to, hub, 5))
        with pytest.raises(HubRefused, match="resync"):
            await till.client.feed(cursor, till.epoch, limit=10, wait_s=0)
        manifest = await till.client.snapshot_manifest(till.epoch)
        assert manifest.covered == {stream.inc: 20}
        assert (await till.pages(manifest.cursor))[-1].changes == ()


async def pruned_to(hub: Hub, rows: int) -> bool:
    return await hub.reader.read(lambda connection: connection.execute("SELECT count(*) FROM feed").fetchone()) == (
        rows,
    )


async def test_an_invitation_ends_after_ten_minutes(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(config_of(tmp_path), clock) as hub:
        early, late = await hub.invite("store-1"), await hub.invite("store-1")
        clock.set_wall(clock.now() + timedelta(minutes=9, seconds=59))
        assert (await enrol(hub.url, enrolling(early))).store_id == "store-1"
        clock.set_wall(clock.now() + timedelta(seconds=1))

        with pytest.raises(HubRefused, match="code_refused"):
            await enrol(hub.url, enrolling(late))


async def test_an_invitation_ends_after_five_wrong_tries(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub:
        code, other = await hub.invite("store-1"), await hub.invite("store-1")
        wrong = code[:-1] + ("B" if code[-1] != "B" else "C")
        for _ in range(INVITATION_TRIES):
            with pytest.raises(HubRefused, match="code_refused"):
                await enrol(hub.url, enrolling(wrong))

        with pytest.raises(HubRefused, match="code_refused"):
            await enrol(hub.url, enrolling(code))
        assert await enrol(hub.url, enrolling(other.lower().replace("-", " ")))


async def test_no_secret_is_kept_readable(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        code = await hub.invite("store-1")
        new = await till.client.rotate_credential()
        await hub.writer.outside_transaction(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        raw = (tmp_path / "hub" / "hub.db").read_bytes()

    for secret in (till.credential, new.credential, code, code.replace("-", "")):
        assert secret.encode() not in raw


async def test_a_till_is_asked_to_rotate_until_it_used_the_new_credential(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        assert not (await till.hello()).rotate_credential
        await hub.writer.write(lambda connection: ask_to_rotate(connection, till.enrolment.terminal_id))
        assert (await till.hello()).rotate_credential
        till.credential = (await till.client.rotate_credential()).credential
        assert not (await till.hello()).rotate_credential
        assert not (await till.hello()).rotate_credential


async def test_a_presented_card_is_known_once_an_import_brings_its_customer(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as hub, till_of(hub) as till:
        cursor = await till.feed_start()
        presented = [till.presented("9990000000000001")]
        assert (await till.client.send_identifiers(till.epoch, presented)).known == ()
        stream = till.stream()
        stream.sale("9990000000000001", 3_000)
        await stream.put()
        await import_beside(config, tmp_path, "C-1,Zoé,fr,9990000000000001,")

        assert (await till.client.send_identifiers(till.epoch, presented)).known == (presented[0].id,)
        changes = [change for page in await till.pages(cursor) for change in page.changes]
        assert [(change.op, getattr(change, "points", None)) for change in changes] == [("customer", 30), ("card", 0)]
        rows = await hub.reader.read(lambda connection: connection.execute("SELECT * FROM presented").fetchall())
        assert rows == []


async def test_a_changed_program_is_a_new_version_and_old_events_stay_valid(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as hub, till_of(hub) as till:
        cursor = await till.feed_start()
        enrolment = till.enrolment
        assert hub.program.version == 1
    async with running(config) as hub:
        assert hub.program.version == 1

    double = json.loads(hub.program.model_dump_json()) | {"earn": {"points": 2, "per_minor": 100}}
    del double["version"]
    file = tmp_path / "program.json"
    await asyncio.to_thread(file.write_text, json.dumps(double))
    changed = HubConfig(hub=config.hub, program=ProgramSection(file=file))
    async with running(changed) as hub, open_session() as session:
        assert (hub.program.version, hub.program.earn.points) == (2, 2)
        till = WireTill(hub.url, enrolment, session, till.key)
        programs = [
            change.program
            for page in await till.pages(cursor)
            for change in page.changes
            if isinstance(change, ProgramPut)
        ]
        assert programs == [hub.program]
        stream = till.stream()
        stream.sale(random_card(), 1_000)
        stream.sale(random_card(), 1_000, program_version=2)
        answer = await stream.put()

    assert [(one.outcome, one.reason) for one in answer.results] == [
        (Outcome.APPLIED, None),
        (Outcome.REJECTED, "points_mismatch"),
    ]


async def test_a_restored_hub_begins_a_new_epoch_and_gets_back_what_it_lost(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as hub, till_of(hub) as till:
        cursor = await till.feed_start()
        enrolment = till.enrolment
        stream = till.stream()
        stream.sale(random_card())
        await stream.put()
    async with running(config, is_restored=True) as hub, open_session() as session:
        till = stream.till = WireTill(hub.url, enrolment, session, till.key)
        for refused in (till.client.feed(cursor, till.epoch, limit=1, wait_s=0), stream.put()):
            with pytest.raises(HubRefused, match="hello_required"):
                await refused
        till.epoch = (await till.hello()).hub_epoch
        assert till.epoch != enrolment.hub_epoch
        with pytest.raises(HubRefused, match="resync"):
            await till.client.feed(cursor, till.epoch, limit=1, wait_s=0)
        assert (await stream.put()).results[0].outcome is Outcome.DUPLICATE


async def test_uploads_of_many_tills_at_once_are_each_applied_once(tmp_path: Path) -> None:
    card = random_card()
    async with running(config_of(tmp_path)) as hub, contextlib.AsyncExitStack() as stack:
        tills = [await stack.enter_async_context(till_of(hub)) for _ in range(5)]
        streams = [till.stream() for till in tills]
        for stream in streams:
            for _ in range(40):
                stream.sale(card, 100)
        puts = [stream.put(first, first + 19) for stream in streams for first in (1, 1, 21, 1, 21)]
        await asyncio.gather(*puts, return_exceptions=True)
        await asyncio.gather(*(stream.put() for stream in streams))

        points = await hub.reader.read(lambda connection: connection.execute("SELECT points FROM tallies").fetchall())
    assert points == [(5 * 40,)]


async def test_a_page_is_at_most_as_long_as_asked_for_and_reads_as_the_contract_says(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        cursor = await till.feed_start()
        stream = till.stream()
        for _ in range(9):
            stream.sale(random_card())
        await stream.put()
        pages = await till.pages(cursor, limit=4)

    assert [len(page.changes) for page in pages] == [4, 4, 1]
    assert [page.covered[stream.inc] for page in pages] == [4, 8, 9]
