import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.hub_errors import HubBusy, HubError, HubRefused, HubUnreachable, TerminalRevoked
from sync.pump.pace import BYTES_MIN, EVENTS_MIN, BatchSize, Pace, delay_s

PACE = Pace(floor_s=0.5, cap_s=60.0, revoked_s=60.0)
MOST = BatchSize(500, 512 * 1024)

chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("error", "attempt", "shortest", "longest"),
    [
        (HubUnreachable("timeout"), 1, 0.5, 1.0),
        (HubUnreachable("timeout"), 2, 0.5, 2.0),
        (HubUnreachable("timeout"), 6, 0.5, 32.0),
        (HubUnreachable("timeout"), 7, 0.5, 60.0),
        (HubUnreachable("timeout"), 1_000_000, 0.5, 60.0),
        (HubRefused("gap"), 1, 0.5, 1.0),
        (HubBusy(None), 3, 0.5, 4.0),
        (HubBusy(0.0), 9, 0.5, 1.5),
        (HubBusy(2.0), 9, 2.0, 3.0),
        (HubBusy(40.0), 1, 40.0, 50.0),
        (TerminalRevoked("terminal_revoked"), 1, 60.0, 120.0),
        (TerminalRevoked("terminal_revoked"), 50, 60.0, 120.0),
    ],
)
def test_the_wait_is_drawn_from_the_whole_span(error: HubError, attempt: int, shortest: float, longest: float) -> None:
    assert delay_s(PACE, error, attempt, 0.0) == shortest
    assert delay_s(PACE, error, attempt, 0.5) == (shortest + longest) / 2
    assert delay_s(PACE, error, attempt, 1.0) == longest


@given(st.integers(1, 10**9), chances)
def test_backoff_is_never_below_the_floor_nor_above_the_cap(attempt: int, chance: float) -> None:
    assert 0.5 <= delay_s(PACE, HubUnreachable("timeout"), attempt, chance) <= 60.0


@given(st.floats(0, 900), st.integers(1, 100), chances)
def test_nobody_comes_back_before_the_hub_said(seconds: float, attempt: int, chance: float) -> None:
    assert delay_s(PACE, HubBusy(seconds), attempt, chance) >= seconds


def test_a_thousand_tills_told_the_same_second_do_not_come_in_that_second() -> None:
    waits = [delay_s(PACE, HubBusy(60.0), 1, till / 1000) for till in range(1000)]

    assert max(sum(second <= wait < second + 1 for wait in waits) for second in range(60, 80)) <= 70


@pytest.mark.parametrize("code", ["timeout", "broken_connection", "cut_body"])
def test_a_fault_that_smaller_messages_may_pass_halves_the_batch_down_to_a_floor(code: str) -> None:
    size = BatchSize(400, 1000)

    seen = []
    for _ in range(5):
        size = size.after_fault(code)
        seen.append(size.events)

    assert seen == [200, 100, EVENTS_MIN, EVENTS_MIN, EVENTS_MIN]


@pytest.mark.parametrize("code", ["no_connection", "status_500", "busy", "gap", "certificate"])
def test_a_fault_that_has_nothing_to_do_with_size_leaves_it(code: str) -> None:
    assert BatchSize(400, 1000).after_fault(code) == BatchSize(400, 1000)


def test_a_hub_that_takes_fewer_than_the_floor_is_obeyed() -> None:
    assert BatchSize(10, 1000).after_fault("timeout").events == 10


def test_a_refused_size_is_halved_from_what_was_sent() -> None:
    assert MOST.after_refusal(100_000).size_bytes == 50_000
    assert BatchSize(500, 2000).after_refusal(100_000).size_bytes == BYTES_MIN


@given(st.integers(1, 500), st.integers(1024, 512 * 1024))
def test_success_grows_the_batch_up_to_the_hubs_limit_and_not_beyond(events: int, size_bytes: int) -> None:
    size = BatchSize(events, size_bytes)
    for _ in range(1000):
        grown = size.grown(MOST)
        assert (grown.events, grown.size_bytes) >= (size.events, size.size_bytes) or size == MOST
        size = grown

    assert size == MOST
