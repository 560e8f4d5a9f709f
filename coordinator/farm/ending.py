"""When a job ends, and what hangs on it."""

from __future__ import annotations

from ...protocol.messages import ForgetJob
from ...protocol.states import JOB_ENDED, FrameState, JobState
from .jobs import Job
from .state import FarmState

_SETTLED = (JobState.DONE, JobState.CANCELLED)
"""States in which the frames no longer decide."""


def conclude(state: FarmState, job: Job) -> None:
    """Move a job to where its frames say it is."""
    record, table = job.record, job.table
    if record.state is JobState.ASSEMBLING:
        _conclude_film(state, job)
        return
    if job.open_frames() or record.state in _SETTLED:
        return
    if table.is_complete:
        _finish(state, job)
        return
    wanted = JobState.FAILED if table.count(FrameState.FAILED) else JobState.CANCELLED
    if record.state is not wanted:
        end(state, job, wanted)


def _finish(state: FarmState, job: Job) -> None:
    """Every frame is done."""
    record, table = job.record, job.table
    film = None if table.film is None else table.state(table.film)
    if film in (FrameState.FAILED, FrameState.CANCELLED) and record.state in JOB_ENDED:
        return
    # A job that had failed gets here when the last missing result reaches it late.
    for step in _steps(record.state):
        state.change_job(job, state=step)
    if film is None:
        end(state, job, JobState.DONE)
        return
    if job.group is None:
        state.join_group(job)
    state.change_job(job, state=JobState.ASSEMBLING, ended=None)
    _conclude_film(state, job)


def _conclude_film(state: FarmState, job: Job) -> None:
    """Every frame is done: the film decides."""
    assert job.table.film is not None
    film = job.table.state(job.table.film)
    if film is FrameState.DONE:
        end(state, job, JobState.DONE)
    elif film is FrameState.FAILED:
        state.change_job(job, assembly_failed=True)
        end(state, job, JobState.FAILED)


def _steps(state: JobState) -> tuple[JobState, ...]:
    """Return the moves from a state to rendering."""
    if state is JobState.RENDERING:
        return ()
    if state is JobState.QUEUED:
        return (JobState.RENDERING,)
    return (JobState.QUEUED, JobState.RENDERING)


def end(state: FarmState, job: Job, how: JobState) -> None:
    """The job does nothing more by itself; nodes may drop its scene."""
    state.change_job(job, state=how, ended=state.now, paused=False)
    if how is JobState.DONE:
        state.change_job(job, problem="")
    if job.group is not None:
        state.leave_group(job)
    for node_id in sorted(job.told):
        node = state.nodes[node_id]
        node.told.discard(job.id)
        state.outcome.send(node, ForgetJob(job=job.id))
    job.told.clear()
    update_dependents(state, job)


def open_again(state: FarmState, job: Job) -> None:
    """Some frames of an ended job wait again."""
    state.change_job(job, state=JobState.QUEUED, ended=None, problem="")
    state.join_group(job)
    update_dependents(state, job)


def update_dependents(state: FarmState, job: Job) -> None:
    """Hold back or let go the jobs that wait for this one."""
    is_done = job.record.state is JobState.DONE
    for other_id in sorted(state.dependents.get(job.id, ())):
        other = state.jobs[other_id]
        before = bool(other.waits_for)
        if is_done:
            other.waits_for.discard(job.id)
        else:
            other.waits_for.add(job.id)
        if before != bool(other.waits_for):
            state.fresh[other_id] = None
            state.outcome.show_job(other)
