"""Answers that are not the hub's, or not this hub's any more (F12, F60): whole tills, the real hub, a proxy between."""

import contextlib
from collections import Counter as Tally
from pathlib import Path

import pytest

from sync.hub_line import Timeouts
from sync.runtime.sqlite_file import Connection
from tests.support import chaos_tills
from tests.support.chaos_tills import card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import hub_in_process
from tests.support.proxy import Fault, Request, fault_proxy
from tests.support.waiting import breath, passing

PORTALS = (Fault.HTML, Fault.REDIRECT, Fault.EMPTY, Fault.OTHER_JSON, Fault.WRONG_TYPE, Fault.TRUNCATED_JSON)


@pytest.mark.parametrize("portal", PORTALS, ids=lambda fault: fault.name.lower())
async def test_f12_a_captive_portal_acknowledges_nothing(tmp_path: Path, portal: Fault) -> None:
    clock = FakeClock()
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_in_process(tmp_path / "hub"))
        await import_cards(hub, tmp_path, (1,))
        proxy = await stack.enter_async_context(fault_proxy(hub.url))
        till = await stack.enter_async_context(chaos_till(tmp_path / "till", await enrolled(hub), proxy.url, clock))
        await passing(clock, lambda: till.line.state.current_as_of is not None)
        proxy.plan = lambda _: portal
        began = len(proxy.seen)
        await till.sell(card(1), "sale-1", 1_500)
        await passing(clock, lambda: len([name for name, _ in proxy.seen[began:] if "/feed" not in name]) >= 4)

        assert till.outbox().waiting == 1
        assert (till.shown(card(1)), till.pending(card(1))) == (15, 15)
        assert till.outbox().withheld == 0

        proxy.plan = lambda _: Fault.PASS
        await passing(clock, lambda: till.outbox().waiting == 0 and till.pending(card(1)) == 0)
        assert till.shown(card(1)) == 15
        assert await hub.inside.reader.read(_sales_at_hub) == Tally(["sale-1"])


async def test_f60_an_upload_from_before_a_restore_that_arrives_after_it_is_refused(tmp_path: Path) -> None:
    clock, state = FakeClock(), tmp_path / "hub"
    async with contextlib.AsyncExitStack() as stack:
        async with hub_in_process(state) as hub:
            await import_cards(hub, tmp_path, (1,))
            enrolment = await enrolled(hub)
            port = int(hub.url.rpartition(":")[2])
            proxy = await stack.enter_async_context(fault_proxy(hub.url))
        backup = (state / "hub.db").read_bytes()
        async with hub_in_process(state, port=port):
            proxy.plan = _keep_uploads
            async with chaos_till(tmp_path / "till", enrolment, proxy.url, clock) as till:
                await till.sell(card(1), "sale-1", 1_500)
                await passing(clock, lambda: till.outbox().waiting == 0)
        _restore(state, backup)
        async with hub_in_process(state, port=port, is_restored=True) as hub:
            assert set(await proxy.replay()) == {409}
            assert await hub.inside.reader.read(_sales_at_hub) == Tally()

            async with chaos_till(tmp_path / "till", enrolment, proxy.url, clock) as till:
                await passing(clock, lambda: till.outbox().waiting == 0 and till.pending(card(1)) == 0)
                assert till.shown(card(1)) == 15
            assert await hub.inside.reader.read(_sales_at_hub) == Tally(["sale-1"])


async def test_f60_an_answer_of_the_hub_from_before_its_restore_costs_no_sale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_tills, "FAST", Timeouts(connect_s=5.0, read_s=20.0, total_s=30.0))
    clock, state = FakeClock(), tmp_path / "hub"
    async with contextlib.AsyncExitStack() as stack:
        async with hub_in_process(state) as hub:
            await import_cards(hub, tmp_path, (1,))
            enrolment = await enrolled(hub)
            port = int(hub.url.rpartition(":")[2])
            proxy = await stack.enter_async_context(fault_proxy(hub.url))
        backup = (state / "hub.db").read_bytes()
        async with hub_in_process(state, port=port) as hub:
            till = await stack.enter_async_context(chaos_till(tmp_path / "till", enrolment, proxy.url, clock))
            await passing(clock, lambda: till.line.state.current_as_of is not None)
            proxy.spoil("PUT", Fault.HOLD_ANSWER)
            await till.sell(card(1), "sale-1", 1_500)
            while not (Tally(["sale-1"]) == await hub.inside.reader.read(_sales_at_hub) and proxy.all_spoilt):
                await breath()
        _restore(state, backup)
        async with hub_in_process(state, port=port, is_restored=True) as hub:
            assert await hub.inside.reader.read(_sales_at_hub) == Tally()
            proxy.release()  # the old hub's word that it has the sale arrives now

            await passing(clock, lambda: till.outbox().waiting == 0 and till.pending(card(1)) == 0)
            assert till.shown(card(1)) == 15
            assert await hub.inside.reader.read(_sales_at_hub) == Tally(["sale-1"])


def _keep_uploads(request: Request) -> Fault:
    return Fault.KEEP_COPY if request.method == "PUT" else Fault.PASS


def _restore(state: Path, backup: bytes) -> None:
    for name in ("hub.db-wal", "hub.db-shm"):
        (state / name).unlink(missing_ok=True)
    (state / "hub.db").write_bytes(backup)


def _sales_at_hub(connection: Connection) -> Tally[str]:
    rows = connection.execute("SELECT json_extract(raw, '$.data.sale_id') FROM events WHERE outcome = 'applied'")
    return Tally(row[0] for row in rows)
