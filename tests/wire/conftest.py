"""A real coordinator, and a line to it that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rendermill.coordinator.app import RunningCoordinator
from rendermill.wire.connection import FarmConnection

from ..coordinator.conftest import coordinator, data, farm, start
from .line import Line

__all__ = ["coordinator", "data", "farm", "start"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RENDERMILL_HOME of this test alone."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RENDERMILL_INTERFACE", "127.0.0.1")
    monkeypatch.delenv("RENDERMILL_COORDINATOR", raising=False)
    return tmp_path / "home"


@pytest.fixture
async def line(coordinator: RunningCoordinator) -> AsyncIterator[Line]:
    """A TCP line to the coordinator."""
    async with Line("127.0.0.1", coordinator.port) as made:
        yield made


@pytest.fixture
async def far(coordinator: RunningCoordinator, line: Line) -> AsyncIterator[FarmConnection]:
    """A connection over `line`."""
    credentials = replace(coordinator.credentials, url=line.url)
    async with FarmConnection(credentials, patience_seconds=60) as connection:
        yield connection
