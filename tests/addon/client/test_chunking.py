from __future__ import annotations

import hashlib
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.client.chunk_cache import SETTLED_SECONDS, ChunkCache
from rendermill.addon.client.chunking import (
    READ_ATTEMPTS,
    ChunkedFile,
    Signature,
    chunk_file,
    read_chunk,
)
from rendermill.addon.client.errors import ChangedFile, UnreadableFile
from rendermill.protocol.manifest import CHUNK_MAX_BYTES, Chunk


def age(path, seconds=3600):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


@given(st.integers(0, 3 * CHUNK_MAX_BYTES + 7))
def test_a_file_is_its_chunks(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("file") / "texture.png"
    path.write_bytes(bytes(length))
    made = chunk_file(path)
    assert [chunk.length for chunk in made.chunks] == [
        min(CHUNK_MAX_BYTES, length - at) for at in range(0, length, CHUNK_MAX_BYTES)
    ]
    offset = 0
    for chunk in made.chunks:
        data = read_chunk(path, offset, chunk)
        assert hashlib.sha256(data).hexdigest() == chunk.sha256
        offset += chunk.length
    assert offset == length


def test_a_grown_file_shares_its_beginning(tmp_path):
    path = tmp_path / "cache.abc"
    path.write_bytes(os.urandom(3 * CHUNK_MAX_BYTES + 5))
    before = chunk_file(path).chunks
    with path.open("ab") as file:
        file.write(b"more")
    assert chunk_file(path).chunks[:3] == before[:3]


def test_the_bytes_of_each_chunk_are_told(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(CHUNK_MAX_BYTES + 1))
    told: list[int] = []
    chunk_file(path, hashed=told.append)
    assert told == [CHUNK_MAX_BYTES, 1]


def test_a_file_that_changes_once_is_read_again(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(10))
    told: list[int] = []

    def hashed(length: int) -> None:
        told.append(length)
        if len(told) == 1:
            path.write_bytes(b"other")

    made = chunk_file(path, hashed=hashed)
    assert made.chunks == (Chunk(hashlib.sha256(b"other").hexdigest(), 5),)
    assert told == [10, -10, 5]


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(10))

    def replace(_: int) -> None:
        other = tmp_path / "y"
        other.write_bytes(b"other")
        other.replace(path)

    told: list[int] = []

    def hashed(length: int) -> None:
        if not told:
            replace(length)
        told.append(length)

    assert chunk_file(path, hashed=hashed).chunks[0].length == 5


def test_a_file_that_keeps_changing_is_named(tmp_path):
    path = tmp_path / "busy.png"
    path.write_bytes(b"x")
    turns: list[int] = []

    def hashed(length: int) -> None:
        if length > 0:
            turns.append(length)
            path.write_bytes(bytes(len(turns) + 1))

    with pytest.raises(ChangedFile, match=r"busy\.png"):
        chunk_file(path, hashed=hashed)
    assert len(turns) == READ_ATTEMPTS


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"gone\.png"):
        chunk_file(tmp_path / "gone.png")
    with pytest.raises(UnreadableFile, match=r"gone\.png"):
        read_chunk(tmp_path / "gone.png", 0, Chunk("0" * 64, 1))
    with pytest.raises(UnreadableFile):
        chunk_file(tmp_path)


@pytest.mark.parametrize("now", [b"hellp", b"hell", b""])
def test_a_chunk_that_is_no_more_is_noticed(tmp_path, now):
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    (chunk,) = chunk_file(path).chunks
    path.write_bytes(now)
    with pytest.raises(ChangedFile):
        read_chunk(path, 0, chunk)


def test_a_large_file_is_never_in_memory(tmp_path):
    """A sparse file of 1 GB is cut with a few MB of memory."""
    import resource

    path = tmp_path / "huge.exr"
    with path.open("wb") as file:
        file.truncate(1024**3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = chunk_file(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(made.chunks) == 1024
    assert len(set(made.chunks)) == 1
    assert (after - before) * 1024 < 64 * CHUNK_MAX_BYTES


# --- the cache -----------------------------------------------------------------------------------


def test_a_known_file_is_known_as_long_as_it_is_the_same(tmp_path, cache):
    path = tmp_path / "x"
    path.write_bytes(bytes(CHUNK_MAX_BYTES + 5))
    age(path)
    made = chunk_file(path)
    assert cache.get(path, made.signature) is None
    cache.put(made)
    assert cache.get(path, Signature.of(path)) == made
    path.write_bytes(bytes(CHUNK_MAX_BYTES + 5))
    assert cache.get(path, Signature.of(path)) is None, "other time"
    cache.forget(path)
    assert cache.get(path, made.signature) is None


def test_a_file_of_a_moment_ago_is_not_remembered(tmp_path, cache):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    age(path, -SETTLED_SECONDS)
    made = chunk_file(path)
    cache.put(made)
    assert cache.get(path, made.signature) is None


def test_the_cache_lasts_and_a_broken_one_is_replaced(tmp_path):
    path, database = tmp_path / "x", tmp_path / "c" / "chunks.sqlite"
    path.write_bytes(b"x")
    age(path)
    made = chunk_file(path)
    for _ in range(2):
        cache = ChunkCache(database)
        cache.put(made)
        cache.close()
        again = ChunkCache(database)
        assert again.get(path, made.signature) == made
        again.close()
        database.write_bytes(b"not a database" * 1000)


def test_a_cache_that_cannot_be_is_done_without(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = ChunkCache(tmp_path / "file" / "chunks.sqlite")
    made = ChunkedFile(tmp_path / "x", Signature(0, 0, 0), ())
    cache.put(made)
    assert cache.get(made.source, made.signature) is None
    cache.close()


def test_the_cache_serves_threads(tmp_path, cache):
    files = []
    for number in range(20):
        path = tmp_path / f"f{number}"
        path.write_bytes(bytes([number]))
        age(path)
        files.append(chunk_file(path))
    threads = [threading.Thread(target=cache.put, args=(made,)) for made in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cache.get(made.source, made.signature) for made in files] == files
