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
from .failures import BLAMES_FRAME, fails_for_good, rest_seconds
from .jobs import Job
from .leases import Lease
from .leasing import drop, note_attempt, release, reopen, revoke, slowness_elsewhere
from .nodes import Node
from .records import NodePenalty, ResultRecord
from .state import FarmState, Timer


def find_lease(state: FarmState, node: Node, ref: FrameRef) -> Lease | None:
    """Return the lease a node speaks of, if it holds it."""
    lease = state.leases.get(ref.epoch)
    return lease if lease is not None and lease.ref == ref and lease.node == node.id else None


def take_result(state: FarmState, node: Node, incarnation: str, message: FrameDone) -> None:
    """Store a frame's files, or say why not. Whoever rendered it and whenever: first come."""
    ref = message.frame
    job = state.jobs.get(ref.job)
    position = job.table.position(ref.frame) if job is not None else None
    if job is None or position is None:
        _refuse(state, node, incarnation, ref, "The job is gone.")
        return
    record = job.table.record(position)
    if record.result is not None and record.result.generation == ref.generation:
        # Said twice, or rendered twice: what was stored first stays.
        state.outcome.send_to(node.id, incarnation, FrameAccepted(frame=ref))
    elif ref.generation != record.generation:
        _refuse(state, node, incarnation, ref, "The frame is being rendered anew.")
    elif not 0 < ref.epoch < state.next_epoch:
        _refuse(state, node, incarnation, ref, "This frame was never given out under that number.")
    elif record.state is FrameState.CANCELLED or record.state is FrameState.DONE:
        _refuse(state, node, incarnation, ref, "The job was stopped.")
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
        late = Lease(
            job=job.id,
            position=position,
            frame=ref.frame,
            generation=ref.generation,
            epoch=ref.epoch,
            node=node.id,
            incarnation=node.record.incarnation,
            granted=started,
            active=state.now,
        )
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
    job.failed_frames.get(node.id, set()).discard(position)
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
    told = f"Frame {lease.frame} on {node.record.name}: {reason}"
    state.change_job(job, problem=told)
    if kind in BLAMES_FRAME:
        blame_frame(state, job, lease, reason)
    else:
        state.change_frame(job, lease.position, problem=reason)
        reopen(state, job, lease.position)
        _rest(state, node, reason)
    if kind is FailureKind.MEMORY:
        penalise(state, job, node, f"Ran out of memory: {reason}", too_small=True)
    else:
        failed = job.failed_frames.setdefault(node.id, set())
        failed.add(lease.position)
        if len(failed) >= state.config.frames_to_avoid:
            penalise(
                state, job, node, f"{len(failed)} frames failed there; the last said: {reason}"
            )
            failed.clear()
    job.breaker.failed(kind, lease.position, node.id)
    _check_breaker(state, job, told)


def blame_frame(state: FarmState, job: Job, lease: Lease, reason: str) -> None:
    """Count a failure against a frame, and set it aside if that was enough."""
    record = job.table.record(lease.position)
    failed_on = record.failed_on
    if lease.node not in failed_on:
        failed_on = (*failed_on, lease.node)
    failures = record.failures + 1
    usable = [node.id for node in state.usable(job)]
    state.change_frame(job, lease.position, failed_on=failed_on, failures=failures, problem=reason)
    if fails_for_good(state.config, failed_on, failures, usable):
        rivals = list(job.leases_at.get(lease.position, ()))
        if not rivals:
            state.change_frame(job, lease.position, state=FrameState.FAILED)
            return
    reopen(state, job, lease.position)


def lose(state: FarmState, lease: Lease, reason: str) -> None:
    """The node is gone. Only the frame in progress can have anything to do with it, and only a
    frame that loses node after node is suspected."""
    job = state.jobs[lease.job]
    if lease.started is None:
        release(state, lease, "lost", reason)
        return
    note_attempt(state, lease, "lost", reason)
    drop(state, lease)
    record = job.table.record(lease.position)
    losses = record.losses + 1
    state.change_frame(job, lease.position, losses=losses)
    if losses > state.config.losses_forgiven:
        blame_frame(state, job, lease, f"{losses} nodes were lost while they rendered it.")
        state.change_job(job, problem=f"Frame {lease.frame}: {losses} nodes were lost over it.")
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


def penalise(state: FarmState, job: Job, node: Node, reason: str, too_small: bool = False) -> None:
    """Keep a job away from a node for a while."""
    until = state.now + state.config.avoid_seconds
    penalty = NodePenalty(node=node.id, until=until, reason=reason, too_small=too_small)
    others = tuple(old for old in job.record.penalties if old.node != node.id)
    old = next((old for old in job.record.penalties if old.node == node.id), None)
    if old is not None and old.too_small and not too_small:
        penalty = replace(penalty, too_small=True, reason=old.reason)
    state.change_job(job, penalties=(*others, penalty))
    state.wake(until, Timer.FORGIVE, job.id)


def forgive(state: FarmState, job: Job) -> None:
    """Let go of penalties whose time has come."""
    left = tuple(penalty for penalty in job.record.penalties if penalty.until > state.now)
    if left != job.record.penalties:
        state.change_job(job, penalties=left)


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
    """Close every open frame; no lease may be left.

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
