"""Giving leases out, asking them back, ending them."""

from __future__ import annotations

import math

from ...protocol.messages import FrameRef, Revoke
from ...protocol.states import FrameState, JobState
from .jobs import Job
from .leases import Lease
from .nodes import Node
from .records import AttemptRecord
from .speeds import Slowness
from .state import FarmState, Timer


def grant(state: FarmState, node: Node, job: Job, position: int, is_copy: bool = False) -> Lease:
    """Give a frame to a node."""
    record = job.table.record(position)
    ref = FrameRef(
        job=job.id, generation=record.generation, frame=record.frame, epoch=state.take_epoch()
    )
    lease = Lease.of(ref, position, node.id, node.record.incarnation, state.now)
    lease.is_copy = is_copy
    hold(state, lease)
    state.change_frame(job, position, state=FrameState.LEASED)
    if job.record.state is JobState.QUEUED:
        started = state.now if job.record.started is None else job.record.started
        state.change_job(job, state=JobState.RENDERING, started=started)
    if lease.share is not None:
        lease.share.served = lease.epoch
    state.outcome.assign(node, job, lease)
    return lease


def hold(state: FarmState, lease: Lease) -> None:
    """Enter a lease into all indexes; the frame's record is the caller's matter."""
    node, job = state.nodes[lease.node], state.jobs[lease.job]
    if not node.leases:
        state.rendering += 1
    state.leases[lease.epoch] = lease
    node.leases[lease.epoch] = lease
    node.last_job = job.id
    job.leases[lease.epoch] = lease
    job.leases_at.setdefault(lease.position, []).append(lease)
    job.working[node.id] = job.working.get(node.id, 0) + 1
    lease.share = state.shares.of(job.record.priority, job.record.spec.submitter)
    lease.share.leases += 1
    state.fresh[job.id] = None
    state.place(node)
    state.note_ahead(node)
    watch_leases(state, node)
    state.outcome.show_node(node)


def begin(state: FarmState, lease: Lease) -> None:
    """Blender has begun a frame."""
    lease.started = lease.moved = state.now
    lease.revoking = False
    lease.preparing = ""
    if lease.share is not None:
        lease.share.begin(state.now)
    forget_asking(state, lease)
    state.forget_ahead(lease, state.jobs[lease.job].record.priority)
    watch_leases(state, state.nodes[lease.node])


def drop(state: FarmState, lease: Lease) -> None:
    """Take a lease out of all indexes; the frame's record is the caller's matter."""
    node, job = state.nodes[lease.node], state.jobs[lease.job]
    del state.leases[lease.epoch]
    del node.leases[lease.epoch]
    if not node.leases:
        state.rendering -= 1
    state.forget_ahead(lease, job.record.priority)
    del job.leases[lease.epoch]
    here = job.leases_at[lease.position]
    here.remove(lease)
    if not here:
        del job.leases_at[lease.position]
    _decrease(job.working, node.id)
    job.tolerated = min(job.tolerated, len(job.working))
    if lease.share is not None:
        lease.share.end(lease.started, state.now)
        lease.share = None
    forget_asking(state, lease)
    head = node.head
    if head is not None:
        head.active = max(head.active, state.now)
    state.fresh[job.id] = None
    state.place(node)
    state.note_ahead(node)
    watch_leases(state, node)
    state.outcome.show_node(node)


def forget_asking(state: FarmState, lease: Lease) -> None:
    """The idle node that asked for a lease need not wait for it any more."""
    asker = state.nodes.get(lease.asked_by)
    lease.asked_by = ""
    if asker is not None and asker.asked_for == lease.epoch:
        asker.asked_for = None
        state.place(asker)


