"""Commands run as a user runs them: processes of their own, against a real coordinator."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rendermill.coordinator.app import RunningCoordinator

from ..coordinator.conftest import data, farm, make_node, start

__all__ = ["data", "farm", "make_node", "start"]


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RENDERMILL_HOME of this test alone."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RENDERMILL_INTERFACE", "127.0.0.1")
    monkeypatch.delenv("RENDERMILL_COORDINATOR", raising=False)
    return tmp_path / "home"


@pytest.fixture
async def coordinator(start: Callable[..., Awaitable[RunningCoordinator]]) -> RunningCoordinator:
    """A coordinator that lets everything of this user in."""
    return await start(writes_local=True)


@pytest.fixture
async def rendermill(home: Path) -> AsyncIterator[Run]:
    """Run ``rendermill`` with these words; what still runs at the end is killed."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*words: object) -> Ran:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rendermill",
            *map(str, words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"RENDERMILL_HOME": str(home)},
        )
        started.append(process)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()
