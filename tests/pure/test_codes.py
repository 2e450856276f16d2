from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.codes import (
    DEFAULT_SCHEME,
    TEXT_CHARS_MAX,
    BankCard,
    CardNumber,
    CardScheme,
    CardSchemeError,
    Contact,
    Coupon,
    Email,
    Meaning,
    Name,
    Normal,
    OtherText,
    Phone,
    Product,
    Query,
    Reason,
    Symbology,
    Unreadable,
    WebAddress,
    Wifi,
    grouped,
    make_card_number,
    normalise,
    read,
    read_query,
    to_json,
)
from sync.contract.bank_cards import RANGES, hide_bank_numbers, is_bank_number, overlaps_bank_range
from sync.contract.check_digits import gtin_digit, gtin_valid, luhn_digit, luhn_valid, upc_e_to_upc_a

CARD = make_card_number(1)
GS = "\x1d"

# Published test numbers of the brands, and made-up ones inside ranges that publish none.
BANK_CARDS = [
    "4111111111111111",
    "4012888888881881",
    "4000000000000000006",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "30569309025904",
    "38520000023237",
    "6011111111111117",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
    *(
        payload + luhn_digit(payload)
        for payload in [
            "220012345678901",
            "220512345678901",
            "860012345678901",
            "905112345678901",
            "911212345678901",
            "941712345678901",
            "970412345678901",
            "979212345678901",
            "980412345678901",
            "986012345678901",
            "816312345678901",
            "608112345678901",
            "501912345678901",
            "19461234567890" + "1",
            "10012345678901",
        ]
    ),
]

TABLE: list[tuple[str, str | None, Meaning]] = [
    # our own card, in every dress it comes in
    (CARD, None, CardNumber(CARD)),
    (CARD, "QR", CardNumber(CARD)),
    (CARD + "\r\n", None, CardNumber(CARD)),
    (f"\t {CARD}\r", None, CardNumber(CARD)),
    (grouped(CARD), None, CardNumber(CARD)),
    (grouped(CARD).replace(" ", "-"), None, CardNumber(CARD)),
    (grouped(CARD).replace(" ", "\u00a0"), None, CardNumber(CARD)),
    (grouped(CARD).replace(" ", "\u202f"), None, CardNumber(CARD)),
    (f"]C0{CARD}", None, CardNumber(CARD)),
    (f"]Q1{CARD}\r", None, CardNumber(CARD)),
    (f"]A0*{CARD}*", None, CardNumber(CARD)),
    (f"*{CARD}*", "Code39", CardNumber(CARD)),
    (f"A{CARD}B", "Codabar", CardNumber(CARD)),
    (f";{CARD}=99121010000000000000?", None, CardNumber(CARD)),
    # nearly our own card: say "scan again"
    (CARD[:-1] + str((int(CARD[-1]) + 1) % 10), None, Unreadable(Reason.CHECK_DIGIT)),
    (CARD[:-1], None, Unreadable(Reason.CARD_LENGTH)),
    (CARD + "0", None, Unreadable(Reason.CARD_LENGTH)),
    # products
    ("5449000039231", None, Product("05449000039231")),
    ("5449000039231", "EAN-13", Product("05449000039231")),
    ("]E05449000039231", None, Product("05449000039231")),
    ("]E424036153", None, Product("00000024036153")),
    ("024543136538", None, Product("00024543136538")),
    ("0024543136538", "EAN-13", Product("00024543136538")),
    ("050968000093", "UPC-E", Product("00050968000093")),
    ("05096893", "UPC-E", Product("00050968000093")),
    ("24036153", "EAN-8", Product("00000024036153")),
    ("15449000039238", "ITF", Product("15449000039238")),
    ("5449000039230", "EAN-13", Unreadable(Reason.CHECK_DIGIT)),
    ("5449000039230", None, OtherText()),
    ("0000000000000", None, OtherText()),
    # coupons in a product code's clothes
    ("9900000000004", None, Coupon("09900000000004")),
    ("9812345678902", "EAN-13", Coupon("09812345678902")),
    ("512345678900", "UPC-A", Coupon("00512345678900")),
    # web addresses: the host, never the rest
    ("https://www.facebook.com/elyucateco", "QR", WebAddress("www.facebook.com")),
    ("HTTP://Example.COM:8080/?id=1&b=<script>", None, WebAddress("example.com")),
    ("www.example.org/a", None, WebAddress("www.example.org")),
    ("https://good.example@evil.example/", None, WebAddress("evil.example")),
    ("https://café.example/", None, WebAddress("xn--caf-dma.example")),
    (r"https://good.example\@evil.example/", None, OtherText()),
    ("https://<script>alert(1)</script>/", None, OtherText()),
    ("http://[::1", None, OtherText()),
    ("http://" + "a" * 70 + ".com", None, OtherText()),
    ("https://", None, OtherText()),
    ("javascript:alert(document.cookie)", "QR", OtherText()),
    ("data:text/html,<b>x</b>", "QR", OtherText()),
    # other people's things
    ("WIFI:T:WPA;S:Shop;P:secret;;", "QR", Wifi()),
    ("BEGIN:VCARD\r\nVERSION:3.0\r\nN:Gagné;Élodie\r\nEND:VCARD", "QR", Contact()),
    ("MECARD:N:Sean Owen;TEL:+12125658770;EMAIL:srowen@google.com;;", "QR", Contact()),
    ("mailto:zxing@googlegroups.com", "Aztec", Contact()),
    ("tel:+15145550123", "QR", Contact()),
    # text for HTML, SQL, spreadsheets and people
    ("<img src=x onerror=alert(1)>", None, OtherText()),
    ("'; DROP TABLE customers; --", None, OtherText()),
    ('=HYPERLINK("http://x")', None, OtherText()),
    ("+1+1", None, OtherText()),
    ("@SUM(A1:A9)", None, OtherText()),
    ("Bonjour, voilà ma carte de fidélité", None, OtherText()),
    ("UI office hours signup\r\nhttp://www.corp.example/", "QR", OtherText()),
    (f"010544900003923110ABC{GS}21X", "DataMatrix", OtherText()),
    ("٩٩٩٠٠٠٠٠٠٠٠٠٠٠٠١", None, OtherText()),
    (f"{CARD}\n{CARD}", None, OtherText()),
    ("2/4-8/16-32", "Code39", OtherText()),
    # not a text at all
    ("", None, Unreadable(Reason.EMPTY)),
    (" \r\n\t", None, Unreadable(Reason.EMPTY)),
    ("]Q1", None, Unreadable(Reason.EMPTY)),
    ("**", "Code39", Unreadable(Reason.EMPTY)),
    ("\x00", None, Unreadable(Reason.CONTROL_CHARACTERS)),
    (f"{CARD}\x00", None, Unreadable(Reason.CONTROL_CHARACTERS)),
    (f"\x1b[2J{CARD}", None, Unreadable(Reason.CONTROL_CHARACTERS)),
    ("\x11o", "Code128", Unreadable(Reason.CONTROL_CHARACTERS)),
    ("a\x85b", None, Unreadable(Reason.CONTROL_CHARACTERS)),
    ("a\ud800b", None, Unreadable(Reason.CONTROL_CHARACTERS)),
    ("9" * 10_000, None, Unreadable(Reason.TOO_LONG)),
    (" " * 10_000, None, Unreadable(Reason.TOO_LONG)),
    ("x" * TEXT_CHARS_MAX, None, OtherText()),
    ("x" * (TEXT_CHARS_MAX + 1), None, Unreadable(Reason.TOO_LONG)),
]


