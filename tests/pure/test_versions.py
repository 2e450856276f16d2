"""Which protocol two ends speak, and which program is older."""

import pytest

from agent.screen import UPDATE_NEEDED, fault_shown
from sync.contract.protocol import ProblemCode
from sync.contract.versions import PROTOCOLS, common_protocol, is_older
from sync.hub_errors import NOT_UNDERSTOOD


@pytest.mark.parametrize(
    ("version", "least", "expected"),
    [
        ("0.1.0", "0.2", True),
        ("0.2", "0.2.0", False),
        ("0.2.0", "0.2", False),
        ("0.9.9", "0.10.0", True),
        ("1.0.0", "0.10.0", False),
        ("1.2.3rc1", "1.2.3", False),
        ("1.2.3+local", "1.3", True),
        ("0.1.0", "", False),
        ("", "0.1.0", False),
        ("a checkout", "0.1.0", False),
        ("bench", "9", False),
    ],
)
def test_a_version_is_older_by_its_numbers_alone(version: str, least: str, *, expected: bool) -> None:
    assert is_older(version, least) is expected


def test_the_highest_common_protocol_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.contract.versions.PROTOCOLS", ("storesync/3", "storesync/2", "storesync/1"))

    assert common_protocol(("storesync/1", "storesync/2", "storesync/4")) == "storesync/2"
    assert common_protocol(("storesync/1",)) == "storesync/1"
    assert common_protocol(("storesync/4",)) is None
    assert common_protocol(()) is None


def test_the_first_protocol_is_never_given_up() -> None:
    assert "storesync/1" in PROTOCOLS


@pytest.mark.parametrize("code", [ProblemCode.PROTOCOL_UNKNOWN, ProblemCode.UPGRADE_REQUIRED, NOT_UNDERSTOOD])
def test_whatever_only_an_update_ends_is_told_in_one_word(code: str) -> None:
    assert fault_shown(None, code) == fault_shown(code, "timeout") == UPDATE_NEEDED


def test_other_faults_are_told_as_they_are_the_uploads_first() -> None:
    assert fault_shown("timeout", ProblemCode.UPGRADE_REQUIRED) == "timeout"
    assert fault_shown(None, "certificate") == "certificate"
    assert fault_shown(None, None) is None
