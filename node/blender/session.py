"""One Blender kept warm over frames and jobs: started, talked to, watched, ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...protocol.job import JobSpec
from ...protocol.machine import BlenderInfo
from .attempt import OnLog, OnProgress, OpenReport, RenderedFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a session treats its Blender. Times in seconds, sizes in bytes."""

    readable: tuple[Path, ...] = ()
    """Folders the scenes lie in; read-only inside a sandbox."""
    sandbox: str = "none"
    """Level to confine Blender with, as `sandbox.best_level` found it on this machine."""
    threads: int = 0
    """Render threads; 0: as many as there are processors."""
    silent_seconds: float = 300.0
    """Neither message, nor output, nor CPU use for so long: the Blender hangs."""
    frame_seconds: float = 0.0
    """Longest time for a frame when the job does not say; 0: no limit."""
    memory_bytes: int = 0
    """Resident memory of the process tree at which an attempt fails; 0: no limit."""
    growth_bytes: int = 4 << 30
    """A session that has grown by more since its scene was opened is restarted between frames."""
    idle_seconds: float = 900.0
    """A session without work for so long is closed; 0: never."""


class BlenderSession:
    """At most one Blender process. Methods are for one task at a time; `abort` for any."""

    version: tuple[int, int, int] | None
    frames_rendered: int
    memory_bytes: int

    def __init__(self, scratch: Path, *, on_log: OnLog, options: SessionOptions) -> None:
        """Make a session without a process. ``scratch`` is this session's own; it is created."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        """Whether there is a process that answers."""
        raise NotImplementedError

    @property
    def job(self) -> JobSpec | None:
        """The job that is open."""
        raise NotImplementedError

    async def start(self, blender: BlenderInfo) -> None:
        """Have that Blender running: does nothing when it is, restarts one that needs it.

        Raises `AttemptFailed` (NODE, CRASH, HANG).
        """
        raise NotImplementedError

    async def open(
        self, spec: JobSpec, workspace: Path, script: Path | None = None
    ) -> OpenReport:
        """Open the scene of a job from its file tree; nothing to do when it is open already.

        The generated script of the job is written to ``script`` where that is given.
        Raises `AttemptFailed`, `AttemptAborted`.
        """
        raise NotImplementedError

    async def render(
        self, frame: int, output: Path, on_progress: OnProgress | None = None
    ) -> RenderedFrame:
        """Render one frame of the open job into the empty folder ``output`` and check it.

        ``output`` must lie below the session's scratch. Raises `AttemptFailed`, `AttemptAborted`.
        """
        raise NotImplementedError

    async def abort(self) -> None:
        """Kill the process tree at once; what is being awaited raises `AttemptAborted`."""
        raise NotImplementedError

    async def close(self) -> None:
        """End Blender in good order, or by force after a while. Safe to repeat."""
        raise NotImplementedError
