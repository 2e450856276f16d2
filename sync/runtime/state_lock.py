"""The state folder of a process: private to its user, and held by one process at a time.

The lock is the kernel's, on an open file: it ends with the process, however that ends, so a `kill -9` never leaves a
till that refuses to start. The file itself stays and says who held it last. Files are written whole or not at all.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

# Windows locks bytes, and locked bytes cannot be read: lock one far behind the pid that stands at the start.
_WINDOWS_LOCK_OFFSET = 4096
_PID_BYTES_MAX = 32
# What a lock says that another process has; the second on Windows.
_HELD = (BlockingIOError, PermissionError)
# Whoever asks holds the file for microseconds, or until a busy machine lets it go on: a start waits a second at most.
_QUESTION_S = 0.01
_QUESTIONS_MAX = 100


class AlreadyRunning(Exception):
    """Another process holds this state folder. `pid` is its process id, or None where it cannot be read."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{folder} is in use by {who}; stop that one, or give this one a state folder of its own")
        self.folder = folder
        self.pid = pid


@contextmanager
def hold(lock_file: Path) -> Iterator[None]:
    """Hold the folder of `lock_file` for the length of the block; the folder must exist.

    A child made by a bare fork would share the lock and keep it; start children by spawn or as programs.

    Raises:
        AlreadyRunning: another process holds it; nothing was changed.
    """
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), PRIVATE_FILE)
    try:
        try:
            _lock_after_questions(descriptor)
        except _HELD:
            raise AlreadyRunning(lock_file.parent, _read_pid(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_folder(lock_file: Path) -> Iterator[Path]:
    """Hold the folder of `lock_file` for the length of the block: made where absent, readable by its user only.

    It is closed only once it is held: whoever runs there may have let a group pass, and a refused start must not
    shut that group out.

    Raises:
        AlreadyRunning: another process holds it; nothing was changed.
    """
    folder = lock_file.parent
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    with hold(lock_file):
        yield private_folder(folder)


def is_held(lock_file: Path) -> bool:
    """Tell whether a process holds the folder of `lock_file` now. Changes nothing, and keeps nobody from holding it."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return False
    try:
        _share(descriptor)
    except _HELD:
        return True
    finally:
        os.close(descriptor)
    return False


def private_folder(path: Path) -> Path:
    """Return the folder, made with its parents where absent, and readable by its user only."""
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    path.chmod(PRIVATE_FOLDER)
    return path


def write_private(
    path: Path, data: bytes, *, mode: int = PRIVATE_FILE, group: int | None = None, is_durable: bool = True
) -> None:
    """Replace a file by `data`, whole and durable, or leave it as it was.

    Args:
        path: the file; its folder must exist.
        data: the whole content.
        mode: permission bits; the file never has wider ones, not even for a moment.
        group: the id of the group that the file is given to, for a mode such as 0o640.
        is_durable: whether to wait until it would outlive a power cut; without, it outlives a killed process.

    Raises:
        OSError: the file system refuses; the old file stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if sys.platform != "win32":
                if group is not None:
                    os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync_folder(path.parent)


def _lock_after_questions(descriptor: int) -> None:
    """Lock the file. Where others only ask whether it is held, let them; they are through in a moment."""
    for _ in range(_QUESTIONS_MAX):
        try:
            return _lock(descriptor)
        except _HELD:
            _share(descriptor)
            _unlock(descriptor)
        sleep(_QUESTION_S)
    return _lock(descriptor)


def _share(descriptor: int) -> None:
    """Lock the file beside others that do so, but not beside its holder. Windows cannot: there it is held alone."""
    if sys.platform == "win32":
        _lock(descriptor)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read_pid(descriptor: int) -> int | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _PID_BYTES_MAX).strip()
    return int(text) if text.isdigit() else None


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder durable; Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
