"""The states of jobs, frames and nodes, and the moves between them that are allowed."""

from __future__ import annotations

from enum import Enum


class JobState(str, Enum):
    """Where a job stands. ``paused`` is a flag of the job, not a state."""

    QUEUED = "queued"
    """Accepted and durable; no frame has been leased yet."""
    RENDERING = "rendering"
    """At least one frame has been leased, and some are still open."""
    ASSEMBLING = "assembling"
    """Every frame is done; slices or a film are being put together."""
    DONE = "done"
    """Every frame is done and every assembly finished."""
    FAILED = "failed"
    """No frame is open any more and at least one failed for good; the good ones are kept."""
    CANCELLED = "cancelled"
    """Stopped by a person; finished frames are kept."""


class FrameState(str, Enum):
    """Where one frame of a job stands."""

    WAITING = "waiting"
    """To be rendered; no node holds it."""
    LEASED = "leased"
    """At least one node has the right to render it."""
    DONE = "done"
    """Its files are verified and durable on the coordinator."""
    FAILED = "failed"
    """Set aside after failing on several distinct nodes; a retry makes it wait again."""
    CANCELLED = "cancelled"
    """Was open when its job was cancelled."""


class NodeState(str, Enum):
    """What a node is doing, as the coordinator sees it."""

    JOINING = "joining"
    """Connected, still probing its machine."""
    IDLE = "idle"
    """Ready for frames."""
    RENDERING = "rendering"
    """Holds at least one lease."""
    UNAVAILABLE = "unavailable"
    """Connected, and takes nothing now: its user is there, or it is outside its hours."""
    DRAINING = "draining"
    """Finishes what it holds and takes nothing new."""
    DISABLED = "disabled"
    """Connected, and told to take nothing."""
    OFFLINE = "offline"
    """Not connected."""


class WaitingKind(str, Enum):
    """Why nothing of a job is rendered although frames wait, and whose turn it is."""

    NOTHING = ""
    """Nothing waits, or something is rendered."""
    PAUSED = "paused"
    """Somebody has paused it."""
    JOB = "job"
    """Another job comes first and goes on by itself."""
    LOST_JOB = "lost-job"
    """Another job comes first and has failed or was cancelled: a person must decide."""
    SCOUTS = "scouts"
    """Its scout frames are rendered and wait for somebody's approval."""
    TURN = "turn"
    """Nodes that could render it are at work; it is rendered as soon as one is free."""
    NO_NODE = "no-node"
    """No node renders it as things are; something on the farm or on the job must change."""


JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RENDERING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RENDERING: frozenset(
        {JobState.ASSEMBLING, JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}
    ),
    JobState.ASSEMBLING: frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    # A retry opens frames again, whatever way the job had ended.
    JobState.DONE: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

FRAME_MOVES: dict[FrameState, frozenset[FrameState]] = {
    FrameState.WAITING: frozenset(
        {FrameState.LEASED, FrameState.DONE, FrameState.FAILED, FrameState.CANCELLED}
    ),
    FrameState.LEASED: frozenset(
        {FrameState.WAITING, FrameState.DONE, FrameState.FAILED, FrameState.CANCELLED}
    ),
    FrameState.DONE: frozenset({FrameState.WAITING}),
    FrameState.FAILED: frozenset({FrameState.WAITING, FrameState.DONE, FrameState.CANCELLED}),
    FrameState.CANCELLED: frozenset({FrameState.WAITING}),
}

JOB_ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
"""States in which a job does nothing more by itself."""

FRAME_OPEN = frozenset({FrameState.WAITING, FrameState.LEASED})
"""States in which a frame still accepts a result."""
