"""The chain as a till keeps it: what it signs is the same whatever happened to its journal in between."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent.store import Store
from sync.contract.chain import CHAIN_LOST, GONE, chain_start, extend, link
from sync.contract.protocol import AppliedThrough, Outcome, Verdict
from sync.pump.ports import Batch
from sync.pump.steps import settled_chain, withheld_marker
from sync.runtime.sqlite_file import Connection
from tests.support import shop

START = chain_start(shop.TERMINAL_ID, shop.INC)
KEEP = timedelta(days=14)


def applied(seq: int) -> Verdict:
    return Verdict(seq=seq, outcome=Outcome.APPLIED)


async def sell(store: Store, sales: int, name: str = "s") -> None:
    for number in range(sales):
        await shop.credit(store, f"{name}-{number}")


async def next_batch(store: Store, events: int = 100) -> Batch:
    batch = await store.journal.next_batch(events, 1_000_000)
    assert batch is not None
    return batch


async def send(store: Store, events: int = 100) -> list[str]:
    """Let the hub apply what waits, in batches of so many; return the texts as they were sent."""
    sent: list[str] = []
    while store.outbox.figures().waiting:
        batch = await next_batch(store, events)
        answer = shop.verdicts(*map(applied, range(batch.first, batch.last + 1)))
        await store.journal.settle(batch.inc, answer, settled_chain(batch, answer))
        sent += batch.events
    return sent


def behind(texts: list[str]) -> bytes:
    return extend(START, map(link, texts))


async def test_a_batch_names_the_chain_before_it(store: Store) -> None:
    await sell(store, 5)

    first = await next_batch(store, 2)
    sent = await send(store, 2)
    await shop.credit(store, "s-9")

    assert first.before == START
    assert (await next_batch(store)).before == behind(sent)


async def test_each_incarnation_has_a_chain_of_its_own(store: Store, tmp_path: Path) -> None:
    await sell(store, 1)
    await send(store)
    other = "00000000000000b2"
    (tmp_path / "other").mkdir()
    async with shop.open_till(tmp_path / "other", inc=other) as second:
        await shop.credit(second, "s-1")
        batch = await next_batch(second)

    assert batch.before == chain_start(shop.TERMINAL_ID, other) != START


async def test_verdicts_without_a_chain_cost_a_folding_and_change_nothing(store: Store) -> None:
    await sell(store, 3)
    texts = list((await next_batch(store)).events)
    await store.journal.settle(shop.INC, shop.verdicts(applied(1), applied(2)))

    assert (await next_batch(store)).before == behind(texts[:2])


async def test_an_answer_that_settles_less_than_it_says_leaves_no_wrong_chain(store: Store) -> None:
    await sell(store, 4)
    texts = list((await next_batch(store)).events)
    answer = shop.verdicts(applied(1), applied(3), applied(4))

    await store.journal.settle(shop.INC, answer, behind(texts))

    assert (await next_batch(store)).before == behind(texts[:1])


@pytest.mark.parametrize("through", [0, 1, 3])
async def test_a_hub_from_a_backup_is_sent_the_same_chain(store: Store, through: int) -> None:
    await sell(store, 4)
    sent = await send(store)

    lie = AppliedThrough(inc=shop.INC, through=through, chain="00" * 32)
    await store.journal.rewind([lie])

    batch = await next_batch(store)
    assert (batch.first, batch.before) == (through + 1, behind(sent[:through]))


async def test_a_pruned_event_links_as_it_did(store: Store) -> None:
    await sell(store, 4)
    sent = await send(store)
    await store.cache.apply(shop.page(shop.put(points=160), position=2, covered={shop.INC: 4}))
    for now in (shop.MORNING, shop.MORNING + KEEP):
        while await store.pruner.step(KEEP, now):
            pass

    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=2)])

    batch = await next_batch(store)
    assert GONE in batch.events[0]
    assert batch.before == behind(sent[:2])
    assert extend(batch.before, batch.links) == behind(sent)


async def test_a_withheld_event_links_as_it_would_have(store: Store) -> None:
    await sell(store, 1)
    batch = await next_batch(store)
    marked = Batch(batch.inc, batch.first, (withheld_marker(batch.events[0]),), batch.before)

    assert extend(marked.before, marked.links) == extend(batch.before, batch.links)
    answer = shop.verdicts(applied(1))
    assert settled_chain(marked, answer) == settled_chain(batch, answer)


async def lose_first(store: Store) -> None:
    """Let an event be lost with its digest, as a salvage of a damaged file leaves it."""

    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO bygone (position, recorded_at, points) VALUES (1, 0, 0)")
        connection.execute("DELETE FROM journal WHERE position = 1")

    await store.journal._writer.write(work)


async def test_where_an_event_is_lost_with_its_digest_the_hubs_word_is_taken(store: Store) -> None:
    await sell(store, 3)
    true = behind(await send(store))
    await lose_first(store)
    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=2)])
    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=2, chain="ab" * 32)])
    assert (await next_batch(store)).before.hex() == "ab" * 32

    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=0)])
    batch = await next_batch(store)
    assert (batch.before, batch.links[0].is_known) == (START, False)
    answer = shop.verdicts(*map(applied, (1, 2, 3))).model_copy(update={"chain": true.hex()})
    assert settled_chain(batch, answer) == true
    assert settled_chain(batch, answer.model_copy(update={"chain": None})) is None


async def test_where_the_hub_knows_no_chain_either_the_till_says_that_it_lost_it(store: Store) -> None:
    await sell(store, 4)
    await send(store)
    await lose_first(store)
    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=2)])

    batch = await next_batch(store, 1)
    assert batch.before == CHAIN_LOST
    ahead = shop.verdicts(applied(3))
    assert settled_chain(batch, ahead) is None
    await store.journal.settle(shop.INC, ahead, settled_chain(batch, ahead))
    last = await next_batch(store)
    assert last.before == CHAIN_LOST
    assert settled_chain(last, shop.verdicts(applied(4)).model_copy(update={"chain": "ab" * 32})) == b"\xab" * 32


async def test_a_chain_that_was_kept_is_never_taken_from_the_hub(store: Store) -> None:
    await sell(store, 2)
    sent = await send(store)
    await lose_first(store)

    await store.journal.rewind([AppliedThrough(inc=shop.INC, through=2, chain="ab" * 32)])
    await shop.credit(store, "s-9")

    assert (await next_batch(store)).before == behind(sent)
