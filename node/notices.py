"""What a node tells the person who started it: one closed set of kinds, a sentence, the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class NoticeKind(str, Enum):
    """What happened, for scripts; the names are part of the command's ``--json`` output."""

    STARTING = "starting"
    PROBING = "probing"
    BLENDER = "blender"
    """A Blender was probed and can be used; ``problem`` notices say what it cannot do."""
    PROBLEM = "problem"
    """Something is wrong; the sentence says what to do."""
    SEARCHING = "searching"
    """No coordinator yet; the node goes on looking."""
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    READY = "ready"
    FETCHING = "fetching"
    OPENING = "opening"
    RENDERING = "rendering"
    PROGRESS = "progress"
    """How far a frame is; often."""
    RENDERED = "rendered"
    DELIVERED = "delivered"
    REFUSED = "refused"
    FAILED = "failed"
    RETURNED = "returned"
    """Frames given back to the farm without a result."""
    AVAILABILITY = "availability"
    """Whether the node renders now: its hours, its user, what else the machine does."""
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened: a sentence for people and its facts for scripts."""

    kind: NoticeKind
    text: str
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)


Notify = Callable[[Notice], None]
"""Takes a notice in the event loop's thread; must not block."""
