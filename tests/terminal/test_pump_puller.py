"""The puller over a cache and a hub in memory, on a clock that a test moves."""

from dataclasses import dataclass, field

import pytest

from sync.contract.cursors import FeedCursor, write_cursor
from sync.contract.protocol import CardPut, FeedPage
from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, TerminalRevoked
from sync.pump.line import Direction, HubState, HubTime, Line
from sync.pump.puller import Puller
from tests.support.clock import FakeClock
from tests.support.pump_fakes import MemoryCache, MemoryHub, customer_put, running

CARD = "c" * 32


@dataclass
class Rig:
    clock: FakeClock = field(default_factory=FakeClock)
    cache: MemoryCache = field(default_factory=MemoryCache)
    states: list[HubState] = field(default_factory=list)
    touched: list[frozenset[str] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = MemoryHub(self.clock)
        self.line = Line(self.clock, self.states.append)
        self.puller = Puller(self.cache, self.hub, self.line, self.touched.append, self.clock)

    def greet(self) -> None:
        """Do what the pusher does when its hello was answered."""
        self.line.greeted(self.hub.epoch, HubTime(self.clock.now(), self.clock.monotonic(), "boot-1"))

    def count(self, call: str) -> int:
        return sum(made.startswith(call) for made in self.hub.calls)


@pytest.fixture
def rig() -> Rig:
    """A terminal whose cache is at the start of the feed."""
    rig = Rig()
    rig.greet()
    rig.cache.held_cursor = write_cursor(FeedCursor(rig.hub.epoch, 0))
    return rig


@pytest.fixture
def new_rig() -> Rig:
    """A terminal that has no cache yet, of a hub with five customers."""
    rig = Rig()
    rig.greet()
    rig.hub.snapshot_rows = {f"customer-{number}": number for number in range(5)}
    return rig


async def test_nothing_is_asked_before_a_hello(rig: Rig) -> None:
    rig.line.want_hello(rig.hub.epoch)
    async with running(rig.puller.run()):
        await rig.clock.advance(100)
        assert rig.hub.calls == []

        rig.greet()
        await rig.clock.settle()
        assert rig.count("feed") > 0


async def test_a_change_is_here_as_soon_as_the_hub_has_it(rig: Rig) -> None:
    async with running(rig.puller.run()):
        await rig.clock.settle()
        rig.hub.publish(CardPut(identifier=CARD, points=40))
        await rig.clock.settle()

        assert rig.cache.points == {CARD: 40}
        assert rig.touched == [frozenset({CARD})]


async def test_the_first_poll_does_not_wait_and_the_next_ones_do(rig: Rig) -> None:
    async with running(rig.puller.run()):
        await rig.clock.advance(60)

    assert rig.hub.calls == ["feed wait=0", "feed wait=25", "feed wait=25", "feed wait=25"]


async def test_many_changes_come_page_after_page_without_waiting(rig: Rig) -> None:
    rig.hub.publish(*(CardPut(identifier=f"{number:032x}", points=number) for number in range(1200)))
    async with running(rig.puller.run()):
        await rig.clock.settle()

    assert len(rig.cache.points) == 1200
    assert rig.hub.calls == ["feed wait=0", "feed wait=0", "feed wait=0", "feed wait=25"]


async def test_a_page_that_only_moves_the_cursor_touches_nobody(rig: Rig) -> None:
    rig.hub.log.append(customer_put("customer-1", 3))
    async with running(rig.puller.run()):
        await rig.clock.settle()

    assert rig.touched == [frozenset({"customer-1"})]


@pytest.mark.parametrize(
    "error",
    [HubUnreachable("not_json"), HubUnreachable("wrong_shape"), HubBusy(None), HubRefused("something_new")],
)
async def test_rubbish_changes_nothing_and_is_got_over(rig: Rig, error: HubError) -> None:
    rig.hub.fail("feed", error, times=8)
    rig.hub.log.append(CardPut(identifier=CARD, points=40))
    async with running(rig.puller.run()):
        await rig.clock.settle()
        assert CARD not in rig.cache.points
        assert rig.states[-1].download_fault == error.code
        await rig.clock.advance(8 * 61)

        assert rig.cache.points == {CARD: 40}
        assert [state.download_fault for state in rig.states][-1] is None
    assert rig.count("feed wait=0") >= 9


async def test_a_fault_is_logged_once_and_the_recovery_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig.hub.fail("feed", HubUnreachable("wrong_shape"), times=8)
    async with running(rig.puller.run()):
        await rig.clock.advance(8 * 61)

    assert [record.getMessage() for record in caplog.records] == [
        "hub lost: direction=download fault=wrong_shape",
        "hub back: direction=download fault=wrong_shape",
    ]


async def test_a_page_too_large_for_the_way_is_asked_for_in_smaller_parts(rig: Rig) -> None:
    rig.hub.publish(*(CardPut(identifier=f"{number:032x}", points=number) for number in range(500)))
    asked: list[int] = []

    async def feed(cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        asked.append(limit)
        if limit > 100:
            raise HubUnreachable("answer_too_large")
        return await carried(cursor, hub_epoch, limit=limit, wait_s=wait_s)

    carried = rig.hub.feed
    rig.hub.feed = feed  # type: ignore[method-assign]
    async with running(rig.puller.run()):
        await rig.clock.advance(120)

    assert len(rig.cache.points) == 500
    assert asked[:4] == [500, 250, 125, 62]


async def test_a_cache_on_the_way_that_answers_at_once_does_not_make_it_spin(rig: Rig) -> None:
    async def feed(cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        return await carried(cursor, hub_epoch, limit=limit, wait_s=wait_s * 0)

    carried = rig.hub.feed
    rig.hub.feed = feed  # type: ignore[method-assign]
    async with running(rig.puller.run()):
        await rig.clock.advance(60)

    assert 50 <= rig.count("feed") <= 62


async def test_a_page_of_another_epoch_is_not_applied(rig: Rig) -> None:
    async def feed(cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        page = await carried(cursor, hub_epoch, limit=limit, wait_s=wait_s)
        return page.model_copy(update={"hub_epoch": "epoch-0"})

    rig.hub.publish(CardPut(identifier=CARD, points=40))
    carried = rig.hub.feed
    rig.hub.feed = feed  # type: ignore[method-assign]
    async with running(rig.puller.run()):
        await rig.clock.advance(60)

    assert rig.cache.points == {}
    assert rig.line.state.download_fault == "foreign_epoch"


async def test_the_first_start_loads_a_snapshot_and_then_follows_the_feed(new_rig: Rig) -> None:
    rig = new_rig
    async with running(rig.puller.run()):
        await rig.clock.settle()
        rig.hub.publish(customer_put("customer-1", 100))
        await rig.clock.settle()

    assert rig.cache.points == {"customer-0": 0, "customer-1": 100, "customer-2": 2, "customer-3": 3, "customer-4": 4}
    assert rig.touched == [None, frozenset({"customer-1"})]
    assert rig.hub.calls[:5] == ["manifest", "chunk", "chunk", "chunk", "feed wait=0"]


async def test_a_snapshot_that_is_still_being_written_is_followed_as_it_grows(new_rig: Rig) -> None:
    rig = new_rig
    rig.hub.chunks_written = 1
    async with running(rig.puller.run()):
        await rig.clock.advance(2)
        assert rig.cache.snapshots == 0
        assert rig.line.state.is_loading_snapshot

        rig.hub.chunks_written = 3
        await rig.clock.advance(1)

    assert len(rig.cache.points) == 5
    assert rig.count("chunk") == 3
    assert not rig.line.state.is_loading_snapshot


async def test_a_cut_snapshot_goes_on_where_it_was_cut(new_rig: Rig) -> None:
    rig = new_rig
    async with running(rig.puller.run()):
        rig.hub.fail("chunk", HubUnreachable("cut_body"), times=3)
        await rig.clock.advance(15)

    assert len(rig.cache.points) == 5
    assert rig.count("chunk") == 3 + 3
    assert rig.count("manifest") == 1


async def test_a_restarted_terminal_does_not_load_again_what_it_has(new_rig: Rig) -> None:
    rig = new_rig
    rig.hub.chunks_written = 2
    async with running(rig.puller.run()):
        await rig.clock.settle()
    rig.hub.chunks_written = 3
    second = Puller(rig.cache, rig.hub, rig.line, rig.touched.append, rig.clock)
    async with running(second.run()):
        await rig.clock.settle()

    assert len(rig.cache.points) == 5
    assert rig.count("chunk") == 3


async def test_a_corrupt_chunk_is_fetched_again(new_rig: Rig) -> None:
    rig = new_rig
    corrupt = [True, True]

    async def chunk(hub_epoch: str, snapshot_id: str, number: int) -> bytes:
        data = await carried(hub_epoch, snapshot_id, number)
        return data[:-1] if corrupt and corrupt.pop() else data

    carried = rig.hub.snapshot_chunk
    rig.hub.snapshot_chunk = chunk  # type: ignore[method-assign]
    async with running(rig.puller.run()):
        await rig.clock.advance(10)

    assert len(rig.cache.points) == 5
    assert rig.count("chunk") == 5


async def test_a_snapshot_that_is_gone_is_begun_anew(new_rig: Rig) -> None:
    rig = new_rig
    rig.hub.chunks_written = 1
    async with running(rig.puller.run()):
        await rig.clock.settle()
        rig.hub.snapshot_id = "snapshot-2"
        rig.hub.chunks_written = 3
        await rig.clock.advance(5)

    assert len(rig.cache.points) == 5


@pytest.mark.parametrize("failing", ["begin_snapshot", "load_chunk", "finish_snapshot"])
async def test_a_cache_that_failed_is_asked_what_it_has_when_the_puller_is_started_again(
    new_rig: Rig, failing: str
) -> None:
    rig = new_rig

    async def fails(*_: object) -> None:
        setattr(rig.cache, failing, works)
        raise OSError("the disk is full")

    works = getattr(rig.cache, failing)
    setattr(rig.cache, failing, fails)
    with pytest.raises(OSError, match="full"):
        await rig.puller.run()
    assert rig.cache.snapshots == 0
    rig.cache.loading_id = None  # as if the file was thrown away
    async with running(rig.puller.run()):
        await rig.clock.settle()

    assert len(rig.cache.points) == 5


async def test_resync_takes_a_snapshot_while_the_old_cache_serves(rig: Rig) -> None:
    rig.hub.publish(CardPut(identifier=CARD, points=40))
    async with running(rig.puller.run()):
        await rig.clock.settle()
        rig.hub.snapshot_rows = {"customer-1": 7}
        rig.hub.chunks_written = 0
        rig.hub.floor = 10
        await rig.clock.advance(30)
        assert rig.cache.points == {CARD: 40}

        rig.hub.floor = 0
        rig.hub.chunks_written = 1
        await rig.clock.advance(1)
        assert rig.cache.points == {"customer-1": 7}


async def test_a_hub_that_always_asks_for_a_resync_gets_one_snapshot_each_ten_minutes(rig: Rig) -> None:
    rig.hub.snapshot_rows = {"customer-1": 7}
    rig.hub.floor = 10
    async with running(rig.puller.run()):
        await rig.clock.advance(3599)

    assert rig.cache.snapshots == 6
    assert rig.count("chunk") == 6


async def test_a_restored_hub_is_greeted_anew_and_then_gives_a_snapshot(rig: Rig) -> None:
    async with running(rig.puller.run()):
        await rig.clock.settle()
        rig.hub.epoch = "epoch-2"
        rig.hub.snapshot_rows = {"customer-1": 7}
        await rig.clock.advance(30)
        assert rig.line.hello_wanted.is_set()
        assert rig.line.epoch is None

        rig.greet()
        await rig.clock.advance(2)

    assert rig.cache.points == {"customer-1": 7}


async def test_a_late_refusal_of_an_old_epoch_does_not_undo_the_new_one(rig: Rig) -> None:
    rig.hub.epoch = "epoch-2"
    rig.greet()

    rig.line.want_hello("epoch-1")

    assert rig.line.epoch == "epoch-2"
    assert not rig.line.hello_wanted.is_set()


async def test_a_poll_that_waits_out_a_lost_line_ends_when_the_pusher_finds_the_hub(rig: Rig) -> None:
    rig.hub.fail("feed", HubUnreachable("no_connection"), times=40)
    async with running(rig.puller.run()):
        await rig.clock.advance(600)
        rig.line.failed(Direction.UPLOAD, HubUnreachable("no_connection"))
        rig.hub.faults.clear()
        before = rig.count("feed")
        rig.line.heard(Direction.UPLOAD)
        await rig.clock.settle()

        assert rig.count("feed") > before


async def test_the_state_says_as_of_when_the_cache_is_whole(rig: Rig) -> None:
    async with running(rig.puller.run()):
        await rig.clock.advance(100)
        assert rig.line.state.current_as_of is not None
        assert (rig.clock.now() - rig.line.state.current_as_of).total_seconds() <= 25


async def test_a_revoked_terminal_asks_no_oftener_than_each_minute(rig: Rig) -> None:
    rig.hub.fail("feed", TerminalRevoked("terminal_revoked"), times=100)
    async with running(rig.puller.run()):
        await rig.clock.advance(600)

    assert 5 <= rig.count("feed") <= 10
