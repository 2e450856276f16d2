from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from agent.codes import Symbology, make_card_number
from agent.imaging.drawing import draw_card
from agent.imaging.engines import CODES_MAX, ENGINES, Engine, read_codes
from agent.imaging.errors import ImageTooLarge, ImageUnreadable
from agent.imaging.pictures import PIXELS_MAX, open_grey
from agent.imaging.symbols import Sighting
from agent.imaging.wire import PICTURE_BYTES_MAX

CARD = make_card_number(1)
PNG = draw_card(CARD)
ZXING, PYZBAR = ENGINES

needs_libzbar = pytest.mark.skipif(PYZBAR.missing is not None, reason=PYZBAR.missing or "")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def card_image() -> Image.Image:
    return Image.open(BytesIO(PNG)).copy()


def texts(data: bytes, *engines: Engine) -> set[str]:
    return {code.text for code in read_codes(data, engines or ENGINES)}


def fake(name: str, *sightings: Sighting) -> Engine:
    return Engine(name, None, lambda _grey: list(sightings))


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        saved(card_image(), "JPEG", quality=70),
        saved(card_image().convert("CMYK"), "JPEG"),
        saved(card_image(), "WEBP"),
        saved(card_image(), "GIF"),
        saved(card_image(), "BMP"),
        saved(card_image().convert("1"), "PNG"),
        saved(card_image().convert("I;16").point(lambda value: value * 200), "PNG"),
        saved(card_image().rotate(90, expand=True), "PNG"),
        saved(card_image().rotate(33, expand=True, fillcolor=255), "PNG"),
        saved(ImageOps.invert(card_image()), "PNG"),
        saved(card_image().resize((4048, 2552)), "JPEG"),
        saved(card_image().resize((6072, 3828)), "JPEG"),
    ],
    ids=["png", "jpeg", "cmyk", "webp", "gif", "bmp", "1bit", "16bit", "90", "33", "inverted", "10mpx", "23mpx"],
)
def test_card_is_read_in_every_format_size_and_direction(data: bytes) -> None:
    assert texts(data) == {CARD}


def test_transparent_background_is_taken_as_white() -> None:
    grey = card_image()
    clear = Image.merge("RGBA", (Image.new("L", grey.size),) * 3 + (ImageOps.invert(grey),))
    palette = Image.new("P", grey.size, 0)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.paste(1, mask=grey)
    palette_png = saved(palette, "PNG", transparency=1)

    assert texts(saved(clear, "PNG")) == {CARD}
    assert texts(saved(clear, "WEBP", lossless=True)) == {CARD}
    assert texts(palette_png) == {CARD}


def test_zxing_alone_reads_a_card() -> None:
    codes = read_codes(PNG, [ZXING])
    assert {(code.text, code.symbology, code.engine) for code in codes} == {
        (CARD, Symbology.QR, "zxing"),
        (CARD, Symbology.CODE_128, "zxing"),
    }


@needs_libzbar
def test_pyzbar_alone_reads_a_card() -> None:
    codes = read_codes(PNG, [PYZBAR])
    assert {(code.text, code.symbology, code.engine) for code in codes} == {
        (CARD, Symbology.QR, "pyzbar"),
        (CARD, Symbology.CODE_128, "pyzbar"),
    }


def test_missing_engine_is_left_out() -> None:
    missing = Engine("pyzbar", "libzbar cannot be loaded", lambda _grey: pytest.fail("it was used"))
    assert texts(PNG, ZXING, missing) == {CARD}
    assert texts(PNG, missing) == set()


def test_two_cards_in_one_picture_are_both_seen() -> None:
    other = make_card_number(2)
    both = Image.new("L", (1012, 1300), 255)
    both.paste(card_image(), (0, 0))
    both.paste(Image.open(BytesIO(draw_card(other))), (0, 650))
    assert texts(saved(both, "PNG")) == {CARD, other}


def test_product_alone_does_not_end_the_search_for_a_card() -> None:
    product = Sighting("5449000039231", Symbology.EAN_13)
    card = Sighting(CARD, Symbology.CODE_128, lines=9)
    assert texts(PNG, fake("zxing", product), fake("pyzbar", card)) == {"5449000039231", CARD}


def test_engines_that_contradict_each_other_on_a_product_give_nothing() -> None:
    one = Sighting("9074932437075", Symbology.EAN_13)
    other = Sighting("023942431015", Symbology.UPC_A, lines=9)
    assert texts(PNG, fake("zxing", one), fake("pyzbar", other)) == set()


def test_code_seen_twice_is_told_once_and_wallpaper_is_cut() -> None:
    many = [Sighting(f"code {number}", Symbology.QR) for number in range(CODES_MAX + 5)]
    assert len(read_codes(PNG, [fake("zxing", *many, *many)])) == CODES_MAX


def test_text_beyond_ascii_is_left_to_zxing() -> None:
    assert all(code.text.isascii() for code in read_codes(PNG, [PYZBAR]))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg/>", b"%PDF-1.4", PNG[:-200], PNG[:300], b"\x00" * 1000, saved(card_image(), "TIFF")]
)
def test_what_is_no_whole_picture_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ImageUnreadable, match="no whole picture"):
        read_codes(data)


@pytest.mark.parametrize("side", [10_000, 14_000])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_pixel_flood_is_refused_before_it_is_decoded(side: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = saved(Image.new("1", (side, side)), kind)
    assert len(flood) < PICTURE_BYTES_MAX
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _image: pytest.fail("it was decoded"))

    with pytest.raises(ImageTooLarge, match="40 megapixels"):
        read_codes(flood)


def test_just_enough_pixels_pass() -> None:
    assert open_grey(saved(Image.new("1", (8000, PIXELS_MAX // 8000)), "PNG")).size == (8000, 5000)
    with pytest.raises(ImageTooLarge):
        open_grey(saved(Image.new("1", (8000, PIXELS_MAX // 8000 + 1)), "PNG"))


def test_too_many_bytes_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(ImageTooLarge, match="12,582,913 bytes"):
        read_codes(bytes(PICTURE_BYTES_MAX + 1))


SMALL = {kind: saved(card_image().resize((253, 160)), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SMALL)), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8))
def test_damaged_picture_is_read_or_refused_and_nothing_else(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL[kind])
    for position, value in damage:
        data[position % len(data)] = value
    with suppress(ImageTooLarge, ImageUnreadable):
        assert texts(bytes(data)) <= {CARD}
