"""Which versions of SQLite serve, and which of them may checkpoint from several connections at once."""

# The first whose full-text index forgets a word as soon as its row goes (sqlite.org/fts5.html, secure-delete).
OLDEST = (3, 42, 0)
# From these on, within each line of versions, the log of a database cannot be begun anew under a checkpoint.
_WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))


def has_safe_log(version: str) -> bool:
    """Return whether this SQLite is free of the WAL-reset race (sqlite.org/wal.html).

    In other versions a checkpoint of one connection can meet a commit of another and lose it; so there the one writer
    checkpoints between its own commits, and nobody else ever does, nor commits beside it.
    """
    number = _number(version)
    return number >= _WAL_RESET_FIXED[-1] or any(
        number[:2] == fixed[:2] and number >= fixed for fixed in _WAL_RESET_FIXED
    )


def serves(version: str) -> bool:
    """Return whether this SQLite has all that the files need."""
    return _number(version) >= OLDEST


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
