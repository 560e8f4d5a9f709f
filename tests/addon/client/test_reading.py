from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from rendermill.addon.client import reading
from rendermill.addon.client.chunk_cache import ChunkCache
from rendermill.addon.client.chunking import chunk_file
from rendermill.addon.client.errors import UnreadableFile
from rendermill.addon.client.reading import GROUP_BYTES, GROUPS_AHEAD, READING_THREADS, SceneReader
from rendermill.protocol.manifest import CHUNK_MAX_BYTES
from rendermill.protocol.scene import SceneFile


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Groups of a few chunks, so that small files make many."""
    monkeypatch.setattr(reading, "GROUP_BYTES", 4096)


def scene(folder: Path, lengths: list[int]) -> list[SceneFile]:
    folder.mkdir()
    files: list[SceneFile] = []
    for number, length in enumerate(lengths):
        path = folder / f"{number}.exr"
        path.write_bytes(bytes([number % 256]) * length)
        age(path)
        files.append(SceneFile(path, f"scene/{number}.exr"))
    return files


def age(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 3600 * 10**9))


def reader_of(files: list[SceneFile], cache: ChunkCache | None = None, heard=None) -> SceneReader:
    told = [] if heard is None else heard
    return SceneReader(
        files,
        settles=lambda _: False,
        cache=cache,
        progress=lambda done, total: told.append((done, total)),
    )


async def all_of(reader: SceneReader) -> list[list[tuple[str, bytes]]]:
    groups: list[list[tuple[str, bytes]]] = []
    try:
        async for group in reader.groups():
            groups.append(group)
            reader.let_go(sum(len(data) for _, data in group))
        reader.finish()
    finally:
        reader.stop()
    return groups


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("rendermill-read")]


async def end_of_threads() -> None:
    end = time.monotonic() + 10
    while threads():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_every_chunk_of_every_file_is_handed_on(tmp_path):
    files = scene(tmp_path / "s", [0, 1, 100, 5000, CHUNK_MAX_BYTES, 2 * CHUNK_MAX_BYTES + 7] * 5)
    heard: list[tuple[int, int]] = []
    reader = reader_of(files, heard=heard)
    groups = await all_of(reader)
    assert [made for _, made in reader.files] == [chunk_file(file.source) for file in files]
    handed = {sha: data for group in groups for sha, data in group}
    assert all(hashlib.sha256(data).hexdigest() == sha for sha, data in handed.items())
    assert handed.keys() == {c.sha256 for _, made in reader.files for c in made.chunks}
    assert all(groups), "none is empty"
    total = sum(made.signature.size for _, made in reader.files)
    assert heard[0] == (0, total)
    assert heard[-1] == (total, total)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    await end_of_threads()


async def test_a_known_file_is_not_read(tmp_path, cache):
    files = scene(tmp_path / "s", [10, 20, 30])
    cache.put(chunk_file(files[1].source))
    reader = reader_of(files, cache)
    read = {data for group in await all_of(reader) for _, data in group}
    assert {len(data) for data in read} == {10, 30}
    assert len(reader.files) == 3
    again = reader_of(files, cache)
    assert await all_of(again) == [], "all are known by now"
    assert again.files == reader.files


async def test_who_takes_the_groups_sets_the_pace(tmp_path):
    files = scene(tmp_path / "s", [5000] * 100)
    heard: list[tuple[int, int]] = []
    reader = reader_of(files, heard=heard)
    groups = reader.groups()
    await anext(groups)
    await asyncio.sleep(0.3)
    # One was taken; some wait in the queue, and each thread holds one more.
    ahead = 5000 * (1 + GROUPS_AHEAD + READING_THREADS)
    assert reader._read_bytes <= ahead
    assert len([group async for group in groups]) == 99
    assert {done for done, _ in heard} == {0}, "read is not sent"
    reader.let_go(500_000)
    assert heard[-1] == (500_000, 500_000)
    reader.stop()


async def test_a_reader_that_is_stopped_leaves_no_thread(tmp_path):
    """Nor an error that nobody takes: Blender's console would show it to the artist."""
    unheard: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
    reader = reader_of(scene(tmp_path / "s", [5000] * 100))
    groups = reader.groups()
    await anext(groups)
    reader.stop()
    await end_of_threads()
    reader.stop()
    await groups.aclose()
    # The threads have told their ends to the loop by now; what nobody took is told when it goes.
    await asyncio.sleep(0)
    del groups, reader
    gc.collect()
    assert unheard == []


async def test_a_file_that_is_gone_ends_it(tmp_path):
    files = scene(tmp_path / "s", [5000] * 100)
    reader = reader_of(files)
    groups = reader.groups()
    await anext(groups)
    files[99].source.unlink()
    with pytest.raises(UnreadableFile, match=r"99\.exr"):
        async for _ in groups:
            pass
    reader.stop()
    await end_of_threads()


def test_memory_is_bounded():
    """Groups in threads, waiting, and on their way: a part of the 300 MB that packing may take."""
    assert (4 + GROUPS_AHEAD + 4) * (GROUP_BYTES + CHUNK_MAX_BYTES) < 100 * 1024 * 1024
