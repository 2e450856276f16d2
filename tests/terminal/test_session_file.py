"""Sessions over a restart of the till: who is let in again, and who is not, by real files and a clock that is moved."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.web import session_file
from agent.web.session_file import SessionFile
from agent.web.sessions import (
    RETIRED_MAX,
    ROTATION_GRACE_S,
    SESSION_IDLE_S,
    SESSION_LIFE_S,
    SESSIONS_MAX,
    USE_NOTED_EVERY_S,
    LinkRefused,
    PageDoor,
    Scope,
    Session,
    SessionEnded,
)
from tests.support.clock import FakeClock


class Restarts:
    """One state folder, and a till that begins anew on it as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pages.json"
        self.clock = FakeClock()
        self.door = self.begin()

    def begin(self) -> PageDoor:
        """Start as after a kill: nothing is said to the door before."""
        self.door = PageDoor(SessionFile(self.path, self.clock))
        return self.door

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    def opened(self) -> Session:
        return self.door.open(self.door.new_link(self.now_s), self.now_s)

    def admits(self, session: Session) -> bool:
        return self.door.admit(session.cookie, session.page_token, self.now_s) == session.session_id

    async def pass_s(self, seconds: float) -> None:
        await self.clock.advance(seconds)


@pytest.fixture
def at(tmp_path: Path) -> Restarts:
    return Restarts(tmp_path)


def test_pages_go_on_after_a_restart_by_token_and_by_cookie(at: Restarts) -> None:
    first, second = at.opened(), at.opened()
    third = at.door.renew(second.cookie, at.now_s)
    at.begin()
    assert at.admits(first)
    assert at.admits(third)
    reloaded = at.door.renew(first.cookie, at.now_s)
    at.begin()
    assert at.admits(reloaded)
    assert at.door.admit(reloaded.cookie, first.page_token, at.now_s) == first.session_id


def test_two_windows_of_one_browser_both_go_on(at: Restarts) -> None:
    one = at.opened()
    two = at.door.renew(one.cookie, at.now_s)
    at.begin()
    for token in (one.page_token, two.page_token):
        assert at.door.admit(two.cookie, token, at.now_s) == one.session_id


def test_a_display_goes_on_as_a_display_only(at: Restarts) -> None:
    display = at.door.open_display(at.opened().cookie, at.now_s).display
    at.begin()
    assert not at.admits(display)
    assert at.door.admit(display.cookie, display.page_token, at.now_s, Scope.DISPLAY) == display.session_id


async def test_a_shift_ends_after_twelve_hours_however_often_the_till_starts(at: Restarts) -> None:
    session = at.opened()
    for _ in range(6):
        await at.pass_s(SESSION_LIFE_S / 6 - 1)
        at.begin()
        assert at.admits(session)
    await at.pass_s(6)
    assert not at.admits(session)
    at.begin()
    assert not at.admits(session)


async def test_an_idle_page_stays_out_after_a_restart(at: Restarts) -> None:
    idle, used = at.opened(), at.opened()
    await at.pass_s(SESSION_IDLE_S / 2)
    assert at.admits(used)
    await at.pass_s(SESSION_IDLE_S / 2)
    at.begin()
    assert not at.admits(idle)
    assert at.admits(used)


async def test_uses_are_noted_once_a_minute_and_a_use_forgotten_makes_a_page_idle_earlier_never_later(
    at: Restarts,
) -> None:
    session = at.opened()
    written = at.path.stat().st_mtime_ns, at.path.stat().st_ino
    await at.pass_s(USE_NOTED_EVERY_S - 1)
    assert at.admits(session)
    assert (at.path.stat().st_mtime_ns, at.path.stat().st_ino) == written
    await at.pass_s(1)
    assert at.door.keep_open(session.session_id, at.now_s)
    assert at.path.stat().st_ino != written[1]
    at.begin()
    await at.pass_s(SESSION_IDLE_S - 1)
    assert at.admits(session)


async def test_a_stolen_cookie_is_noticed_after_a_restart_and_ends_both(at: Restarts) -> None:
    page = at.opened()
    thief = at.door.renew(page.cookie, at.now_s)
    at.begin()
    await at.pass_s(ROTATION_GRACE_S)
    assert not at.admits(page)
    assert not at.admits(thief)
    at.begin()
    with pytest.raises(SessionEnded):
        at.door.renew(thief.cookie, at.now_s)


async def test_two_windows_that_reload_around_a_restart_are_no_theft(at: Restarts) -> None:
    page = at.opened()
    at.door.renew(page.cookie, at.now_s)
    at.begin()
    await at.pass_s(ROTATION_GRACE_S / 2)
    assert at.door.renew(page.cookie, at.now_s).session_id == page.session_id


def test_a_session_that_ended_does_not_come_back(at: Restarts) -> None:
    page = at.opened()
    second = at.door.renew(page.cookie, at.now_s)
    third = at.door.renew(second.cookie, at.now_s)
    with pytest.raises(SessionEnded):
        at.door.renew(page.cookie, at.now_s)
    at.begin()
    assert not at.admits(third)


