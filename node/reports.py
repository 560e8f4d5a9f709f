"""What the farm hears of a frame while it is made: progress and log, not more than it can use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..protocol.messages import (
    LOG_LINE_MAX_CHARS,
    LOG_LINES_MAX,
    FrameProgress,
    FrameRef,
    LogLines,
    NodeMessage,
    ScenePreparing,
)

PROGRESS_SECONDS = 0.5
"""Shortest time between two reports on one frame: twice a second, as the protocol says."""
LOG_SECONDS = 1.0
"""Log lines wait so long for company."""

Send = Callable[[NodeMessage], None]


class ProgressReports:
    """Sends the newest of many reports, the first at once and then at most twice a second."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: FrameProgress | ScenePreparing | None = None
        self._timer: asyncio.TimerHandle | None = None

    def report(self, message: FrameProgress | ScenePreparing) -> None:
        """Send this now, or when its time has come unless a newer one takes its place."""
        if self._timer is not None:
            self._waiting = message
            return
        self._send(message)
        self._timer = asyncio.get_running_loop().call_later(PROGRESS_SECONDS, self._due)

    def clear(self) -> None:
        """Forget what waits: the frame is over, or another begins."""
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        message, self._waiting = self._waiting, None
        if message is not None:
            self.report(message)


class LogReports:
    """Gathers log lines into messages; a burst is cut and says by how many lines."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lines: list[str] = []
        self._left_out = 0
        self._frame: FrameRef | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, frame: FrameRef | None) -> None:
        """Lines from now on belong to this frame (None: to none)."""
        if frame != self._frame:
            self.flush()
            self._frame = frame

    def add(self, lines: list[str]) -> None:
        """Take lines as they come."""
        room = LOG_LINES_MAX - 1 - len(self._lines)  # One is kept for the count of those left out.
        self._lines += [line[:LOG_LINE_MAX_CHARS] for line in lines[: max(0, room)]]
        self._left_out += max(0, len(lines) - max(0, room))
        if self._timer is None and self._lines:
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self.flush)

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(f"... {left_out} lines left out")
        if lines:
            self._send(LogLines(lines=tuple(lines), frame=self._frame))
