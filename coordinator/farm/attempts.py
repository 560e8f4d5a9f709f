"""How an attempt at a frame ends: a result, a failure, a loss, or handed back."""

from __future__ import annotations

from dataclasses import replace

from ...protocol.messages import (
    FailureKind,
    FrameAccepted,
    FrameDone,
    FrameFailed,
    FrameRef,
    FrameRefused,
)
from ...protocol.states import FrameState
from .failures import BLAMES_FRAME, fails_for_good, memory_needed, rest_seconds
from .jobs import Job
from .leases import Lease
from .leasing import drop, note_attempt, release, reopen, revoke, slowness_elsewhere
from .nodes import Node
from .records import NodePenalty, ResultRecord
from .state import FarmState, Timer


def find_lease(state: FarmState, node: Node, ref: FrameRef) -> Lease | None:
    """Return the lease a node speaks of, if it holds it."""
    lease = state.leases.get(ref.epoch)
    return lease if lease is not None and lease.node == node.id and lease.ref == ref else None


def take_result(state: FarmState, node: Node, incarnation: str, message: FrameDone) -> None:
    """Store a frame's files, or say why not. Whoever rendered it and whenever: first come."""
    ref = message.frame
    job = state.jobs.get(ref.job)
    position = job.table.position(ref.frame) if job is not None else None
    if job is None or position is None:
        _refuse(state, node, incarnation, ref, "The job is gone.")
        return
    record = job.table.record(position)
    shortest = job.record.spec.limits.shortest_seconds
    if record.result is not None and record.result.generation == ref.generation:
        # Said twice, or rendered twice: what was stored first stays.
        state.outcome.send_to(node.id, incarnation, FrameAccepted(frame=ref))
    elif ref.generation != record.generation:
        _refuse(state, node, incarnation, ref, "The frame is being rendered anew.")
    elif not 0 < ref.epoch < state.next_epoch:
        _refuse(state, node, incarnation, ref, "This frame was never given out under that number.")
    elif record.state is FrameState.CANCELLED or record.state is FrameState.DONE:
        _refuse(state, node, incarnation, ref, "The job was stopped.")
    elif message.stats.seconds < shortest and position != job.table.film:
        reason = (
            f"It was done in {message.stats.seconds:.1f} s, and the job takes less than "
            f"{shortest:g} s for a failure; see whether something is missing in the picture."
        )
        _refuse(state, node, incarnation, ref, reason)
        lease = find_lease(state, node, ref)
        if lease is not None:
            fail(state, lease, FailureKind.TOO_SHORT, reason, message.log)
    else:
        _store_result(state, node, job, position, message)
        state.outcome.send_to(node.id, incarnation, FrameAccepted(frame=ref))


def _refuse(state: FarmState, node: Node, incarnation: str, ref: FrameRef, reason: str) -> None:
    state.outcome.send_to(node.id, incarnation, FrameRefused(frame=ref, reason=reason))


def _store_result(
    state: FarmState, node: Node, job: Job, position: int, message: FrameDone
) -> None:
    ref = message.frame
    own = find_lease(state, node, ref)
    if own is not None:
        note_attempt(state, own, "done", "", message.log)
        drop(state, own)
    else:
        # Rendered under a lease that has run out: there is no trace of it but the result.
        started = max(state.now - message.stats.seconds, 0.0)
        late = Lease.of(ref, position, node.id, node.record.incarnation, started)
        note_attempt(state, late, "done", "", message.log)
    rivals = list(job.leases_at.get(position, ()))
    revoke(state, rivals, "elsewhere")
    result = ResultRecord(
        generation=ref.generation,
        epoch=ref.epoch,
        node=node.id,
        finished=state.now,
        files=message.files,
        stats=message.stats,
        thumbnail=message.thumbnail,
        warnings=message.warnings,
        preview=message.preview,
    )
    state.change_frame(job, position, state=FrameState.DONE, result=result, problem="")
    job.breaker.succeeded()
    _hold_less_against(state, job, node, ref.frame)
    if position != job.table.film:
        job.speeds.learn(node.id, position, message.stats.seconds, slowness_elsewhere(job, node))
        if message.stats.prepare_seconds > 0:
            job.speeds.prepare_seconds = message.stats.prepare_seconds
    if message.thumbnail:
        job.newest_thumbnail = ref.frame
    node.frames_done += 1
    node.faults = 0
    state.copies_pause = state.config.copy_interval_seconds


