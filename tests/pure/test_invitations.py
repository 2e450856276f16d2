import pytest

from sync.contract.invitations import Invitation, is_invitation, read_invitation, write_invitation

CODE, HUB = "BCDF-GHJK-LMNP-QRST", "https://hub.example.com:8700/"


def test_an_invitation_is_read_as_it_was_written_whatever_a_scanner_puts_around_it() -> None:
    text = write_invitation(Invitation(CODE, HUB))

    assert text == f"loyalty-enrol:{CODE}@{HUB}"
    for scanned in (text, f"{text}\n", f"  {text}\t", text.replace("loyalty-enrol", "LOYALTY-ENROL")):
        assert read_invitation(scanned) == Invitation(CODE, HUB)


@pytest.mark.parametrize("text", ["", CODE, HUB, "9990000000012348", "loyalty", "WIFI:S:shop;;"])
def test_any_other_text_means_no_invitation(text: str) -> None:
    assert not is_invitation(text)
    assert read_invitation(text) is None


@pytest.mark.parametrize("rest", ["", CODE, f"{CODE}@", f"@{HUB}", "@"])
def test_half_an_invitation_is_none(rest: str) -> None:
    assert is_invitation(f"loyalty-enrol:{rest}")
    assert read_invitation(f"loyalty-enrol:{rest}") is None