@pytest.mark.parametrize(("text", "symbology", "meaning"), TABLE)
def test_each_text_is_named_for_what_it_is(text: str, symbology: str | None, meaning: Meaning) -> None:
    assert read(text, symbology) == meaning


@pytest.mark.parametrize("number", BANK_CARDS)
@pytest.mark.parametrize(
    "dress",
    [
        "{}",
        "{}\r\n",
        "]Q1{}",
        "%B{}^GAGNE/ELODIE^2912101?",
        "%B{}^GAGNE/ELODIE^2912101?;{}=29121010000000000?",
        ";{}=29121010000000000?",
        "{}=2912101",
        "B{}^GAGNE/ELODIE^2912101",
    ],
)
def test_bank_card_is_known_in_every_dress_and_its_number_is_gone(number: str, dress: str) -> None:
    text = dress.format(number, number)

    meaning = read(text)

    assert meaning == BankCard(f"•••• {number[-4:]}")
    assert number[:-4] not in repr(meaning) + str(to_json(meaning))


def test_bank_card_typed_in_groups_is_known() -> None:
    assert read("4111 1111 1111 1111") == BankCard("•••• 1111")
    assert read_query("4111-1111-1111-1111") == BankCard("•••• 1111")
    assert read_query("3782 822463 10005") == BankCard("•••• 0005")


def test_track_with_a_wrong_luhn_digit_is_still_a_bank_card() -> None:
    assert read(";4111111111111112=29121010000000000?") == BankCard("•••• 1112")


