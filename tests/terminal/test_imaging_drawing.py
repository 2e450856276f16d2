from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from agent.codes import Symbology, make_card_number
from agent.imaging import lettering
from agent.imaging.drawing import HEIGHT, WIDTH, draw_card
from agent.imaging.engines import ENGINES, Engine, read_codes

CARD = make_card_number(1)


def written(text: str) -> Image.Image:
    image = Image.new("L", (600, 120), 255)
    lettering.write(ImageDraw.Draw(image), (10, 80), text, 50)
    return image


def image(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("number", [CARD, make_card_number(10**11 - 1), "9" * 17, "7" * 18, "1234567890123456789"])
@pytest.mark.parametrize("caption", [None, "DEMO Élodie Gagné", "DEMO Jean-François d'Entremont-Lefebvre-Charlebois"])
def test_drawn_card_is_read_back_by_each_engine(engine: Engine, number: str, caption: str | None) -> None:
    if engine.missing:
        pytest.skip(engine.missing)
    codes = read_codes(draw_card(number, caption), [engine])
    assert {(code.text, code.symbology) for code in codes} == {(number, Symbology.QR), (number, Symbology.CODE_128)}


def test_card_without_zxing_has_its_qr_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.imaging.drawing.zxingcpp", None)
    assert {code.symbology for code in read_codes(draw_card(CARD))} == {Symbology.QR}


def test_card_is_a_plastic_card_at_300_dots_and_the_same_each_time() -> None:
    card = image(draw_card(CARD, "DEMO"))
    assert card.size == (WIDTH, HEIGHT)
    assert card.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert draw_card(CARD, "DEMO") == draw_card(CARD, "DEMO")


def test_quiet_zone_of_the_qr_is_blank() -> None:
    card = image(draw_card(CARD, "DEMO"))
    assert card.crop((20, 150, 20 + 29 * 11, 150 + 4 * 11)).getextrema() == (255, 255)
    assert card.crop((20, 150, 20 + 4 * 11, 150 + 29 * 11)).getextrema() == (255, 255)


@pytest.mark.parametrize("number", ["", "123", "9" * 15, "9" * 20, "9990 0000 0000 0016", "٩" * 16, "999000000000001X"])
def test_what_is_no_card_number_is_not_drawn(number: str) -> None:
    with pytest.raises(ValueError, match="16 to 19 digits"):
        draw_card(number)


@pytest.mark.parametrize("letter", list("éèêëàâäçîïôöùûüÿñåÉÈÊËÀÂÇÎÏÔÙÛÜŸÑÅ"))
def test_french_letters_are_drawn_and_not_boxes(letter: str) -> None:
    box = written("\N{REPLACEMENT CHARACTER}")
    plain = written(lettering._letters(letter)[0][0])
    drawn = written(letter)
    assert ImageChops.difference(drawn, plain).getbbox() is not None
    assert ImageChops.difference(drawn, box).getbbox() is not None
    assert lettering._letters(letter)[0][0].isascii()


def test_letters_nobody_can_draw_become_question_marks() -> None:
    assert written("Ω漢\x00\u202e") == written("????")
    assert written("Œuvre, Ærø, Straße") == written("OEuvre, AEro, Strasse")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_any_caption_can_be_drawn_and_stays_on_the_card(caption: str) -> None:
    card = image(draw_card(CARD, caption))
    assert card.crop((WIDTH - 38, 60, WIDTH - 6, HEIGHT - 60)).getextrema()[0] == 255
