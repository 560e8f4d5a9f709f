"""A coordinator that forgives silence, for every test of the page, and one farm of processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rendermill.coordinator.farm.config import FarmConfig

from ...local_farms import local_farm

PATIENT = FarmConfig(heartbeat_seconds=600, suspect_seconds=3000, lease_seconds=3600)
"""The nodes here say nothing while the page is looked at, however slow the machine is."""


@pytest.fixture
async def coordinator(start: Any) -> Any:
    """A running coordinator that forgives silence."""
    return await start(config=PATIENT)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, known_blenders: Path) -> Iterator[Any]:
    """A farm of processes with one node and its Blender, for all tests that need a real one.

    Whoever uses it leaves the node ``atlas`` idle and as it was started.
    """
    folder = tmp_path_factory.mktemp("farm")
    with local_farm.LocalFarm(folder, answers=known_blenders) as farm:
        farm.start_coordinator()
        farm.start_node("atlas", "--tag", "floor2")
        farm.wait_ready(["atlas"])
        yield farm


@pytest.fixture(scope="package")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the scenes that `real_scenes.py` makes."""
    folder = tmp_path_factory.mktemp("scenes")
    in_blender(Path(__file__).with_name("real_scenes.py"), str(folder))
    return folder


def in_blender(script: Path, *words: str) -> str:
    """Run a script in a process that has bpy; returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
