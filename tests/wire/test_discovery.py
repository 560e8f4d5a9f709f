from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from rendermill.wire.credentials import (
    Credentials,
    JoinToken,
    load_local,
    save_farm,
    saved_farms,
    write_local,
)
from rendermill.wire.discovery import browse, join, normal_url, resolve, resolve_or_join
from rendermill.wire.errors import NoCoordinator, NotAllowed, Unreachable

PATIENCE_SECONDS = 60.0
"""For an announcement on a busy machine; what is seen ends the wait."""
GONE = "http://127.0.0.1:9"
"""The discard port: nobody listens there, and nothing may be bound to it by chance."""


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("studio-pc", "https://studio-pc:7878"),
        ("studio-pc:99", "https://studio-pc:99"),
        ("localhost", "http://localhost:7878"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://127.0.0.1:5/", "http://127.0.0.1:5"),
        ("[fe80::1]:5", "https://[fe80::1]:5"),
        ("https://x", "https://x:7878"),
    ],
)
def test_addresses_as_people_write_them(text, url):
    assert normal_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://x", "x/y", "https://", "a:b:c", "http://x:99999"])
def test_what_is_no_address(text):
    with pytest.raises(NoCoordinator, match="7878"):
        normal_url(text)


async def test_nothing_at_all_says_what_to_do():
    with pytest.raises(NoCoordinator, match=r"rendermill coordinator.*rendermill join"):
        await resolve(browse_seconds=0.1)


async def test_the_coordinator_of_this_machine_needs_no_word(start):
    coordinator = await start(writes_local=True)
    assert await resolve() == coordinator.credentials == load_local()


async def test_a_dead_coordinators_credentials_are_passed_over(coordinator):
    write_local(replace(coordinator.credentials, url=GONE, farm_id="dead"))
    save_farm(coordinator.credentials)
    assert await resolve() == coordinator.credentials


async def test_an_address_is_taken_where_something_lets_us_in(coordinator, monkeypatch):
    url = coordinator.url
    with pytest.raises(NotAllowed, match="rendermill join"):
        await resolve(url)
    write_local(replace(coordinator.credentials, url=GONE))
    assert await resolve(url) == coordinator.credentials
    monkeypatch.setenv("RENDERMILL_COORDINATOR", url.removeprefix("http://"))
    assert await resolve() == coordinator.credentials


async def test_an_address_where_nobody_answers():
    with pytest.raises(Unreachable):
        await resolve(GONE)


async def test_a_farm_that_moved_is_found_by_zeroconf(start):
    coordinator = await start(announces=True, interface="127.0.0.1", name="Moved")
    save_farm(replace(coordinator.credentials, url=GONE))
    assert await resolve(browse_seconds=PATIENCE_SECONDS) == coordinator.credentials
    assert saved_farms() == (coordinator.credentials,), "the new address was not remembered"


async def test_announcements_say_who_it_is(start):
    coordinator = await start(announces=True, interface="127.0.0.1", name="Seen")
    async with contextlib.aclosing(browse(PATIENCE_SECONDS)) as announcements:
        async for found in announcements:
            # Others may run on this machine.
            if found.farm_id == coordinator.credentials.farm_id:
                break
        else:
            raise AssertionError("it was not seen")
    assert (found.url, found.farm, found.tls) == (coordinator.url, "Seen", False)


async def test_an_announcement_does_not_talk_a_farm_out_of_tls(start):
    coordinator = await start(announces=True, interface="127.0.0.1", name="Liar")
    joined = replace(coordinator.credentials, url="https://127.0.0.1:9", fingerprint="ab" * 32)
    save_farm(joined)
    with pytest.raises(NoCoordinator):
        await resolve(browse_seconds=1.0)
    assert saved_farms() == (joined,)


async def test_joining_with_the_printed_token(coordinator):
    joined = await join(coordinator.url, coordinator.join_token, name="laptop")
    assert joined.token != coordinator.token
    assert saved_farms() == (joined,)
    assert await resolve() == joined
    assert isinstance(joined, Credentials)


async def test_a_wrong_join_token_is_refused(coordinator):
    with pytest.raises(NotAllowed):
        await join(coordinator.url, JoinToken("", "0" * 32), name="stranger")
    assert saved_farms() == ()


async def test_a_token_without_fingerprint_is_not_sent_to_another_machine():
    with pytest.raises(NotAllowed, match="--host"):
        await join("https://studio-pc", JoinToken("", "0" * 32), name="laptop")


async def test_a_join_token_is_enough_to_find_the_coordinator(start):
    coordinator = await start(announces=True, interface="127.0.0.1", name="Printed")
    joined = await join("", coordinator.join_token, name="laptop", browse_seconds=PATIENCE_SECONDS)
    assert joined.url == coordinator.url
    again = await resolve_or_join(
        None,
        coordinator.join_token,
        name="laptop",
        kind="artist",
        may_join=False,
        browse_seconds=PATIENCE_SECONDS,
    )
    assert again.farm_id == joined.farm_id
    stranger = replace(coordinator.join_token, fingerprint="ab" * 32)
    with pytest.raises(NoCoordinator, match="does not announce itself"):
        await join("", stranger, name="laptop", browse_seconds=1.0)
