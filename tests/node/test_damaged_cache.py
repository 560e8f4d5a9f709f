"""What the disk has damaged in the cache is noticed by its hash and never opened in Blender."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rendermill.node.cache import ChunkCache, ChunkMissing
from rendermill.node.workspace import build_tree
from rendermill.protocol.manifest import Chunk, Manifest, ManifestFile

PIECES = [bytes([number]) * 1000 for number in range(8)]
SINGLE = b"pixels" * 100


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 0)


def chunk(data: bytes) -> Chunk:
    return Chunk(hashlib.sha256(data).hexdigest(), len(data))


MANIFEST = Manifest(
    (
        ManifestFile("shot.blend", tuple(chunk(piece) for piece in PIECES)),
        ManifestFile("wood.png", (chunk(SINGLE),)),
    )
)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ChunkCache]:
    made = ChunkCache(tmp_path / "cache", 10**9, "one", reserve_bytes=0)
    for data in [*PIECES, SINGLE]:
        made.put_chunk(chunk(data).sha256, data)
    yield made
    made.close()


def fetch_missing(cache: ChunkCache) -> int:
    """What the node does before it builds again; returns how many chunks came."""
    lacking = cache.missing(MANIFEST)
    by_name = {chunk(data).sha256: data for data in [*PIECES, SINGLE]}
    for one in lacking:
        cache.put_chunk(one.sha256, by_name[one.sha256])
    return len(lacking)


def check(tree: Path) -> None:
    assert (tree / "shot.blend").read_bytes() == b"".join(PIECES)
    assert (tree / "wood.png").read_bytes() == SINGLE


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_an_assembled_file_is_put_together_again(
    cache: ChunkCache, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    build_tree(MANIFEST, cache, tmp_path / "first")
    check(tmp_path / "first")
    damage(cache.file_path(MANIFEST.files[0]))
    build_tree(MANIFEST, cache, tmp_path / "second")
    check(tmp_path / "second")


def test_an_assembled_file_whose_chunks_have_left_is_fetched_again(
    cache: ChunkCache, tmp_path: Path
) -> None:
    build_tree(MANIFEST, cache, tmp_path / "first")
    for piece in PIECES:
        cache.chunk_path(chunk(piece).sha256).unlink()
    assert cache.missing(MANIFEST) == []
    flip(cache.file_path(MANIFEST.files[0]))
    with pytest.raises(ChunkMissing):
        build_tree(MANIFEST, cache, tmp_path / "second")
    assert fetch_missing(cache) == len(PIECES)
    build_tree(MANIFEST, cache, tmp_path / "second")
    check(tmp_path / "second")


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_many_damaged_chunks_are_fetched_again_at_once(
    cache: ChunkCache, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """However many there are: the scene is not given up after a few rounds."""
    for data in [*PIECES, SINGLE]:
        damage(cache.chunk_path(chunk(data).sha256))
    if not cache.missing(MANIFEST):  # Those of another length are missed at once.
        with pytest.raises(ChunkMissing):
            build_tree(MANIFEST, cache, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert fetch_missing(cache) == len(PIECES) + 1
    build_tree(MANIFEST, cache, tmp_path / "tree")
    check(tmp_path / "tree")
