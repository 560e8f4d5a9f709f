"""A coordinator that is stopped while it starts lets go of its folder."""

from __future__ import annotations

import asyncio
import threading

import pytest
from rendermill.coordinator.store.store import Store

from .conftest import start_coordinator


async def test_a_store_that_was_being_opened_is_closed(data, start, monkeypatch):
    loop, begun, may_go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    really_open = Store.open

    def slow_disk(store: Store) -> None:
        loop.call_soon_threadsafe(begun.set)
        may_go.wait()
        really_open(store)

    monkeypatch.setattr(Store, "open", slow_disk)
    starting = asyncio.create_task(start_coordinator(data, announces=False, writes_local=False))
    await begun.wait()
    starting.cancel()
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    monkeypatch.setattr(Store, "open", really_open)
    # A folder that is still held would refuse the next coordinator.
    running = await start()
    assert running.port
