"""A job as the farm holds it: its record, its frames, its leases, what it learned."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...protocol.frames import frame_sequence
from ...protocol.states import JOB_ENDED, FrameState, JobState
from .failures import Breaker
from .frames import FrameTable, scout_positions
from .leases import Lease
from .nodes import Group
from .records import JobRecord, NodePenalty
from .speeds import JobSpeeds


@dataclass(slots=True, eq=False)
class Job:
    """One job. Made by `open_job`."""

    record: JobRecord
    table: FrameTable
    speeds: JobSpeeds
    group: Group | None = None
    """Set while the job has not ended."""
    leases: dict[int, Lease] = field(default_factory=dict)
    """Epoch -> lease."""
    leases_at: dict[int, list[Lease]] = field(default_factory=dict)
    """Position -> leases of that frame; at most two (the second is a copy)."""
    working: dict[str, int] = field(default_factory=dict)
    """Node -> how many leases of this job it holds."""
    told: set[str] = field(default_factory=set)
    """Nodes that have the spec on their present connection."""
    queued_as: tuple[int, str] | None = None
    """Priority and submitter under which it stands in its group's queue; None when it does not."""
    waits_for: set[str] = field(default_factory=set)
    """Jobs that must be done first and are not."""
    breaker: Breaker = field(default_factory=Breaker)
    outdated: set[str] = field(default_factory=set)
    """Nodes that were told the spec before it changed in a way that concerns them."""
    tolerated: int = 0
    """Nodes that worked on it when its most nodes were lowered, as long as they still do."""
    newest_thumbnail: int | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id

    @property
    def has_ended(self) -> bool:
        """Whether it does nothing more by itself."""
        return self.record.state in JOB_ENDED

    @property
    def is_full(self) -> bool:
        """Whether as many nodes work on it as it allows."""
        most = self.record.spec.max_nodes
        return 0 < most <= len(self.working)

    def has_place_for(self, node: str) -> bool:
        """Whether one frame more on a node keeps to its most nodes.

        While more than that work on it, for the number was lowered, none of them gets another.
        """
        most = self.record.spec.max_nodes
        working = len(self.working)
        return most == 0 or working < most or (working == most and node in self.working)

    def penalty(self, node: str) -> NodePenalty | None:
        """Return what it holds against a node."""
        return next((one for one in self.record.penalties if one.node == node), None)

    @property
    def is_queued(self) -> bool:
        """Whether nodes find it when they look for work."""
        return self.queued_as is not None

    @property
    def may_start_frames(self) -> bool:
        """Whether frames of it may be handed out, if there are any."""
        return (
            self.record.state in (JobState.QUEUED, JobState.RENDERING, JobState.ASSEMBLING)
            and not self.record.paused
            and not self.waits_for
        )

    def has_frames(self) -> bool:
        """Whether a frame (or the film) waits that may be handed out."""
        return self.table.has_fresh() or self.table.has_retries()

    def open_frames(self) -> int:
        """Return how many frames wait or are leased; the film is none."""
        return self.table.count(FrameState.WAITING) + self.table.count(FrameState.LEASED)


def open_job(record: JobRecord) -> Job:
    """Return a job with all its frames untouched.

    Raises `protocol.frames.FrameRangeError` for a frame range that cannot be read.
    """
    spec = record.spec
    frames = frame_sequence(spec.frames)
    table = FrameTable(record.id, frames, spec.order, record.untouched, spec.film is not None)
    if spec.scouts and not record.scouts_approved:
        table.hold(scout_positions(len(frames)))
    return Job(record=record, table=table, speeds=JobSpeeds(len(frames)))
