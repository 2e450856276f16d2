"""What a backlog costs: the upload of a till that was alone for weeks goes as fast as that of one that was not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.store import Store
from sync.contract.protocol import Outcome, Verdict
from sync.runtime.sqlite_file import Connection
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.sqlite_steps import steps_of

_A_BATCH = 20


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with shop.open_till(tmp_path, FakeClock(shop.MORNING)) as opened:
        await opened.cache.apply(shop.page(shop.put(points=100)))
        await shop.credit(opened)
        yield opened


async def test_a_batch_costs_what_it_carries_however_much_waits(store: Store) -> None:
    await _wait_with(store, range(2, 51))
    few = await _steps(store)
    await _wait_with(store, range(51, 20_001))
    many = await _steps(store)

    chain = bytes(32)  # the pusher says it with the verdicts; without it the chain is worked out from the journal
    await store.journal.settle(shop.INC, shop.verdicts(*(_applied(seq) for seq in range(1, 10_001))), chain)
    behind_acked_ones = await _steps(store)

    batch = await store.journal.next_batch(_A_BATCH, 1_000_000)
    assert batch is not None
    assert (batch.first, batch.last) == (10_001, 10_000 + _A_BATCH)
    assert many <= few * 1.1
    assert behind_acked_ones <= few * 1.1


def _applied(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.APPLIED)


async def _steps(store: Store) -> int:
    return await steps_of(store.journal._reader, lambda: store.journal.next_batch(_A_BATCH, 1_000_000))


async def _wait_with(store: Store, positions: range) -> None:
    """Put copies of the first event behind the newest one."""

    def write(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO journal (position, recorded_at, subject, points, event)"
            " SELECT ?, recorded_at, subject, points, event FROM journal WHERE position = 1",
            ((position,) for position in positions),
        )

    await store.journal._writer.write(write)
