"""Which versions of SQLite may checkpoint from several connections at once."""

# From these on, within each line of versions, the log of a database cannot be begun anew under a checkpoint.
_WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))


def has_safe_log(version: str) -> bool:
    """Return whether this SQLite is free of the WAL-reset race (sqlite.org/wal.html).

    In other versions a checkpoint of one connection can meet a commit of another and lose it; so there the one writer
    checkpoints between its own commits, and nobody else ever does, nor commits beside it.
    """
    number = tuple(int(part) for part in version.split("."))
    return number >= _WAL_RESET_FIXED[-1] or any(
        number[:2] == fixed[:2] and number >= fixed for fixed in _WAL_RESET_FIXED
    )
