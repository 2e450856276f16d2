"""Wrong clocks at the tills: the hub works out when each event happened, and order never asks (F39, F40, F41, F44)."""

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.contract.events import EARNED, canonical_json
from sync.contract.protocol import HelloRequest, IncarnationLength
from sync.hub.judging.times import BusinessDay
from sync.hub.people.exporting import export_events
from sync.hub.root import running
from sync.hub.terminals.roster import NewTerminal, Place, enrol, listed, note_hello
from sync.hub.uploads.batch import Sender
from sync.hub.uploads.clocks import LastHellos, note_clocks
from sync.hub.uploads.intake import apply_upload
from sync.hub.uploads.upload import read_upload
from tests.support import shop
from tests.support.clock import FakeClock
from tests.support.hub_books import NOW, Books, card_id, open_books
from tests.support.hub_events import SENDER, body, event, sale_data
from tests.support.hub_tills import config_of, till_of

CARD = card_id("9990000000000001")
EARLIER_INC = "7" * 16
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Books that know the till since a week."""
    with open_books(tmp_path) as books:
        new = NewTerminal("till-1", "x" * 40, "0.1.0")
        books.write(lambda connection: enrol(connection, new, Place("store-1", "front"), NOW - 7 * DAY))
        yield books


def sold(seq: int, wall: datetime, boot: str, monotonic_s: float, inc: str = SENDER.inc) -> str:
    """A sale as a till with these clocks journals it."""
    clocks = {"time": wall.isoformat(), "bootid": boot, "monoms": int(monotonic_s * 1000)}
    sender = Sender("till-1", "store-1", inc)
    return canonical_json(event(sender, seq, EARNED, sale_data(f"s-{inc[0]}-{seq}", 1_000), subject=CARD, **clocks))


def hello_of(at: datetime, boot: str, monotonic_s: float, incs: Sequence[str] = (), waiting: int = 0) -> HelloRequest:
    return HelloRequest(
        protocols=("storesync/1",),
        agent_version="0.1.0",
        event_types=(EARNED,),
        incarnations=tuple(IncarnationLength(inc=inc, length=1) for inc in incs),
        waiting=waiting,
        oldest_waiting_s=0,
        wall=at,
        monoms=int(monotonic_s * 1000),
        bootid=boot,
    )


def hello(books: Books, at: datetime, boot: str, monotonic_s: float, *incs: str, waiting: int = 0) -> None:
    """Let the till say hello when the hub's clock says `at`."""
    request = hello_of(at, boot, monotonic_s, incs, waiting)
    offset_ms = LastHellos().offset_ms("till-1", request, at)

    def work(connection: Any) -> None:
        note_clocks(connection, "till-1", request, at, offset_ms)
        note_hello(connection, "till-1", request, at)

    books.write(work)


def upload(books: Books, at: datetime, *events: str, inc: str = SENDER.inc, first: int = 1) -> None:
    """Let events arrive when the hub's clock says `at`."""
    read = read_upload(body(*events), Sender("till-1", "store-1", inc), first)
    books.write(lambda connection: apply_upload(connection, read, at, BusinessDay()))


