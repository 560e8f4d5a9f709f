"""What the farm keeps in the database: values only, replaced as a whole whenever they change.

The farm's memory is rebuilt from these at start (`Farm.restore`). Times are seconds since 1970 as
given to `Farm.apply`, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...protocol.job import JobSpec
from ...protocol.machine import Machine
from ...protocol.messages import FrameFile, FrameStats
from ...protocol.node_settings import NOTHING_SET, PLAIN, FarmSettings, NodeSettings
from ...protocol.states import FrameState, JobState

FIRST_GENERATION = 1
"""Generation of a frame that was never rendered anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePenalty:
    """What a job holds against a node."""

    node: str
    until: float
    """It is avoided until then; 0 while too little has happened for that."""
    reason: str
    """One sentence."""
    too_small: bool = False
    """The node ran out of memory: it gets nothing of this job, even when no other node is left,
    until somebody forgives it or its machine has more."""
    memory_bytes: int = 0
    """Memory of the machine that was too small."""
    frames: tuple[int, ...] = ()
    """Frames of the job that failed there and count towards the next time it is avoided; of one
    that is too small, those that ran out of memory."""

    def keeps_away(self, now: float) -> bool:
        """Whether the job avoids the node now."""
        return self.too_small or self.until > now


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job. Key: ``id``."""

    id: str
    number: int
    """Grows with every submission: the order of first come, first served."""
    spec: JobSpec
    manifest: str
    scene_bytes: int
    scene_files: int
    state: JobState
    paused: bool
    priority: int
    generation: int
    """Newest generation of any frame of the job; raised when done frames are rendered anew."""
    untouched: FrameState
    """State of every frame that has no `FrameRecord`: ``waiting`` or ``cancelled``. So a job of
    100,000 frames is submitted, and cancelled, by writing one row."""
    scouts_approved: bool
    created: float
    started: float | None = None
    ended: float | None = None
    problem: str = ""
    """The last failure, one sentence; '' when there was none."""
    assembly_failed: bool = False
    """It failed although every frame is done."""
    penalties: tuple[NodePenalty, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The right of one process of a node to render one frame."""

    node: str
    incarnation: str
    epoch: int
    granted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRecord:
    """The files of a finished frame. At most one for each generation of a frame."""

    generation: int
    epoch: int
    node: str
    finished: float
    files: tuple[FrameFile, ...]
    stats: FrameStats
    thumbnail: str = ""
    warnings: tuple[str, ...] = ()
    preview: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """A frame that something has happened to. Key: ``job``, ``frame``.

    A frame of a job that has no record is in `JobRecord.untouched`, at `FIRST_GENERATION`.
    """

    job: str
    frame: int
    state: FrameState
    generation: int = FIRST_GENERATION
    """A result counts when it names this generation."""
    leases: tuple[LeaseRecord, ...] = ()
    result: ResultRecord | None = None
    """Of this generation when ``state`` is done. A frame that is being rendered anew keeps its
    former result until the new one is there, and goes back to it when the job is cancelled."""
    failed_on: tuple[str, ...] = ()
    """Ids of the distinct nodes that failed it since it was last opened."""
    failures: int = 0
    """Attempts that count against the frame since it was last opened."""
    losses: int = 0
    """Nodes lost while they rendered it, since it was last opened."""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllDone:
    """The frames of a job that is done, all of them, in sum: enough to list it. The film aside."""

    job: str
    frames: int
    seconds: float
    """That they took."""
    newest_thumbnail: int | None
    """The last frame that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One try at a frame that is over. Key: ``job``, ``frame``, ``epoch``.

    Tries in progress are not stored: they are the leases of the frame.
    """

    job: str
    frame: int
    epoch: int
    generation: int
    node: str
    node_name: str
    started: float
    ended: float
    outcome: str
    """As `views.AttemptView.outcome`."""
    reason: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node the farm has met. Key: ``id``."""

    id: str
    name: str
    incarnation: str
    software: str
    machine: Machine
    """With the tags that hold for it, whoever set them."""
    drained: bool = False
    disabled: bool = False
    last_seen: float = 0.0
    frames_done: int = 0
    settings: NodeSettings = PLAIN
    """What it was started with, as it said last."""
    farm_settings: FarmSettings = NOTHING_SET
    """What an administrator has set for it here; goes before its own."""
