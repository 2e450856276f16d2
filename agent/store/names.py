"""Names made findable: how they are folded into words, and how staff's text becomes a safe full-text query.

Both sides use one folding, so "Lebœuf", "LEBOEUF" and "leboe" meet. A query is built from folded words only; nothing
that staff type reaches SQLite's query language.
"""

import re
import unicodedata

# More words than any name has; the rest of a pasted text is not looked for.
WORDS_MAX = 6

# Letters that Unicode does not take apart, as people without them on their keyboard type them.
_SPELT_OUT = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ß": "ss"})
_WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents: "D'Amours-Côté" is d, amours, cote."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).lower().translate(_SPELT_OUT)
        text = "".join(char for char in text if not unicodedata.combining(char))
    return _WORD.findall(text.lower())


def exact_query(words: list[str]) -> str:
    """Return the query for names that hold each of these words whole."""
    return " ".join(f'"{word}"' for word in words[:WORDS_MAX])


def prefix_query(words: list[str]) -> str:
    """Return the query for names with a word that begins like each of these."""
    return " ".join(f'"{word}" *' for word in words[:WORDS_MAX])
