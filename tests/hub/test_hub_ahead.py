"""Terminals that were told more than the hub knows: its whole folder came back from a backup, and nobody said so."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync.contract.allowance import HeldAllowance, Want
from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.events import EVENT_TYPES
from sync.contract.protocol import HelloRequest
from sync.contract.versions import PROTOCOLS
from sync.hub.people.customer_rows import to_row
from sync.hub.people.customers import put_customers
from sync.hub.root import Hub, running
from sync.hub_client import open_session
from sync.runtime.clock import new_id
from tests.support.hub_tills import config_of
from tests.support.wire_till import WireTill, enrolled, random_card

POINTS = 100


@dataclass
class Shop:
    """A hub with one customer and four tills, and its folder."""

    folder: Path
    hub: Hub
    tills: list[WireTill]
    held: list[HeldAllowance] = field(default_factory=list)

    async def hello(self, number: int, cursor: str | None, held: Sequence[HeldAllowance] = ()) -> None:
        till = self.tills[number]
        await till.client.hello(
            HelloRequest(
                protocols=PROTOCOLS,
                agent_version="0.1.0",
                event_types=EVENT_TYPES,
                cursor=cursor,
                waiting=0,
                oldest_waiting_s=0,
                wall=datetime.now(UTC),
                monoms=1,
                bootid="boot-1",
                running=till.run,
                allowances=tuple(held),
            )
        )

    async def granted(self, number: int, points: int = 1) -> int:
        word = await self.tills[number].allowances(Want(customer_id="C-1", points=points))
        return sum(one.amount for one in word.allowances)

    def cursor(self, position: int, epoch: str | None = None) -> str:
        return write_cursor(FeedCursor(epoch or self.hub.founding.epoch, position))


@asynccontextmanager
async def opened(folder: Path, before: Shop | None = None, *, is_restored: bool = False) -> AsyncIterator[Shop]:
    async with running(config_of(folder), is_restored=is_restored) as hub, open_session() as session:
        if before is None:
            identifiers = [{"scheme": "card", "value": "9990111122223333"}]
            person = {"customer_id": "C-1", "given_name": "Zoé", "language": "fr", "identifiers": identifiers}
            row = to_row(person | {"points": POINTS}, hub.founding.identifier_key, "1")
            await hub.writer.write(lambda connection: put_customers(connection, [row], 0))
            tills = [await enrolled(hub.url, await hub.invite("store-1"), session) for _ in range(4)]
        else:
            tills = [WireTill(hub.url, till.enrolment, session, till.key) for till in before.tills]
        for till in tills:
            till.epoch = hub.founding.epoch
        yield Shop(folder, hub, tills)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(tmp_path) as shop:
        yield shop


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


async def test_f28_a_folder_that_came_back_whole_and_unsaid_is_told_by_the_tills_and_promises_nothing_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as shop:
        for number in range(4):
            await shop.hello(number, None)
    await asyncio.to_thread(shutil.copytree, tmp_path / "hub", tmp_path / "yesterday")
    async with opened(tmp_path, shop) as today:
        await today.hello(0, None)
        word = await today.tills[0].allowances(Want(customer_id="C-1", points=POINTS))
        held = [
            HeldAllowance.model_validate(one.model_dump(include=set(HeldAllowance.model_fields)))
            for one in word.allowances
        ]
        await today.hello(1, None)
        stream = today.tills[1].stream()
        stream.sale(random_card())
        await stream.put()
        cursors = [await till.feed_start() for till in today.tills[:2]]
    await asyncio.to_thread(shutil.rmtree, tmp_path / "hub")
    await asyncio.to_thread(shutil.copytree, tmp_path / "yesterday", tmp_path / "hub")

    async with opened(tmp_path, shop) as back:
        await back.hello(0, cursors[0], held)
        assert await back.granted(0, POINTS) == 0
        await back.hello(1, cursors[1])
        await back.hello(2, None)
        assert [await back.granted(number, POINTS) for number in range(3)] == [0, 0, 0]
        assert b"hub_terminals_ahead 2.0" in back.hub.metrics.render()[0]
    assert [("run --restored" in message, "no terminal" in message) for message in errors(caplog)] == [
        (True, False),
        (True, True),
    ]

    async with opened(tmp_path, shop, is_restored=True) as said:
        await said.hello(0, cursors[0], held)
        assert await said.granted(0) == POINTS
    assert len(errors(caplog)) == 2


async def test_a_single_till_that_is_confused_is_granted_nothing_and_stops_nobody_else(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await shop.hello(0, shop.cursor(1 << 40))
    await shop.hello(1, shop.cursor(1))

    assert [await shop.granted(0), await shop.granted(1)] == [0, 1]
    assert len(errors(caplog)) == 1


async def test_an_allowance_that_the_books_never_had_is_noticed_and_what_they_may_have_forgotten_is_not(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)

    def naming(allowance_id: str) -> list[HeldAllowance]:
        return [HeldAllowance(allowance_id=allowance_id, customer_id="C-1", amount=9, spent=0)]

    await shop.hello(0, shop.cursor(1), naming(str(new_id(now - timedelta(days=90)))))
    await shop.hello(0, shop.cursor(1), naming("another-kind-of-id"))
    await shop.hello(0, shop.cursor(1, "ab" * 8), naming(str(new_id(now))))
    await shop.hello(0, None, naming(str(new_id(now))))
    assert [await shop.granted(0), errors(caplog)] == [1, []]

    await shop.hello(0, shop.cursor(1), naming(str(new_id(now))))
    assert len(errors(caplog)) == 1
    assert await shop.granted(0, 5) == 1
