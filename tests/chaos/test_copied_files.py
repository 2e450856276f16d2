"""Database files that come back from yesterday, or run twice: F37, F38, F49 and F50, with real files.

Nothing that reached the hub is lost or counted twice, whichever copy goes on. What only the lost disk held is lost;
when the point of sale brings it again, it counts once.
"""

import asyncio
import shutil
import subprocess
import sys
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from sync.contract.protocol import EnrolAnswer
from sync.hub.feed.digests import sum_up
from sync.hub.uploads.fences import is_quarantined
from sync.hub.uploads.quarantine import release_step
from sync.runtime.sqlite_file import Connection
from tests.support.chaos_tills import ChaosTill, card, chaos_till, enrolled, import_cards
from tests.support.clock import FakeClock
from tests.support.hubs import HubUnderTest, hub_in_process
from tests.support.processes import ROOT
from tests.support.waiting import breath, passing

ANN = card(1)
POINTS = 15


@dataclass
class Shop:
    """A hub, and the files of one terminal that a test copies about."""

    folder: Path
    hub: HubUnderTest
    enrolment: EnrolAnswer
    clock: FakeClock = field(default_factory=FakeClock)

    def till(self, name: str = "till", inc: str | None = None) -> AbstractAsyncContextManager[ChaosTill]:
        """Start the till on the files in a folder of this name; with `inc` as if that process had never ended."""
        return chaos_till(self.folder / name, self.enrolment, self.hub.url, self.clock, inc)

    async def sell(self, till: ChaosTill, *sale_ids: str) -> None:
        for sale_id in sale_ids:
            assert await till.sell(ANN, sale_id, POINTS * 100) == POINTS

    async def until_sent(self, till: ChaosTill) -> None:
        await passing(self.clock, lambda: till.outbox().waiting == 0)

    async def until_shows(self, till: ChaosTill, sales: int) -> None:
        await passing(self.clock, lambda: (till.shown(ANN), till.pending(ANN)) == (POINTS * sales, 0))

    async def copy(self, source: str, target: str) -> None:
        await asyncio.to_thread(shutil.copytree, self.folder / source, self.folder / target)

    async def bring_back(self, backup: str, *patterns: str) -> None:
        """Let the files of a backup stand where the till's stand, and those of today be gone."""
        for pattern in patterns:
            for old in (self.folder / "till").glob(pattern):
                old.unlink()
            for kept in (self.folder / backup).glob(pattern):
                shutil.copy(kept, self.folder / "till")

    async def at_hub(self) -> dict[str, Tally[str]]:
        """Return which sales the hub holds, how often, by what became of them."""
        return await self.hub.inside.reader.read(_sales)

    async def release(self) -> None:
        """Let a person release the terminal."""
        terminal_id, now = self.enrolment.terminal_id, self.clock.now()
        while (await self.hub.inside.writer.write(lambda c: release_step(c, terminal_id, now))).total:
            pass

    async def greet(self, till: ChaosTill) -> None:
        """Let the till say hello, and send what it then believes the hub to lack."""
        till.line.want_hello(till.line.epoch)
        await passing(self.clock, lambda: till.line.epoch is not None and not till.line.hello_wanted.is_set())

    async def is_same(self, till: ChaosTill) -> bool:
        """Tell whether the till's cache holds what the hub holds, by their digests."""
        _, sums = await self.hub.inside.reader.read(sum_up)
        async with asyncio.TaskGroup() as group:
            buckets = group.create_task(till.store.cache.buckets())
            await passing(self.clock, buckets.done)
        return tuple(buckets.result()) == tuple(sums.buckets())

    async def prune(self, till: ChaosTill) -> int:
        """Let two days pass by the hub's clock, prune what was settled before them, and return how many events."""
        pruned = await till.store.pruner.step(timedelta(days=1), self.clock.now())
        await self.greet(till)
        while step := await till.store.pruner.step(timedelta(days=1), self.clock.now() + timedelta(days=2)):
            pruned += step
        return pruned

    async def balance(self) -> int:
        return await self.hub.inside.reader.read(_balance)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with hub_in_process(tmp_path / "hub") as hub:
        await import_cards(hub, tmp_path, (1,))
        yield Shop(tmp_path, hub, await enrolled(hub))