@pytest.mark.parametrize("symbology", ["EAN-13", "EAN-8", "UPC-A", "UPC-E"])
def test_retail_code_is_never_taken_for_a_bank_card(symbology: str) -> None:
    twelve = next(n for n in _numbers("6", 12) if luhn_valid(n) and gtin_valid(n))
    thirteen = next(n for n in _numbers("4", 13) if luhn_valid(n) and gtin_valid(n))
    assert is_bank_number(twelve)
    assert is_bank_number(thirteen)
    assert read(twelve, symbology) == Product("00" + twelve)
    assert read(thirteen, symbology) == Product("0" + thirteen)


def test_thirteen_digits_with_a_product_check_digit_are_a_product_without_a_hint_too() -> None:
    both = next(n for n in _numbers("4", 13) if luhn_valid(n) and gtin_valid(n))
    only_bank = next(n for n in _numbers("4", 13) if luhn_valid(n) and not gtin_valid(n))
    assert read(both) == Product("0" + both)
    assert read(only_bank) == BankCard(f"•••• {only_bank[-4:]}")


def test_fourteen_digits_that_could_be_both_are_a_carton_only_in_itf() -> None:
    both = next(n for n in _numbers("36", 14) if luhn_valid(n) and gtin_valid(n))
    assert read(both, "ITF") == Product(both)
    assert read(both) == BankCard(f"•••• {both[-4:]}")


def _numbers(start: str, length: int) -> list[str]:
    return [start + f"{tail:0{length - len(start)}d}" for tail in range(10_000)]


def test_every_brand_in_the_table_is_inside_a_range_and_ours_is_outside_all() -> None:
    assert all(is_bank_number(number) for number in BANK_CARDS)
    assert all(not overlaps_bank_range(DEFAULT_SCHEME.prefix + tail) for tail in ("", "0", "9", "99"))
    assert {len(bank.first) == len(bank.last) for bank in RANGES} == {True}


@pytest.mark.parametrize(
    ("scheme", "complaint"),
    [
        ({"prefix": ""}, "digits only"),
        ({"prefix": "99A"}, "digits only"),
        ({"prefix": "٩٩٩"}, "digits only"),
        ({"length": 15}, "from 16 to 19"),
        ({"length": 20}, "from 16 to 19"),
        ({"prefix": "9990000000"}, "shorter"),
        ({"prefix": "4"}, "bank card range"),
        ({"prefix": "9"}, "bank card range"),
        ({"prefix": "97"}, "bank card range"),
        ({"prefix": "9792"}, "bank card range"),
        ({"prefix": "97925"}, "bank card range"),
        ({"prefix": "22214"}, "bank card range"),
    ],
)
def test_card_scheme_that_could_be_mistaken_is_refused(scheme: dict[str, str | int], complaint: str) -> None:
    with pytest.raises(CardSchemeError, match=complaint):
        CardScheme(**scheme)  # type: ignore[arg-type]  # the table mixes both fields


def test_chain_may_choose_another_scheme() -> None:
    scheme = CardScheme(prefix="7007", length=19)
    number = make_card_number(42, scheme)

    assert len(number) == 19
    assert read(number, scheme=scheme) == CardNumber(number)
    assert read(CARD, scheme=scheme) == OtherText()


def test_card_numbers_are_made_as_designed() -> None:
    assert make_card_number(0) == "9990000000000000"[:15] + luhn_digit("999000000000000")
    assert luhn_digit("7992739871") == "3"  # the textbook example
    assert grouped(make_card_number(12_345_678_901)).startswith("9990 1234 5678 901")
    for serial in (-1, 10**11):
        with pytest.raises(ValueError, match="11 digits"):
            make_card_number(serial)


@given(st.integers(0, 10**11 - 1))
def test_every_number_we_make_is_ours_and_nobody_elses(serial: int) -> None:
    number = make_card_number(serial)

    assert read(number) == CardNumber(number)
    assert read_query(grouped(number)) == CardNumber(number)
    assert not is_bank_number(number)


