"""When an event happened, by what is known of the clocks."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.hub.judging.times import BusinessDay, Claim, Quality, Timekeeper

NOW = 1_000_000
TORONTO = ZoneInfo("America/Toronto")


# A hub at 1,000 s whose day began at 600 s; the terminal was last heard of at 500 s, in its boot "known".
KEEPER = Timekeeper(now_ms=NOW, day_began_ms=600_000, offsets={"known": 400_000}, after_ms=500_000)


@pytest.mark.parametrize("wall_ms", [0, 999_000, NOW, 10**13, -(10**12)])
def test_in_a_boot_that_said_hello_the_wall_clock_is_never_asked(wall_ms: int) -> None:
    occurred = KEEPER.occurred(Claim(wall_ms, "known", 350_000), is_doubted=True)

    assert (occurred.at_ms, occurred.quality) == (750_000, Quality.EXACT)


@pytest.mark.parametrize(
    ("wall_ms", "is_doubted", "expected"),
    [
        (700_000, False, (700_000, Quality.ESTIMATED)),
        (700_000, True, (700_000, Quality.UNTRUSTED)),
        (500_000, False, (500_000, Quality.ESTIMATED)),
        (499_999, False, (500_000, Quality.UNTRUSTED)),
        (0, False, (500_000, Quality.UNTRUSTED)),
        (NOW + 1, False, (NOW, Quality.UNTRUSTED)),
        (10**13, False, (NOW, Quality.UNTRUSTED)),
    ],
)
def test_in_another_boot_the_wall_clock_is_believed_within_bounds(
    wall_ms: int, *, is_doubted: bool, expected: tuple[int, Quality]
) -> None:
    occurred = KEEPER.occurred(Claim(wall_ms, "unknown", 5), is_doubted=is_doubted)

    assert (occurred.at_ms, occurred.quality) == expected


@given(
    wall_ms=st.integers(-(10**15), 10**15),
    monotonic_ms=st.integers(0, 10**12),
    offset=st.none() | st.integers(-(10**12), 10**12),
    after_ms=st.integers(0, 2 * NOW),
)
def test_no_event_is_from_the_future(wall_ms: int, monotonic_ms: int, offset: int | None, after_ms: int) -> None:
    offsets = {} if offset is None else {"boot": offset}
    occurred = replace(KEEPER, offsets=offsets, after_ms=after_ms).occurred(Claim(wall_ms, "boot", monotonic_ms))

    assert occurred.at_ms <= NOW
    assert occurred.is_late == (occurred.at_ms < 600_000)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=20), st.data())
def test_within_a_boot_times_follow_the_order_whatever_the_wall_clock_does(
    marks: list[int], data: st.DataObject
) -> None:
    walls = data.draw(st.lists(st.integers(-(10**15), 10**15), min_size=len(marks), max_size=len(marks)))
    claims = [Claim(wall_ms, "known", mark) for wall_ms, mark in zip(walls, sorted(marks), strict=True)]
    times = [KEEPER.occurred(claim).at_ms for claim in claims]

    assert times == sorted(times)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 3, 9, 3, 59, tzinfo=TORONTO), datetime(2026, 3, 8, 4, 0, tzinfo=TORONTO)),
        (datetime(2026, 3, 9, 4, 0, tzinfo=TORONTO), datetime(2026, 3, 9, 4, 0, tzinfo=TORONTO)),
        (datetime(2026, 3, 9, 23, 0, tzinfo=TORONTO), datetime(2026, 3, 9, 4, 0, tzinfo=TORONTO)),
        # The clocks go forward at 02:00 of the 8th: that business day has 23 hours.
        (datetime(2026, 3, 8, 3, 30, tzinfo=TORONTO), datetime(2026, 3, 7, 4, 0, tzinfo=TORONTO)),
        (datetime(2026, 3, 9, 1, 0, tzinfo=UTC), datetime(2026, 3, 8, 4, 0, tzinfo=TORONTO)),
    ],
)
def test_a_business_day_begins_at_its_hour_in_its_zone(now: datetime, expected: datetime) -> None:
    assert BusinessDay(TORONTO, time(4, 0)).began_at(now) == expected


def test_without_settings_the_day_is_that_of_utc() -> None:
    noon = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)

    assert BusinessDay().began_at(noon) == noon - timedelta(hours=12)
