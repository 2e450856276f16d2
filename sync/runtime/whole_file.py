"""A file that a command writes for a person: whole under its name, or as it was before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sync.runtime.state_lock import PRIVATE_FILE


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, readable by its user only, that takes the place of `path` once the block is through.

    Whoever breaks off leaves nothing beside it either: half a list of customers is personal data that nobody asked for.

    Raises:
        OSError: the file system refuses; the old file stands.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of one that was killed, whoever may read it
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
