"""The check digits that a till meets: Luhn on cards, modulo 10 on product codes.

A right check digit is no proof (both picture decoders have returned the same wrong EAN-13 with a right one), but a
wrong one is proof of a misread. Every function takes ASCII digits only and leaves asking for that to its caller.
"""

# EAN-8, UPC-A, EAN-13, GTIN-14: the lengths GS1 gives out (GS1 General Specifications, section 7.9).
GTIN_LENGTHS = (8, 12, 13, 14)
UPC_E_DIGITS = 8
# Each digit doubled, its two digits summed: every second digit of a card number counts as this.
_DOUBLED = str.maketrans("0123456789", "0246813579")


def luhn_digit(payload: str) -> str:
    """Return the Luhn digit that belongs behind `payload` (ISO/IEC 7812-1, annex B)."""
    backwards = payload[::-1]
    total = sum(map(int, backwards[0::2].translate(_DOUBLED))) + sum(map(int, backwards[1::2]))
    return str(-total % 10)


def luhn_valid(number: str) -> bool:
    """Say whether the last digit of `number` is its Luhn digit."""
    return luhn_digit(number[:-1]) == number[-1]


def gtin_digit(payload: str) -> str:
    """Return the GS1 modulo-10 digit that belongs behind `payload` (weights 3 and 1 from the right)."""
    total = sum(int(digit) * (3 if position % 2 == 0 else 1) for position, digit in enumerate(reversed(payload)))
    return str(-total % 10)


def gtin_valid(number: str) -> bool:
    """Say whether `number` has the length of a GTIN, its check digit, and is not all zeros."""
    return len(number) in GTIN_LENGTHS and number.strip("0") != "" and gtin_digit(number[:-1]) == number[-1]


def upc_e_to_upc_a(number: str) -> str:
    """Return the 12 digits of UPC-A that the 8 digits of a UPC-E stand for (GS1 General Specifications, 5.2.2.4)."""
    system, body, check = number[0], number[1:7], number[7]
    last = body[5]
    if last in "012":
        maker_and_item = body[:2] + last + "0000" + body[2:5]
    elif last == "3":
        maker_and_item = body[:3] + "00000" + body[3:5]
    elif last == "4":
        maker_and_item = body[:4] + "00000" + body[4]
    else:
        maker_and_item = body[:5] + "0000" + last
    return system + maker_and_item + check
