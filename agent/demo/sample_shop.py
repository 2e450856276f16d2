"""The sample shop: a bilingual coffee shop in Montréal, of which everything and everybody is made up.

Pure but for reading its own words: the same seed and the same day give the same shop to the byte, on any machine.
Phones are numbers that nobody has (555-01xx) and e-mails end in example.com, so nobody can be reached by mistake.
"""

import random
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources

from agent.codes import make_card_number
from sync.contract.customers import (
    Caution,
    CautionKind,
    Code,
    Consent,
    Customer,
    Language,
    LifetimeValue,
    Offer,
    OfferState,
    Preference,
    Purpose,
    Wording,
)
from sync.contract.events import Strict
from sync.contract.identifiers import Identifier, Scheme
from sync.contract.program import Program

SEED = 20
CUSTOMERS = 600

_CONSENT_WORDING = "shop-consent-3"
_CLV_MODEL = "sample-1"
# Of the customers met at random, in percent.
_FRENCH, _WITH_FAMILY_NAME_FROM_ELSEWHERE = 58, 18
_WITH_PHONE, _WITH_EMAIL = 86, 72
_WITH_OFFER, _OFFER_ALREADY_CONSUMED = 30, 15
_WITH_CAUTION = 5
_WITH_CLV = 90
_NEVER_CAME_BACK = 3
# How many in a hundred said yes, no, or yes and later no; the rest were never asked.
_CONSENT_IN_100 = {
    Purpose.PREFERENCES: (74, 6, 5),
    Purpose.PROFILING: (58, 14, 6),
    Purpose.MARKETING: (44, 26, 9),
}
# Tier: how many in a hundred, points at most, CLV at most in minor units, days since the last visit at most.
_TIERS = {
    "bronze": (62, 190, 60_000, 240),
    "silver": (28, 640, 220_000, 60),
    "gold": (10, 1_700, 720_000, 21),
}


class _Likes(Strict):
    drinks: tuple[Wording, ...]
    ways: tuple[Wording, ...]
    besides: tuple[Wording, ...]


class _OfferKind(Strict):
    kind: Code
    days: int
    text: Wording
    reason: Wording


class _Face(Strict):
    """A customer written by hand; `sees` says what a scan of the card shows."""

    sees: str
    given_name: str
    family_name: str
    called: str | None = None
    language: Language
    tier: str
    points: int
    drink: int
    way: int | None = None
    offer: str | None = None
    caution: CautionKind | None = None
    second_card: bool = False
    shares_phone: bool = False
    agrees: tuple[Purpose, ...]


class _Names(Strict):
    area_codes: tuple[str, ...]
    given_fr: tuple[str, ...]
    given_en: tuple[str, ...]
    given_anywhere: tuple[str, ...]
    family_fr: tuple[str, ...]
    family_en: tuple[str, ...]
    family_anywhere: tuple[str, ...]
    short: dict[str, str]


class _Words(Strict):
    name: str
    program: Program
    likes: _Likes
    offers: tuple[_OfferKind, ...]
    faces: tuple[_Face, ...]
    names: _Names


@dataclass(frozen=True, slots=True)
class Member:
    """A customer with all that leads to them, and the points they start with."""

    customer: Customer
    identifiers: tuple[Identifier, ...]
    points: int
    sees: str | None = None

    @property
    def cards(self) -> tuple[str, ...]:
        """The card numbers, the one in use first."""
        return tuple(found.value for found in self.identifiers if found.scheme is Scheme.CARD)


@dataclass(frozen=True, slots=True)
class Shop:
    """The whole sample: its program, its customers (those written by hand first), and a card that nobody has."""

    name: str
    program: Program
    members: tuple[Member, ...]
    unknown_card: str


def make_shop(today: date, *, seed: int = SEED) -> Shop:
    """Return the sample shop as of `today`; visits and offers are dated around that day."""
    words = _Words.model_validate(
        tomllib.loads(resources.files(__package__).joinpath("sample_shop.toml").read_text(encoding="utf-8"))
    )
    maker = _Maker(words, today, seed)
    members = [maker.face(number, face) for number, face in enumerate(words.faces, start=1)]
    members += [maker.passer_by(number) for number in range(len(members) + 1, CUSTOMERS + 1)]
    return Shop(words.name, words.program, tuple(members), maker.card(CUSTOMERS + 1))


