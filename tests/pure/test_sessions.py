import pytest

from agent.web.sessions import (
    LINK_LIFE_S,
    LINKS_MAX,
    ROTATION_GRACE_S,
    SESSION_IDLE_S,
    SESSION_LIFE_S,
    SESSIONS_MAX,
    TOKENS_MAX,
    LinkRefused,
    PageDoor,
    Scope,
    Session,
    SessionEnded,
)

LATER = ROTATION_GRACE_S + 1


def opened(door: PageDoor, now_s: float = 0.0) -> Session:
    return door.open(door.new_link(now_s), now_s)


def admitted(door: PageDoor, session: Session, now_s: float) -> bool:
    return door.admit(session.cookie, session.page_token, now_s) == session.session_id


def test_link_opens_the_page_once() -> None:
    door = PageDoor()
    code = door.new_link(0)
    session = door.open(code, 1)
    assert admitted(door, session, 2)
    with pytest.raises(LinkRefused):
        door.open(code, 2)


def test_link_dies_by_itself() -> None:
    door = PageDoor()
    code, late = door.new_link(0), door.new_link(0)
    door.open(code, LINK_LIFE_S - 0.001)
    with pytest.raises(LinkRefused):
        door.open(late, LINK_LIFE_S)


@pytest.mark.parametrize("code", ["", "x", "a" * 43, "\x00", "é", "\ud800", "x" * 100_000])
def test_invented_code_opens_nothing(code: str) -> None:
    door = PageDoor()
    door.new_link(0)
    with pytest.raises(LinkRefused):
        door.open(code, 0)


def test_secrets_are_long_and_never_twice_the_same() -> None:
    door = PageDoor()
    made = {secret for _ in range(50) for secret in (door.new_link(0), *_secrets(opened(door)))}
    assert len(made) == 150
    assert {len(secret) for secret in made} == {43}  # 256 bits in base 64


def test_secrets_stand_in_no_printed_form_and_not_in_the_door() -> None:
    door = PageDoor()
    session = opened(door)
    kept = repr((door._links, door._sessions, door._by_cookie, session))
    for secret in _secrets(session):
        assert secret not in kept


def test_cookie_and_token_count_only_together() -> None:
    door = PageDoor()
    session, other = opened(door), opened(door)
    assert door.admit(session.cookie, "", 0) is None
    assert door.admit("", session.page_token, 0) is None
    assert door.admit(session.cookie, session.cookie, 0) is None
    assert door.admit(session.page_token, session.cookie, 0) is None
    assert door.admit(session.cookie, other.page_token, 0) is None
    assert admitted(door, session, 0)


def test_reload_gives_a_new_cookie_and_a_new_token() -> None:
    door = PageDoor()
    before = opened(door)
    after = door.renew(before.cookie, LATER)
    assert after.session_id == before.session_id
    assert not {*_secrets(after)} & {*_secrets(before)}
    assert admitted(door, after, 2 * LATER)


def test_cookie_that_was_replaced_ends_the_session_of_both() -> None:
    door = PageDoor()
    before = opened(door)
    after = door.renew(before.cookie, 0)
    with pytest.raises(SessionEnded):
        door.renew(before.cookie, LATER)
    assert not admitted(door, after, LATER)
    with pytest.raises(SessionEnded):
        door.renew(after.cookie, LATER)


def test_page_that_goes_on_with_a_replaced_cookie_shows_the_theft() -> None:
    door = PageDoor()
    page = opened(door)
    thief = door.renew(page.cookie, 100)
    assert not admitted(door, page, 100 + LATER)
    assert not admitted(door, thief, 100 + LATER)
    assert not door.keep_open(thief.session_id, 100 + LATER)


def test_cookie_before_the_last_is_never_good() -> None:
    door = PageDoor()
    first = opened(door)
    second = door.renew(first.cookie, 0)
    door.renew(second.cookie, 0)
    with pytest.raises(SessionEnded):
        door.renew(first.cookie, 0)


def test_two_windows_may_reload_at_the_same_moment() -> None:
    door = PageDoor()
    page = opened(door)
    one = door.renew(page.cookie, 1)
    two = door.renew(page.cookie, 1 + ROTATION_GRACE_S / 2)
    assert door.admit(two.cookie, one.page_token, 2) == page.session_id
    assert door.admit(two.cookie, two.page_token, 2) == page.session_id


def test_only_the_newest_windows_keep_their_tokens() -> None:
    door = PageDoor()
    session = opened(door)
    first = session.page_token
    for _ in range(TOKENS_MAX):
        session = door.renew(session.cookie, 0)
    assert door.admit(session.cookie, first, 0) is None
    assert admitted(door, session, 0)


def test_session_ends_after_its_shift_however_busy() -> None:
    door = PageDoor()
    session = opened(door)
    now_s = 0.0
    while now_s < SESSION_LIFE_S:
        assert admitted(door, session, now_s)
        now_s += SESSION_IDLE_S / 2
    assert not admitted(door, session, SESSION_LIFE_S)
    with pytest.raises(SessionEnded):
        door.renew(session.cookie, SESSION_LIFE_S)


