"""Finished frames are looked at in groups: each gets its own verdict, and none harms another."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable

import pytest
from rendermill.coordinator import results
from rendermill.coordinator.results import CHECKED_TOGETHER_MAX, ResultChecks, ResultFault
from rendermill.coordinator.store import StoreFailed
from rendermill.coordinator.store.store import Store
from rendermill.protocol.job import JobSpec
from rendermill.protocol.messages import FrameDone, FrameFile, FrameRef, FrameStats

from .conftest import make_scene, picture, sha256

WAIT_SECONDS = 300
LENGTH = len(picture(1))


class CountingStore(Store):
    """Counts the calls into threads."""

    calls = 0

    async def in_thread(self, work: Callable[..., object], *arguments: object) -> object:
        self.calls += 1
        return await super().in_thread(work, *arguments)


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[CountingStore]:
    store = CountingStore(tmp_path / "farm", lambda _: None)
    await asyncio.to_thread(store.open)
    yield store
    await asyncio.to_thread(store.close)


@pytest.fixture
async def checks(store) -> AsyncIterator[ResultChecks]:
    checks = ResultChecks(store)
    yield checks
    await checks.close()


@pytest.fixture
def spec() -> JobSpec:
    return make_scene().spec


def done(frame: int, data: bytes | None = None, **changes: object) -> FrameDone:
    data = picture(frame) if data is None else data
    file = FrameFile(root="main", path=f"f_{frame:04d}.png", sha256=sha256(data), length=len(data))
    fields: dict[str, object] = {
        "frame": FrameRef(job="j", generation=1, frame=frame, epoch=frame),
        "files": (file,),
        "stats": FrameStats(seconds=1.0),
    }
    return FrameDone(**(fields | changes))  # pyright: ignore[reportArgumentType]


def add(store: Store, *frames: int) -> None:
    store.blobs.add((sha256(data), data) for data in map(picture, frames))


async def together(
    checks: ResultChecks, spec: JobSpec, found: list[FrameDone]
) -> list[ResultFault | BaseException | None]:
    async with asyncio.timeout(WAIT_SECONDS):
        return await asyncio.gather(
            *(checks.check(spec, one) for one in found), return_exceptions=True
        )


async def test_what_comes_in_one_turn_is_looked_at_in_one_go(checks, store, spec):
    add(store, *range(1, 21))
    verdicts = await together(checks, spec, [done(frame) for frame in range(1, 21)])
    assert verdicts == [None] * 20
    assert store.calls == 1
    await together(checks, spec, [done(1)])
    assert store.calls == 2


async def test_no_go_is_longer_than_the_bound(checks, store, spec):
    add(store, 1)
    count = 2 * CHECKED_TOGETHER_MAX + 1
    assert await together(checks, spec, [done(1)] * count) == [None] * count
    assert store.calls == 3


async def test_each_frame_has_its_own_verdict(checks, store, spec):
    add(store, 1, 3, 5)
    large = picture(2, (16, 12))
    store.blobs.add([(sha256(large), large)])
    short = FrameFile(root="main", path="a.png", sha256=sha256(picture(3)), length=LENGTH + 1)
    verdicts = await together(
        checks,
        spec,
        [
            done(1),
            done(2, large),
            done(3, files=(short,)),
            done(4),
            done(5, thumbnail=sha256(b"a thumbnail that never came")),
            done(5),
        ],
    )
    assert store.calls == 1
    good, size, length, missing, thumbnail, last = verdicts
    assert good is None
    assert last is None
    assert isinstance(size, ResultFault)
    assert "16 x 12 pixels and should be 8 x 6" in size.reason
    assert isinstance(length, ResultFault)
    assert f"announced with {LENGTH + 1}" in length.reason
    assert [size.is_missing, length.is_missing] == [False, False]
    assert missing == ResultFault("The bytes of 'f_0004.png' are not here.", is_missing=True)
    assert thumbnail == ResultFault("Some files of the frame are not here.", is_missing=True)


async def test_one_that_cannot_be_read_harms_no_other(checks, store, spec, tmp_path):
    add(store, 1, 3)
    # A folder stands where its bytes should be: opening it fails, whoever asks.
    name = sha256(picture(2))
    place = tmp_path / "farm" / "blobs" / name[:2] / name
    place.mkdir()
    file = FrameFile(root="main", path="b.png", sha256=name, length=place.stat().st_size)
    one, other, last = await together(checks, spec, [done(1), done(2, files=(file,)), done(3)])
    assert isinstance(other, OSError)
    assert (one, last) == (None, None)
    assert store.calls == 1


async def test_after_the_verdict_every_blob_is_durable(checks, store, spec, tmp_path):
    add(store, 1, 2)
    blobs = tmp_path / "farm" / "blobs"
    assert len(list((blobs / "arriving").iterdir())) == 2
    verdicts = await together(
        checks, spec, [done(1, thumbnail=sha256(picture(1))), done(2), done(3)]
    )
    assert verdicts[:2] == [None, None]
    assert isinstance(verdicts[2], ResultFault)
    assert not list((blobs / "arriving").iterdir())
    for frame in (1, 2):
        name = sha256(picture(frame))
        assert (blobs / name[:2] / name).read_bytes() == picture(frame)


async def test_a_disk_that_fails_lets_no_frame_pass(checks, store, spec, monkeypatch):
    add(store, 1, 2)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("rendermill.coordinator.store.blobs._flush", fail)
    verdicts = await together(checks, spec, [done(1), done(2)])
    assert [type(verdict) for verdict in verdicts] == [StoreFailed, StoreFailed]
    # And it stays so: the disk is to be checked first.
    monkeypatch.undo()
    assert [type(verdict) for verdict in await together(checks, spec, [done(1)])] == [StoreFailed]


async def test_whoever_no_longer_waits_harms_no_other(checks, store, spec):
    add(store, 1, 2, 3)
    tasks = [asyncio.create_task(checks.check(spec, done(frame))) for frame in (1, 2, 3)]
    await asyncio.sleep(0)  # Each has asked; nothing has been answered.
    tasks[1].cancel()
    async with asyncio.timeout(WAIT_SECONDS):
        one, gone, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    assert (one, last) == (None, None)


async def test_closing_waits_for_what_is_being_looked_at(checks, store, spec):
    add(store, 1)
    asked = asyncio.create_task(checks.check(spec, done(1)))
    while not store.calls:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    asked.cancel()
    async with asyncio.timeout(WAIT_SECONDS):
        await checks.close()
        await asyncio.gather(asked, return_exceptions=True)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "result check"]


def test_the_whole_is_looked_at_before_anything_is_flushed(monkeypatch, spec, tmp_path):
    """One flush for the group, of what is good and of nothing else."""
    flushed: list[list[str]] = []
    failures: list[str] = []
    store = Store(tmp_path / "farm", failures.append)
    store.open()
    try:
        add(store, 1, 2)
        real = store.blobs.make_durable

        def make_durable(names) -> None:
            flushed.append(list(names))
            real(names)

        monkeypatch.setattr(store.blobs, "make_durable", make_durable)
        found = results.check_results(
            [(spec, done(1)), (spec, done(9)), (spec, done(2)), (spec, done(1))], store.blobs
        )
    finally:
        store.close()
    assert [verdict is None for verdict in found] == [True, False, True, True]
    assert flushed == [[sha256(picture(1)), sha256(picture(2))]]
    assert not failures
