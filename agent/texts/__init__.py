"""The words of the till, in English and in French: one flat catalogue per language, shared by the agent and the page.

Values and events carry codes; only the doors turn a code into a sentence, with the words kept here. Both catalogues
have the same keys and the same `{placeholders}`. A text that depends on a number has the keys `.one` and `.other`,
and the page picks by the language's own plural rule. Nothing here is ever joined out of pieces of a sentence.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import get_args

from sync.contract.customers import Language, Wording

LANGUAGES: tuple[Language, ...] = get_args(Language)


@cache
def load(language: Language) -> Mapping[str, str]:
    """Return key -> text in that language."""
    raw = resources.files(__package__).joinpath(f"{language}.json").read_text(encoding="utf-8")
    return MappingProxyType(json.loads(raw))


def text(language: Language, key: str, **values: object) -> str:
    """Return the text of a key, with its `{placeholders}` filled.

    Raises:
        KeyError: there is no such key, or a value for a placeholder is missing.
    """
    return load(language)[key].format_map(values)


def wording(key: str, **values: object) -> Wording:
    """Return the text of a key in both languages.

    Raises:
        KeyError: there is no such key, or a value for a placeholder is missing.
    """
    return Wording(en=text("en", key, **values), fr=text("fr", key, **values))


def reason_wording(reason: str) -> Wording:
    """Return why an event was refused, held or withheld, in plain words with the next step; for any code at all."""
    key = f"reason.{reason}"
    return wording(key) if key in load("en") else wording("reason.other", code=reason)
