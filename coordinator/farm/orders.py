"""What people ask for: jobs submitted, stopped, tried again; nodes drained and put to work."""

from __future__ import annotations

from ...protocol.frames import FrameRangeError
from ...protocol.job import PRIORITY_MAX, PRIORITY_MIN
from ...protocol.messages import SetDraining
from ...protocol.states import FrameState, JobState
from .attempts import close_frames, forgive_node
from .ending import end, open_again
from .events import FarmRefusal, JobSubmitted, Refusal
from .failures import Breaker
from .jobs import Job, open_job
from .leasing import ask_back, reopen, revoke
from .nodes import Node
from .presence import save_node
from .records import JobRecord
from .state import FarmState


def find_job(state: FarmState, job_id: str) -> Job:
    """Return a job. Raises `FarmRefusal` where there is none."""
    job = state.jobs.get(job_id)
    if job is None:
        raise FarmRefusal(Refusal.UNKNOWN, f"There is no job {job_id}.")
    return job


def find_node(state: FarmState, node_id: str) -> Node:
    """Return a node. Raises `FarmRefusal` where there is none."""
    node = state.nodes.get(node_id)
    if node is None:
        raise FarmRefusal(Refusal.UNKNOWN, f"There is no node {node_id}.")
    return node


def refuse(sentence: str) -> FarmRefusal:
    """Return the refusal of what cannot be done now."""
    return FarmRefusal(Refusal.CONFLICT, sentence)


def submit(state: FarmState, event: JobSubmitted) -> None:
    """Take in a job."""
    spec = event.spec
    if event.job in state.jobs:
        raise refuse(f"There is a job {event.job} already.")
    for other in spec.depends_on:
        if other not in state.jobs:
            raise refuse(f"The job is to wait for job {other}, which does not exist.")
    check_priority(spec.priority)
    record = JobRecord(
        id=event.job,
        number=state.numbers[-1] + 1 if state.numbers else 1,
        spec=spec,
        manifest=event.manifest,
        scene_bytes=event.scene_bytes,
        scene_files=event.scene_files,
        state=JobState.QUEUED,
        paused=False,
        priority=spec.priority,
        generation=1,
        untouched=FrameState.WAITING,
        scouts_approved=False,
        created=state.now,
    )
    try:
        job = open_job(record)
    except FrameRangeError as error:
        raise refuse(str(error)) from error
    job.waits_for = {other for other in spec.depends_on if not state.is_done(other)}
    state.add_job(job)
    state.outcome.save_job(job)


def check_priority(priority: int) -> None:
    """Raise `FarmRefusal` for a priority there is not."""
    if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise refuse(f"A priority lies between {PRIORITY_MIN} and {PRIORITY_MAX}, not {priority}.")


def _check_open(job: Job) -> None:
    if job.has_ended:
        raise refuse(f'The job "{job.record.spec.name}" is {job.record.state.value} already.')


def cancel(state: FarmState, job: Job) -> None:
    """Stop a job; finished frames are kept. Nothing happens to one that is cancelled."""
    if job.record.state is JobState.CANCELLED:
        return
    _check_open(job)
    revoke(state, list(job.leases.values()), "cancelled")
    close_frames(state, job, tried=FrameState.CANCELLED)
    end(state, job, JobState.CANCELLED)


def pause(state: FarmState, job: Job) -> None:
    """Start no more frames of a job."""
    _check_open(job)
    if not job.record.paused:
        state.change_job(job, paused=True)
        ask_back(state, list(job.leases.values()), "paused")


def resume(state: FarmState, job: Job) -> None:
    """Go on with a job."""
    _check_open(job)
    if job.record.paused:
        state.change_job(job, paused=False)


def approve_scouts(state: FarmState, job: Job) -> None:
    """Render what waits behind the scouts."""
    _check_open(job)
    if not job.record.spec.scouts:
        raise refuse("The job has no scout frames to approve.")
    if not job.record.scouts_approved:
        job.table.let_go()
        state.change_job(job, scouts_approved=True)


def reject_scouts(state: FarmState, job: Job) -> None:
    """The rest behind the scouts is not wanted. What is approved is cancelled by its own name."""
    if not job.record.spec.scouts:
        raise refuse("The job has no scout frames to reject; cancel it instead.")
    if job.record.scouts_approved:
        raise refuse("The scout frames were approved before; cancel the job instead.")
    cancel(state, job)


def remove(state: FarmState, job: Job) -> None:
    """Forget an ended job."""
    if not job.has_ended:
        raise refuse(f'The job "{job.record.spec.name}" has not ended; cancel it first.')
    waiting = [
        state.jobs[other].record.spec.name
        for other in sorted(state.dependents.get(job.id, ()))
        if job.id in state.jobs[other].waits_for
    ]
    if waiting:
        # Were it gone, nothing would say any more that it was never done.
        raise refuse(
            f'The job "{waiting[0]}" depends on it, and it is not done; delete that one first, or '
            "retry this one."
        )
    state.remove_job(job)
    state.outcome.delete_job(job.id)


