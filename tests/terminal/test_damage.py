import asyncio
import contextlib
import json
import logging
from pathlib import Path

import pytest

from agent.store import Store, damage, salvage
from agent.store.files import till_file
from sync.contract.chain import GONE
from sync.contract.identifiers import Identifier, Scheme
from sync.contract.ledger import Balance
from sync.contract.protocol import Outcome, PresentedIdentifier, Reason, Verdict
from sync.runtime.sqlite_file import DatabaseUnreadable, quick_check
from tests.support import shop
from tests.support.allowances import allowance, give_back, hear, redeem, word

PAGE = 4096
SECOND_INC = "00000000000000b2"
THIRD_INC = "00000000000000c3"


def flip(file: Path, page: int) -> None:
    """Change one byte of a page (from 1), as a failing disk does."""
    data = bytearray(file.read_bytes())
    data[(page - 1) * PAGE + 1000] ^= 0x40
    file.write_bytes(data)


def pages(file: Path) -> int:
    return file.stat().st_size // PAGE


def asides(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("till.db.corrupt.*"))


def _clear(folder: Path) -> None:
    for path in folder.glob("till.db*"):
        path.unlink()


async def _sold(folder: Path, sales: int = 40) -> None:
    """A till of two incarnations: all of the first is at the hub, all of the second waits."""
    async with shop.open_till(folder) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        for number in range(sales):
            await shop.credit(store, f"a-{number}", 100)
        await shop.settle_all(store, {3: Verdict(seq=3, outcome=Outcome.REJECTED, reason=Reason.SALE_ALREADY_CREDITED)})
        await store.cache.apply(shop.page(shop.put(points=100 + sales - 1), position=2, covered={shop.INC: sales}))
    async with shop.open_till(folder, inc=SECOND_INC) as store:
        for number in range(sales):
            await shop.credit(store, f"b-{number}", 100)
        await shop.take_back(store, "r-1", "b-0")


async def _root(folder: Path, table: str) -> int:
    """The page that a table begins with: without it nothing of the table can be read."""
    async with shop.open_till(folder, inc=THIRD_INC) as store:
        row = await store.journal._reader.read(
            lambda c: c.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        )
    assert row is not None
    return int(row[0])


async def _uploaded(store: Store) -> list[tuple[str, int, str]]:
    """Send all that waits, as the hub gets it: incarnation, seq, type; each batch must be without a gap."""
    sent = []
    while batch := await store.journal.next_batch(500, 1_000_000):
        events = [json.loads(text) for text in batch.events]
        assert [event["seq"] for event in events] == list(range(batch.first, batch.last + 1))
        assert {event["inc"] for event in events} == {batch.inc}
        sent += [(event["inc"], event["seq"], event["type"]) for event in events]
        parked = {
            event["seq"]: Verdict(seq=event["seq"], outcome=Outcome.PARKED, reason=Reason.UNKNOWN_TYPE)
            for event in events
            if event["type"] == GONE
        }
        await shop.settle_all(store, parked)
    return sent


async def test_whichever_page_is_damaged_the_till_opens_and_what_waits_is_sent_once(tmp_path: Path) -> None:
    sales = 40
    await _sold(tmp_path, sales)
    file = tmp_path / "till.db"
    good = file.read_bytes()
    whole = 0
    for page in range(1, pages(file) + 1):
        file.write_bytes(good)
        flip(file, page)
        damaged = file.read_bytes()
        async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
            result = store.salvaged
            assert result is not None
            assert (tmp_path / asides(tmp_path)[0]).read_bytes()[: len(damaged)] == damaged
            if not result.is_readable:
                assert (result.events, result.lost) == (0, 0)
            else:
                assert result.events + result.lost == 2 * sales + 1
                sent = await _uploaded(store)
                assert len({(inc, seq) for inc, seq, _ in sent}) == len(sent)
                assert [seq for inc, seq, _ in sent if inc == SECOND_INC] == list(range(1, sales + 2))
                assert sum(kind == GONE for _, _, kind in sent) in (result.lost, result.lost_unsent)
                if result.lost == 0:
                    whole += 1
                    assert store.outbox.figures().rejected in (0, 1)
                if result.lost == 0 and result.lost_answers == 0:
                    again = await shop.credit(store, "b-1", 100)
                    assert (again.repeated, again.subject) == (True, shop.card_id(shop.card()))
            await shop.credit(store, f"new-{page}", 100)
            assert store.outbox.figures().waiting == 1
        _clear(tmp_path)
    assert whole > 10


