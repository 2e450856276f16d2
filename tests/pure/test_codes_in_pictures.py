import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.codes import CardNumber, Symbology, make_card_number, read
from agent.imaging.errors import DecoderCrashed, ImageTooLarge
from agent.imaging.symbols import Code, Sighting, believed, without_contradictions
from agent.imaging.wire import (
    ANSWER_BYTES_MAX,
    Hello,
    Reading,
    read_answer,
    read_hello,
    write_codes,
    write_error,
    write_hello,
)

CARD = make_card_number(1)


@pytest.mark.parametrize(
    ("sighting", "text", "symbology"),
    [
        (Sighting("0807648011401", Symbology.EAN_13), "807648011401", Symbology.UPC_A),
        (Sighting("807648011401", Symbology.UPC_A), "807648011401", Symbology.UPC_A),
        (Sighting("0050968000093", Symbology.UPC_E), "050968000093", Symbology.UPC_E),
        (Sighting("05096893", Symbology.UPC_E), "050968000093", Symbology.UPC_E),
        (Sighting("5449000039231", Symbology.EAN_13), "5449000039231", Symbology.EAN_13),
        (Sighting("C$399.95A", Symbology.CODABAR), "$399.95", Symbology.CODABAR),
        (Sighting("FW727", Symbology.CODE_128, lines=1), "FW727", Symbology.CODE_128),
        (Sighting("0053611912", Symbology.ITF, lines=28), "0053611912", Symbology.ITF),
        (Sighting("é", Symbology.QR, lines=1), "é", Symbology.QR),
    ],
)
def test_codes_are_written_one_way_whichever_engine_saw_them(
    sighting: Sighting, text: str, symbology: Symbology
) -> None:
    assert believed(sighting, "any", untouched=True) == Code(text, symbology, "any")


@pytest.mark.parametrize(
    "sighting",
    [
        Sighting("T", Symbology.CODE_39),
        Sighting("ABCDE", Symbology.CODE_39),
        Sighting("901985", Symbology.ITF, lines=1),
        Sighting("9019", Symbology.ITF),
        Sighting("9019857", Symbology.ITF),
        Sighting("A1234B", Symbology.CODABAR),
        Sighting("12", Symbology.CODE_128),
        Sighting("5449000039230", Symbology.EAN_13),
        Sighting("5449000039231", Symbology.EAN_13, lines=1),
        Sighting("", Symbology.QR),
    ],
)
def test_phantoms_seen_in_real_photographs_are_not_believed(sighting: Sighting) -> None:
    assert believed(sighting, "any", untouched=True) is None


def test_itf_is_not_believed_from_a_sharpened_picture_because_retries_return_parts_of_it() -> None:
    assert believed(Sighting("00536119", Symbology.ITF), "any", untouched=False) is None


def test_engines_that_contradict_each_other_are_not_believed() -> None:
    zxing = [Code("9074932437075", Symbology.EAN_13, "zxing")]
    pyzbar = [Code("023942431015", Symbology.UPC_A, "pyzbar")]
    assert without_contradictions(zxing, pyzbar) == []


def test_second_opinion_confirms_and_adds_only_strong_codes() -> None:
    product = Code("5449000039231", Symbology.EAN_13, "zxing")
    card = Code(CARD, Symbology.CODE_128, "pyzbar")
    phantom = Code("901985", Symbology.ITF, "pyzbar")
    again = Code("5449000039231", Symbology.EAN_13, "pyzbar")

    assert without_contradictions([product], []) == [product]
    assert without_contradictions([product], [again, card, phantom]) == [product, card]
    assert read(card.text, card.symbology) == CardNumber(CARD)


@given(st.lists(st.builds(Code, st.text(), st.sampled_from(Symbology), st.just("zxing"))), st.floats(0, 1e6))
def test_answers_cross_the_pipe_unchanged(codes: list[Code], ms: float) -> None:
    assert read_answer(write_codes(codes, ms), ("zxing",)) == Reading(tuple(codes), ms, ("zxing",))


def test_hello_and_errors_cross_the_pipe() -> None:
    hello = Hello(("zxing",), ("libzbar cannot be loaded",))
    assert read_hello(write_hello(hello)) == hello
    answer = read_answer(write_error(ImageTooLarge("too many pixels")), ())
    assert isinstance(answer, ImageTooLarge)
    assert str(answer) == "too many pixels"


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"7", b"{}", b'{"error": "none_we_know", "message": ""}', b'{"codes": [["x"]]}']
)
def test_rubbish_from_the_child_is_a_crash_and_nothing_else(body: bytes) -> None:
    with pytest.raises(DecoderCrashed):
        read_answer(body, ())
    with pytest.raises(DecoderCrashed):
        read_hello(body)


def test_longest_answer_fits_into_the_limit() -> None:
    widest = [Code("\x01" * 7089, Symbology.QR, "pyzbar")] * 32
    assert len(write_codes(widest, 1.0)) < ANSWER_BYTES_MAX


def test_scanned_text_is_not_in_a_log_line() -> None:
    assert "4111" not in repr(Reading((Code("4111111111111111", Symbology.QR, "zxing"),), 1.0, ()))
    assert "4111" not in repr(Sighting("4111111111111111", Symbology.QR))