@given(st.integers(0, 10**11 - 1), st.integers(4, 15), st.integers(1, 9))
def test_one_wrong_digit_is_never_another_customer(serial: int, position: int, change: int) -> None:
    number = make_card_number(serial)
    wrong = number[:position] + str((int(number[position]) + change) % 10) + number[position + 1 :]

    assert read(wrong) == Unreadable(Reason.CHECK_DIGIT)
    assert read_query(wrong) == Unreadable(Reason.CHECK_DIGIT)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (grouped(CARD), CardNumber(CARD)),
        (CARD, CardNumber(CARD)),
        ("+1 514 555-0123", Phone("+15145550123")),
        ("(514) 555-0123", Phone("+15145550123")),
        ("514.555.0123", Phone("+15145550123")),
        ("15145550123", Phone("+15145550123")),
        ("+33 6 12 34 56 78", Phone("+33612345678")),
        ("0033612345678", Phone("+33612345678")),
        ("Elodie.Gagne@Example.COM ", Email("elodie.gagne@example.com")),
        ("Élodie  Gagné", Name("Élodie Gagné")),
        ("O'Brien", Name("O'Brien")),
        ("<b>x</b>", Name("<b>x</b>")),
        ("' OR 1=1 --", Name("' OR 1=1 --")),
        ("12", Name("12")),
        (";4111111111111111=29121010000000000?", BankCard("•••• 1111")),
        ("", Unreadable(Reason.EMPTY)),
        ("a\x00b", Unreadable(Reason.CONTROL_CHARACTERS)),
        ("x" * 10_000, Unreadable(Reason.TOO_LONG)),
    ],
)
def test_each_search_text_is_told_apart(text: str, query: Query) -> None:
    assert read_query(text) == query


def test_search_uses_the_country_of_the_shop() -> None:
    assert read_query("6123456789", country_code="33") == Phone("+336123456789")


# Texts that come close to meaning something, so that the properties walk through every branch.
_PIECES = st.sampled_from(
    ["]Q1", "]A0", "]E4", "]z0", "*", "A", "B", "%B", ";", "=", "^", "?", "\r\n", " ", "-", GS, "\x00", "é", "\ud800"]
)
_WORDS = st.sampled_from(
    ["http://", "www.", "WIFI:", "BEGIN:VCARD", "9990", CARD, "4111111111111111", "@x.ca", "\u00a0"]
)
_DIGITS = st.text("0123456789", max_size=8)
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.one_of(_PIECES, _WORDS, _DIGITS)).map("".join))
HINTS = st.one_of(st.none(), st.sampled_from([symbology.value for symbology in Symbology]), st.text(max_size=5))


@given(TEXTS, HINTS)
def test_reading_never_raises_and_always_answers_in_json(text: str, hint: str | None) -> None:
    for meaning in (read(text, hint), read_query(text)):
        told = to_json(meaning)
        assert told["kind"] == meaning.kind
        assert all(isinstance(value, str) for value in told.values())


@given(TEXTS, HINTS)
def test_normalising_twice_changes_nothing(text: str, hint: str | None) -> None:
    once = normalise(text, hint)
    if isinstance(once, Normal):
        assert normalise(once.text, once.symbology) == once
        assert read(once.text, once.symbology) == read(text, hint)


@given(TEXTS, HINTS)
def test_only_a_right_own_number_is_ever_a_card(text: str, hint: str | None) -> None:
    meaning = read(text, hint)
    if isinstance(meaning, CardNumber):
        assert meaning.number.startswith("9990")
        assert len(meaning.number) == 16
        assert luhn_valid(meaning.number)


@pytest.mark.parametrize("value", [CardNumber(CARD), Phone("+15145550123"), Email("a@b.ca"), Name("Élodie")])
def test_what_identifies_a_person_is_not_in_a_log_line(value: Query) -> None:
    held = next(text for name, text in to_json(value).items() if name != "kind")
    assert held not in repr(value)


def test_bank_numbers_inside_other_text_are_hidden() -> None:
    text = "Pay 4111 1111 1111 1111 or 5555555555554444, ref 1234567890123456"
    assert hide_bank_numbers(text) == "Pay •••• 1111 or •••• 4444, ref 1234567890123456"


def test_product_check_digits_are_those_of_the_standard() -> None:
    assert gtin_digit("629104150021") == "3"  # the example of the GS1 General Specifications
    # One per rule of expansion, by the last digit of the six.
    expanded = {n: upc_e_to_upc_a(n) for n in ("01234505", "01234515", "01234525", "01234535", "01234545", "01234565")}
    assert expanded == {
        "01234505": "012000003455",
        "01234515": "012100003455",
        "01234525": "012200003455",
        "01234535": "012300000455",
        "01234545": "012340000055",
        "01234565": "012345000065",
    }


@pytest.mark.parametrize("piece", ["1 ", "%B1 ", ";1", "http://a.", "A1-", "1-", "*", "]Q1"])
def test_text_made_to_slow_an_expression_down_is_read_at_once(piece: str) -> None:
    text = (piece * TEXT_CHARS_MAX)[: TEXT_CHARS_MAX - 1] + "!"
    started = process_time()
    for hint in ("Code39", "Codabar", None):
        read(text, hint)
        read_query(text)
        hide_bank_numbers(text)
    assert process_time() - started < 0.25
