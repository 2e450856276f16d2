"""The till's secrets as files: private, whole, and within reach of exactly those who need them."""

import grp
import os
from pathlib import Path

import pytest

from agent import keys
from sync.runtime.state_lock import private_folder

_OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def _refused(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_group_of_the_point_of_sale_reaches_its_key_after_every_start(tmp_path: Path) -> None:
    state, key_file = tmp_path / "state", tmp_path / "state" / "pos" / "pos.key"
    private_folder(state)
    first = keys.pos_key(key_file, _OWN_GROUP)
    for _ in range(2):  # a start closes the state folder first
        private_folder(state)
        assert keys.pos_key(key_file, _OWN_GROUP) == first
        assert [_mode(path) for path in (state, key_file.parent, key_file)] == [0o710, 0o710, 0o640]


def test_without_a_group_only_the_tills_own_user_reaches_the_key(tmp_path: Path) -> None:
    key_file = tmp_path / "pos" / "pos.key"
    keys.pos_key(key_file, None)
    assert [_mode(path) for path in (key_file.parent, key_file)] == [0o700, 0o640]


def test_a_new_key_leaves_the_way_to_it_open_and_reading_it_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "state" / "pos" / "pos.key"
    keys.pos_key(key_file, _OWN_GROUP)
    seen: list[int] = []
    monkeypatch.setattr(keys, "write_private", lambda *_args, **_kwargs: seen.append(_mode(key_file.parent)))
    keys.new_pos_key(key_file, _OWN_GROUP)
    assert seen == [0o710]
    monkeypatch.setattr(os, "chown", _refused)
    assert keys.read_pos_key(key_file) == key_file.read_text(encoding="ascii").strip()


def test_a_folder_that_was_there_is_not_closed_for_the_database_key(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    keys.database_key(etc / "loyalty.key", tmp_path / "till.db")
    keys.database_key(etc / "loyalty" / "database.key", tmp_path / "till.db")
    assert [_mode(path) for path in (etc, etc / "loyalty.key", etc / "loyalty")] == [0o755, 0o600, 0o700]


def test_a_database_whose_key_is_missing_is_not_given_a_new_one(tmp_path: Path) -> None:
    key_file, database = tmp_path / "keys" / "database.key", tmp_path / "till.db"
    made = keys.database_key(key_file, database)
    assert keys.database_key(key_file, database) == made
    assert (_mode(key_file), len(made)) == (0o600, 32)
    database.touch()
    key_file.unlink()
    with pytest.raises(keys.KeyFileError, match="bring back both"):
        keys.database_key(key_file, database)
    assert not key_file.exists()


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "ab" * 31])
def test_a_file_that_holds_no_database_key_is_named(tmp_path: Path, text: str) -> None:
    key_file = tmp_path / "database.key"
    key_file.write_text(text)
    with pytest.raises(keys.KeyFileError, match=r"database\.key"):
        keys.database_key(key_file, tmp_path / "till.db")


def test_a_damaged_enrolment_is_named_and_says_nothing_of_what_it_held(tmp_path: Path) -> None:
    file = tmp_path / "hub.json"
    file.write_text('{"hub_url": "https://hub.example.com", "answer": {"credential": "canary-4711"}}')
    with pytest.raises(keys.KeyFileError, match=r"hub\.json") as refused:
        keys.read_enrolment(file)
    assert "canary" not in str(refused.value)
