import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import trustme

from sync.contract.protocol import FEED_WAIT_S_MAX, EnrolRequest, Outcome, ProgramPut
from sync.hub.config import HubConfig, HubSection, ProgramSection
from sync.hub.importing import Desk, Fault, import_customers
from sync.hub.refusals import KINDS
from sync.hub.root import Hub, desk, running
from sync.hub.routes import ROUTES, Route
from sync.hub.terminals import INVITATION_TRIES, ask_to_rotate
from sync.hub_client import enrol, open_session
from sync.hub_errors import HubBusy, HubRefused
from sync.runtime.clock import SystemClock
from sync.runtime.problems import codes
from sync.runtime.sqlite_file import Connection
from sync.runtime.state_lock import AlreadyRunning
from tests.support.clock import FakeClock
from tests.support.hubs import hub_in_process
from tests.support.waiting import eventually
from tests.support.wire_till import WireTill, random_card


def config_of(folder: Path, **hub: object) -> HubConfig:
    return HubConfig(hub=HubSection.model_validate({"state": folder / "hub", "port": 0, **hub}))


@contextlib.asynccontextmanager
async def till_of(hub: Hub, ca_file: Path | None = None) -> AsyncIterator[WireTill]:
    code = await hub.invite("store-1")
    async with open_session(ca_file) as session:
        yield WireTill(hub.url, await enrol(hub.url, EnrolRequest(code=code, agent_version="1"), ca_file), session)


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
        till = WireTill(hub.url, enrolment, session)
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
        assert (await enrol(hub.url, EnrolRequest(code=early, agent_version="1"))).store_id == "store-1"
        clock.set_wall(clock.now() + timedelta(seconds=1))

        with pytest.raises(HubRefused, match="code_refused"):
            await enrol(hub.url, EnrolRequest(code=late, agent_version="1"))


async def test_an_invitation_ends_after_five_wrong_tries(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub:
        code, other = await hub.invite("store-1"), await hub.invite("store-1")
        wrong = code[:-1] + ("B" if code[-1] != "B" else "C")
        for _ in range(INVITATION_TRIES):
            with pytest.raises(HubRefused, match="code_refused"):
                await enrol(hub.url, EnrolRequest(code=wrong, agent_version="1"))

        with pytest.raises(HubRefused, match="code_refused"):
            await enrol(hub.url, EnrolRequest(code=code, agent_version="1"))
        assert await enrol(hub.url, EnrolRequest(code=other.lower().replace("-", " "), agent_version="1"))


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
        till = WireTill(hub.url, enrolment, session)
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
        till = stream.till = WireTill(hub.url, enrolment, session)
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


async def test_only_one_hub_serves_a_state_folder(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)):
        with pytest.raises(AlreadyRunning):
            async with running(config_of(tmp_path)):
                pass


async def test_a_hub_with_tls_files_speaks_https_only(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = {"tls_certificate": tmp_path / "hub.crt", "tls_key": tmp_path / "hub.key", "ca": tmp_path / "ca.pem"}
    certificate.cert_chain_pems[0].write_to_path(files["tls_certificate"])
    certificate.private_key_pem.write_to_path(files["tls_key"])
    authority.cert_pem.write_to_path(files["ca"])
    tls = {name: path for name, path in files.items() if name != "ca"}

    async with running(config_of(tmp_path, **tls)) as hub, till_of(hub, files["ca"]) as till:
        assert hub.url.startswith("https://127.0.0.1:")
        assert (await till.hello()).hub_epoch == hub.founding.epoch
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(hub.url.replace("https", "http") + "/healthz")


async def test_the_doors_for_people(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, aiohttp.ClientSession(hub.url) as session:
        async with session.get("/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
            assert "Server" not in response.headers
            assert response.headers["Cache-Control"] == "no-store"
        async with session.get("/readyz") as response:
            assert response.status == 200
        key = (tmp_path / "hub" / "keys" / "admin.key").read_text()
        for bearer, status in (("", 401), ("Bearer x", 401), (f"Basic {key}", 401), (f"Bearer {key}", 200)):
            async with session.get("/metrics", headers={"Authorization": bearer}) as response:
                assert response.status == status, bearer
                text = await response.text()
        assert "loyalty_hub_feed_head" in text
        assert "loyalty_hub_events_total" in text


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.path.startswith("/v1") and route.path != "/v1/enrolments"],
    ids=lambda one: one.path,
)
async def test_nobody_without_a_credential_gets_past_the_guard(hub: Hub, route: Route) -> None:
    path = route.path
    for part, text in (
        ("{terminal}", "t"),
        ("{inc:[0-9a-f]{16}}", "0" * 16),
        ("{first:[1-9][0-9]{0,8}}", "1"),
        ("{snapshot:[0-9a-f]{32}}", "0" * 32),
        ("{number:[1-9][0-9]{0,8}}", "1"),
    ):
        path = path.replace(part, text)
    async with aiohttp.ClientSession(hub.url) as session:
        for headers in ({}, {"Authorization": "Bearer nothing"}, {"Authorization": "Bearer " + "x" * 9_000}):
            async with session.request(route.method, path, headers=headers) as response:
                assert response.status in (400, 401)
                assert (await response.json())["code"] in ("credential_unknown", "malformed_request")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub_in_process(tmp_path / "hub") as hub:
        yield hub.inside


async def test_a_database_that_another_holds_is_a_busy_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.runtime.sqlite_file.BUSY_TIMEOUT_S", 0.05)
    config = config_of(tmp_path)
    async with running(config) as hub, till_of(hub) as till, desk(config) as (other, _):
        stream = till.stream()
        stream.sale(random_card())
        await other.outside_transaction(lambda connection: connection.execute("BEGIN IMMEDIATE"))
        with pytest.raises(HubBusy) as raised:
            await stream.put()
        await other.outside_transaction(lambda connection: connection.execute("ROLLBACK"))

        assert raised.value.retry_after_s == 2.0
        assert (await stream.put()).results[0].outcome is Outcome.APPLIED


def test_every_problem_of_the_hub_has_a_code_of_its_own() -> None:
    assert len(codes(KINDS)) == len(KINDS)


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


async def test_a_full_disk_refuses_visibly_and_loses_nothing(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as hub, till_of(hub) as till:
        stream = till.stream()
        for _ in range(300):
            stream.sale(random_card())
        await stream.put(1, 100)
        await hub.writer.outside_transaction(room_for(0))
        with pytest.raises(HubBusy) as raised:
            await stream.put(101, 300)
        assert raised.value.retry_after_s == 30.0
        async with aiohttp.ClientSession(hub.url) as session, session.get("/readyz") as response:
            assert response.status == 200

        await hub.writer.outside_transaction(room_for(10_000))
        assert (await stream.put(101, 300)).applied_through == 300
        assert await hub.reader.read(
            lambda connection: connection.execute("SELECT count(*), sum(points) FROM events").fetchone()
        ) == (300, 3_000)


def room_for(pages: int) -> Callable[[Connection], object]:
    """Return what lets the database grow by so many pages and no further, as a full disk does."""

    def limit(connection: Connection) -> object:
        held = connection.execute("PRAGMA page_count").fetchone()
        assert held is not None
        return connection.execute(f"PRAGMA max_page_count={held[0] + pages}").fetchone()

    return limit