def take_failure(state: FarmState, node: Node, message: FrameFailed) -> None:
    """An attempt failed. Of a lease that is over already, nothing is left to learn."""
    lease = find_lease(state, node, message.frame)
    if lease is not None:
        fail(state, lease, message.kind, message.reason, message.log)


def fail(
    state: FarmState, lease: Lease, kind: FailureKind, reason: str, log: tuple[str, ...] = ()
) -> None:
    """End an attempt with a failure, and blame what is to blame."""
    job, node = state.jobs[lease.job], state.nodes[lease.node]
    note_attempt(state, lease, kind.value, reason, log)
    drop(state, lease)
    told = f"{lease.name} on {node.record.name}: {reason}"
    state.change_job(job, problem=told)
    hold_against(state, job, node, lease.frame, kind, reason)
    if kind in BLAMES_FRAME:
        blame_frame(state, job, lease, reason)
    else:
        state.change_frame(job, lease.position, problem=reason)
        reopen(state, job, lease.position)
        _rest(state, node, reason)
    job.breaker.failed(kind, lease.position, node.id)
    _check_breaker(state, job, told)


def blame_frame(state: FarmState, job: Job, lease: Lease, reason: str) -> None:
    """Count a failure against a frame, and set it aside if that was enough."""
    record = job.table.record(lease.position)
    failed_on = record.failed_on
    if lease.node not in failed_on:
        failed_on = (*failed_on, lease.node)
    failures = record.failures + 1
    usable = state.usable(job)
    record = state.change_frame(
        job, lease.position, failed_on=failed_on, failures=failures, problem=reason
    )
    needed = memory_needed(job.record, record)
    blamed = failed_on
    if needed and any(node.record.machine.memory_bytes > needed for node in usable):
        # A larger machine is left: what was too small says nothing about the frame.
        too_small = {one.node for one in job.record.penalties if one.too_small}
        blamed = tuple(node for node in failed_on if node not in too_small)
    able = {node.id for node in state.wanted(job)}
    if not state.nodes[lease.node].connected:
        # It was lost over the frame. Were it not counted, the last node of a farm could be lost
        # over the same frame for ever.
        able.add(lease.node)
    if fails_for_good(state.config, blamed, failures, able):
        rivals = list(job.leases_at.get(lease.position, ()))
        if not rivals:
            state.change_frame(job, lease.position, state=FrameState.FAILED)
            return
    reopen(state, job, lease.position)


def lose(state: FarmState, lease: Lease, reason: str) -> None:
    """The node is gone. Only the frame in progress can have anything to do with it, and only a
    frame that loses node after node is suspected."""
    job = state.jobs[lease.job]
    if lease.started is None and not lease.opening:
        release(state, lease, "lost", reason)
        return
    note_attempt(state, lease, "lost", reason)
    drop(state, lease)
    record = job.table.record(lease.position)
    losses = record.losses + 1
    state.change_frame(job, lease.position, losses=losses)
    if losses > state.config.losses_forgiven:
        blame_frame(state, job, lease, f"{losses} nodes were lost while they rendered it.")
        state.change_job(job, problem=f"{lease.name}: {losses} nodes were lost over it.")
    else:
        reopen(state, job, lease.position)


def hand_back(state: FarmState, node: Node, ref: FrameRef, reason: str) -> None:
    """The node will not render this one."""
    lease = find_lease(state, node, ref)
    if lease is None:
        return
    unasked = not lease.revoking
    release(state, lease, "returned", reason)
    if unasked:
        # Without a pause it would be given the same frame again within the millisecond.
        rest(state, node, state.config.return_pause_seconds, reason)


def rest(state: FarmState, node: Node, seconds: float, reason: str) -> None:
    """Give a node nothing for a while."""
    node.resting_until = max(node.resting_until, state.now + seconds)
    node.resting_because = reason
    state.place(node)
    state.wake(node.resting_until, Timer.REST, node.id)
    state.outcome.show_node(node)


def _rest(state: FarmState, node: Node, reason: str) -> None:
    node.faults += 1
    rest(state, node, rest_seconds(state.config, node.faults), reason)


