"""A real coordinator, scenes in real files, and a node that paints."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendermill.addon.client.chunk_cache import ChunkCache

from ...coordinator.conftest import coordinator, data, farm, make_node, start

__all__ = ["coordinator", "data", "farm", "make_node", "start"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RENDERMILL_HOME of this test alone."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RENDERMILL_INTERFACE", "127.0.0.1")
    monkeypatch.delenv("RENDERMILL_COORDINATOR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def cache(tmp_path: Path):
    """A chunk cache of this test alone."""
    made = ChunkCache(tmp_path / "chunks.sqlite")
    yield made
    made.close()