@pytest.mark.parametrize("patterns", [("till.db*",), ("*",)], ids=["the till's file", "the whole folder"])
async def test_f50_yesterdays_files_of_a_till_lose_and_double_nothing_that_the_hub_had(
    shop: Shop, patterns: Iterable[str]
) -> None:
    async with shop.till() as till:
        await shop.sell(till, "monday-1", "monday-2")
        await shop.until_shows(till, 2)
    await shop.copy("till", "yesterday")
    async with shop.till() as till:
        await shop.sell(till, "tuesday-1", "tuesday-2")
        await shop.until_shows(till, 4)

    await shop.bring_back("yesterday", *patterns)

    async with shop.till() as till:
        await shop.until_shows(till, 4)  # the hub's copy of the lost tail flows back
        await shop.sell(till, "wednesday-1")
        await till.sell(ANN, "tuesday-2", POINTS * 100)  # the till has forgotten it, and the hub has not
        await shop.until_sent(till)
        await shop.until_shows(till, 5)
    sales = await shop.at_hub()
    assert sales["applied"] == Tally(["monday-1", "monday-2", "tuesday-1", "tuesday-2", "wednesday-1"])
    assert sales["rejected"] == Tally(["tuesday-2"])
    assert await shop.balance() == POINTS * 5


async def test_f50_what_only_the_lost_disk_held_counts_once_when_it_is_sold_again(shop: Shop) -> None:
    async with shop.till() as till:
        await shop.sell(till, "monday-1")
        await shop.until_shows(till, 1)
    await shop.copy("till", "yesterday")
    async with chaos_till(shop.folder / "till", shop.enrolment, "http://127.0.0.1:9", shop.clock) as till:
        await shop.sell(till, "tuesday-1", "tuesday-2")  # and nobody heard of them

    await shop.bring_back("yesterday", "*")

    async with shop.till() as till:
        await shop.until_shows(till, 1)
        await shop.sell(till, "tuesday-1")
        await shop.until_shows(till, 2)
    assert (await shop.at_hub())["applied"] == Tally(["monday-1", "tuesday-1"])


async def test_f50_a_backup_with_a_full_outbox_sends_again_what_the_hub_has_and_nothing_counts_twice(
    shop: Shop,
) -> None:
    async with chaos_till(shop.folder / "till", shop.enrolment, "http://127.0.0.1:9", shop.clock) as till:
        await shop.sell(till, "monday-1", "monday-2", "monday-3")
    await shop.copy("till", "yesterday")
    async with shop.till() as till:
        await shop.sell(till, "tuesday-1")
        await shop.until_shows(till, 4)

    await shop.bring_back("yesterday", "till.db*")

    async with shop.till() as till:
        assert till.outbox().waiting == 3
        await shop.until_shows(till, 4)
    assert (await shop.at_hub())["applied"] == Tally(["monday-1", "monday-2", "monday-3", "tuesday-1"])


async def test_f49_two_tills_on_copies_of_one_disk_are_noticed_and_the_events_of_both_are_kept(shop: Shop) -> None:
    async with shop.till() as till:
        await shop.sell(till, "before-1", "before-2")
        await shop.until_shows(till, 2)
    await shop.copy("till", "clone")
    sold = Tally({"before-1": 1, "before-2": 1, "shared": 2})
    async with shop.till() as one, shop.till("clone") as other:
        await shop.sell(one, "shared")
        await shop.sell(other, "shared")
        for number in range(4):
            await shop.sell(one, f"one-{number}")
            await shop.sell(other, f"other-{number}")
            sold += Tally([f"one-{number}", f"other-{number}"])
            await shop.clock.advance(5)
            await breath()
        await shop.until_sent(one)
        await shop.until_sent(other)
        held = await shop.at_hub()
        assert sum(held.values(), Tally()) == sold
        assert max(held["applied"].values()) == 1
        assert await shop.balance() == POINTS * len(held["applied"])
        terminal_id = shop.enrolment.terminal_id
        assert await shop.hub.inside.reader.read(lambda connection: is_quarantined(connection, terminal_id))
        assert held["parked"]
        assert one.outbox().parked + other.outbox().parked == held["parked"].total()

    await shop.release()

    judged = await shop.at_hub()
    assert judged == {"applied": Tally(sold.keys()), "rejected": Tally(["shared"]), "parked": Tally()}
    assert await shop.balance() == POINTS * len(sold)
    async with shop.till() as one:
        await shop.until_shows(one, len(sold))


