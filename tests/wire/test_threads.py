"""Work in threads whose caller is cancelled in the middle: nothing it took stays taken."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from rendermill.node.cache import ChunkCache
from rendermill.node.locks import FileLock
from rendermill.node.scenes import SceneStore
from rendermill.wire.threads import in_thread, opened_in_thread

PATIENCE_SECONDS = 120.0


class Gate:
    """Holds a thread in the middle of a call until the test has cancelled whoever waits for it."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def pass_through(self) -> None:
        self.inside.set()
        assert self.go_on.wait(PATIENCE_SECONDS)

    async def cancel(self, task: asyncio.Task[object]) -> None:
        """Cancel ``task`` while its thread is inside."""
        assert await asyncio.to_thread(self.inside.wait, PATIENCE_SECONDS)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        self.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task


class Opened:
    """Something that must be closed."""

    def __init__(self, gate: Gate, all_opened: list[Opened]) -> None:
        gate.pass_through()
        self.closed = 0
        all_opened.append(self)

    def close(self) -> None:
        self.closed += 1


async def test_what_was_opened_for_one_who_left_is_closed() -> None:
    gate = Gate()
    opened: list[Opened] = []

    async def hold() -> None:
        async with opened_in_thread(Opened, gate, opened):
            raise AssertionError("the block runs although its caller was cancelled")

    await gate.cancel(asyncio.create_task(hold()))
    assert [each.closed for each in opened] == [1]


async def test_what_was_opened_is_closed_once_and_errors_pass() -> None:
    gate = Gate()
    gate.go_on.set()
    opened: list[Opened] = []

    async def fail_inside() -> None:
        async with opened_in_thread(Opened, gate, opened):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        await fail_inside()
    assert [each.closed for each in opened] == [1]


async def test_what_cannot_be_opened_is_told() -> None:
    with pytest.raises(OSError, match="no such place"):
        async with opened_in_thread(_fail):
            raise AssertionError("the block runs without anything opened")


def _fail() -> Opened:
    raise OSError("no such place")


async def test_a_thread_is_waited_for_however_often_its_caller_is_cancelled() -> None:
    gate = Gate()
    task = asyncio.create_task(in_thread(gate.pass_through))
    assert await asyncio.to_thread(gate.inside.wait, PATIENCE_SECONDS)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    gate.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_scene_released_while_its_lock_is_taken_leaves_the_lock_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    take = FileLock.acquire
    locks: list[FileLock] = []

    def take_slowly(lock: FileLock, *, wait: bool) -> bool:
        taken = take(lock, wait=wait)
        if lock.path.parent.name == "fetching":
            locks.append(lock)
            gate.pass_through()
        return taken

    async def never_asked(_: object) -> object:
        raise AssertionError("nothing is fetched for a scene that nobody wants")

    monkeypatch.setattr(FileLock, "acquire", take_slowly)
    cache = ChunkCache(tmp_path, 10**9, "one")
    scenes = SceneStore(cache, never_asked, lambda *_: None)  # pyright: ignore[reportArgumentType]
    scenes.prefetch("0" * 64)
    assert await asyncio.to_thread(gate.inside.wait, PATIENCE_SECONDS)
    closing = asyncio.create_task(scenes.close())
    for _ in range(5):
        await asyncio.sleep(0)
    gate.go_on.set()
    await closing
    cache.close()

    monkeypatch.undo()
    # The object still lives: it is not the garbage collector that has let go of the lock.
    assert len(locks) == 1
    assert locks[0].acquire(wait=False)
    locks[0].release()


def test_a_cache_that_cannot_be_read_lets_go_of_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChunkCache, "_measure", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        ChunkCache(tmp_path, 10**9, "one")
    monkeypatch.undo()
    ChunkCache(tmp_path, 10**9, "one").close()