async def test_a_salvaged_till_is_as_it_was_but_for_the_damaged_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _sold(tmp_path)
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        number = shop.card(7)
        wish = PresentedIdentifier(id=shop.card_id(number), identifier=Identifier(scheme=Scheme.CARD, value=number))
        await store.journal.present(wish)
        await store.journal.keep_program(shop.program())
        before = (shop.balance(store), store.outbox.figures(), (await store.journal.state()).incarnations)
    flip(tmp_path / "till.db", await _root(tmp_path, "pending"))

    with caplog.at_level(logging.ERROR):
        async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
            after = (shop.balance(store), store.outbox.figures(), (await store.journal.state()).incarnations)
            assert after == before
            assert await store.journal.newest_program() == shop.program()
            assert await store.journal.unsent_identifiers(5) == [wish]
            assert store.salvaged == salvage.Salvaged(
                events=81, lost=0, lost_unsent=0, lost_answers=0, is_readable=True
            )
            batch = await store.journal.next_batch(5, 100_000)
            assert batch is not None
            assert (batch.inc, batch.first) == (SECOND_INC, 1)  # what the hub has does not go again
    assert "kept 81 events, lost 0" in caplog.text
    assert asides(tmp_path)[0] in caplog.text
    async with shop.open_till(tmp_path) as store:
        assert store.salvaged is None


async def test_damage_that_shows_while_the_till_runs_is_told_and_salvaged_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _sold(tmp_path)
    limits = []

    def in_time(_: object, limit_s: float) -> bool:
        limits.append(limit_s)
        return True

    flip(tmp_path / "till.db", await _root(tmp_path, "journal"))
    with monkeypatch.context() as patch:
        patch.setattr(damage, "quick_check", in_time)  # as for a file too large to be read through at the start
        async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
            assert not store.damaged.rung.is_set()
            with pytest.raises(DatabaseUnreadable):
                await store.journal._reader.read(
                    lambda c: c.execute("SELECT sum(length(event)) FROM journal").fetchall()
                )
            assert store.damaged.rung.is_set()
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.salvaged is not None
        assert store.outbox.figures().waiting == 41
    assert limits == [damage.CHECK_S]


async def test_a_cache_that_turns_out_damaged_is_thrown_away_and_the_till_is_not_touched(tmp_path: Path) -> None:
    await _sold(tmp_path)
    for page in range(2, pages(tmp_path / "cache-1.db") + 1):
        flip(tmp_path / "cache-1.db", page)

    with contextlib.suppress(DatabaseUnreadable):  # it opens only where none of these pages is needed for that
        async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
            shop.balance(store)
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.salvaged is None
        assert await store.cache.cursor() is None  # it is loaded again
        assert store.outbox.figures().waiting == 41
    assert asides(tmp_path) == []
    assert not (tmp_path / "suspect").exists()


async def test_a_cache_page_that_cannot_be_read_rings_the_alarm(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=100)))
        root = await store.journal._reader.read(
            lambda c: c.execute("SELECT rootpage FROM cache.sqlite_schema WHERE name = 'identifiers'").fetchone()
        )
    assert root is not None
    flip(tmp_path / "cache-1.db", root[0])

    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        with pytest.raises(DatabaseUnreadable):
            shop.balance(store)
        assert store.damaged.rung.is_set()
    async with shop.open_till(tmp_path, inc=SECOND_INC) as store:
        assert shop.balance(store) == Balance(0, 0)