async def test_f49_a_copied_machine_and_its_original_show_the_truth_after_a_release_and_prune_again(shop: Shop) -> None:
    inc = "5a" * 8
    async with shop.till(inc=inc) as till:
        await shop.sell(till, "before-1", "before-2")
        await shop.until_shows(till, 2)
    await shop.copy("till", "copy")
    async with shop.till(inc=inc) as ours, shop.till("copy", inc) as theirs:
        both = (ours, theirs)

        def shown() -> list[tuple[int, int]]:
            return [(till.shown(ANN), till.pending(ANN)) for till in both]

        await shop.sell(ours, "ours-1")
        await shop.until_sent(ours)
        await shop.sell(theirs, *(f"theirs-{number}" for number in range(4)))
        await shop.until_sent(theirs)
        await shop.until_shows(theirs, 3)
        assert theirs.outbox().parked == 4
        for till in both:  # each hello says again how far the hub has them
            await shop.greet(till)
            assert shown() == [(POINTS * 3, 0)] * 2

        await shop.release()
        for till in both:
            await shop.until_shows(till, 7)
            await shop.greet(till)
            await shop.until_sent(till)
        assert shown() == [(POINTS * 7, 0)] * 2
        assert [till.outbox().waiting + till.outbox().parked for till in both] == [0, 0]

        await shop.sell(ours, "ours-2")
        await shop.until_sent(ours)
        await shop.sell(theirs, "theirs-4", "theirs-5")
        await shop.until_sent(theirs)
        await shop.release()
        for till in both:
            await shop.until_shows(till, 10)
            assert await shop.is_same(till)
        assert (await shop.balance(), max((await shop.at_hub())["applied"].values())) == (POINTS * 10, 1)
        # All but the newest row, which says where the next one stands.
        assert [await shop.prune(till) for till in both] == [3, 7]
    async with shop.till("copy") as theirs:  # started again, it has a history of its own
        await shop.sell(theirs, "after")
        await shop.until_shows(theirs, 11)
        assert (await shop.at_hub())["parked"] == Tally()


def _sales(connection: Connection) -> dict[str, Tally[str]]:
    rows = connection.execute("SELECT outcome, json_extract(raw, '$.data.sale_id') FROM events ORDER BY pos, number")
    found: dict[str, Tally[str]] = {"applied": Tally(), "rejected": Tally(), "parked": Tally()}
    for outcome, sale_id in rows:
        found[outcome][sale_id] += 1
    return found


def _balance(connection: Connection) -> int:
    (points,) = connection.execute("SELECT points FROM balances").fetchone() or (0,)
    return int(points)


async def test_f38_settings_that_cannot_be_used_leave_every_byte_of_a_till_as_it_is(shop: Shop) -> None:
    async with chaos_till(shop.folder / "till", shop.enrolment, "http://127.0.0.1:9", shop.clock) as till:
        await shop.sell(till, "monday-1", "monday-2")
    state = shop.folder / "till"
    config = shop.folder / "till.toml"
    config.write_text(f'[till]\nstate = "{state}"\n[storage]\nkeep_acked_days = "for ever"\n', encoding="utf-8")
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}

    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "agent", "run", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )

    assert ended.returncode == 2
    assert "keep_acked_days" in ended.stderr
    assert {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()} == before
    async with shop.till() as till:
        await shop.until_shows(till, 2)