def retry(state: FarmState, job: Job, frames: tuple[int, ...] | None) -> None:
    """Render frames of a job again."""
    if job.record.state is JobState.ASSEMBLING:
        raise refuse("The film is being encoded; wait until that has ended.")
    positions = None if frames is None else _positions(job, frames)
    if positions is None:
        changed = _retry_unfinished(state, job)
    else:
        changed = _retry_chosen(state, job, positions)
    if not changed:
        if positions is not None and not job.has_ended:
            return  # Asked for twice: they wait or are being rendered already.
        raise refuse("There is nothing to render again: no frame has failed or was cancelled.")
    job.breaker = Breaker()
    state.change_job(job, penalties=(), problem="", assembly_failed=False)
    if job.has_ended:
        open_again(state, job)


def _positions(job: Job, frames: tuple[int, ...]) -> list[int]:
    found: list[int] = []
    for frame in sorted(set(frames)):
        position = job.table.position(frame)
        if position is None:
            raise FarmRefusal(Refusal.UNKNOWN, f"The job has no frame {frame}.")
        found.append(position)
    return found


def _retry_unfinished(state: FarmState, job: Job) -> bool:
    table = job.table
    changed = False
    for closed in (FrameState.FAILED, FrameState.CANCELLED):
        for position in list(table.positions(closed)):
            if position in table.records:
                _open(state, job, position)
                changed = True
    if table.untouched is FrameState.CANCELLED:
        before = table.count(FrameState.WAITING)
        table.set_untouched(FrameState.WAITING)
        if job.group is not None:
            state.frames_waiting += table.count(FrameState.WAITING) - before
        state.change_job(job, untouched=FrameState.WAITING)
        changed = True
    film = table.film
    if film is not None and table.state(film) in (FrameState.FAILED, FrameState.CANCELLED):
        _open(state, job, film)
        changed = True
    ended_badly = job.record.state in (JobState.FAILED, JobState.CANCELLED)
    return changed or (table.is_complete and ended_badly)


def _retry_chosen(state: FarmState, job: Job, positions: list[int]) -> bool:
    table = job.table
    changed = False
    generation = job.record.generation
    if any(table.state(position) is FrameState.DONE for position in positions):
        generation += 1
        state.change_job(job, generation=generation)
    for position in positions:
        now = table.state(position)
        if now is FrameState.DONE:
            _open(state, job, position, generation)
            changed = True
        elif now in (FrameState.FAILED, FrameState.CANCELLED):
            _open(state, job, position)
            changed = True
    if changed and table.film is not None:
        # It was made of frames that are no more.
        _open(state, job, table.film, generation)
        state.change_frame(job, table.film, result=None)
    return changed


def _open(state: FarmState, job: Job, position: int, generation: int | None = None) -> None:
    record = job.table.record(position)
    state.change_frame(
        job,
        position,
        state=FrameState.WAITING,
        generation=record.generation if generation is None else generation,
        failed_on=(),
        failures=0,
        losses=0,
        problem="",
    )


def drain(state: FarmState, node: Node) -> None:
    """Let a node finish what it renders and give it nothing more."""
    save_node(state, node, drained=True)
    state.outcome.send(node, SetDraining(draining=True))
    ask_back(state, list(node.leases.values()), "drain")
    state.nodes_version += 1
    state.place(node)
    state.look_at_choosy_jobs(node)


def disable(state: FarmState, node: Node) -> None:
    """Stop a node at once."""
    save_node(state, node, disabled=True)
    state.outcome.send(node, SetDraining(draining=True))
    leases = list(node.leases.values())
    revoke(state, leases, "drain")
    for lease in leases:
        reopen(state, state.jobs[lease.job], lease.position)
    state.nodes_version += 1
    state.place(node)
    state.look_at_choosy_jobs(node)


def enable(state: FarmState, node: Node) -> None:
    """Put a node to work again, whatever was held against it."""
    save_node(state, node, drained=False, disabled=False)
    _forgive_everywhere(state, node)
    state.outcome.send(node, SetDraining(draining=False))
    state.nodes_version += 1
    state.place(node)


def forgive(state: FarmState, node_id: str, job_id: str = "") -> None:
    """Forget what one job, or every job, holds against a node, and let it rest no longer."""
    node = find_node(state, node_id)
    if job_id:
        forgive_node(state, find_job(state, job_id), node.id)
        return
    _forgive_everywhere(state, node)
    state.outcome.show_node(node)
    state.place(node)


def _forgive_everywhere(state: FarmState, node: Node) -> None:
    node.resting_until = 0.0
    node.faults = 0
    for job_id in list(state.penalised):
        forgive_node(state, state.jobs[job_id], node.id)
