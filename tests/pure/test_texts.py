"""The words of the till: equal in both languages, whole, calm, and set as Quebec French is set."""

import re
from collections.abc import Iterable
from enum import Enum

import pytest

from agent import texts
from agent.codes import BankCard, Contact, Coupon, OtherText, Product, Unreadable, WebAddress, Wifi
from agent.codes import Reason as Unread
from agent.purse import WhyNot
from agent.root import STORAGE_FULL
from agent.screen import fault_shown
from agent.shift import ActState
from agent.store.outbox import EntryState
from agent.views import UnknownCardView
from sync.contract.customers import CautionKind, Language
from sync.contract.protocol import ProblemCode, Reason
from sync.hub_errors import NOT_UNDERSTOOD
from sync.pump.line import NO_HELLO_YET
from sync.pump.steps import WITHHELD_REASON
from sync.pump.watchdog import NOT_MOVING

NO_BREAK = "\u00a0"
PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")
KEYS = sorted(texts.load("en"))
# Words that blame, frighten or say nothing, and their French kin.
HARSH = re.compile(
    r"invalid|\berrors?\b|oops|sync failed|failed|failure|fatal|illegal"
    r"|invalide|\berreurs?\b|oups|échou|échec|illégal|synchronisation",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def both(key: str) -> tuple[str, str]:
    return texts.load("en")[key], texts.load("fr")[key]


def test_both_languages_have_the_same_keys() -> None:
    assert sorted(texts.load("fr")) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_both_languages_have_the_same_placeholders(key: str) -> None:
    english, french = both(key)

    assert sorted(PLACEHOLDER.findall(english)) == sorted(PLACEHOLDER.findall(french))
    assert "{" not in PLACEHOLDER.sub("", english + french)


@pytest.mark.parametrize("key", KEYS)
def test_every_text_is_said_calmly_and_short(key: str) -> None:
    for text in both(key):
        assert not HARSH.search(text), text
        assert text == text.strip()
        assert text
        assert len(text) <= 120 or len(SENTENCE_END.findall(text)) == 2, text
        assert len(SENTENCE_END.findall(text)) <= 2, text


def test_a_harsh_word_would_be_found() -> None:
    for planted in ("Invalid card", "An error occurred", "Oops!", "Sync failed", "Carte invalide", "Une erreur"):
        assert HARSH.search(planted)


@pytest.mark.parametrize("key", KEYS)
def test_french_is_set_by_the_rules_of_quebec(key: str) -> None:
    french = texts.load("fr")[key]

    assert not re.search(rf"(?<!{NO_BREAK}):(?!//)", french), "a no-break space stands before a colon"
    assert not re.search(rf"\s[;!?]|{NO_BREAK}[;!?]", french), "no space stands before ; ! ?"
    assert not re.search(rf"«(?!{NO_BREAK})|(?<!{NO_BREAK})»", french), "no-break spaces stand within « »"
    assert "'" not in french, "the apostrophe is the curled one"
    assert not re.search(r"[\"“”]", french), "French quotes are « »"
    assert not re.search(rf"(?<!{NO_BREAK})[%$]", french)


@pytest.mark.parametrize("key", KEYS)
def test_english_has_no_french_spacing(key: str) -> None:
    english = texts.load("en")[key]

    assert NO_BREAK not in english
    assert not re.search(r"\s[:;!?]", english)
    assert not re.search(r"['\"]", english)


def test_every_plural_has_both_forms() -> None:
    stems = {form: {key.removesuffix(form) for key in KEYS if key.endswith(form)} for form in (".one", ".other")}
    # `.other` alone is the fallback of a family of codes.
    families = {"reason", "hub.fault", "problem", "redeem.why"}

    assert stems[".one"] <= stems[".other"]
    assert stems[".other"] - stems[".one"] == families


def values_of(*enums: type[Enum]) -> Iterable[str]:
    return (str(member.value) for enum in enums for member in enum)


def test_every_verdict_has_a_reason_in_words() -> None:
    for reason in (*values_of(Reason), WITHHELD_REASON):
        assert texts.reason_wording(reason) == texts.wording(f"reason.{reason}")


def test_a_reason_of_a_newer_hub_is_named_by_its_code() -> None:
    assert "zones_differ" in texts.reason_wording("zones_differ").en
    assert "zones_differ" in texts.reason_wording("zones_differ").fr


def test_every_reason_says_what_happened_and_what_to_do() -> None:
    for reason in (*values_of(Reason), WITHHELD_REASON):
        for language in texts.LANGUAGES:
            assert len(SENTENCE_END.findall(getattr(texts.reason_wording(reason), language))) == 2


@pytest.mark.parametrize(
    "kind",
    [meaning.kind for meaning in (Product, Coupon, WebAddress, BankCard, Wifi, Contact, OtherText, Unreadable)],
)
def test_every_meaning_that_is_no_customer_is_named(kind: str) -> None:
    assert f"other.{kind}" in KEYS


def test_every_code_that_the_page_meets_has_words() -> None:
    wanted = {
        *(f"unreadable.{reason}" for reason in values_of(Unread)),
        *(f"caution.{kind}" for kind in values_of(CautionKind)),
        *(f"outbox.state.{state}" for state in values_of(EntryState)),
        *(f"hub.fault.{code}" for code in (NO_HELLO_YET, NOT_MOVING, STORAGE_FULL)),
        *(f"hub.fault.{fault_shown(None, code)}" for code in (NOT_UNDERSTOOD, *values_of(ProblemCode))),
        *(f"redeem.why.{why}" for why in values_of(WhyNot)),
        *(f"shift.state.{state}" for state in values_of(ActState)),
        *(f"customer.language.{language}" for language in texts.LANGUAGES),
        *(f"card.asked.{asked}" for asked in UnknownCardView.model_json_schema()["properties"]["asked"]["enum"]),
    }

    assert wanted <= set(KEYS)


@pytest.mark.parametrize(
    ("language", "wanted"),
    [
        ("en", ("Offline - points are saved here and will be sent", "3 to send, oldest 12 min", "That is a product")),
        (
            "fr",
            (
                "Hors ligne - les points sont enregistrés ici et seront envoyés",
                "3 à envoyer, la plus ancienne il y a 12 minutes",
                "C\u2019est un produit",
            ),
        ),
    ],
)
def test_the_agreed_wordings_stand(language: Language, wanted: tuple[str, str, str]) -> None:
    age = {"en": "12 min", "fr": "12 minutes"}[language]

    assert wanted == (
        texts.text(language, "hub.offline"),
        texts.text(language, "outbox.waiting.other", count=3, age=age),
        texts.text(language, "other.product"),
    )


def test_an_unread_card_is_told_in_the_agreed_words() -> None:
    said = {
        language: f"{texts.text(language, 'other.unknown')} {texts.text(language, 'other.unknown.help')}"
        for language in texts.LANGUAGES
    }

    assert said == {
        "en": "Card not recognised. Scan again, or search by phone.",
        "fr": "Carte non reconnue. Balayez de nouveau ou cherchez par téléphone.",
    }


def test_a_missing_value_is_a_bug_and_not_a_gap_in_the_sentence() -> None:
    with pytest.raises(KeyError):
        texts.text("en", "points.as_of")
