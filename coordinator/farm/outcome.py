"""What one event has led to so far: gathered while it is handled, then put in order."""

from __future__ import annotations

from ...protocol.frames import FILM_FRAME
from ...protocol.messages import Assign, CoordinatorMessage, FrameRef
from .decisions import (
    Changed,
    Decision,
    DeleteJob,
    Disconnect,
    Publish,
    SaveAttempt,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
    SaveNode,
    Send,
)
from .jobs import Job
from .leases import Lease
from .nodes import Node
from .records import AttemptRecord


class Outcome:
    """Each thing is saved once for each event, whatever happened to it in between."""

    def __init__(self, known: dict[str, Job]) -> None:
        self._known = known
        self.ceiling: int | None = None
        self.jobs: dict[str, Job] = {}
        """To be saved."""
        self.frames: dict[str, dict[int, None]] = {}
        """Job -> positions to be saved."""
        self.nodes: dict[str, Node] = {}
        """To be saved."""
        self.attempts: list[AttemptRecord] = []
        self.deleted: list[str] = []
        self.messages: list[Decision] = []
        self.assigned: dict[tuple[str, str], tuple[Node, Job, list[FrameRef]]] = {}
        self.seen_jobs: dict[str, None] = {}
        self.seen_frames: dict[str, dict[int, None]] = {}
        self.seen_nodes: dict[str, None] = {}

    def save_job(self, job: Job) -> None:
        """The job's record changed."""
        self.jobs[job.id] = job
        self.seen_jobs[job.id] = None

    def save_frame(self, job: Job, position: int) -> None:
        """A frame's record changed."""
        self.frames.setdefault(job.id, {})[position] = None
        self.show_frame(job.id, job.table.number(position))
        self.seen_jobs[job.id] = None

    def save_node(self, node: Node) -> None:
        """The node's record changed."""
        self.nodes[node.id] = node
        self.seen_nodes[node.id] = None

    def show_frame(self, job: str, frame: int) -> None:
        """The frame looks different, and nothing is to be stored. A film is shown with its job."""
        if frame == FILM_FRAME:
            self.seen_jobs[job] = None
            return
        self.seen_frames.setdefault(job, {})[frame] = None

    def show_node(self, node: Node) -> None:
        """The node looks different, and nothing is to be stored."""
        self.seen_nodes[node.id] = None

    def show_job(self, job: Job) -> None:
        """The job looks different, and nothing is to be stored."""
        self.seen_jobs[job.id] = None

    def send(self, node: Node, message: CoordinatorMessage) -> None:
        """Send to the present connection of a node, if it has one."""
        if node.connected:
            self.send_to(node.id, node.record.incarnation, message)

    def send_to(self, node: str, incarnation: str, message: CoordinatorMessage) -> None:
        """Send to a process of a node."""
        self.messages.append(Send(node=node, incarnation=incarnation, message=message))

    def disconnect(self, node: str, incarnation: str, reason: str) -> None:
        """Close a connection, after what was sent before."""
        self.messages.append(Disconnect(node=node, incarnation=incarnation, reason=reason))

    def assign(self, node: Node, job: Job, lease: Lease) -> None:
        """Give the node a frame; frames of one job travel in one message."""
        self.assigned.setdefault((node.id, job.id), (node, job, []))[2].append(lease.ref)

    def delete_job(self, job: str) -> None:
        """Forget a job."""
        for changed in (self.jobs, self.frames, self.seen_jobs, self.seen_frames):
            changed.pop(job, None)
        self.deleted.append(job)

    def decisions(self) -> list[Decision]:
        """Return everything in the order in which it has to be done."""
        made: list[Decision] = []
        if self.ceiling is not None:
            made.append(SaveEpochCeiling(ceiling=self.ceiling))
        made.extend(SaveNode(record=node.record) for node in self.nodes.values())
        made.extend(SaveJob(record=job.record) for job in self.jobs.values())
        made.extend(self._saved_frames())
        made.extend(SaveAttempt(record=attempt) for attempt in self.attempts)
        made.extend(DeleteJob(job=job) for job in self.deleted)
        made.extend(self.messages)
        made.extend(self._assignments())
        made.extend(Publish(kind=Changed.JOB_REMOVED, job=job) for job in self.deleted)
        made.extend(Publish(kind=Changed.JOB, job=job) for job in self.seen_jobs)
        for job, frames in self.seen_frames.items():
            made.append(Publish(kind=Changed.FRAME, job=job, frames=tuple(frames)))
        made.extend(Publish(kind=Changed.NODE, node=node) for node in self.seen_nodes)
        return made

    def _saved_frames(self) -> list[Decision]:
        if not self.frames:
            return []
        records = tuple(
            self._known[job].table.records[position]
            for job, positions in self.frames.items()
            for position in positions
        )
        return [SaveFrames(records=records)]

    def _assignments(self) -> list[Decision]:
        made: list[Decision] = []
        for node, job, frames in self.assigned.values():
            is_new = job.id not in node.told or node.id in job.outdated
            job.outdated.discard(node.id)
            node.told.add(job.id)
            job.told.add(node.id)
            message = Assign(
                job=job.id,
                frames=tuple(frames),
                manifest=job.record.manifest,
                spec=job.record.spec if is_new else None,
            )
            made.append(Send(node=node.id, incarnation=node.record.incarnation, message=message))
        return made
