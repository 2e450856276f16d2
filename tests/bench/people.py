"""Customers by the million from a seed: Montréal's names and a long tail, three identifiers each, believable profiles.

Nobody can be reached by mistake: phones begin with +999, which is no country, and e-mails end in example.com.
"""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, product
from pathlib import Path
from typing import Any, NamedTuple

from agent.codes import make_card_number
from sync.contract.identifiers import Scheme

SEED = 12
AS_OF = "2026-03-01"
# Drawn at once, because one draw of many is several times faster than many draws of one.
_AT_A_TIME = 2_000

_GIVEN = {
    "fr": (
        "Jean Marie Pierre Michel Louise François Sylvie Hélène Andrée Benoît Chloé Élise Gaétan Geneviève Gérald "
        "Isabelle Jérôme Joëlle Léa Lucie Luc Maëlle Marc-André Mathieu Mélanie Nathalie Noémie Océane Odile "
        "Pascale Raphaël Rémi René Sébastien Simon Stéphane Sophie Thérèse Valérie Véronique Yves Zoé"
    ),
    "en": (
        "James Mary John Patricia Robert Jennifer Michael Linda David Susan William Jessica Richard Sarah Joseph "
        "Karen Thomas Nancy Charles Lisa Daniel Betty Matthew Margaret Anthony Sandra Mark Ashley Paul Emily Steven "
        "Donna Andrew Michelle Kenneth Carol Joshua Amanda Kevin Melissa Brian Deborah Priya Wei Omar Aisha Liam"
    ),
}
_FAMILY = {
    "fr": (
        "Tremblay Gagnon Roy Côté Bouchard Gauthier Morin Lavoie Fortin Gagné Ouellet Pelletier Bélanger Lévesque "
        "Bergeron Leblanc Paquette Girard Simard Boucher Caron Beaulieu Cloutier Dubé Poirier Fournier Lapointe "
        "Leclerc Lefebvre Poulin Thibault St-Pierre Nadeau Martel Landry Martin Bédard Grenier Lessard Richard "
        "Michaud Hébert Desjardins Couture Turcotte Lachance Parent Blais Gosselin Savard Proulx Beaudoin D'Amours "
        "Lebœuf Demers Perreault Boudreau Cyr Garneau Deschênes Rousseau"
    ),
    "en": (
        "Smith Brown Tremblay Martin Wilson Campbell Anderson Taylor Jones MacDonald Johnson Williams Miller Thompson "
        "White Young Stewart Moore King Robinson Clark Reid Singh Patel Nguyen Chen Wong Lee Khan Murphy O'Brien "
        "Kelly Ross Scott Walker Wright Green Baker Hall Hill Adams Mitchell Fraser Murray Grant Hughes Kaur Ahmed "
        "Silva Cohen Rossi Russo Popov Novak Kowalski"
    ),
}
# The long tail of family names, which a census has and a list has not.
_HEADS = "Bar Ben Bor Cal Cham Dor Dur Fer Gal Gir Har Kar Lam Lar Mal Mar Mon Nor Pel Per Rab Ros Sal Tar Val Ver"
_MIDDLES = "a e i o u al an ar au el en er ic in oi on ou"
_TAILS = "beau bert deau din get ier lard let lin man mont nel quin rand ret rier sen ski son ton vin ville"

_LIKES = (
    ("Oat flat white, no sugar", "Flat white à l'avoine, sans sucre"),
    ("Large latte in their own cup", "Grand latté dans sa propre tasse"),
    ("Double espresso", "Double espresso"),
    ("Filter coffee with milk, to go", "Café filtre avec du lait, à emporter"),
    ("Maple latte, not too hot", "Latté à l'érable, pas trop chaud"),
    ("Sesame bagel with cream cheese", "Bagel au sésame et fromage à la crème"),
    ("Sits by the window", "S'installe près de la fenêtre"),
    ("Blueberry muffin", "Muffin aux bleuets"),
)
_OFFER = {
    "text": {
        "en": "Happy birthday month: a slice of cake is on us.",
        "fr": "C'est le mois de votre anniversaire : une part de gâteau vous est offerte.",
    },
    "reason": {"en": "Your birthday is this month.", "fr": "Votre anniversaire est ce mois-ci."},
    "ends_on": "2026-04-30",
}
_PURPOSES = ("preferences", "profiling", "marketing")
# How many different profiles there are; each customer has one of them, with a name and a day of their own.
_PROFILES = 400


