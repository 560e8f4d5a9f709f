"""The cache of scenes on this computer: measured, cleared, and left alone while a node uses it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from rendermill.background import scene_cache
from rendermill.node.cache import ChunkCache
from rendermill.node.options import NodeOptions


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test alone."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_it_is_the_folder_that_nodes_use():
    assert scene_cache.folder() == NodeOptions().cache_folder


def test_nothing_is_nothing():
    assert scene_cache.size() == 0
    scene_cache.clear()


def test_it_is_cleared_only_while_no_node_works_with_it():
    cache = ChunkCache(scene_cache.folder(), 10**9, "node-1")
    data = os.urandom(5000)
    name = hashlib.sha256(data).hexdigest()
    cache.put_chunk(name, data)
    assert scene_cache.size() >= 5000
    with pytest.raises(scene_cache.SceneCacheInUse, match="stop it first"):
        scene_cache.clear()
    assert cache.chunk_path(name).exists()
    cache.close()
    scene_cache.clear()
    assert scene_cache.size() < 5000
    # A node finds an empty cache and goes on.
    again = ChunkCache(scene_cache.folder(), 10**9, "node-2")
    again.put_chunk(name, data)
    assert again.chunk_path(name).exists()
    again.close()
