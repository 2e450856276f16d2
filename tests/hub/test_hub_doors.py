from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import trustme

from sync.contract.protocol import Outcome
from sync.hub.root import ADMIN_KEY_CHARS_MIN, AdminKeyError, Hub, desk, running
from sync.hub.web.refusals import KINDS
from sync.hub.web.routes import ROUTES, Route
from sync.hub_errors import HubBusy
from sync.runtime.problems import codes
from sync.runtime.sqlite_file import Connection
from sync.runtime.state_lock import AlreadyRunning
from tests.support.hub_tills import config_of, till_of
from tests.support.hubs import hub_in_process
from tests.support.wire_till import random_card


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


@pytest.mark.parametrize("key", [b"", b"\n", b"x" * 31, b"a pass phrase that is long enough", b"\xff" * 40])
async def test_an_admin_key_that_could_be_guessed_starts_no_hub(tmp_path: Path, key: bytes) -> None:
    file = tmp_path / "hub" / "keys" / "admin.key"
    file.parent.mkdir(parents=True)
    file.write_bytes(key)

    with pytest.raises(
        AdminKeyError, match=r"admin\.key holds no key: .*; delete it, and the next start makes a new one"
    ):
        async with running(config_of(tmp_path)):
            pass

    file.unlink()
    async with running(config_of(tmp_path)):
        assert len(file.read_bytes()) >= ADMIN_KEY_CHARS_MIN


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