@pytest.mark.parametrize("done", ["nothing", "file"])
async def test_a_till_that_dies_while_files_change_places_wakes_up_with_one_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: str
) -> None:
    await _sold(tmp_path)
    flip(tmp_path / "till.db", 3)
    moved = 0
    replace = Path.replace

    class Died(Exception):
        pass

    def replace_or_die(path: Path, target: Path) -> Path:
        nonlocal moved
        if moved == ["nothing", "file"].index(done):
            raise Died
        moved += 1
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(Died):
            damage.bring_back(tmp_path, shop.DATABASE_KEY, shop.MORNING)
    if done != "nothing":
        (tmp_path / "till.db-wal").write_bytes(b"of the old file, and not for the new one" * 200)

    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.outbox.figures().waiting == 41
        assert len(await _uploaded(store)) == 41


async def test_a_wrong_key_is_never_taken_for_damage(tmp_path: Path) -> None:
    await _sold(tmp_path)
    before = (tmp_path / "till.db").read_bytes()

    with pytest.raises(DatabaseUnreadable, match=r"till\.db"):
        damage.bring_back(tmp_path, bytes(32), shop.MORNING)
    assert (tmp_path / "till.db").read_bytes() == before
    assert asides(tmp_path) == []


async def test_a_damaged_first_page_is_damage_where_another_file_proves_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _sold(tmp_path)
    flip(tmp_path / "till.db", 1)

    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.salvaged is not None
        assert not store.salvaged.is_readable
        await shop.credit(store, "new", 100)
    assert "nothing of it could be read" in caplog.text
    assert len(asides(tmp_path)) == 1


async def test_a_lost_event_leaves_no_later_one_at_its_place(tmp_path: Path) -> None:
    await _sold(tmp_path)
    flip(tmp_path / "till.db", await _root(tmp_path, "journal"))  # every event is lost, every sale is kept

    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.salvaged == salvage.Salvaged(events=0, lost=81, lost_unsent=41, lost_answers=0, is_readable=True)
        again = await shop.credit(store, "b-3", 100)
        assert (again.repeated, again.subject) == (True, None)
        assert store.acts.of_sale("b-3") is None
        await shop.credit(store, "new", 100)
        act = store.acts.of_sale("new")
        assert act is not None
        assert act.act.position == 82
        assert shop.balance(store) == Balance(139, 1)
        assert [row.position for row in (await store.outbox.rows()).rows] == [82]


async def test_a_lost_redemption_at_the_end_leaves_its_place_too(tmp_path: Path) -> None:
    async with shop.open_till(tmp_path) as store:
        await store.cache.apply(shop.page(shop.put(points=300)))
        await hear(store, word(allowance(100)))
        await shop.credit(store, "s-1", 100)
        await redeem(store, "d-1", 60)
        await give_back(store, "g-1", "d-1")
    flip(tmp_path / "till.db", await _root(tmp_path, "journal"))
    async with shop.open_till(tmp_path, inc=THIRD_INC) as store:
        assert store.salvaged == salvage.Salvaged(events=0, lost=3, lost_unsent=3, lost_answers=0, is_readable=True)
        assert [(seq, kind) for _, seq, kind in await _uploaded(store)] == [(1, GONE), (2, GONE), (3, GONE)]


async def test_the_check_at_the_start_finds_a_damaged_page_and_takes_two_seconds_at_most(tmp_path: Path) -> None:
    await _sold(tmp_path)
    flip(tmp_path / "till.db", pages(tmp_path / "till.db"))
    till = till_file(tmp_path, shop.DATABASE_KEY)

    assert not await asyncio.to_thread(quick_check, till, 60.0)
    assert damage.CHECK_S <= 2
