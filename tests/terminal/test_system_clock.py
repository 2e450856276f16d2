"""The machine's own clocks."""

import time

import pytest

from sync.runtime.clock import SystemClock


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has one monotonic clock")
def test_time_goes_on_while_the_machine_sleeps() -> None:
    """A till that was suspended overnight: what was sold before is a night old, and not a minute."""
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before_s <= SystemClock().monotonic() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_the_clock_never_goes_back() -> None:
    clock = SystemClock()
    seen = [clock.monotonic() for _ in range(100)]

    assert seen == sorted(seen)
