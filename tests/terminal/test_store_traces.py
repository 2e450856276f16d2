"""Of somebody erased nothing is left on this till's disk: not in the logs, and not in a damaged file that was kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store import Store
from agent.store.files import aside_file, set_aside, till_file
from agent.store.wiping import LOOK_S
from sync.contract.identifiers import Identifier, Scheme, identifier_id
from sync.contract.protocol import CustomerGone, PresentedIdentifier
from sync.runtime.sqlite_file import DatabaseFull, open_for_reading
from tests.support import shop
from tests.support.clock import FakeClock

PHONE = "+15145550123"
PHONE_ID = identifier_id(shop.IDENTIFIER_KEY, Scheme.PHONE, PHONE)
ZOE = shop.put(shop.customer("zoe", given_name="Zoe"), identifiers=(shop.ref(Scheme.PHONE, PHONE),))
GONE = CustomerGone(customer_id="zoe", reason="erased")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A till where Zoe gave her phone number before the hub told who she is."""
    async with shop.open_till(tmp_path) as opened:
        await opened.journal.present(
            PresentedIdentifier(id=PHONE_ID, identifier=Identifier(scheme=Scheme.PHONE, value=PHONE))
        )
        await opened.cache.apply(shop.page(ZOE))
        yield opened


def _logs(folder: Path) -> list[int]:
    return [(folder / name).stat().st_size for name in ("till.db-wal", "cache-1.db-wal")]


async def _until_empty(store: Store, folder: Path, clock: FakeClock) -> None:
    """Let the upkeep go on until it has emptied both logs."""
    loop = asyncio.create_task(store.wiper.run(lambda: False, clock))
    async with asyncio.timeout(20):
        while _logs(folder) != [0, 0]:
            await store.journal._writer.outside_transaction(lambda _: None)
            await clock.advance(LOOK_S)
    loop.cancel()


async def test_an_erasure_leaves_nothing_in_either_log(store: Store, tmp_path: Path) -> None:
    assert min(_logs(tmp_path)) > 0

    await store.cache.apply(shop.page(GONE, position=2))

    assert _logs(tmp_path) == [0, 0]
    assert await store.journal.unsent_identifiers(5) == []


async def test_a_log_that_somebody_reads_just_then_is_emptied_afterwards(store: Store, tmp_path: Path) -> None:
    reader = open_for_reading(till_file(tmp_path, shop.DATABASE_KEY), {})
    reader.execute("BEGIN")
    assert reader.execute("SELECT value FROM presented").fetchone() == (PHONE,)

    await store.cache.apply(shop.page(GONE, position=2))

    assert _logs(tmp_path)[0] > 0
    assert shop.balance(store).posted == 0  # it is gone from sight at once
    reader.execute("COMMIT")
    reader.close()
    await _until_empty(store, tmp_path, FakeClock(shop.MORNING))


async def test_what_a_crash_left_in_the_logs_goes_after_the_next_start(store: Store, tmp_path: Path) -> None:
    """A log that was not emptied before the process died stays until somebody looks after it."""
    assert min(_logs(tmp_path)) > 0

    await _until_empty(store, tmp_path, FakeClock(shop.MORNING))


async def test_an_erasure_on_a_full_disk_takes_the_room_of_the_ballast(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(store.ballast.make)
    write = store.journal._writer.write

    async def full_while_there_is_ballast(work: object) -> object:
        if (tmp_path / "ballast").exists():
            raise DatabaseFull("planted")
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(store.journal._writer, "write", full_while_there_is_ballast)
    await store.cache.apply(shop.page(GONE, position=2))

    assert await store.journal.unsent_identifiers(5) == []
    assert _logs(tmp_path) == [0, 0]


def _lay_damaged(folder: Path) -> None:
    """A till that was set aside by a salvage, with its log."""
    aside = aside_file(folder / "till.db", shop.MORNING)
    aside.write_bytes(b"a page with a phone number")
    aside.with_name(aside.name + "-wal").write_bytes(b"and a log")


async def test_a_damaged_file_that_was_kept_goes_with_whoever_is_erased(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _lay_damaged(tmp_path)
    await store.cache.apply(shop.page(CustomerGone(customer_id="c-1", reason="out_of_scope"), position=2))
    assert len(set_aside(tmp_path)) == 2

    await store.cache.apply(shop.page(GONE, position=3))

    assert set_aside(tmp_path) == []
    assert "a damaged file that was kept is deleted" in caplog.text


async def test_a_damaged_file_that_was_kept_goes_when_the_till_is_shut_out(store: Store, tmp_path: Path) -> None:
    _lay_damaged(tmp_path)

    await store.wiper.wipe()

    assert set_aside(tmp_path) == []