class Person(NamedTuple):
    """One customer as a JSON object of the contract, with what leads there."""

    customer: dict[str, Any]
    card: str
    phone: str
    email: str
    points: int

    @property
    def import_row(self) -> dict[str, Any]:
        """The row of the hub's NDJSON import."""
        values = {Scheme.CARD: self.card, Scheme.PHONE: self.phone, Scheme.EMAIL: self.email}
        identifiers = [{"scheme": scheme.value, "value": value} for scheme, value in values.items()]
        return {**self.customer, "identifiers": identifiers, "points": self.points}


def customer_id(number: int) -> str:
    return f"b-{number:07d}"


def card(number: int) -> str:
    """Return the card of a customer: scattered over the scheme, never the same for two of them."""
    return make_card_number(number * 7919 % 10**11)


def nobodys_card(number: int) -> str:
    """Return a card that no customer of any size has."""
    return card(50_000_000 + number)


def people(customers: int) -> Iterator[Person]:
    """Yield customers 1 to `customers`; the first ones are the same for every size."""
    die = random.Random(SEED)
    profiles = [_profile(die) for _ in range(_PROFILES)]
    languages = {"fr": _Names("fr"), "en": _Names("en")}
    numbers = count(1)
    while True:
        picks = die.choices(profiles, k=_AT_A_TIME)
        names = {language: drawn.draw(die) for language, drawn in languages.items()}
        for nth, number in zip(range(_AT_A_TIME), numbers, strict=False):
            if number > customers:
                return
            profile = picks[nth]
            given, family = names[profile["language"]][nth]
            day = 1 + number % 28
            customer = {
                "customer_id": customer_id(number),
                "given_name": given,
                "family_name": family,
                **profile,
                "last_visit_on": f"2026-02-{day:02d}",
            }
            yield Person(customer, card(number), f"+999{number:09d}", f"c{number}@example.com", number % 1_500)


def searches(count_of: int) -> list[str]:
    """Return what staff type: the first three to six letters of a name, a whole name, or parts of both names."""
    die = random.Random(SEED + 1)
    names = {language: _Names(language) for language in ("fr", "en")}
    texts: list[str] = []
    while len(texts) < count_of:
        for given, family in names[die.choice(("fr", "en"))].draw(die)[:50]:
            shape = die.randrange(4)
            letters = die.randrange(3, 7)
            texts.append(
                (
                    family[:letters],
                    family.lower(),
                    f"{given} {family[:3]}",
                    f"{given[:3]} {family[:letters]}",
                )[shape]
            )
    return [text for text in texts if len(text) >= 3][:count_of]


class _Names:
    """The names of one language; the nth is n times rarer than the first, as in life."""

    def __init__(self, language: str) -> None:
        parts = (_HEADS.split(), _MIDDLES.split(), _TAILS.split())
        self._given = _GIVEN[language].split()
        self._family = [*_FAMILY[language].split(), *("".join(name) for name in product(*parts))]
        self._given_weights = _zipf(len(self._given))
        self._family_weights = _zipf(len(self._family))

    def draw(self, die: random.Random) -> Sequence[tuple[str, str]]:
        given = die.choices(self._given, cum_weights=self._given_weights, k=_AT_A_TIME)
        family = die.choices(self._family, cum_weights=self._family_weights, k=_AT_A_TIME)
        return list(zip(given, family, strict=True))


def write_import_file(path: Path, customers: int) -> None:
    """Write customers 1 to `customers` as the hub imports them, one JSON object per line."""
    with path.open("w", encoding="utf-8") as file:
        for person in people(customers):
            file.write(json.dumps(person.import_row, ensure_ascii=False, separators=(",", ":")) + "\n")


def _zipf(length: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, length + 1)))


def _profile(die: random.Random) -> dict[str, Any]:
    """Return what a customer is besides name, number and day."""
    language = die.choice(("fr", "fr", "en"))
    likes = die.sample(_LIKES, k=die.randrange(3))
    consents = [
        {
            "purpose": purpose,
            "granted": die.random() < 0.7,
            "decided_at": "2025-11-03T15:00:00Z",
            "wording_version": "shop-consent-3",
            "language": language,
        }
        for purpose in _PURPOSES
    ]
    profile: dict[str, Any] = {
        "language": language,
        "tier": die.choice(("bronze", "bronze", "silver", "gold")),
        "preferences": [
            {"text": {"en": en, "fr": fr}, "source": "asked-at-counter", "noted_on": "2025-12-01"} for en, fr in likes
        ],
        "clv": {"amount_minor": die.randrange(1_000, 700_000), "currency": "CAD", "as_of": AS_OF, "model": "bench-1"},
        "consents": consents,
    }
    if die.random() < 0.3:
        profile["offers"] = [{"offer_id": f"birthday-{die.randrange(10_000)}", **_OFFER}]
    if die.random() < 0.05:
        profile["cautions"] = [{"kind": "open_complaint", "since": "2026-02-20"}]
    return profile
