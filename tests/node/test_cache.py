"""Chunks, trees and the quota, on a real disk."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rendermill.node import workspace
from rendermill.node.cache import (
    CacheFull,
    ChunkCache,
    ChunkMissing,
    ChunkRefused,
    default_quota,
)
from rendermill.node.workspace import build_tree
from rendermill.protocol.codec import encode_manifest
from rendermill.protocol.manifest import Chunk, Manifest, ManifestFile


def chunk(data: bytes) -> Chunk:
    return Chunk(hashlib.sha256(data).hexdigest(), len(data))


def scene(files: dict[str, list[bytes]]) -> tuple[Manifest, str, bytes, list[bytes]]:
    """A manifest, its hash, its bytes, and all chunks."""
    manifest = Manifest(
        tuple(
            ManifestFile(path, tuple(chunk(piece) for piece in pieces))
            for path, pieces in sorted(files.items())
        )
    )
    data = encode_manifest(manifest)
    pieces = [piece for pieces in files.values() for piece in pieces]
    return manifest, hashlib.sha256(data).hexdigest(), data, pieces


@pytest.fixture
def cache(tmp_path: Path):
    made = ChunkCache(tmp_path / "cache", 10**9, "one", reserve_bytes=0)
    yield made
    made.close()


def store(cache: ChunkCache, files: dict[str, list[bytes]], *, pin: bool = True) -> str:
    """Bring a scene into the cache and build its tree, as the node does."""
    manifest, sha256, data, pieces = scene(files)
    cache.pin(sha256)
    cache.make_room(sum(map(len, pieces)) + len(data))
    cache.put_manifest(sha256, data)
    for piece in pieces:
        cache.put_chunk(chunk(piece).sha256, piece)
    build_tree(manifest, cache, cache.tree_path(sha256))
    cache.mark_complete(sha256)
    if not pin:
        cache.unpin(sha256)
    return sha256


BAKED = {
    "scene/blendcache_shot/Cube_nodes/1/meta/00001_00000.json": [b"{}"],
    "scene/blendcache_shot/Cube_nodes/1/blobs/00001_00000.blob": [b"points"],
    "scene/meta/notes.txt": [b"no bake"],
    "scene/meta/more.json": [b"{}"],
    "scene/shot.blend": [b"BLENDER"],
}


def test_the_state_of_a_bake_is_a_copy_that_blender_may_write(cache: ChunkCache) -> None:
    sha256 = store(cache, BAKED)
    tree = cache.tree_path(sha256)
    state = tree / "scene/blendcache_shot/Cube_nodes/1/meta/00001_00000.json"
    assert state.stat().st_mode & 0o200
    state.write_bytes(b"spoilt")
    assert cache.read_chunk(chunk(b"{}")) == b"{}"
    assert not (tree / "scene/meta/more.json").stat().st_mode & 0o200
    assert not (tree / "scene/shot.blend").stat().st_mode & 0o200


@pytest.mark.skipif(os.name == "nt", reason="links to folders need a privilege on Windows")
def test_where_the_tree_is_read_only_to_blender_the_state_of_a_bake_lies_elsewhere(
    cache: ChunkCache, tmp_path: Path
) -> None:
    sha256 = store(cache, BAKED)
    tree, writable = tmp_path / "tree", tmp_path / "writable"
    manifest, *_ = scene(BAKED)
    for _ in range(2):
        build_tree(manifest, cache, tree, writable)
        meta = tree / "scene/blendcache_shot/Cube_nodes/1/meta"
        assert meta.resolve().parent == writable.resolve()
        assert (meta / "00001_00000.json").read_bytes() == b"{}"
    for path, pieces in BAKED.items():
        assert (tree / path).read_bytes() == b"".join(pieces)
    assert sum(path.is_file() for path in writable.rglob("*")) == 1
    assert sha256


def test_bytes_that_do_not_hash_to_their_name_are_refused(cache: ChunkCache) -> None:
    with pytest.raises(ChunkRefused):
        cache.put_chunk(chunk(b"a").sha256, b"b")
    with pytest.raises(ChunkRefused):
        cache.put_manifest(chunk(b"a").sha256, b"b")
    assert not any(path.is_file() for path in (cache.folder / "chunks").rglob("*"))


def test_a_tree_has_every_file_in_its_place(cache: ChunkCache) -> None:
    sha256 = store(
        cache,
        {
            "scene/shot.blend": [b"one", b"two", b"three"],
            "scene/a/b/c.png": [b"pixels"],
            "scene/a/b.png": [b"pixels"],
            "scene/empty.txt": [],
            "drive_d/lib.blend": [b"one", b"two", b"three"],
        },
    )
    tree = cache.tree_path(sha256)
    found = {
        path.relative_to(tree).as_posix(): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file()
    }
    assert found == {
        "scene/shot.blend": b"onetwothree",
        "scene/a/b/c.png": b"pixels",
        "scene/a/b.png": b"pixels",
        "scene/empty.txt": b"",
        "drive_d/lib.blend": b"onetwothree",
    }
    # Second names of what the cache holds, not copies: both files of equal content are one.
    png = (tree / "scene/a/b.png").stat()
    assert png.st_ino == cache.chunk_path(chunk(b"pixels").sha256).stat().st_ino
    assert (tree / "scene/shot.blend").samefile(tree / "drive_d/lib.blend")
    assert png.st_mode & 0o222 == 0


def test_where_the_disk_cannot_link_files_are_copied(
    cache: ChunkCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(workspace, "_BY_HANDLE", True)
    sha256 = store(cache, {"scene/shot.blend": [b"one", b"two"], "scene/a.png": [b"pixels"]})
    tree = cache.tree_path(sha256)
    assert (tree / "scene/shot.blend").read_bytes() == b"onetwo"
    assert (tree / "scene/a.png").stat().st_nlink == 1


def test_a_link_in_the_way_is_not_followed(cache: ChunkCache, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "scene").symlink_to(outside)
    tree = workspace._Tree(folder)
    try:
        with pytest.raises(OSError, match="scene"):
            tree.write(workspace.PurePosixPath("scene/evil.txt"), b"evil")
    finally:
        tree.close()
    assert list(outside.iterdir()) == []


def test_a_chunk_damaged_on_disk_is_noticed_and_nothing_half_made_stays(
    cache: ChunkCache,
) -> None:
    manifest, sha256, data, pieces = scene({"a/one.png": [b"good"], "a/two.png": [b"bad"]})
    cache.put_manifest(sha256, data)
    for piece in pieces:
        cache.put_chunk(chunk(piece).sha256, piece)
    path = cache.chunk_path(chunk(b"bad").sha256)
    path.chmod(0o644)
    path.write_bytes(b"BAD")
    with pytest.raises(ChunkMissing) as missing:
        build_tree(manifest, cache, cache.tree_path(sha256))
    assert missing.value.chunk == chunk(b"bad")
    assert not cache.tree_path(sha256).exists()
    assert cache.missing(manifest) == [chunk(b"bad")]


def test_a_file_is_put_together_once(cache: ChunkCache) -> None:
    store(cache, {"scene/shot.blend": [b"one", b"two"]})
    manifest, sha256, data, _ = scene({"other/place.blend": [b"one", b"two"]})
    # The second scene has the file even without its chunks.
    for piece in (b"one", b"two"):
        cache.chunk_path(chunk(piece).sha256).unlink()
    assert cache.missing(manifest) == []
    cache.put_manifest(sha256, data)
    build_tree(manifest, cache, cache.tree_path(sha256))
    assert (cache.tree_path(sha256) / "other/place.blend").read_bytes() == b"onetwo"


def test_the_scene_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    gone: list[str] = []
    cache = ChunkCache(tmp_path / "cache", 10_000, "one", reserve_bytes=0, on_evicted=gone.append)
    oldest = store(cache, {"a.png": [os.urandom(3000)]}, pin=False)
    middle = store(cache, {"b.png": [os.urandom(3000)]}, pin=False)
    for age, sha256 in ((200, oldest), (100, middle)):
        os.utime(cache.folder / "scenes" / sha256, (1e9 - age, 1e9 - age))
    newest = store(cache, {"c.png": [os.urandom(3000)]})
    assert gone == []
    last = store(cache, {"d.png": [os.urandom(3000)]})
    assert gone == [oldest]
    assert set(cache.complete_scenes()) == {middle, newest, last}
    sizes = [
        path.stat().st_size
        for top in ("chunks", "files", "manifests")
        for path in (cache.folder / top).rglob("*")
        if path.is_file()
    ]
    assert sum(sizes) <= 10_000
    cache.close()


def test_a_scene_in_use_never_leaves(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path / "cache", 10_000, "one", reserve_bytes=0)
    other = ChunkCache(tmp_path / "cache", 10_000, "two", reserve_bytes=0)
    # What one process adds, the other knows of.
    kept = os.urandom(6000)
    pinned = store(other, {"a.png": [kept]})
    with pytest.raises(CacheFull, match="--cache-size"):
        cache.make_room(5000)
    assert other.read_chunk(chunk(kept)) == kept
    assert cache.complete_scenes() == (pinned,)
    # It may go when the process that uses it is done.
    other.unpin(pinned)
    cache.make_room(5000)
    assert cache.complete_scenes() == ()
    with pytest.raises(ChunkMissing):
        other.read_chunk(chunk(kept))
    other.close()
    cache.close()


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    script = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from rendermill.node.cache import ChunkCache\n"
        "cache = ChunkCache(Path(sys.argv[1]), 10**9, 'dead', reserve_bytes=0)\n"
        "cache.pin('0' * 64)\n"
        "cache.tree_path('0' * 64).mkdir()\n"
        "cache.temporary().write_bytes(b'half')\n"
        "os._exit(9)\n"
    )
    folder = tmp_path / "cache"
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False, timeout=240)
    assert (folder / "users" / "dead.lock").exists()
    cache = ChunkCache(folder, 10**9, "alive", reserve_bytes=0)
    for top in ("uses", "trees", "incoming"):
        assert list((folder / top).iterdir()) == []
    assert [path.name for path in (folder / "users").iterdir()] == ["alive.lock"]
    cache.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to mount")
def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        cache = ChunkCache(disk / "cache", 10**9, "one", reserve_bytes=0)
        data = os.urandom(300_000)
        with pytest.raises(CacheFull, match="disk"):
            cache.put_chunk(chunk(data).sha256, data)
        with pytest.raises(CacheFull, match="too full"):
            cache.make_room(300_000)
        assert list((cache.folder / "incoming").iterdir()) == []
        assert not cache.chunk_path(chunk(data).sha256).exists()
        cache.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_default_quota_leaves_most_of_a_disk(tmp_path: Path) -> None:
    assert 0 < default_quota(tmp_path / "new") <= 100 * 1024**3