def told(books: Books) -> list[dict[str, Any]]:
    """Return what `loyalty-hub events` prints."""
    out = io.StringIO()
    export_events(books.connection, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def times(books: Books) -> list[tuple[datetime, str]]:
    return [(datetime.fromisoformat(row["occurred_at"]), row["time_quality"]) for row in told(books)]


def test_a_wall_clock_that_jumps_a_day_back_and_ten_years_ahead_moves_no_event(books: Books) -> None:
    """F39: the till's wall clock jumps in the middle of a batch; its monotonic clock does not."""
    walls = [NOW, NOW - DAY, NOW + 3650 * DAY, NOW + HOUR, NOW]
    hello(books, NOW, "boot-1", 5_000, SENDER.inc)
    upload(books, NOW, *(sold(seq, wall, "boot-1", 4_000 + seq * 60) for seq, wall in enumerate(walls, start=1)))

    assert times(books) == [(NOW - timedelta(seconds=1_000 - seq * 60), "exact") for seq in range(1, len(walls) + 1)]
    assert [row["seq"] for row in told(books)] == [1, 2, 3, 4, 5]
    assert {row["outcome"] for row in told(books)} == {"applied"}


@pytest.mark.parametrize(
    ("hellos", "offset_s"),
    [
        ([(1_000, 0.0)], 0.0),
        ([(1_000, 0.0), (4_600, 0.3)], 0.0),
        ([(1_000, 0.0), (1_000, 1_200.0)], 0.0),  # the same once more, 20 minutes on its way
        ([(1_000, 0.0), (1_000, 1_200.0), (4_600, 0.1)], 0.1),
        ([(1_000, 1_200.0), (2_200, 0.2)], 0.2),  # the late one was the first
        ([(1_000, 0.0), (4_600, -86_400.0)], -86_400.0),  # the hub's clock was set back a day
        ([(1_000, 0.0), (4_600, 86_400.0)], 0.0),  # or ahead: the next hello tells that from a late one
        ([(1_000, 0.0), (4_600, 86_400.0), (8_200, 86_400.2)], 86_400.0),
        ([(3_600.0 * hour, 0.2 * hour) for hour in range(1_000)], 199.6),  # a machine whose clock runs slow
    ],
)
def test_a_late_hello_moves_no_event_and_a_corrected_hub_does(
    hellos: Sequence[tuple[float, float]], offset_s: float
) -> None:
    """Each hello: what the till's monotonic clock said when it was sent, and by how much the hub saw it later."""
    last = LastHellos()
    for monotonic_s, late_s in hellos:
        at = NOW + timedelta(seconds=monotonic_s + late_s)
        offset_ms = last.offset_ms("till-1", hello_of(at, "boot-1", monotonic_s), at)

    assert offset_ms == round((NOW + timedelta(seconds=offset_s)).timestamp() * 1000)


def test_the_clock_of_another_boot_or_till_says_nothing_of_this_one() -> None:
    last = LastHellos()
    last.offset_ms("till-1", hello_of(NOW, "boot-1", 1_000), NOW)

    for till, boot in (("till-2", "boot-1"), ("till-1", "boot-2")):
        offset_ms = last.offset_ms(till, hello_of(NOW, boot, 10), NOW)
        assert offset_ms == int((NOW - timedelta(seconds=10)).timestamp() * 1000)


async def test_a_hello_that_comes_again_late_moves_no_event(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    async with running(config_of(tmp_path), clock) as hub, till_of(hub) as till:
        request = hello_of(NOW, "boot-1", 1_000)
        first = await till.client.hello(request)
        await clock.advance(1_200)
        assert (await till.client.hello(request)).hub_epoch == first.hub_epoch
        offsets = await hub.reader.read(lambda c: c.execute("SELECT offset_ms FROM clocks").fetchall())

    assert offsets == [(int((NOW - timedelta(seconds=1_000)).timestamp() * 1000),)]


async def test_a_dead_real_time_clock_is_corrected_at_the_upload(books: Books, tmp_path: Path) -> None:
    """F40: the till boots in 1970 without a line; the sale works, and the hub knows when it was."""
    clock = FakeClock(datetime(1970, 1, 1, 0, 5, tzinfo=UTC), monotonic=300.0, boot_id="boot-70")
    state = tmp_path / "till"
    state.mkdir()
    async with shop.open_till(state, clock) as store:
        await shop.credit(store)
        await clock.advance(3_600)
        batch = await store.journal.next_batch(10, 100_000)
        assert batch is not None
    sender = Sender(shop.TERMINAL_ID, shop.STORE_ID, batch.inc)
    request = HelloRequest(
        protocols=("storesync/1",),
        agent_version="0.1.0",
        event_types=(EARNED,),
        waiting=1,
        oldest_waiting_s=0,
        wall=clock.now(),
        monoms=int(clock.monotonic() * 1000),
        bootid=clock.boot_id,
    )
    offset_ms = LastHellos().offset_ms(shop.TERMINAL_ID, request, NOW)
    books.write(lambda connection: note_clocks(connection, shop.TERMINAL_ID, request, NOW, offset_ms))
    read = read_upload(body(*batch.events), sender, 1)
    books.write(lambda connection: apply_upload(connection, read, NOW, BusinessDay()))

    assert times(books) == [(NOW - HOUR, "exact")]
    assert told(books)[0]["outcome"] == "applied"


def test_a_dead_clock_of_an_earlier_boot_is_put_within_bounds_and_marked(books: Books) -> None:
    """F40, and the machine was started anew before the line came back: nothing leads to that boot any more."""
    hello(books, NOW - DAY, "boot-1", 100)
    hello(books, NOW, "boot-3", 60, EARLIER_INC)
    upload(books, NOW, sold(1, datetime(1970, 1, 1, tzinfo=UTC), "boot-2", 5, EARLIER_INC), inc=EARLIER_INC)

    assert times(books) == [(NOW - DAY, "untrusted")]


def kept(books: Books) -> tuple[int, int]:
    return books.number("SELECT count(*) FROM clocks"), books.number("SELECT count(*) FROM spans")


def test_a_till_that_is_started_anew_each_day_for_years_is_not_remembered_day_by_day(books: Books) -> None:
    """It names the incarnations of two weeks, as a till does whose older events the hub has."""
    incs = [f"{day:016x}" for day in range(1_000)]
    for day in range(1_000):
        at = NOW + day * DAY
        hello(books, at, f"boot-{day}", 60, *incs[max(day - 14, 0) : day])
        hello(books, at + HOUR, f"boot-{day}", 3_660, *incs[max(day - 14, 0) : day + 1])

    assert max(kept(books)) <= 62
    end = NOW + 999 * DAY
    upload(books, end + HOUR, sold(1, NOW, "boot-950", 600, incs[950]), inc=incs[950])
    assert times(books) == [(end - 49 * DAY + timedelta(minutes=9), "exact")]


def test_the_clock_of_a_boot_is_kept_as_long_as_the_till_may_have_events_of_it(books: Books) -> None:
    """The line was down from the first boot on, for half a year, and one machine ran through most of it."""
    hello(books, NOW, "boot-1", 60, SENDER.inc)
    end = NOW + 180 * DAY
    hello(books, end, "boot-2", 170 * 86_400, SENDER.inc, EARLIER_INC, waiting=2)
    hello(books, end, "boot-2", 170 * 86_400, SENDER.inc, EARLIER_INC, waiting=1)
    upload(books, end, sold(1, NOW, "boot-1", 120))

    assert times(books) == [(NOW + timedelta(seconds=60), "exact")]


def test_an_incarnation_that_a_late_hello_does_not_name_is_not_forgotten(books: Books) -> None:
    hello(books, NOW - DAY, "boot-1", 60)
    hello(books, NOW, "boot-3", 60, EARLIER_INC)
    hello(books, NOW + HOUR, "boot-1", 90)
    hello(books, NOW + 2 * HOUR, "boot-3", 7_260, EARLIER_INC)
    upload(books, NOW + 2 * HOUR, sold(1, NOW - 3 * HOUR, "boot-2", 5, EARLIER_INC), inc=EARLIER_INC)

    assert times(books) == [(NOW - 3 * HOUR, "estimated")]


def test_a_good_clock_of_an_earlier_boot_is_believed(books: Books) -> None:
    hello(books, NOW - DAY, "boot-1", 100)
    hello(books, NOW, "boot-3", 60, EARLIER_INC)
    upload(books, NOW, sold(1, NOW - 3 * HOUR, "boot-2", 5, EARLIER_INC), inc=EARLIER_INC)

    assert times(books) == [(NOW - 3 * HOUR, "estimated")]


def test_a_backlog_that_takes_several_hellos_is_not_pushed_ahead_by_them(books: Books) -> None:
    """What the first hello after an outage named was made before it, however often the till starts meanwhile."""
    hello(books, NOW - DAY, "boot-1", 100)
    hello(books, NOW, "boot-3", 60, EARLIER_INC)
    hello(books, NOW + HOUR, "boot-4", 60, EARLIER_INC)
    upload(books, NOW + HOUR, sold(1, NOW - 3 * HOUR, "boot-2", 5, EARLIER_INC), inc=EARLIER_INC)

    assert times(books) == [(NOW - 3 * HOUR, "estimated")]


def test_three_hours_wrong_on_the_day_of_a_bonus_is_the_right_day(books: Books) -> None:
    """F41: sold at 23:30 by a clock that says 02:30 of the next day. The points follow the program's version."""
    sold_at = NOW.replace(hour=23, minute=30)
    hello(books, sold_at, "boot-1", 1_000, SENDER.inc)
    upload(books, sold_at + 2 * HOUR, sold(1, sold_at + 3 * HOUR, "boot-1", 1_000))

    ((occurred_at, quality),) = times(books)
    assert (occurred_at, quality) == (sold_at, "exact")
    assert occurred_at.date() == NOW.date()
    assert told(books)[0]["points"] == 10


def test_an_event_that_comes_after_the_day_closed_is_booked_with_its_own_day_and_marked_late(books: Books) -> None:
    """F44: yesterday's sales come in today; whoever closes the day sees before how much each till still has."""
    evening = NOW.replace(hour=20) - DAY
    hello(books, evening, "boot-1", 1_000, SENDER.inc, waiting=2)
    assert [(till.name, till.waiting) for till in books.write(listed)] == [("front", 2)]

    upload(books, NOW, sold(1, evening, "boot-1", 900), sold(2, NOW, "boot-1", 1_000 + 13 * 3600))

    assert [(row["occurred_at"][:10], row["late"]) for row in told(books)] == [
        (evening.date().isoformat(), True),
        (NOW.date().isoformat(), False),
    ]
    assert {row["received_at"][:10] for row in told(books)} == {NOW.date().isoformat()}


def test_an_event_whose_envelope_cannot_be_read_has_no_time(books: Books) -> None:
    upload(books, NOW, canonical_json(event(SENDER, 1, EARNED, sale_data("s-1", 1_000), time="yesterday")))

    assert [(row["occurred_at"], row["time_quality"], row["late"]) for row in told(books)] == [(None, None, False)]