class _Maker:
    """Makes customers one by one. Each has a die of their own, so one more question does not change the others."""

    def __init__(self, words: _Words, today: date, seed: int) -> None:
        self._words = words
        self._today = today
        self._seed = seed
        self._emails: Counter[str] = Counter()
        self._phones = [f"+1{area}55501{last:02d}" for last in range(100) for area in self._words.names.area_codes]
        self._die("phones").shuffle(self._phones)

    def card(self, number: int, which: int = 0) -> str:
        """Return the customer's card number: scattered, and never the same for two of them."""
        # 7919 and 10**11 have no common factor, so this visits each number once.
        return make_card_number((number * 10 + which + self._seed * 1_000_003) * 7919 % 10**11)

    def face(self, number: int, face: _Face) -> Member:
        """Return a customer as written down by hand."""
        die = self._die(number)
        likes = self._words.likes
        usual = _joined(likes.drinks[face.drink], None if face.way is None else likes.ways[face.way])
        kinds = [kind for kind in self._words.offers if kind.kind == face.offer]
        cautions = () if face.caution is None else (Caution(kind=face.caution, since=self._days_ago(9)),)
        customer = Customer(
            customer_id=_customer_id(number),
            given_name=face.given_name,
            family_name=face.family_name,
            called=face.called,
            language=face.language,
            tier=face.tier,
            last_visit_on=self._days_ago(1 + number % 5),
            preferences=(self._preference(die, usual),),
            clv=self._clv(die, face.tier),
            offers=tuple(self._offer(kind, number, OfferState.AVAILABLE) for kind in kinds),
            cautions=cautions,
            consents=tuple(
                self._consent(purpose, granted=purpose in face.agrees, days_ago=400, language=face.language)
                for purpose in Purpose
            ),
        )
        cards = [self.card(number, which) for which in range(2 if face.second_card else 1)]
        phone = self._phones[0] if face.shares_phone else self._phones[number]
        return Member(customer, self._identifiers(customer, cards, phone, email=True), face.points, face.sees)

    def passer_by(self, number: int) -> Member:
        """Return a customer made up by the die."""
        die = self._die(number)
        language: Language = "fr" if _chance(die, _FRENCH) else "en"
        given, family = self._name(die, language)
        tier = die.choices(list(_TIERS), weights=[row[0] for row in _TIERS.values()])[0]
        _, points_max, _, days_max = _TIERS[tier]
        came_back = not _chance(die, _NEVER_CAME_BACK)
        customer = Customer(
            customer_id=_customer_id(number),
            given_name=given,
            family_name=family,
            called=self._called(die, given, family, language),
            language=language,
            tier=tier,
            last_visit_on=self._days_ago(1 + die.randrange(days_max)) if came_back else None,
            preferences=self._preferences(die),
            clv=self._clv(die, tier) if _chance(die, _WITH_CLV) else None,
            offers=self._offers(die, number),
            cautions=self._cautions(die),
            consents=self._consents(die, language),
        )
        phone = self._phones[number] if _chance(die, _WITH_PHONE) else None
        email = _chance(die, _WITH_EMAIL)
        return Member(
            customer, self._identifiers(customer, [self.card(number)], phone, email=email), die.randrange(points_max)
        )

    def _die(self, name: int | str) -> random.Random:
        return random.Random(f"{self._seed}/{name}")  # noqa: S311  # a repeatable sample, not a secret

    def _days_ago(self, days: int) -> date:
        return self._today - timedelta(days=days)

    def _name(self, die: random.Random, language: Language) -> tuple[str, str]:
        names = self._words.names
        if _chance(die, _WITH_FAMILY_NAME_FROM_ELSEWHERE):
            here = names.given_fr if language == "fr" else names.given_en
            return die.choice(die.choice((names.given_anywhere, here))), die.choice(names.family_anywhere)
        if language == "fr":
            return die.choice(names.given_fr), die.choice(names.family_fr)
        return die.choice(names.given_en), die.choice(names.family_en)

    def _called(self, die: random.Random, given: str, family: str, language: Language) -> str | None:
        if given in self._words.names.short and _chance(die, 60):
            return self._words.names.short[given]
        if _chance(die, 4):
            return f"{die.choice(('M.', 'Mme') if language == 'fr' else ('Mr.', 'Ms.', 'Dr.'))} {family}"
        return None

    def _preference(self, die: random.Random, text: Wording) -> Preference:
        source = die.choice(("asked-at-counter", "app", "purchases"))
        return Preference(text=text, source=source, noted_on=self._days_ago(5 + die.randrange(400)))

    def _preferences(self, die: random.Random) -> tuple[Preference, ...]:
        likes = self._words.likes
        usual = _joined(die.choice(likes.drinks), die.choice(likes.ways) if _chance(die, 55) else None)
        beside = [die.choice(likes.besides)] if _chance(die, 35) else []
        return tuple(self._preference(die, text) for text in [usual, *beside]) if _chance(die, 85) else ()

    def _clv(self, die: random.Random, tier: str) -> LifetimeValue:
        clv_max = _TIERS[tier][2]
        return LifetimeValue(
            amount_minor=clv_max // 10 + die.randrange(clv_max - clv_max // 10),
            currency=self._words.program.currency,
            as_of=self._today.replace(day=1),
            model=_CLV_MODEL,
        )

    def _offer(self, kind: _OfferKind, number: int, state: OfferState) -> Offer:
        return Offer(
            offer_id=f"{kind.kind}-{number:04d}",
            text=kind.text,
            reason=kind.reason,
            state=state,
            ends_on=self._today + timedelta(days=kind.days),
        )

    def _offers(self, die: random.Random, number: int) -> tuple[Offer, ...]:
        if not _chance(die, _WITH_OFFER):
            return ()
        kinds = die.sample(self._words.offers, k=2 if _chance(die, 10) else 1)
        states = [OfferState.CONSUMED if _chance(die, _OFFER_ALREADY_CONSUMED) else OfferState.AVAILABLE for _ in kinds]
        return tuple(self._offer(kind, number, state) for kind, state in zip(kinds, states, strict=True))

    def _cautions(self, die: random.Random) -> tuple[Caution, ...]:
        if not _chance(die, _WITH_CAUTION):
            return ()
        return (Caution(kind=die.choice(tuple(CautionKind)), since=self._days_ago(1 + die.randrange(30))),)

    def _consent(self, purpose: Purpose, *, granted: bool, days_ago: int, language: Language) -> Consent:
        decided_at = datetime.combine(self._days_ago(days_ago), time(15, 0), UTC)
        return Consent(
            purpose=purpose,
            granted=granted,
            decided_at=decided_at,
            wording_version=_CONSENT_WORDING,
            language=language,
        )

    def _consents(self, die: random.Random, language: Language) -> tuple[Consent, ...]:
        decisions: list[Consent] = []
        for purpose, (yes, no, withdrawn) in _CONSENT_IN_100.items():
            roll, days_ago = die.randrange(100), 90 + die.randrange(800)
            if roll < yes + no + withdrawn:
                granted = not yes <= roll < yes + no
                decisions.append(self._consent(purpose, granted=granted, days_ago=days_ago, language=language))
            if yes + no <= roll < yes + no + withdrawn:
                decisions.append(self._consent(purpose, granted=False, days_ago=days_ago // 3, language=language))
        return tuple(decisions)

    def _identifiers(
        self, customer: Customer, cards: Sequence[str], phone: str | None, *, email: bool
    ) -> tuple[Identifier, ...]:
        found = [Identifier(scheme=Scheme.CARD, value=card) for card in cards]
        if phone is not None:
            found.append(Identifier(scheme=Scheme.PHONE, value=phone))
        if email:
            name = _mailbox(customer.given_name, customer.family_name or "")
            self._emails[name] += 1
            nth = "" if self._emails[name] == 1 else str(self._emails[name])
            found.append(Identifier(scheme=Scheme.EMAIL, value=f"{name}{nth}@example.com"))
        return tuple(found)


def _chance(die: random.Random, percent: int) -> bool:
    return die.randrange(100) < percent


def _customer_id(number: int) -> str:
    return f"cp-{number:05d}"


def _joined(drink: Wording, way: Wording | None) -> Wording:
    return drink if way is None else Wording(en=f"{drink.en}, {way.en}", fr=f"{drink.fr}, {way.fr}")


def _mailbox(given: str, family: str) -> str:
    plain = unicodedata.normalize("NFKD", f"{given}.{family}").encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z.\-]", "", plain).strip(".")
