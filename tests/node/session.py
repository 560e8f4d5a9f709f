"""A Blender session without Blender, for tests of what happens around one.

The real interface, real files, and gates where a real Blender would take its time.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rendermill.node.blender.attempt import (
    AttemptAborted,
    AttemptFailed,
    OnLog,
    OnProgress,
    OpenReport,
    RenderedFile,
    RenderedFrame,
)
from rendermill.node.blender.session import BlenderSession, SessionOptions
from rendermill.protocol.job import JobSpec
from rendermill.protocol.machine import BlenderInfo
from rendermill.protocol.messages import FrameStats


class ScriptedSession(BlenderSession):
    """Renders a frame as a small file whose bytes tell scene and frame."""

    def __init__(self, scratch: Path, *, on_log: OnLog, options: SessionOptions) -> None:
        self.scratch, self.on_log, self.options = scratch, on_log, options
        scratch.mkdir(parents=True, exist_ok=True)
        self._version: tuple[int, int, int] | None = None
        self.frames_rendered = 0
        self.opened: list[Path] = []
        self.starts = 0
        self.aborts = 0
        self.failures: dict[int, AttemptFailed] = {}
        self.gate = asyncio.Event()
        """While clear, renders wait."""
        self.gate.set()
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self._scene: tuple[JobSpec, Path] | None = None
        self._aborted = asyncio.Event()
        self.closed = False

    @property
    def version(self) -> tuple[int, int, int] | None:
        return self._version

    @property
    def alive(self) -> bool:
        return self._version is not None

    @property
    def job(self) -> JobSpec | None:
        return self._scene[0] if self._scene else None

    async def start(self, blender: BlenderInfo) -> None:
        if self._version != blender.version:
            self.starts += 1
            self._version = blender.version
            self._scene = None

    async def open(self, spec: JobSpec, workspace: Path, script: Path | None = None) -> OpenReport:
        assert self.alive
        if self._scene == (spec, workspace):
            return OpenReport(seconds=0.0)
        await self._pass(self.open_gate)
        assert (workspace / spec.blend).is_file()
        self._scene = (spec, workspace)
        self.opened.append(workspace)
        return OpenReport(seconds=0.01, warnings=("A texture is missing.",))

    async def render(
        self, frame: int, output: Path, on_progress: OnProgress | None = None
    ) -> RenderedFrame:
        assert self._scene is not None
        assert output.is_relative_to(self.scratch)
        assert not any(os.scandir(output))
        if on_progress is not None:
            for step in range(100):
                on_progress(step / 100, f"Sample {step}/100")
        self.on_log([f"frame {frame}"])
        await self._pass(self.gate)
        if frame in self.failures:
            raise self.failures.pop(frame)
        spec, workspace = self._scene
        main = output / "main"
        main.mkdir()
        source = main / f"shot_{frame:04}.png"
        source.write_bytes((workspace / spec.blend).read_bytes() + f" frame {frame}".encode())
        thumbnail = output / "thumbnail.jpg"
        thumbnail.write_bytes(f"thumbnail {frame}".encode())
        self.frames_rendered += 1
        return RenderedFrame(
            frame=frame,
            files=(RenderedFile("main", source.name, source),),
            stats=FrameStats(
                seconds=0.01, prepare_seconds=0.01 if self.frames_rendered == 1 else 0.0
            ),
            thumbnail=thumbnail,
            log=(f"frame {frame}",),
        )

    async def _pass(self, gate: asyncio.Event) -> None:
        self._aborted.clear()
        waits = [asyncio.create_task(gate.wait()), asyncio.create_task(self._aborted.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._aborted.is_set():
                raise AttemptAborted
        finally:
            for task in waits:
                task.cancel()

    async def abort(self) -> None:
        self.aborts += 1
        self._version = None
        self._scene = None
        self._aborted.set()

    async def close(self) -> None:
        self._version = None
        self.closed = True