def test_reload_does_not_lengthen_the_shift() -> None:
    door = PageDoor()
    session = opened(door)
    for part in range(1, 7):
        session = door.renew(session.cookie, part * SESSION_LIFE_S / 7)
    assert not admitted(door, session, SESSION_LIFE_S)


def test_idle_session_ends_and_a_live_connection_keeps_it() -> None:
    door = PageDoor()
    idle, live = opened(door), opened(door)
    assert door.keep_open(live.session_id, SESSION_IDLE_S - 1)
    assert not admitted(door, idle, SESSION_IDLE_S)
    assert admitted(door, live, SESSION_IDLE_S)
    assert not door.keep_open(idle.session_id, SESSION_IDLE_S)
    assert not door.keep_open("unknown", 0)


def test_number_of_links_and_sessions_is_bounded() -> None:
    door = PageDoor()
    codes = [door.new_link(0) for _ in range(LINKS_MAX + 1)]
    with pytest.raises(LinkRefused):
        door.open(codes[0], 0)
    door.open(codes[1], 0)
    sessions = [opened(door, now_s) for now_s in range(1, SESSIONS_MAX + 5)]
    assert len(door._sessions) == SESSIONS_MAX
    assert admitted(door, sessions[-1], 100)
    assert not admitted(door, sessions[0], 100)


def test_many_reloads_leave_no_heap_of_old_cookies() -> None:
    door = PageDoor()
    session = opened(door)
    for _ in range(1000):
        session = door.renew(session.cookie, 0)
    assert len(door._by_cookie) < 100


def _secrets(session: Session) -> tuple[str, str]:
    return session.cookie, session.page_token


def test_a_link_opens_only_what_it_was_made_for() -> None:
    door = PageDoor()
    for made, asked in ((Scope.PAGE, Scope.DISPLAY), (Scope.DISPLAY, Scope.PAGE)):
        code = door.new_link(0, made)
        with pytest.raises(LinkRefused):
            door.open(code, 0, asked)
        with pytest.raises(LinkRefused):
            door.open(code, 0, made)


def test_the_secrets_of_one_scope_open_nothing_of_the_other() -> None:
    door = PageDoor()
    page, display = opened(door), door.open(door.new_link(0, Scope.DISPLAY), 0, Scope.DISPLAY)
    for session, own, other in ((page, Scope.PAGE, Scope.DISPLAY), (display, Scope.DISPLAY, Scope.PAGE)):
        assert door.admit(session.cookie, session.page_token, 1, other) is None
        with pytest.raises(SessionEnded):
            door.renew(session.cookie, 1, other)
        assert door.admit(session.cookie, session.page_token, 1, own) == session.session_id
    assert door.admit(page.cookie, display.page_token, 1) is None
    assert door.admit(display.cookie, page.page_token, 1, Scope.DISPLAY) is None


def test_the_pages_cookie_opens_a_display_and_is_replaced_by_that() -> None:
    door = PageDoor()
    page = opened(door)
    shown = door.open_display(page.cookie, 1)
    assert shown.display.session_id != page.session_id
    assert door.admit(shown.page_cookie, page.page_token, 1 + LATER) == page.session_id
    assert door.admit(shown.display.cookie, shown.display.page_token, 1, Scope.DISPLAY) == shown.display.session_id


def test_a_display_opens_no_display() -> None:
    door = PageDoor()
    display = door.open(door.new_link(0, Scope.DISPLAY), 0, Scope.DISPLAY)
    with pytest.raises(SessionEnded):
        door.open_display(display.cookie, 1)


def test_a_display_that_a_thief_opened_shows_the_theft_and_ends_with_it() -> None:
    door = PageDoor()
    page = opened(door)
    stolen = door.open_display(page.cookie, 1)
    assert not admitted(door, page, 1 + LATER)
    assert door.admit(stolen.display.cookie, stolen.display.page_token, 1 + LATER, Scope.DISPLAY) is None
    assert not door.keep_open(stolen.display.session_id, 1 + LATER)


def test_a_display_ends_with_the_shift_of_the_page_that_opened_it() -> None:
    door = PageDoor()
    page = opened(door)
    late = SESSION_LIFE_S - 10
    for now_s in range(0, int(late), int(SESSION_IDLE_S / 2)):
        assert admitted(door, page, now_s)
    shown = door.open_display(page.cookie, late)
    assert door.keep_open(shown.display.session_id, SESSION_LIFE_S - 1)
    assert not door.keep_open(shown.display.session_id, SESSION_LIFE_S)


def test_a_page_is_never_dropped_for_the_display_it_opens() -> None:
    door = PageDoor()
    page = opened(door)
    cookie = page.cookie
    for _ in range(2 * SESSIONS_MAX):
        cookie = door.open_display(cookie, 0).page_cookie
    assert len(door._sessions) == SESSIONS_MAX
    assert door.admit(cookie, page.page_token, 1) == page.session_id
