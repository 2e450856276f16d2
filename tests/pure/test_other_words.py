"""The page's words as no translator wrote them are what the tests of the page take them for."""

from tests.support.other_words import DIRECTION, pseudo, right_to_left


def test_the_pseudo_locale_is_longer_marked_and_keeps_its_places() -> None:
    given = {"a": "Points are kept for this card, up to {points}.", "b": "…", DIRECTION: "ltr"}
    made = pseudo(given)
    assert made.keys() == given.keys()
    assert made[DIRECTION] == "ltr"
    assert made["a"].startswith("[")
    assert made["a"].endswith("{points}.]")
    assert all(len(made[key]) >= 1.4 * len(given[key].replace("{points}", "")) for key in "ab")


def test_words_from_right_to_left_keep_their_places() -> None:
    made = right_to_left({"a": "Card {hint}", DIRECTION: "ltr"})
    assert made[DIRECTION] == "rtl"
    assert made["a"].endswith(" {hint}")
    assert not any(sign.isascii() and sign.isalpha() for sign in made["a"].replace("{hint}", ""))
