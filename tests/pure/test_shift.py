from datetime import timedelta

import pytest
from pydantic import ValidationError

from agent.shift import SHIFT_MAX, shift_since
from agent.wedge import End, Scanner
from tests.support.shop import MORNING


def test_a_shift_goes_since_staff_began_it() -> None:
    assert shift_since(MORNING, MORNING + timedelta(hours=3)) == MORNING
    assert shift_since(MORNING, MORNING + SHIFT_MAX) == MORNING


def test_a_shift_that_nobody_ended_is_never_longer_than_a_working_day() -> None:
    late = MORNING + SHIFT_MAX + timedelta(minutes=1)
    assert shift_since(MORNING, late) == MORNING + timedelta(minutes=1)
    assert shift_since(None, late) == MORNING + timedelta(minutes=1)


def test_a_scanner_has_settings_that_work_before_anybody_measured_it() -> None:
    assert Scanner().model_dump(mode="json") == {
        "gap_ms": 90,
        "prefix": "",
        "suffix": "",
        "end": "any",
        "chars_min": 6,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"gap_ms": 20, "prefix": "]C1", "suffix": "é!", "end": "none", "chars_min": 3},
        {"gap_ms": 119, "prefix": "x" * 16, "end": "tab", "chars_min": 16},
    ],
)
def test_a_measured_scanner_is_kept_as_it_is(given: dict[str, object]) -> None:
    scanner = Scanner.model_validate(given)
    assert scanner.model_dump(mode="json") == {"suffix": ""} | given
    assert scanner.end is End(str(given["end"]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gap_ms": 19}, "gap_ms"),
        ({"gap_ms": 120}, "gap_ms"),  # a person
        ({"gap_ms": "90"}, "gap_ms"),
        ({"gap_ms": True}, "gap_ms"),
        ({"prefix": "x" * 17}, "prefix"),
        ({"prefix": "\x02"}, "control"),
        ({"suffix": "\x7f"}, "control"),
        ({"suffix": "\u202e"}, "control"),
        ({"prefix": None}, "prefix"),
        ({"end": "space"}, "end"),
        ({"chars_min": 2}, "chars_min"),
        ({"chars_min": 17}, "chars_min"),
        ({"speed": 5}, "speed"),
    ],
)
def test_a_setting_that_no_scanner_has_is_refused_by_its_name(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Scanner.model_validate(given)
