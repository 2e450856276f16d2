"""What a till may believe of its own file, by the marker beside it, and how much of what it holds it keeps."""

import errno
from pathlib import Path

import pytest

from agent.purse import WhyNot, bar
from agent.store import trust
from sync.contract.program import RedemptionRule
from tests.support import shop
from tests.support.allowances import DAY_S, allowance, hear, left, redeem, word

SECOND_INC = "00000000000000b2"


def _till_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("till.db*")}


async def test_a_file_that_was_copied_while_the_till_ran_is_frozen_when_it_comes_back(tmp_path: Path) -> None:
    """It has forgotten what was spent after the copy, and no hello changed the marker in the meantime."""
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        copied = _till_files(tmp_path)
        await redeem(store, "d-1", 60)
    for path, content in copied.items():
        path.write_bytes(content)
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert bar(store.allowances.purse("c-1", []), RedemptionRule()) is WhyNot.FROZEN


async def test_a_marker_that_cannot_be_written_stops_nothing_and_is_no_reason_to_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trust, "write_private", refuse)
    for inc in (SECOND_INC, "00000000000000c3"):
        async with shop.open_till(tmp_path, inc=inc) as store:
            assert store.allowances.purse("c-1", []).trust.is_frozen is False
            assert await hear(store, word(allowance(100)))
            assert await hear(store, word(allowance(100)))
            assert left(store) == 100


async def test_of_too_many_allowances_those_held_longest_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.allowances.KEPT_MAX", 2)
    async with shop.open_till(tmp_path) as store:
        held = [allowance(10, f"a-{number}", ttl_s=DAY_S + number) for number in range(1, 5)]
        await hear(store, word(*held, allowance(10, "a-9", recalled=True, ttl_s=DAY_S + 9)))
        due = await store.allowances.due_back()
        assert due == ("a-1", "a-2", "a-3", "a-9")
        await store.redeemer.return_allowances(("a-9", "a-1", "a-2"))
        assert await store.allowances.due_back() == ()
