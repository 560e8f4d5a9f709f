"""Everything the farm knows, with the indexes that keep each event cheap.

Only the modules of this package change it, and only while `Farm.apply` handles an event.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import replace
from enum import Enum

from ...protocol.states import JOB_MOVES, FrameState, JobState
from .config import FarmConfig
from .jobs import Job
from .leases import Lease
from .matching import fits_memory, mismatch, shared_requirements
from .nodes import Group, Node
from .outcome import Outcome
from .records import FrameRecord
from .shares import Shares


class Timer(Enum):
    """What is to be looked at when a time has come. Looking too early or twice does no harm."""

    SILENCE = "silence"
    """Key: node. It may have been silent for too long."""
    REST = "rest"
    """Key: node. Its rest is over."""
    LEASES = "leases"
    """Key: node. A frame of it may take too long, or not begin."""
    FORGIVE = "forgive"
    """Key: job. A node it avoids may be forgiven."""
    COPIES = "copies"
    """Key: ''. Idle nodes may take over from others."""


class FarmState:
    """The farm's memory."""

    def __init__(self, config: FarmConfig) -> None:
        self.config = config
        self.now = 0.0
        self.jobs: dict[str, Job] = {}
        """By id, in the order of their numbers."""
        self.ids: dict[int, str] = {}
        """Number -> id."""
        self.numbers: list[int] = []
        """Of all jobs, ascending."""
        self.nodes: dict[str, Node] = {}
        self.leases: dict[int, Lease] = {}
        """Every lease of the farm by epoch."""
        self.groups: dict[object, Group] = {}
        """By the requirements shared."""
        self.shares = Shares()
        self.dependents: dict[str, set[str]] = {}
        """Job -> jobs that name it in ``depends_on``."""
        self.idle: dict[str, Node] = {}
        """Nodes that take work and have none."""
        self.ahead: dict[int, dict[int, Lease]] = {}
        """Priority -> epoch -> leases that wait behind another one on their node. No empty ones."""
        self.retrying: dict[str, None] = {}
        """Open jobs with frames that wait for another try."""
        self.penalised: dict[str, None] = {}
        """Open jobs that keep away from a node."""
        self.scene_nodes: dict[str, dict[str, None]] = {}
        """Manifest -> connected nodes that hold its files."""
        self.next_epoch = 1
        self.first_new_epoch = 1
        """Leases from here on were given out by the event being handled."""
        self.epoch_ceiling = 1
        """Epochs below this are reserved in the database."""
        self.online = 0
        self.rendering = 0
        """Nodes that hold a lease."""
        self.jobs_open = 0
        self.frames_waiting = 0
        """Waiting frames of jobs that have not ended."""
        self.nodes_version = 0
        """Raised when any node comes, goes or changes what it can do."""
        self.hungry: dict[str, None] = {}
        """Nodes to look for work for."""
        self.fresh: dict[str, None] = {}
        """Jobs that may have become ready, full, or ended."""
        self.copies_due: float | None = None
        self.copies_pause = config.copy_interval_seconds
        self.copies_last = 0.0
        self._timers: list[tuple[float, int, Timer, str]] = []
        self._timer_number = 0
        self.outcome = Outcome(self.jobs)

    # --- time ----------------------------------------------------------------------------------

    def wake(self, when: float, timer: Timer, key: str) -> None:
        """Look at something at a time."""
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer, key))

    def next_timer(self) -> float | None:
        """Return when the next timer is due."""
        return self._timers[0][0] if self._timers else None

    def due(self) -> tuple[Timer, str] | None:
        """Take out the next timer that is due now."""
        if self._timers and self._timers[0][0] <= self.now:
            _, _, timer, key = heapq.heappop(self._timers)
            return timer, key
        return None

    def take_epoch(self) -> int:
        """Return a number that was never used before, and never will be again."""
        if self.next_epoch >= self.epoch_ceiling:
            self.epoch_ceiling = self.next_epoch + self.config.epoch_block
            self.outcome.ceiling = self.epoch_ceiling
        epoch = self.next_epoch
        self.next_epoch += 1
        return epoch

    # --- jobs ----------------------------------------------------------------------------------

    def change_job(self, job: Job, **changes: object) -> None:
        """Replace fields of a job's record. Raises `AssertionError` for a move that is none."""
        before = job.record.state
        job.record = replace(job.record, **changes)  # type: ignore[arg-type]
        after = job.record.state
        if after is not before:
            assert after in JOB_MOVES[before], f"job {job.id}: {before.value} -> {after.value}"
        self.outcome.save_job(job)
        self.fresh[job.id] = None

    def change_frame(self, job: Job, position: int, **changes: object) -> FrameRecord:
        """Replace fields of a frame's record; its leases are filled in."""
        leases = tuple(lease.record for lease in job.leases_at.get(position, ()))
        record = replace(job.table.record(position), leases=leases, **changes)  # type: ignore[arg-type]
        before = job.table.count(FrameState.WAITING)
        job.table.store(position, record)
        if job.group is not None:
            self.frames_waiting += job.table.count(FrameState.WAITING) - before
        self.outcome.save_frame(job, position)
        self.fresh[job.id] = None
        return record

    def add_job(self, job: Job) -> None:
        """Take in a job, new or restored."""
        record = job.record
        self.jobs[job.id] = job
        self.ids[record.number] = job.id
        self.numbers.append(record.number)
        for other in record.spec.depends_on:
            self.dependents.setdefault(other, set()).add(job.id)
        if not job.has_ended:
            self.join_group(job)
        self.fresh[job.id] = None

    def join_group(self, job: Job) -> None:
        """A job opens: it stands with those of the same requirements."""
        requires = shared_requirements(job.record.spec.requires)
        group = self.groups.get(requires)
        if group is None:
            group = Group(requires)
            self.groups[requires] = group
            for node in self.nodes.values():
                if node.connected:
                    self._match(node, group)
        group.open_jobs += 1
        job.group = group
        self.jobs_open += 1
        self.frames_waiting += job.table.count(FrameState.WAITING)

    def leave_group(self, job: Job) -> None:
        """A job has ended."""
        group = job.group
        assert group is not None
        self.unqueue(job)
        group.open_jobs -= 1
        job.group = None
        self.jobs_open -= 1
        self.frames_waiting -= job.table.count(FrameState.WAITING)
        if not group.open_jobs:
            del self.groups[group.requires]
            for node in group.nodes.values():
                node.groups.remove(group)

    def queue(self, job: Job) -> None:
        """Put a job where nodes look for work, or take it from there, as its state asks for."""
        group = job.group
        _mark(self.retrying, job.id, group is not None and job.table.has_retries())
        _mark(self.penalised, job.id, group is not None and bool(job.record.penalties))
        if group is None:
            return
        wanted: tuple[int, str] | None = None
        if job.may_start_frames and not job.is_full and job.has_frames():
            wanted = (job.record.priority, job.record.spec.submitter)
        if wanted != job.queued_as:
            self.unqueue(job)
            if wanted is not None:
                group.add_ready(*wanted, job.record.number)
                self.shares.queue(*wanted, self.now)
                job.queued_as = wanted

    def regroup(self, job: Job) -> None:
        """What a job requires of nodes has changed."""
        if job.group is not None:
            self.leave_group(job)
            self.join_group(job)
            self.fresh[job.id] = None

    def unqueue(self, job: Job) -> None:
        """Take a job from where nodes look for work."""
        if job.queued_as is not None and job.group is not None:
            job.group.remove_ready(*job.queued_as, job.record.number)
            self.shares.unqueue(*job.queued_as)
            job.queued_as = None

    def remove_job(self, job: Job) -> None:
        """Forget an ended job."""
        number = job.record.number
        del self.numbers[bisect_left(self.numbers, number)]
        del self.ids[number]
        del self.jobs[job.id]
        for index in (self.fresh, self.retrying, self.penalised):
            index.pop(job.id, None)
        for other in job.record.spec.depends_on:
            waiting = self.dependents.get(other)
            if waiting is not None:
                waiting.discard(job.id)
                if not waiting:
                    del self.dependents[other]
        self.dependents.pop(job.id, None)

    def is_done(self, job: str) -> bool:
        """Whether a job that others wait for is done; one that was removed had been."""
        found = self.jobs.get(job)
        return found is None or found.record.state is JobState.DONE

    # --- nodes ---------------------------------------------------------------------------------

    def match_node(self, node: Node) -> None:
        """Find the groups of a node anew."""
        self.unmatch_node(node)
        for group in self.groups.values():
            self._match(node, group)
        self.nodes_version += 1
        self.place(node)

    def unmatch_node(self, node: Node) -> None:
        """Take a node out of its groups."""
        for group in node.groups:
            for members in (group.nodes, group.idle, group.spare):
                members.pop(node.id, None)
        node.groups.clear()
        self.idle.pop(node.id, None)
        self.nodes_version += 1

    def _match(self, node: Node, group: Group) -> None:
        if mismatch(group.requires, node.id, node.record.machine) is None:
            group.nodes[node.id] = node
            node.groups.append(group)
            self._place_in(node, group, node.takes_work(self.now))

    def _place_in(self, node: Node, group: Group, takes_work: bool) -> None:
        held = len(node.leases)
        if takes_work and held == 0:
            group.idle[node.id] = node
        else:
            group.idle.pop(node.id, None)
        if takes_work and held < self.config.frames_per_node:
            group.spare[node.id] = node
        else:
            group.spare.pop(node.id, None)

    def place(self, node: Node) -> None:
        """Note how much work a node can take, after anything that changes it."""
        takes_work = node.takes_work(self.now)
        for group in node.groups:
            self._place_in(node, group, takes_work)
        if takes_work and not node.leases:
            self.idle[node.id] = node
        else:
            self.idle.pop(node.id, None)
        if takes_work:
            self.hungry[node.id] = None

    def usable(self, job: Job) -> list[Node]:
        """Return the connected nodes that could render a job, busy or not."""
        if job.group is None:
            return []
        too_small = {penalty.node for penalty in job.record.penalties if penalty.too_small}
        requires = job.record.spec.requires
        return [
            node
            for node in job.group.nodes.values()
            if node.is_enabled
            and node.id not in too_small
            and fits_memory(requires, node.record.machine)
        ]

    def wanted(self, job: Job) -> list[Node]:
        """Return those of the `usable` nodes that the job does not avoid; all if it avoids all."""
        usable = self.usable(job)
        avoided = {one.node for one in job.record.penalties if one.keeps_away(self.now)}
        return [node for node in usable if node.id not in avoided] or usable

    def look_at_choosy_jobs(self, node: Node) -> None:
        """When a node goes, what only it was good enough for may fall to others."""
        for job_id in (*self.retrying, *self.penalised):
            if self.jobs[job_id].group in node.groups:
                self.fresh[job_id] = None

    # --- leases waiting behind others ------------------------------------------------------------

    def note_ahead(self, node: Node) -> None:
        """Note which leases of a node wait behind another one."""
        for index, lease in enumerate(node.leases.values()):
            priority = self.jobs[lease.job].record.priority
            if index and lease.started is None:
                self.ahead.setdefault(priority, {})[lease.epoch] = lease
            else:
                self.forget_ahead(lease, priority)

    def forget_ahead(self, lease: Lease, priority: int) -> None:
        """A lease no longer waits behind another one."""
        waiting = self.ahead.get(priority)
        if waiting is not None and waiting.pop(lease.epoch, None) and not waiting:
            del self.ahead[priority]


def _mark(index: dict[str, None], key: str, is_in: bool) -> None:
    if is_in:
        index[key] = None
    else:
        index.pop(key, None)
