from __future__ import annotations

import stat
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.wire import places
from rendermill.wire.credentials import (
    Credentials,
    CredentialsError,
    JoinToken,
    forget_farm,
    load_local,
    local_path,
    remove_local,
    save_farm,
    saved_farms,
    write_local,
)

CREDENTIALS = Credentials("https://10.0.0.1:7878", "t" * 64, "ab" * 32, "Studio", "farm-1")


def test_places_lie_below_the_home(home):
    assert places.config_dir() == home / "config"
    assert places.data_dir() == home / "data"
    assert places.cache_dir() == home / "cache"
    user, _, host = places.user_label().partition("@")
    assert user
    assert host


def test_local_credentials_come_back_and_are_private():
    assert load_local() is None
    write_local(CREDENTIALS, pid=7)
    assert load_local() == CREDENTIALS
    assert stat.S_IMODE(local_path().stat().st_mode) == 0o600
    assert [path.name for path in local_path().parent.iterdir()] == ["local.json"]
    remove_local(CREDENTIALS)
    assert load_local() is None
    remove_local(CREDENTIALS)


def test_a_coordinator_leaves_the_credentials_of_its_successor():
    write_local(CREDENTIALS)
    write_local(replace(CREDENTIALS, token="new"))
    remove_local(CREDENTIALS)
    assert load_local() == replace(CREDENTIALS, token="new")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": 1, "token": 2}'])
def test_a_broken_file_is_named(text):
    local_path().parent.mkdir(parents=True)
    local_path().write_text(text)
    with pytest.raises(CredentialsError, match=r"local\.json"):
        load_local()


def test_tokens_do_not_reach_logs():
    assert CREDENTIALS.token not in repr(CREDENTIALS)
    assert "5" * 32 not in repr(JoinToken("", "5" * 32))


def test_joined_farms_are_remembered_and_forgotten():
    assert saved_farms() == ()
    save_farm(CREDENTIALS)
    save_farm(replace(CREDENTIALS, url="https://10.0.0.2:7878"))
    assert [farm.url for farm in saved_farms()] == ["https://10.0.0.2:7878"]
    assert forget_farm("farm-1")
    assert not forget_farm("farm-1")


@pytest.mark.parametrize("farm_id", ["", "..", "a/b", "a\\b", "x" * 65, "."])
def test_an_id_from_the_network_cannot_leave_the_folder(farm_id):
    with pytest.raises(CredentialsError):
        save_farm(replace(CREDENTIALS, farm_id=farm_id))


@given(
    st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64)),
    st.text("0123456789abcdef", min_size=32, max_size=32),
)
def test_join_tokens_come_back(fingerprint, secret):
    token = JoinToken(fingerprint, secret)
    assert JoinToken.parse(f" {token}\n") == token


@given(st.text(max_size=120))
def test_anything_else_is_no_join_token(text):
    with pytest.raises(CredentialsError, match="rm1"):
        JoinToken.parse(text)