def _decrease(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def note_attempt(
    state: FarmState, lease: Lease, outcome: str, reason: str, log: tuple[str, ...] = ()
) -> None:
    """Store how an attempt ended."""
    state.outcome.attempts.append(
        AttemptRecord(
            job=lease.job,
            frame=lease.frame,
            epoch=lease.epoch,
            generation=lease.generation,
            node=lease.node,
            node_name=state.nodes[lease.node].record.name,
            started=lease.granted if lease.started is None else lease.started,
            ended=state.now,
            outcome=outcome,
            reason=reason,
            log=log,
        )
    )


def release(state: FarmState, lease: Lease, outcome: str, reason: str) -> None:
    """End a lease that nobody is to blame for; its frame waits again unless another has it.

    Only what was begun is kept as an attempt: a frame handed back unstarted was never tried.
    """
    job = state.jobs[lease.job]
    if lease.started is not None:
        note_attempt(state, lease, outcome, reason)
    drop(state, lease)
    reopen(state, job, lease.position)


def reopen(state: FarmState, job: Job, position: int) -> None:
    """Let a frame wait again if it has no lease left."""
    has_lease = position in job.leases_at
    state.change_frame(job, position, state=FrameState.LEASED if has_lease else FrameState.WAITING)


_REVOKED = {
    "cancelled": ("returned", "The job was stopped."),
    "elsewhere": ("superseded", "Another node was faster."),
    "drain": ("returned", "The node was told to stop."),
}
"""`Revoke.reason` -> outcome and sentence of the attempts it ends."""


def revoke(state: FarmState, leases: list[Lease], reason: str) -> None:
    """Stop these, begun or not, and count them as ended at once. Frames are the caller's matter."""
    outcome, sentence = _REVOKED[reason]
    for lease in leases:
        if lease.started is not None:
            note_attempt(state, lease, outcome, sentence)
    by_node: dict[str, list[Lease]] = {}
    for lease in leases:
        by_node.setdefault(lease.node, []).append(lease)
    for node, group in by_node.items():
        message = Revoke(frames=tuple(one.ref for one in group), reason=reason, running_too=True)
        state.outcome.send_to(node, group[0].incarnation, message)
    for lease in leases:
        drop(state, lease)


def ask_back(state: FarmState, leases: list[Lease], reason: str) -> None:
    """Ask for these unless begun; they stay leased until the node answers."""
    by_node: dict[str, list[Lease]] = {}
    for lease in leases:
        # One given out by this very event is left alone: its order would overtake this message.
        is_new = lease.epoch >= state.first_new_epoch
        if lease.started is None and not lease.revoking and not is_new:
            lease.revoking = True
            by_node.setdefault(lease.node, []).append(lease)
    for node, group in by_node.items():
        message = Revoke(frames=tuple(one.ref for one in group), reason=reason, running_too=False)
        state.outcome.send_to(node, group[0].incarnation, message)


def slowness_elsewhere(job: Job, node: Node) -> Slowness:
    """Return what other jobs with this engine and device taught of a node."""
    requires = job.record.spec.requires
    return node.slowness(requires.engine, requires.device)


def expected_seconds(job: Job, node: Node, position: int) -> float | None:
    """Return how long a frame should take on a node with the scene open; None if unknown."""
    if position == job.table.film:
        return None
    return job.speeds.expect(node.id, position, slowness_elsewhere(job, node))


def deadline(state: FarmState, lease: Lease) -> float:
    """Return when a lease has taken too long, or has not begun in time; inf while it queues."""
    config, job, node = state.config, state.jobs[lease.job], state.nodes[lease.node]
    if lease.started is None:
        return lease.active + config.stalled_seconds if node.head is lease else math.inf
    limits, still = job.record.spec.limits, math.inf
    if limits.no_progress_seconds > 0 and lease.fraction < 1 and not lease.is_film:
        still = lease.moved + limits.no_progress_seconds
    if limits.frame_seconds > 0 and not lease.is_film:
        # The node itself keeps the limit; this only catches one that does not, and leaves time to
        # bring the files here.
        return min(still, lease.started + 2 * limits.frame_seconds + config.limit_grace_seconds)
    expected = expected_seconds(job, node, lease.position) or 0.0
    longest = max(config.too_long_floor_seconds, config.too_long_factor * expected)
    if lease.fraction < 1:
        # A frame that moves on will end: its own pace counts, not what others took.
        left = lease.time_left(None, state.now)
        if left is not None:
            longest = max(longest, 2 * (state.now - lease.started + left))
    return min(still, lease.started + longest)


def watch_leases(state: FarmState, node: Node) -> None:
    """Have a timer look at the leases of a node when the first of them is over its time."""
    first = min((deadline(state, lease) for lease in node.leases.values()), default=math.inf)
    if first < math.inf and (node.leases_watched is None or first < node.leases_watched):
        node.leases_watched = first
        state.wake(first, Timer.LEASES, node.id)
