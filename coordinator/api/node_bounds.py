"""What one node may send: a rogue or broken one costs the farm no more than a good one.

Every message is bounded as a whole (`MESSAGE_MAX_BYTES`) and holds data of the right types (the
codec). Here stand the bounds of what is inside and of how much may come in a minute. Texts that
belong to the outcome of a frame are shortened, for the outcome must not be lost over them;
whatever no node of ours ever sends ends the connection with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...protocol.messages import (
    LOG_LINE_MAX_CHARS,
    LOG_LINES_MAX,
    Availability,
    FrameDone,
    FrameFailed,
    FrameProgress,
    Goodbye,
    Hello,
    LeasesReturned,
    LogLines,
    NodeMessage,
    ScenePreparing,
)

TEXT_MAX_CHARS = 1000
"""Of a word on progress; nodes send 200."""
REASON_MAX_CHARS = 4000
"""Of a reason; one sentence is meant."""
WARNINGS_MAX = 200
FRAMES_MAX = 1000
"""Frames named in one message; a node holds a handful."""
SCENES_MAX = 100_000
"""Scenes a node says it holds; the newest hundred are remembered."""
MINUTE_SECONDS = 60.0
MINUTE_MAX_MESSAGES = 60_000
"""A node that finishes a hundred frames a second, with all it says of each, stays below."""
MINUTE_MAX_BYTES = 128 * 1024 * 1024


class OutOfBounds(Exception):
    """A node sent what it may not; the message is a sentence that names the bound."""


def bounded(message: NodeMessage) -> NodeMessage:
    """Return the message with its texts within bounds. Raises `OutOfBounds`."""
    match message:
        case LogLines(lines=lines):
            _require(len(lines), LOG_LINES_MAX, "log lines in one message")
            _require(max(map(len, lines), default=0), LOG_LINE_MAX_CHARS, "characters in a line")
        case FrameProgress(text=text):
            _require(len(text), TEXT_MAX_CHARS, "characters of progress")
        case ScenePreparing(stage=text):
            _require(len(text), TEXT_MAX_CHARS, "characters of progress")
        case Hello(holding=frames, scenes=scenes):
            _require(len(frames), FRAMES_MAX, "frames held")
            _require(len(scenes), SCENES_MAX, "scenes held")
        case LeasesReturned(frames=frames, reason=reason):
            _require(len(frames), FRAMES_MAX, "frames returned at once")
            return replace(message, reason=reason[:REASON_MAX_CHARS])
        case FrameDone(log=log, warnings=warnings):
            kept = tuple(text[:LOG_LINE_MAX_CHARS] for text in warnings[:WARNINGS_MAX])
            ending = _log_end(log)
            if ending is log and kept == warnings:
                return message
            return replace(message, log=ending, warnings=kept)
        case FrameFailed(log=log, reason=reason):
            return replace(message, log=_log_end(log), reason=reason[:REASON_MAX_CHARS])
        case Availability(reason=reason) | Goodbye(reason=reason):
            return replace(message, reason=reason[:REASON_MAX_CHARS])
        case _:
            pass
    return message


def _require(found: int, most: int, what: str) -> None:
    if found > most:
        raise OutOfBounds(f"The node sent {found} {what}; {most} is the most.")


def _log_end(lines: tuple[str, ...]) -> tuple[str, ...]:
    if len(lines) <= LOG_LINES_MAX and max(map(len, lines), default=0) <= LOG_LINE_MAX_CHARS:
        return lines
    return tuple(line[:LOG_LINE_MAX_CHARS] for line in lines[-LOG_LINES_MAX:])


class Traffic:
    """Counts what one connection brings in each minute. ``now`` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ends = now() + MINUTE_SECONDS
        self._messages = 0
        self._bytes = 0

    def count(self, length: int) -> None:
        """Note a message of so many bytes. Raises `OutOfBounds` when they come too fast."""
        now = self._now()
        if now >= self._ends:
            self._ends = now + MINUTE_SECONDS
            self._messages = self._bytes = 0
        self._messages += 1
        self._bytes += length
        if self._messages > MINUTE_MAX_MESSAGES:
            raise OutOfBounds(
                f"The node sent more than {MINUTE_MAX_MESSAGES} messages in a minute."
            )
        if self._bytes > MINUTE_MAX_BYTES:
            raise OutOfBounds(
                f"The node sent more than {MINUTE_MAX_BYTES // 2**20} MiB of messages in a minute."
            )
