"""The demo's folder: settings of one hub and two tills, the customers to import, the program, pictures of cards.

Settings are written at each start, because the ports may have changed; a picture is drawn once. Nothing in the folder
names its own place, so it may be moved.
"""

import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.codes import grouped
from agent.config import Settings
from agent.demo.ports import TILLS, Ports
from agent.demo.sample_shop import Member, Shop
from agent.imaging.drawing import draw_card
from sync.contract.identifiers import Scheme
from sync.runtime.settings import load
from sync.runtime.state_lock import private_folder, write_private

STORE_ID = "parallele-1"

_HUB_TOML = """\
# Written by the demo at each start.
[hub]
name = "demo hub"
state = "hub"
port = {port}

[program]
file = "program.json"
"""
_TILL_TOML = """\
# Written by the demo at each start.
[till]
state = "state"
demo = true
shop = "Café Parallèle"
name = "{name}"
language = "{language}"

[api]
port = {port}

[hub]
url = "http://127.0.0.1:{hub_port}"
"""
# One till opens in each of the shop's languages.
_TILLS = (("en", "Till 1"), ("fr", "Caisse 2"))


@dataclass(frozen=True, slots=True)
class SampleCard:
    """A card worth showing: the name of its picture, its number, whose it is, and what a scan of it shows."""

    file_name: str
    number: str
    caption: str
    sees: str


@dataclass(frozen=True, slots=True)
class ShopFiles:
    """Where everything of a demo lies."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Held by the demo that runs here."""
        return self.folder / "demo.lock"

    @property
    def hub_config(self) -> Path:
        """The settings of the hub."""
        return self.folder / "hub.toml"

    @property
    def locks(self) -> tuple[Path, ...]:
        """What the hub and each till hold while they run."""
        tills = (self.folder / f"till-{number}" / "state" / "agent.lock" for number in range(1, TILLS + 1))
        return (self.folder / "hub" / "hub.lock", *tills)

    @property
    def customers(self) -> Path:
        """What the hub imports."""
        return self.folder / "customers.ndjson"

    @property
    def imported(self) -> Path:
        """A copy of what the hub has imported last."""
        return self.folder / "imported.ndjson"

    @property
    def cards(self) -> Path:
        """The pictures of cards."""
        return self.folder / "cards"

    def till_config(self, number: int) -> Path:
        """Return the settings of till `number`, counted from 1."""
        return self.folder / f"till-{number}" / "config.toml"

    def till(self, number: int) -> Settings:
        """Return the settings of till `number` as the till reads them."""
        return load(self.till_config(number), Settings)

    def log(self, name: str) -> Path:
        """Return the file that keeps what a process of that name writes."""
        return self.folder / f"{name}.log"

    def write(self, shop: Shop, ports: Ports) -> None:
        """Write the settings, the program and the customers of the day.

        Raises:
            OSError: the folder cannot be written.
        """
        private_folder(self.folder)
        _write(self.hub_config, _HUB_TOML.format(port=ports.hub))
        _write(self.folder / "program.json", shop.program.model_dump_json(indent=1) + "\n")
        for number, (port, (language, name)) in enumerate(zip(ports.tills, _TILLS, strict=True), start=1):
            config = self.till_config(number)
            private_folder(config.parent)
            _write(config, _TILL_TOML.format(language=language, name=name, port=port, hub_port=ports.hub))
        _write(self.customers, "".join(f"{import_line(member)}\n" for member in shop.members))

    def is_imported(self) -> bool:
        """Tell whether the hub has imported just these customers."""
        return self.imported.exists() and self.imported.read_bytes() == self.customers.read_bytes()

    def note_import(self) -> None:
        """Note that the hub has imported these customers."""
        _write(self.imported, self.customers.read_text(encoding="utf-8"))

    def draw_cards(self, cards: Sequence[SampleCard]) -> None:
        """Draw each card that is not there yet."""
        private_folder(self.cards)
        for card in cards:
            picture = self.cards / card.file_name
            if not picture.exists():
                write_private(picture, draw_card(card.number, f"DEMO · {card.caption}"))

    def remove(self) -> None:
        """Remove the whole folder."""
        shutil.rmtree(self.folder)


def import_line(member: Member) -> str:
    """Return a customer as one line of an NDJSON import file."""
    fields = member.customer.model_dump(mode="json", exclude_defaults=True)
    identifiers = [{"scheme": one.scheme.value, "value": one.value} for one in member.identifiers]
    return json.dumps(fields | {"identifiers": identifiers, "points": member.points}, ensure_ascii=False)


def sample_cards(shop: Shop) -> list[SampleCard]:
    """Return the cards worth a picture: of each customer written by hand, and one that nobody has."""
    cards = [
        SampleCard(_file_name(place, member, card), card, _full_name(member), member.sees or "")
        for place, (member, card) in enumerate(_shown(shop), start=1)
    ]
    place = len(cards) + 1
    unknown = "points are kept for the card"
    return [*cards, SampleCard(f"{place:02d}-unknown-card.png", shop.unknown_card, "Nobody", unknown)]


def cards_table(cards: Sequence[SampleCard]) -> list[str]:
    """Return the cards as lines for people; each begins as the name of its picture does."""
    return [f"{card.file_name[:2]}  {grouped(card.number)}  {card.caption}: {card.sees}" for card in cards]


def shared_phone(shop: Shop) -> str:
    """Return the phone number that leads to two customers."""
    phones = Counter(one.value for member in shop.members for one in member.identifiers if one.scheme is Scheme.PHONE)
    return phones.most_common(1)[0][0]


def _shown(shop: Shop) -> Iterator[tuple[Member, str]]:
    for member in shop.members:
        if member.sees:
            for card in member.cards:
                yield member, card


def _file_name(place: int, member: Member, card: str) -> str:
    name = member.customer.called or member.customer.given_name
    what = (member.sees or "").partition(":")[0]
    other = "" if card == member.cards[0] else " other card"
    return f"{place:02d}-{_slug(f'{name} {what}{other}')}.png"


def _full_name(member: Member) -> str:
    customer = member.customer
    name = f"{customer.given_name} {customer.family_name or ''}".strip()
    return name if customer.called is None else f"{name} ({customer.called})"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _write(path: Path, text: str) -> None:
    write_private(path, text.encode())
