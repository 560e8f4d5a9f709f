"""The farm as people see it. Nothing here changes anything."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from ...protocol.job import JobSpec
from ...protocol.node_settings import effective
from ...protocol.states import FrameState, JobState, NodeState
from ...protocol.views import (
    AttemptView,
    AvoidedNode,
    FilmView,
    FrameCounts,
    FramePage,
    FrameView,
    JobPage,
    JobView,
    NodePage,
    NodeView,
)
from .jobs import Job
from .leases import Lease
from .leasing import expected_seconds
from .nodes import Node
from .records import AttemptRecord, ResultRecord
from .speeds import PARTS
from .state import FarmState
from .waiting import WaitingReasons, idle_because

_WORKING_SHOWN = 1000
"""Most node ids in a job's view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmCounts:
    """The farm in five numbers."""

    nodes_online: int
    nodes_rendering: int
    jobs_open: int
    frames_waiting: int
    """Of jobs that have not ended."""
    frames_leased: int
    """Leases, copies included."""


class FarmViews:
    """The read side of the farm."""

    def __init__(self, state: FarmState) -> None:
        self.state = state
        """Read by `validate`; changed by `Farm` alone."""
        self._waiting = WaitingReasons(state)

    def counts(self) -> FarmCounts:
        """Return the farm in five numbers."""
        state = self.state
        return FarmCounts(
            nodes_online=state.online,
            nodes_rendering=state.rendering,
            jobs_open=state.jobs_open,
            frames_waiting=state.frames_waiting,
            frames_leased=len(state.leases),
        )

    # --- what makes a change urgent --------------------------------------------------------------

    def job_state(self, job_id: str) -> tuple[JobState, bool] | None:
        """Return a job's state and whether it is paused; None where there is none."""
        job = self.state.jobs.get(job_id)
        return None if job is None else (job.record.state, job.record.paused)

    def frame_count(self, job_id: str) -> int:
        """Return how many frames a job has; 0 where there is none."""
        job = self.state.jobs.get(job_id)
        return 0 if job is None else len(job.table)

    def ended_jobs(self) -> list[str]:
        """Return the jobs that have ended, the oldest first."""
        return [job.id for job in self.state.jobs.values() if job.has_ended]

    def frame_state(self, job_id: str, frame: int) -> tuple[FrameState, int] | None:
        """Return a frame's state and generation; None where there is none."""
        job = self.state.jobs.get(job_id)
        position = None if job is None else job.table.position(frame)
        if job is None or position is None:
            return None
        if job.table.is_shed:
            return None
        record = job.table.record(position)
        return record.state, record.generation

    def node_state(self, node_id: str) -> NodeState | None:
        """Return a node's state; None where there is none."""
        node = self.state.nodes.get(node_id)
        return None if node is None else node.state()

    # --- jobs ----------------------------------------------------------------------------------

    def job_ids(self) -> tuple[str, ...]:
        """Return the ids of all jobs, oldest first."""
        return tuple(self.state.jobs)

    def spec(self, job_id: str) -> JobSpec | None:
        """Return what was submitted."""
        job = self.state.jobs.get(job_id)
        return None if job is None else job.record.spec

    def manifest(self, job_id: str) -> str | None:
        """Return the hash of a job's manifest."""
        job = self.state.jobs.get(job_id)
        return None if job is None else job.record.manifest

    def result(self, job_id: str, frame: int) -> ResultRecord | None:
        """Return the stored result of a frame that is done; None otherwise."""
        job = self.state.jobs.get(job_id)
        position = None if job is None else job.table.position(frame)
        if job is None or position is None:
            return None
        if job.table.state(position) is not FrameState.DONE:
            return None
        return job.table.record(position).result

    def job_view(self, job_id: str, now: float) -> JobView | None:
        """Return a job as listed; None where there is none."""
        job = self.state.jobs.get(job_id)
        return None if job is None else self._job_view(job, now)

    def jobs(
        self,
        now: float,
        *,
        state: JobState | None = None,
        submitter: str = "",
        limit: int = 100,
        after: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first, beginning behind the job ``after``.

        A job ``after`` that was removed meanwhile ends the list.
        """
        farm = self.state
        end = len(farm.numbers)
        if after is not None:
            job = farm.jobs.get(after)
            end = 0 if job is None else bisect_left(farm.numbers, job.record.number)
        found: list[JobView] = []
        for index in range(end - 1, -1, -1):
            job = farm.jobs[farm.ids[farm.numbers[index]]]
            if state is not None and job.record.state is not state:
                continue
            if submitter and job.record.spec.submitter != submitter:
                continue
            if len(found) == limit:
                return JobPage(jobs=tuple(found), next=found[-1].id if found else None)
            found.append(self._job_view(job, now))
        return JobPage(jobs=tuple(found), next=None)

    def _job_view(self, job: Job, now: float) -> JobView:
        record, table = job.record, job.table
        eta, low, high = self._eta(job, now)
        nodes = list(job.working)[:_WORKING_SHOWN]
        waiting = self._waiting.why(job)
        return JobView(
            id=record.id,
            name=record.spec.name,
            submitter=record.spec.submitter,
            state=record.state,
            paused=record.paused,
            priority=record.priority,
            frames=record.spec.frames,
            counts=FrameCounts(
                waiting=table.count(FrameState.WAITING),
                leased=table.count(FrameState.LEASED),
                done=table.count(FrameState.DONE),
                failed=table.count(FrameState.FAILED),
                cancelled=table.count(FrameState.CANCELLED),
            ),
            created=record.created,
            started=record.started,
            ended=record.ended,
            eta_seconds=eta,
            eta_low_seconds=low,
            eta_high_seconds=high,
            mean_frame_seconds=job.speeds.mean_seconds,
            nodes=tuple(nodes),
            waiting_because=waiting.sentence,
            waiting_kind=waiting.kind,
            problem=record.problem,
            thumbnail_frame=_pictured(job),
            generation=record.generation,
            manifest=record.manifest,
            scene_bytes=record.scene_bytes,
            scene_files=record.scene_files,
            film=_film_view(job),
            avoids=self._avoids(job, now),
        )

    def _avoids(self, job: Job, now: float) -> tuple[AvoidedNode, ...]:
        return tuple(
            AvoidedNode(
                node=one.node,
                name=self.state.nodes[one.node].record.name,
                until=None if one.too_small else one.until,
                reason=one.reason,
            )
            for one in job.record.penalties
            if one.keeps_away(now)
        )

    def _eta(self, job: Job, now: float) -> tuple[float | None, float | None, float | None]:
        """Return seconds until the last frame is done, with a range; None where unknown.

        The work left of all parts of the range, over the speed of the nodes that work on it now;
        not less than what the slowest frame in progress still needs.
        """
        if job.has_ended or job.record.paused or not job.leases or not job.speeds.done:
            return None, None, None
        state, table, speeds = self.state, job.table, job.speeds
        work = 0.0
        left = table.count(FrameState.WAITING)
        if left:
            code = table.states  # counted in C, part by part
            for part in range(PARTS):
                start, end = speeds.part_range(part)
                waiting = code.count(0, start, end)
                if waiting:
                    work += waiting * (speeds.work(part) or 0.0)
        slowest = 0.0
        pace = 0.0
        for node_id in job.working:
            node = state.nodes[node_id]
            requires = job.record.spec.requires
            pace += 1 / speeds.slowness(node_id, node.slowness(requires.engine, requires.device))
        for lease in job.leases.values():
            node = state.nodes[lease.node]
            seconds = lease.time_left(expected_seconds(job, node, lease.position), now) or 0.0
            slowest = max(slowest, seconds)
            slowness = speeds.slowness(node.id)
            work += seconds / slowness
        eta = max(work / pace, slowest)
        factor = speeds.range_factor(left + len(job.leases))
        return eta, eta / factor, eta * factor

    # --- frames --------------------------------------------------------------------------------

    def frame_view(self, job_id: str, frame: int) -> FrameView | None:
        """Return a frame as listed; None where there is none."""
        job = self.state.jobs.get(job_id)
        position = None if job is None else job.table.position(frame)
        return None if job is None or position is None else _frame_view(job, position)

    def frames(
        self,
        job_id: str,
        *,
        state: FrameState | None = None,
        after: int | None = None,
        limit: int = 500,
    ) -> FramePage | None:
        """Return a page of a job's frames in ascending order, beginning behind frame ``after``."""
        job = self.state.jobs.get(job_id)
        if job is None:
            return None
        table = job.table
        start = 0 if after is None else table.position_from(after + 1)
        positions: Iterator[int] = (
            iter(range(start, len(table))) if state is None else table.positions(state, start)
        )
        found: list[FrameView] = []
        for position in positions:
            if len(found) == limit:
                return FramePage(frames=tuple(found), next=found[-1].frame if found else None)
            found.append(_frame_view(job, position))
        return FramePage(frames=tuple(found), next=None)

    def running(self, job_id: str, frame: int) -> tuple[AttemptView, ...]:
        """Return the tries at a frame that are in progress, in no order.

        Those that are over are not kept in memory: see `attempt_view`.
        """
        job = self.state.jobs.get(job_id)
        position = None if job is None else job.table.position(frame)
        if job is None or position is None:
            return ()
        return tuple(self._running(lease) for lease in job.leases_at.get(position, ()))

    def leases(self, job_id: str) -> Iterator[Lease]:
        """Yield the tries of a job that are in progress, oldest first; not to be changed."""
        job = self.state.jobs.get(job_id)
        if job is not None:
            yield from sorted(job.leases.values(), key=lambda lease: lease.epoch)

    def node_name(self, node_id: str) -> str:
        """Return the name of a node; its id where it is not known."""
        node = self.state.nodes.get(node_id)
        return node_id if node is None else node.record.name

    def _running(self, lease: Lease) -> AttemptView:
        return AttemptView(
            node=lease.node,
            node_name=self.state.nodes[lease.node].record.name,
            epoch=lease.epoch,
            started=lease.granted if lease.started is None else lease.started,
            ended=None,
            outcome="rendering",
            reason=lease.preparing,
        )

    # --- nodes ---------------------------------------------------------------------------------

    def node_view(self, node_id: str, now: float) -> NodeView | None:
        """Return a node as listed; None where there is none."""
        node = self.state.nodes.get(node_id)
        return None if node is None else _node_view(node, now)

    def nodes(self, now: float) -> NodePage:
        """Return all nodes the farm has met, by name."""
        ordered = sorted(self.state.nodes.values(), key=lambda node: (node.record.name, node.id))
        return NodePage(nodes=tuple(_node_view(node, now) for node in ordered))


def attempt_view(one: AttemptRecord) -> AttemptView:
    """Return a try that is over as it is shown."""
    return AttemptView(
        node=one.node,
        node_name=one.node_name,
        epoch=one.epoch,
        started=one.started,
        ended=one.ended,
        outcome=one.outcome,
        reason=one.reason,
        log=one.log,
    )


def _frame_view(job: Job, position: int) -> FrameView:
    record = job.table.record(position)
    is_done = record.state is FrameState.DONE
    result = record.result if is_done else None
    leases = job.leases_at.get(position, ())
    lease = max(leases, key=lambda one: one.fraction, default=None)
    node = result.node if result is not None else (lease.node if lease is not None else "")
    progress, text = (1.0, "") if is_done else (0.0, "")
    if lease is not None:
        progress, text = lease.fraction, lease.text or lease.preparing
    return FrameView(
        frame=record.frame,
        state=record.state,
        generation=record.generation,
        node=node,
        progress=progress,
        progress_text=text,
        stats=None if result is None else result.stats,
        files=() if result is None else result.files,
        thumbnail="" if result is None else result.thumbnail,
        failures=record.failures,
        problem=record.problem,
        warnings=() if result is None else result.warnings,
        preview="" if result is None else result.preview,
    )


def _pictured(job: Job) -> int | None:
    """Return the frame whose picture came last, unless it is being rendered anew."""
    newest = job.newest_thumbnail
    position = None if newest is None else job.table.position(newest)
    if position is None or job.table.state(position) is not FrameState.DONE:
        return None
    return newest


def _film_view(job: Job) -> FilmView | None:
    position, film = job.table.film, job.record.spec.film
    if position is None or film is None:
        return None
    seen = _frame_view(job, position)
    file = seen.files[0] if seen.files else None
    problem = seen.problem
    if job.has_ended and not job.table.is_complete:
        missing = len(job.table) - job.table.count(FrameState.DONE)
        noun = "frame is" if missing == 1 else "frames are"
        problem = f"No film was made, for {missing} {noun} missing; retry the job to render them."
    return FilmView(
        name=film.name,
        state=seen.state,
        progress=seen.progress,
        progress_text=seen.progress_text,
        node=seen.node,
        length=0 if file is None else file.length,
        sha256="" if file is None else file.sha256,
        problem=problem,
        warnings=seen.warnings,
    )


def _speed(node: Node) -> float | None:
    """Return how many times faster than average, over all engines by the frames learned from."""
    learned = [one for one in node.speeds.values() if one.frames]
    frames = sum(one.frames for one in learned)
    if not frames:
        return None
    return math.exp(-sum(one.log * one.frames for one in learned) / frames)


def _node_view(node: Node, now: float) -> NodeView:
    head = node.head
    reason = idle_because(node, now)
    if not reason and head is not None and head.started is None:
        reason = head.preparing
    if not reason and head is not None and head.is_film:
        reason = "Encodes the film."
    return NodeView(
        id=node.id,
        name=node.record.name,
        state=node.state(),
        reason=reason,
        machine=node.record.machine,
        software=node.record.software,
        last_seen=node.last_seen,
        load=node.load,
        memory_free_bytes=node.memory_free_bytes,
        disk_free_bytes=node.disk_free_bytes,
        job="" if head is None else head.job,
        frame=None if head is None or head.is_film else head.frame,
        progress=0.0 if head is None else head.fraction,
        frames_done=node.frames_done,
        speed=_speed(node),
        settings=effective(node.record.settings, node.record.farm_settings),
        farm_settings=node.record.farm_settings,
        changes_at=node.changes_at if node.connected else None,
        left_job="" if node.connected or node.left is None else node.left[0],
        left_frame=None if node.connected or node.left is None else node.left[1],
    )
