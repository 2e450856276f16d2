import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import qrcode
import zxingcpp
from PIL import Image

from agent.codes import CardScheme, Symbology, make_card_number
from agent.imaging.decoder import Decoder
from agent.imaging.drawing import draw_card
from agent.imaging.errors import DecoderUnavailable
from agent.imaging.symbols import Code
from agent.imaging.wire import PICTURE_BYTES_MAX, Reading
from agent.scan_files import FileScan, exit_code, json_line, one_code, scan_files, text_line, understood

CARD = make_card_number(1)
BANK_CARD = "4111111111111111"


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    async with Decoder() as running:
        yield running


def qr(path: Path, text: str) -> Path:
    code = qrcode.QRCode(box_size=6)
    code.add_data(text)
    code.make_image().get_image().save(path)
    return path


def ean13(path: Path, digits: str) -> Path:
    bars = zxingcpp.create_barcode(digits, zxingcpp.BarcodeFormat.EAN13).to_image(scale=4)
    height, width = bars.shape
    Image.frombuffer("L", (width, height), bytes(memoryview(bars)), "raw", "L", 0, 1).save(path)  # type: ignore[arg-type]
    return path


async def scan(decoder: Decoder, *paths: Path) -> list[FileScan]:
    return [found async for found in scan_files(paths, decoder)]


async def test_card_in_a_picture_is_one_line_of_json(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "Élodie.png"
    path.write_bytes(draw_card(CARD, "DEMO Élodie"))

    (found,) = await scan(decoder, path)

    told = json.loads(json_line(found))
    assert told.pop("ms") > 0
    assert told == {
        "file": str(path),
        "codes": [
            {"text": CARD, "symbology": "QR", "engine": "zxing"},
            {"text": CARD, "symbology": "Code128", "engine": "zxing"},
        ],
        "kind": "card",
        "card": CARD,
    }
    assert "\n" not in json_line(found)
    assert "card 9990 0000 0000 0011" in text_line(found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://www.example.com/a?b=<script>", "url"),
        ("WIFI:T:WPA;S:Shop;P:secret;;", "wifi"),
        ("BEGIN:VCARD\r\nN:Gagné;Élodie\r\nEND:VCARD", "contact"),
        ('=HYPERLINK("http://x")', "unknown"),
        ("a\x00b", "unreadable"),
        ("x" * 600, "unreadable"),
        (BANK_CARD, "bank_card"),
        (f"%B{BANK_CARD}^GAGNE/ELODIE^2912101?", "bank_card"),
        (CARD[:-1] + "9", "unreadable"),
    ],
)
async def test_what_is_no_card_is_named_for_what_it_is(decoder: Decoder, tmp_path: Path, text: str, kind: str) -> None:
    (found,) = await scan(decoder, qr(tmp_path / "code.png", text))

    assert found.kind == kind
    assert found.card is None
    assert exit_code([found]) == 0


async def test_product_is_named_and_padded(decoder: Decoder, tmp_path: Path) -> None:
    (found,) = await scan(decoder, ean13(tmp_path / "product.png", "5449000039231"))
    assert (found.kind, found.card) == ("product", None)
    assert [code.symbology for code in found.codes] == ["EAN-13"]


@pytest.mark.parametrize(
    "text",
    [BANK_CARD, f"%B{BANK_CARD}^GAGNE/ELODIE^2912101?", f"my card is {BANK_CARD}", "http://x/?4111-1111-1111-1111"],
)
async def test_bank_card_number_is_nowhere_in_what_is_shown(decoder: Decoder, tmp_path: Path, text: str) -> None:
    (found,) = await scan(decoder, qr(tmp_path / "bank.png", text))

    shown = json_line(found) + text_line(found) + repr(found)
    assert "1111" in shown
    for hidden in ("4111", "111111", "1111-1111"):
        assert hidden not in shown


async def test_files_that_cannot_be_read_do_not_stop_the_others(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "huge.png").write_bytes(bytes(PICTURE_BYTES_MAX + 1))
    Image.new("1", (10_000, 10_000)).save(tmp_path / "flood.png")
    Image.new("L", (50, 50), 255).save(tmp_path / "empty.png")
    (tmp_path / "card.png").write_bytes(draw_card(CARD))
    names = ["missing.png", "text.png", "huge.png", "flood.png", "empty.png", "", "card.png"]

    scans = await scan(decoder, *(tmp_path / name for name in names))

    problems = [found.problem.code if found.problem else None for found in scans]
    assert problems == [
        "file_unreadable",
        "image_unreadable",
        "image_too_large",
        "image_too_large",
        None,
        "file_unreadable",
        None,
    ]
    assert [found.kind for found in scans if not found.problem] == ["none", "card"]
    assert json.loads(json_line(scans[0]))["error"]["code"] == "file_unreadable"
    assert "cannot be read" in text_line(scans[0])
    assert "no code found" in text_line(scans[4])
    assert exit_code(scans) == 1
    assert exit_code(scans[-1:]) == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
async def test_named_pipe_is_refused_and_not_waited_for(decoder: Decoder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (found,) = await scan(decoder, tmp_path / "pipe.png")
    assert found.problem is not None
    assert "no regular file" in found.problem.message


async def test_no_decoder_at_all_stops_the_command(tmp_path: Path) -> None:
    async with Decoder(command=["/no/such/program"]) as broken:
        with pytest.raises(DecoderUnavailable):
            await scan(broken, tmp_path / "card.png")


def reading(*codes: tuple[str, Symbology]) -> Reading:
    return Reading(tuple(Code(text, symbology, "zxing") for text, symbology in codes), 1.0, ("zxing",))


def test_two_cards_in_one_picture_are_a_choice_never_a_guess() -> None:
    found = understood("x", reading((CARD, Symbology.QR), (make_card_number(2), Symbology.CODE_128)))
    assert (found.kind, found.card) == ("several_cards", None)
    assert "several cards" in text_line(found)


def test_card_beside_a_product_is_taken() -> None:
    found = understood("x", reading(("5449000039231", Symbology.EAN_13), (CARD, Symbology.QR)))
    assert (found.kind, found.card) == ("card", CARD)


def test_bank_card_beside_a_product_is_what_staff_must_mind() -> None:
    found = understood("x", reading(("5449000039231", Symbology.EAN_13), (BANK_CARD, Symbology.QR)))
    assert found.kind == "bank_card"


def test_chains_own_scheme_is_used() -> None:
    scheme = CardScheme(prefix="7007", length=18)
    number = make_card_number(5, scheme)
    assert understood("x", reading((number, Symbology.QR)), scheme).card == number
    assert understood("x", reading((number, Symbology.QR))).card is None


def test_line_for_people_cannot_steer_their_terminal() -> None:
    found = understood("evil\x1b[2J.png", reading(("a\nb\x1b[31m\u202ec", Symbology.QR)))
    assert text_line(found).isprintable()
    assert json_line(found).isascii()


@pytest.mark.parametrize(
    ("symbology", "text"),
    [
        (Symbology.QR, f"{CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}"),
        (Symbology.QR, f"{CARD}\r\n"),
        (Symbology.CODE_39, f"*{CARD}*"),
        (Symbology.CODE_128, f"]C1{CARD}"),
    ],
)
def test_a_card_is_chosen_however_its_number_is_written(symbology: Symbology, text: str) -> None:
    found = reading(("4006381333931", Symbology.EAN_13), (text, symbology))
    assert one_code(found) == found.codes[1]
