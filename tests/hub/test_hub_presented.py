"""What was presented at a till and never became a customer's: it goes by itself, and when a person asks for it."""

import asyncio
import fcntl
import io
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

from sync.contract.identifiers import Identifier, Scheme, identifier_id
from sync.contract.protocol import PresentedIdentifier
from sync.hub.__main__ import main
from sync.hub.founding import DATABASE_NAME
from sync.hub.people import presented
from sync.hub.people.presented import KEPT, forget_old, keep
from sync.hub.root import running
from tests.support.clock import FakeClock
from tests.support.hub_books import KEY, NOW, Books, customer, open_books
from tests.support.hub_tills import config_of
from tests.support.processes import ROOT
from tests.support.waiting import breath, eventually

PHONE, EMAIL, CARD = "+15145550123", "zoe@example.com", "9990000000001234"
VALUES = ((Scheme.PHONE, PHONE), (Scheme.EMAIL, EMAIL), (Scheme.CARD, CARD))
MINUTE = timedelta(minutes=1)


def wish(scheme: Scheme, value: str, key: bytes = KEY) -> PresentedIdentifier:
    return PresentedIdentifier(id=identifier_id(key, scheme, value), identifier=Identifier(scheme=scheme, value=value))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with open_books(tmp_path) as books:
        yield books


def present(books: Books, at: datetime, *which: tuple[Scheme, str]) -> None:
    wishes = [wish(*one) for one in which]
    books.write(lambda connection: keep(connection, wishes, "till-1", at))


def kept(books: Books) -> set[str]:
    return {row[0] for row in books.connection.execute("SELECT value FROM presented").fetchall()}


def test_what_nobody_presented_for_long_is_forgotten_and_what_is_presented_again_is_not(books: Books) -> None:
    present(books, NOW, *VALUES)
    present(books, NOW + timedelta(days=365), VALUES[0])

    assert books.write(lambda connection: forget_old(connection, NOW + KEPT)) == 0
    assert books.write(lambda connection: forget_old(connection, NOW + KEPT + MINUTE)) == 2
    assert kept(books) == {PHONE}


def test_what_is_forgotten_leaves_the_bytes_of_the_file(books: Books, tmp_path: Path) -> None:
    books.connection.execute("PRAGMA secure_delete=OFF").fetchone()
    present(books, NOW, *VALUES)
    books.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    books.write(lambda connection: forget_old(connection, NOW + KEPT + MINUTE))
    books.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    files = b"".join(path.read_bytes() for path in tmp_path.glob(DATABASE_NAME + "*"))
    assert not any(value.encode() in files for _, value in VALUES)
    assert books.number("PRAGMA secure_delete") == 0


async def test_a_hub_forgets_in_its_tidying_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presented, "FORGOTTEN_AT_ONCE", 2)
    clock = FakeClock(NOW)
    async with running(config_of(tmp_path), clock) as hub:
        wishes = [wish(scheme, value, hub.founding.identifier_key) for scheme, value in VALUES]
        await hub.writer.write(lambda connection: keep(connection, wishes, "till-1", NOW))
        clock.set_wall(NOW + KEPT + MINUTE)
        async with asyncio.timeout(20):
            while await hub.reader.read(lambda connection: connection.execute("SELECT 1 FROM presented").fetchone()):
                await clock.advance(3600)
                await breath()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text('[hub]\nstate = "hub"\n', encoding="utf-8")
    (tmp_path / "hub").mkdir()
    with open_books(tmp_path / "hub") as books:
        present(books, NOW, *VALUES)
        books.put(customer("C-1", "9990000000005678"))
    return path


def call(config: Path, *arguments: str) -> int:
    return main(["customers", "forget", *arguments, "--config", str(config)])


def test_a_person_erases_what_stands_in_a_file_and_none_of_it_is_printed_or_left(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = config.parent / "wanted.txt"
    wanted.write_text("(514) 555-0123\n\nZoe@Example.com\n9990 0000 0000 5678\n", encoding="utf-8")

    assert call(config, str(wanted)) == 0

    said = "".join(capfd.readouterr())
    assert said.splitlines()[:3] == [
        "line 1: erased",
        "line 3: erased",
        "line 4: nothing was kept of it; it leads to C-1, see: customers erase",
    ]
    assert not any(part in said for part in ("555", "zoe", "5678"))
    files = b"".join(path.read_bytes() for path in (config.parent / "hub").glob(DATABASE_NAME + "*"))
    assert PHONE.encode() not in files
    assert EMAIL.encode() not in files
    assert CARD.encode() in files


def test_standard_input_serves_too(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CARD}\n"))

    assert call(config) == 0

    assert capfd.readouterr().out == "line 1: erased\n"


PROGRAM = """
import signal, sys
from sync.hub.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
sys.exit(main())
"""


def reading_stdin(config: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "customers", "forget", "--config", str(config)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


async def test_ctrl_c_ends_a_command_that_reads_standard_input(config: Path) -> None:
    process = reading_stdin(config)
    try:
        assert process.stdin is not None
        process.stdin.write(CARD.encode())
        process.stdin.flush()
        await eventually(lambda: waiting_in(process.stdin) == 0)

        process.send_signal(signal.SIGINT)

        assert await asyncio.to_thread(process.wait, 20) == 1
    finally:
        process.kill()
        _, said = process.communicate()
    assert said == b""
    with open_books(config.parent / "hub") as books:
        assert len(kept(books)) == 3


def test_bytes_that_are_no_text_are_no_value(config: Path) -> None:
    _, said = reading_stdin(config).communicate(b"\xff\xfe\n")

    assert b"line 1 is no card, phone or e-mail" in said


def waiting_in(pipe: IO[bytes] | None) -> int:
    """Return how many bytes of a pipe nobody has read yet."""
    assert pipe is not None
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


@pytest.mark.parametrize(("text", "words"), [("a@b.example\n?\n", "line 2 is no card"), (" \n", "what was given is")])
def test_what_is_no_value_changes_nothing(
    config: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))

    assert call(config) == 1

    assert words in capfd.readouterr().err
    with open_books(config.parent / "hub") as books:
        assert len(kept(books)) == 3
