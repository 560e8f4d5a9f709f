"""A submission that is cancelled while a thread opens something leaves nothing open behind."""

from __future__ import annotations

import asyncio
import threading

import pytest
from rendermill.addon.client import submission
from rendermill.addon.client.chunk_cache import ChunkCache
from rendermill.addon.client.submission import submit

from .scenes import capture, make_files


async def test_the_cache_that_was_being_opened_is_closed(farm, tmp_path, monkeypatch):
    captured = capture(make_files(tmp_path / "scene"), tmp_path / "out")
    loop, begun, may_go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    closed: list[ChunkCache] = []

    class Watched(ChunkCache):
        def close(self) -> None:
            super().close()
            closed.append(self)

    def slow_disk() -> ChunkCache:
        loop.call_soon_threadsafe(begun.set)
        may_go.wait()
        return Watched(tmp_path / "slow.sqlite")

    monkeypatch.setattr(submission, "default_cache", slow_disk)
    sending = asyncio.create_task(submit(farm, captured))
    await begun.wait()
    sending.cancel()
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert len(closed) == 1


async def test_the_cache_is_closed_when_the_farm_is_gone(farm, tmp_path, monkeypatch):
    captured = capture(make_files(tmp_path / "scene"), tmp_path / "out")
    closed: list[bool] = []

    class Watched(ChunkCache):
        def close(self) -> None:
            super().close()
            closed.append(True)

    async def gone() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(submission, "default_cache", lambda: Watched(tmp_path / "own.sqlite"))
    monkeypatch.setattr(farm, "health", gone)
    with pytest.raises(ConnectionRefusedError):
        await submit(farm, captured)
    assert closed == [True]
