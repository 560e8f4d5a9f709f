"""What the farm wants done: a closed set, in the order in which it has to happen.

Of the list that `Farm.apply` returns, everything that is stored (`Save...`, `DeleteJob`) goes into
one transaction; only when that is durable are messages sent (in the order given), connections
closed and changes published. So a node hears `FrameAccepted` only for a result
that survives a power cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...protocol.messages import CoordinatorMessage
from .records import AttemptRecord, FrameRecord, JobRecord, NodeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveJob:
    """Insert or replace a job."""

    record: JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFrames:
    """Insert or replace frames; each (job, frame) at most once."""

    records: tuple[FrameRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveAttempt:
    """Insert or replace an attempt that is over."""

    record: AttemptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveNode:
    """Insert or replace a node."""

    record: NodeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveEpochCeiling:
    """Store this number; after a restart epochs continue above it."""

    ceiling: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob:
    """Delete the job, its frames and attempts, and whatever else hangs on its id."""

    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send to this process of the node; dropped without harm when it is not connected."""

    node: str
    incarnation: str
    message: CoordinatorMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """Close the connection of this process of the node."""

    node: str
    incarnation: str
    reason: str


class Changed(str, Enum):
    """What kind of view has changed."""

    JOB = "job"
    FRAME = "frame"
    NODE = "node"
    JOB_REMOVED = "job_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Views that have changed. Publishing may be put together and delayed, not left out."""

    kind: Changed
    job: str = ""
    """Set for every kind but ``node``."""
    frames: tuple[int, ...] = ()
    """Only for ``frame``."""
    node: str = ""
    """Only for ``node``."""


Decision = (
    SaveJob
    | SaveFrames
    | SaveAttempt
    | SaveNode
    | SaveEpochCeiling
    | DeleteJob
    | Send
    | Disconnect
    | Publish
)
