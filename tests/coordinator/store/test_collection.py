"""Garbage collection on a real store: what goes, and when it is looked for."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from rendermill.coordinator.store import collection
from rendermill.coordinator.store.collection import Collected, Collector
from rendermill.coordinator.store.store import Store


@pytest.fixture
async def store(tmp_path):
    failures: list[str] = []
    store = Store(tmp_path / "farm", failures.append)
    await asyncio.to_thread(store.open)
    store.blobs.reserve = 0
    yield store
    await asyncio.to_thread(store.close)
    assert not failures


class Reporting(Collector):
    """Says what each collection removed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.collections: asyncio.Queue[Collected] = asyncio.Queue()

    async def collect(self, grace_seconds: float = 0.0) -> Collected:
        collected = await super().collect(grace_seconds)
        await self.collections.put(collected)
        return collected


async def test_what_was_too_young_when_its_job_was_deleted_goes_soon_after(store, monkeypatch):
    monkeypatch.setattr(collection, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(collection, "AGAIN_SECONDS", 0.1)
    data = b"frame"
    name = hashlib.sha256(data).hexdigest()
    await store.in_thread(store.blobs.add, [(name, data)])
    await store.in_thread(store.blobs.settle)
    collector = Reporting(store)
    task = asyncio.create_task(collector.run())
    try:
        collector.hurry()
        async with asyncio.timeout(60):
            while not (collected := await collector.collections.get()).blobs:
                pass
        assert collected == Collected(blobs=1, length=len(data))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