def test_links_do_not_outlive_the_till(at: Restarts) -> None:
    code = at.door.new_link(at.now_s)
    at.begin()
    with pytest.raises(LinkRefused):
        at.door.open(code, at.now_s)


def test_after_a_restart_of_the_machine_every_page_is_opened_anew(at: Restarts) -> None:
    """Its clock begins anew, so nobody can say how old a session is; the browser is gone as well."""
    session = at.opened()
    for monotonic in (5.0, 1_000_000.0):
        at.clock.reboot("boot-2", monotonic)
        at.begin()
        assert not at.admits(session)


def test_the_wall_clock_has_no_say(at: Restarts) -> None:
    session = at.opened()
    for year in (1970, 2099):
        at.clock.set_wall(at.clock.now().replace(year=year))
        at.begin()
        assert at.admits(session)


def test_the_file_is_private_and_holds_no_secret(at: Restarts) -> None:
    session = at.opened()
    display = at.door.open_display(session.cookie, at.now_s)
    text = at.path.read_text(encoding="utf-8")
    for secret in (session.cookie, session.page_token, display.page_cookie, display.display.page_token):
        assert secret not in text
    assert at.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in at.path.parent.iterdir()] == ["pages.json"]


def test_the_fullest_book_is_read_back_whole(at: Restarts) -> None:
    sessions = [at.opened() for _ in range(SESSIONS_MAX)]
    for _ in range(RETIRED_MAX + 3):
        sessions = [at.door.renew(session.cookie, at.now_s) for session in sessions]
    at.begin()
    assert all(at.admits(session) for session in sessions)


def _changed(change: Callable[[Any], None]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        kept = json.loads(path.read_text(encoding="utf-8"))
        change(kept)
        path.write_text(json.dumps(kept), encoding="utf-8")

    return apply


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 40),
    "no object": lambda path: path.write_bytes(b"[]"),
    "nested too deep": lambda path: path.write_bytes(b"[" * 5000),
    "other version": _changed(lambda kept: kept.update(version=2)),
    "more fields": _changed(lambda kept: kept.update(more=1)),
    "short hash": _changed(lambda kept: kept["sessions"][0].update(cookie="ab")),
    "no time": _changed(lambda kept: kept["sessions"][0].update(opened_s="NaN")),
    "from the future": _changed(lambda kept: kept["sessions"][0].update(used_s=1e9)),
    "too many": _changed(lambda kept: kept.update(sessions=kept["sessions"] * (SESSIONS_MAX + 1))),
    "too large": lambda path: path.write_bytes(path.read_bytes() + b" " * session_file.FILE_BYTES_MAX),
    "open to the group": lambda path: path.chmod(0o640),
    "open to all": lambda path: path.chmod(0o602),
    "a folder": _as_folder,
    "a link": _as_link,
    "a pipe": _as_pipe,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_file_that_cannot_be_trusted_lets_nobody_in_and_is_said(
    at: Restarts, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    session = at.opened()
    text = at.path.read_text(encoding="utf-8")
    damage(at.path)
    at.begin()
    assert not at.admits(session)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "no page of before is let in" in said.message
    assert str(at.path) in said.message
    assert not any(secret in said.message for secret in (session.cookie, json.loads(text)["sessions"][0]["cookie"]))
    assert at.admits(at.opened())


@pytest.mark.parametrize("damage", [one for name, one in DAMAGE.items() if name != "a folder"])
def test_what_could_not_be_trusted_is_replaced_at_the_next_page(at: Restarts, damage: Callable[[Path], object]) -> None:
    at.opened()
    damage(at.path)
    at.begin()
    session = at.opened()
    at.begin()
    assert at.admits(session)


def test_a_file_of_another_user_lets_nobody_in(
    at: Restarts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = at.opened()
    monkeypatch.setattr(os, "geteuid", lambda: at.path.stat().st_uid + 1)
    at.begin()
    assert not at.admits(session)
    assert "it belongs to another user" in caplog.text


def test_what_cannot_be_written_is_taken_away_so_that_nothing_old_comes_back(
    at: Restarts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    page = at.opened()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(session_file, "write_private", full)
        thief = at.door.renew(page.cookie, at.now_s)
        for _ in range(3):
            thief = at.door.renew(thief.cookie, at.now_s)
        assert at.admits(thief)
    (said,) = caplog.records
    assert "the open pages will not outlive a restart" in said.message
    at.begin()
    assert not at.admits(page)
    assert not at.admits(thief)


def test_a_file_that_can_neither_be_written_nor_removed_is_said(at: Restarts, caplog: pytest.LogCaptureFixture) -> None:
    at.path.mkdir()
    (at.path / "more").touch()
    at.opened()
    assert "cannot be removed" in caplog.text
