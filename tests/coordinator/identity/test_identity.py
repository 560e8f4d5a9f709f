"""Certificates, secrets and the limits on joining, with the clock in the test's hand."""

from __future__ import annotations

import ssl

import pytest
from rendermill.coordinator.identity.certificate import load_or_make_certificate
from rendermill.coordinator.identity.joining import (
    ADDRESSES_MAX,
    LOCK_SECONDS,
    WRONG_TRIES_MAX,
    WRONG_TRIES_MAX_ALL,
    JoinDesk,
    JoinLocked,
    JoinRefused,
)
from rendermill.coordinator.identity.roles import Role
from rendermill.coordinator.identity.secrets import load_or_make
from rendermill.coordinator.identity.tokens import TokenBook
from rendermill.coordinator.store import schema
from rendermill.coordinator.store.store import Store
from sqlalchemy import select


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "farm", pytest.fail)
    store.open()
    yield store
    store.close()


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def desk(store) -> tuple[JoinDesk, Time]:
    time = Time()
    return JoinDesk("a" * 32, TokenBook(store.writer), time), time


def test_the_certificate_stays_the_same(tmp_path):
    first = load_or_make_certificate(tmp_path)
    assert load_or_make_certificate(tmp_path) == first
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert isinstance(first.server_context(), ssl.SSLContext)
    assert load_or_make_certificate(tmp_path / "other").fingerprint != first.fingerprint


def test_a_secret_is_made_once_and_a_broken_file_is_replaced(tmp_path):
    path = tmp_path / "secret"
    first = load_or_make(path, 16)
    assert len(first) == 32
    assert load_or_make(path, 16) == first
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"\xff\x00 cut")
    assert load_or_make(path, 16) != first


async def test_only_hashes_are_stored(store):
    book = TokenBook(store.writer)
    token = await book.issue("laptop", Role.SUBMIT)
    rows = await store.read(lambda connection: connection.execute(select(schema.tokens)).all())
    assert len(rows) == 1
    assert token not in repr(rows)
    assert bytes.fromhex(token) not in rows[0].hash
    again = TokenBook(store.writer)
    await store.read(again.load)
    member = again.check(token)
    assert member is not None
    assert (member.name, member.role) == ("laptop", Role.SUBMIT)
    assert again.check(token[:-1]) is None


async def test_wrong_tries_lock_an_address_for_a_while(desk):
    desk, time = desk
    for _ in range(WRONG_TRIES_MAX):
        with pytest.raises(JoinRefused):
            await desk.join("b" * 32, "box", "node", "10.0.0.1")
    with pytest.raises(JoinLocked) as locked:
        await desk.join("a" * 32, "box", "node", "10.0.0.1")
    assert 0 < locked.value.seconds <= LOCK_SECONDS
    assert await desk.join("a" * 32, "box", "node", "10.0.0.2")
    time.now += LOCK_SECONDS
    assert await desk.join("a" * 32, "box", "node", "10.0.0.1")


async def test_many_addresses_together_are_locked_too(desk):
    desk, _ = desk
    for number in range(WRONG_TRIES_MAX_ALL):
        with pytest.raises(JoinRefused):
            await desk.join("b" * 32, "box", "node", f"fe80::{number:x}")
    with pytest.raises(JoinLocked):
        await desk.join("a" * 32, "box", "node", "10.0.0.9")
    assert len(desk._wrong) <= ADDRESSES_MAX
