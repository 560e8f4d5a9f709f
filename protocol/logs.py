"""The log of the farm as people read and search it: numbered lines, kept within bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a node, or its Blender, has said."""

    number: int
    """Grows from line to line over all nodes and over restarts of the coordinator. The event that
    tells of a line has the same number (`views.Event.log_number`), so that a reader who has
    fetched up to one line takes from the stream exactly those behind it."""
    time: float
    """When the coordinator got it."""
    node: str
    job: str
    """Job whose frame the node rendered then; '' for none."""
    frame: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """``GET /api/v1/logs``: lines in ascending order."""

    lines: tuple[LogLine, ...]
    last: int
    """Number of the newest line looked at, found or not; for ``after``."""
    more: bool
    """Whether the search has found more than fits: behind these where ``after`` was given, before
    them otherwise."""