def hold_against(
    state: FarmState, job: Job, node: Node, frame: int, kind: FailureKind, reason: str
) -> None:
    """Count a failure against the node it happened on, and keep the job away if that was enough."""
    old = job.penalty(node.id) or NodePenalty(node=node.id, until=0.0, reason="")
    if kind is FailureKind.MEMORY:
        ran_out = old.frames if old.too_small else ()
        penalty = replace(
            old,
            too_small=True,
            memory_bytes=node.record.machine.memory_bytes,
            frames=(*(one for one in ran_out if one != frame), frame),
            reason=f"Ran out of memory: {reason}",
        )
    elif old.too_small:
        return
    else:
        failed = (*(one for one in old.frames if one != frame), frame)
        penalty = replace(old, frames=failed, reason=reason)
        if len(failed) >= state.config.frames_to_avoid:
            penalty = replace(
                penalty,
                until=state.now + state.config.avoid_seconds,
                frames=(),
                reason=f"{len(failed)} frames failed there; the last said: {reason}",
            )
            state.wake(penalty.until, Timer.FORGIVE, job.id)
    _replace_penalty(state, job, node.id, penalty)


def _hold_less_against(state: FarmState, job: Job, node: Node, frame: int) -> None:
    """The node has rendered a frame after all that had failed there."""
    old = job.penalty(node.id)
    if old is None or old.too_small or frame not in old.frames:
        return
    left = tuple(one for one in old.frames if one != frame)
    keeps = left or old.until > state.now
    _replace_penalty(state, job, node.id, replace(old, frames=left) if keeps else None)


def _replace_penalty(state: FarmState, job: Job, node: str, penalty: NodePenalty | None) -> None:
    others = tuple(one for one in job.record.penalties if one.node != node)
    state.change_job(job, penalties=others if penalty is None else (*others, penalty))


def forgive(state: FarmState, job: Job) -> None:
    """Let go of penalties whose time has come; failures after the last of them still count."""
    left = tuple(
        one if one.keeps_away(state.now) else replace(one, until=0.0)
        for one in job.record.penalties
        if one.keeps_away(state.now) or one.frames
    )
    if left != job.record.penalties:
        state.change_job(job, penalties=left)


def forgive_node(state: FarmState, job: Job, node: str) -> bool:
    """Forget what a job holds against a node; False when that was nothing."""
    if job.penalty(node) is None:
        return False
    _replace_penalty(state, job, node, None)
    return True


def outgrow(state: FarmState, node: Node) -> None:
    """The machine may have more memory than when it ran out of it."""
    for job_id in list(state.penalised):
        job = state.jobs[job_id]
        penalty = job.penalty(node.id)
        memory = node.record.machine.memory_bytes
        if penalty is not None and penalty.too_small and memory > penalty.memory_bytes:
            forgive_node(state, job, node.id)


def _check_breaker(state: FarmState, job: Job, told: str) -> None:
    if job.has_ended:
        return
    usable = state.usable(job)
    why = job.breaker.trips(state.config, len(job.table), len(usable))
    too_small = any(penalty.too_small for penalty in job.record.penalties)
    if not why and too_small and not usable:
        why = "Stopped because every node that could render it ran out of memory"
    if why:
        stop_job(state, job, f"{why}; the last: {told}")


def stop_job(state: FarmState, job: Job, problem: str) -> None:
    """Give a job up: frames that were tried have failed, the others are not tried any more."""
    revoke(state, list(job.leases.values()), "cancelled")
    close_frames(state, job, tried=FrameState.FAILED)
    state.change_job(job, problem=problem)


def close_frames(state: FarmState, job: Job, tried: FrameState) -> None:
    """Close every open frame, or the film once all are done; no lease may be left.

    One with a result of an earlier generation goes back to it; one that failed at least once
    becomes ``tried``; the others are cancelled.
    """
    table = job.table
    for open_state in (FrameState.LEASED, FrameState.WAITING):
        for position in list(table.positions(open_state)):
            record = table.records.get(position)
            if record is None:
                continue
            if record.result is not None:
                after = FrameState.DONE
            elif record.failures or record.problem:
                after = tried
            else:
                after = FrameState.CANCELLED
            state.change_frame(job, position, state=after)
    waiting = table.count(FrameState.WAITING)
    if waiting:
        table.set_untouched(FrameState.CANCELLED)
        if job.group is not None:
            state.frames_waiting -= waiting
        state.change_job(job, untouched=FrameState.CANCELLED)
    if table.film is not None and table.film_is_open:
        film = table.record(table.film)
        has_failed = film.failures or film.problem
        after = tried if has_failed else FrameState.CANCELLED
        state.change_frame(job, table.film, state=after)
