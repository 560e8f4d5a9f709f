"""What an attempt at a frame yields: the values between a Blender session and the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...protocol.messages import FailureKind, FrameStats

OnLog = Callable[[list[str]], None]
"""Takes log lines as they come, without line ends, in the event loop's thread."""

OnProgress = Callable[[float, str], None]
"""Takes the fraction of the frame that is done (0 to 1) and what Blender says about it."""


class AttemptFailed(Exception):
    """An attempt that ended without a result: why, for the farm and for people."""

    def __init__(self, kind: FailureKind, reason: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        """One sentence."""
        self.log = log
        """Last lines of Blender's log, oldest first."""


class AttemptAborted(Exception):
    """`BlenderSession.abort` ended what was being awaited."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file that a frame made."""

    root: str
    """Id of the `OutputRoot` it belongs to."""
    path: str
    """Relative POSIX path below that root."""
    source: Path
    """Where it lies now; the caller may move it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReport:
    """What opening the scene of a job showed."""

    seconds: float
    """Start of the order to scene ready; 0.0 when the job was open already."""
    warnings: tuple[str, ...] = ()
    """What will make the pictures differ, one sentence each: missing files, blocked scripts."""
    size: tuple[int, int] = (0, 0)
    """Width and height in pixels that this scene renders, after percentage and crop."""
    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFrame:
    """A frame whose files were checked: complete, readable, of the size asked for."""

    frame: int
    files: tuple[RenderedFile, ...]
    stats: FrameStats
    thumbnail: Path | None = None
    """JPEG of at most 512 pixels a side through the scene's view transform, or None."""
    preview: Path | None = None
    """The same at full size, where browsers cannot show the render output; else None."""
    warnings: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    """Lines that Blender logged during this frame, the last ones if there were many."""
