"""An event that the hub's own code falls over is held, and its line moves on; after an upgrade it counts once: F8."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sync.contract.protocol import Outcome, OutcomePut, Reason
from sync.hub.books import ledger as books
from sync.hub.judging import posting, verdicts
from sync.hub.uploads import intake
from sync.hub.uploads.intake import FAULTY_PER_UPLOAD_MAX
from sync.hub_client import open_session
from sync.hub_errors import HubUnreachable
from sync.runtime.sqlite_file import Connection
from tests.support.hub_tills import till_of
from tests.support.hub_twins import copied, is_quarantined, release
from tests.support.hub_twins import verdicts as verdicts_of
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.wire_till import Stream, WireTill, enrolled

CARD = "9990000000000016"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubUnderTest]:
    async with hub_in_process(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
async def till(hub: HubUnderTest) -> AsyncIterator[WireTill]:
    async with till_of(hub.inside) as till:
        yield till


@contextmanager
def bug_on(*sale_ids: str) -> Iterator[None]:
    """Let the rules fall over these sales."""

    def judge_sale(fact: Any, *rest: Any) -> Any:
        if fact.sale_id in sale_ids:
            raise ZeroDivisionError
        return verdicts.judge_sale(fact, *rest)

    with mock.patch.object(posting, "judge_sale", judge_sale):
        yield


@contextmanager
def rows_refused(sale_id: str) -> Iterator[None]:
    """Let the file refuse the rows of a batch with this sale in it."""

    def refusing(connection: Connection, store_id: str, of: posting.Posting, *rest: Any) -> None:
        books.write(connection, store_id, of, *rest)
        if sale_id in of.sales:
            connection.execute("INSERT INTO tallies SELECT * FROM tallies")

    with mock.patch.object(intake, "write", refusing):
        yield


def _points(connection: Connection) -> int:
    (points,) = connection.execute("SELECT coalesce(sum(points), 0) FROM tallies").fetchone() or (-1,)
    return int(points)


@pytest.mark.parametrize("fault", [bug_on, rows_refused])
async def test_f8_an_event_that_the_hub_falls_over_is_held_and_counts_once_after_an_upgrade(
    tmp_path: Path, fault: Any
) -> None:
    state = tmp_path / "hub"
    async with open_session() as session:
        async with hub_in_process(state) as hub:
            till = await enrolled(hub.url, await hub.invite(), session)
            cursor = (await till.client.snapshot_manifest(till.epoch)).cursor
            stream = Stream(till)
            sales = [stream.sale(CARD) for _ in range(7)]
            with fault(sales[4]):
                first = await stream.put()
                again = await stream.put()
            held = {verdict.seq: verdict.reason for verdict in first.results if verdict.outcome is Outcome.PARKED}
            assert held == {5: Reason.HUB_FAULT}
            assert [verdict.outcome for verdict in first.results].count(Outcome.APPLIED) == 6
            assert first.applied_through == again.applied_through == 7
            assert await hub.inside.reader.read(_points) == 60

        with fault(sales[4]):
            async with hub_in_process(state) as hub:  # started anew, and no wiser
                assert await hub.inside.reader.read(_points) == 60

        async with hub_in_process(state, port=int(till.url.rpartition(":")[2])) as hub:  # upgraded
            assert await hub.inside.reader.read(_points) == 70
            page = await till.client.feed(cursor, till.epoch, limit=50, wait_s=0)
        concluded = [change for change in page.changes if isinstance(change, OutcomePut)]
        heard = [(one.inc, one.verdict.seq, one.verdict.outcome) for one in concluded]
        assert heard == [(stream.inc, 5, Outcome.APPLIED)]


async def test_f8_a_hub_that_falls_over_everything_holds_nothing_and_the_till_keeps_its_events(
    hub: HubUnderTest, till: WireTill
) -> None:
    stream = Stream(till)
    sales = [stream.sale(CARD) for _ in range(FAULTY_PER_UPLOAD_MAX + 2)]
    with bug_on(*sales), pytest.raises(HubUnreachable):
        await stream.put()
    assert await hub.inside.reader.read(_points) == 0

    answer = await stream.put()
    assert {verdict.outcome for verdict in answer.results} == {Outcome.APPLIED}


async def test_f8_a_fault_that_is_no_events_is_no_reason_to_hold_one(till: WireTill) -> None:
    stream = Stream(till)
    stream.sale(CARD)
    with mock.patch.object(intake, "move_head", side_effect=ZeroDivisionError), pytest.raises(HubUnreachable):
        await stream.put()

    answer = await stream.put()
    assert [verdict.outcome for verdict in answer.results] == [Outcome.APPLIED]


async def test_f8_a_till_is_released_though_the_hub_falls_over_one_of_its_events(
    hub: HubUnderTest, till: WireTill
) -> None:
    await till.hello()
    ours = till.stream()
    theirs = copied(ours, till)
    ours.sale(CARD)
    faulty = theirs.sale(CARD)
    theirs.sale(CARD)
    await ours.put()
    await theirs.put()
    assert await is_quarantined(hub.inside)

    with bug_on(faulty):
        assert await release(hub.inside, till) == 2

    assert not await is_quarantined(hub.inside)
    assert await hub.inside.reader.read(_points) == 20
    assert verdicts_of(await theirs.put()) == [(Outcome.PARKED, Reason.HUB_FAULT), (Outcome.DUPLICATE, None)]
