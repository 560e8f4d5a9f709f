"""Who renders what next: priorities, fair shares, affinity, and work taken ahead of time.

Between nodes and jobs the order is: idle nodes first, then one frame ahead for the busy ones. So
nothing waits behind a running frame while another node could begin it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice

from .failures import may_try, memory_needed
from .jobs import Job
from .leases import Lease
from .leasing import ask_back, expected_seconds, grant
from .matching import fits_memory
from .nodes import Group, Node
from .records import FrameRecord
from .state import FarmState

NODES_COMPARED = 64
"""Idle nodes among which the fastest is chosen for a frame."""
LEASES_COMPARED = 64
"""Waiting leases among which an idle node chooses the one to take over."""
AFFINITY_DEPTH = 8
"""Oldest jobs of a submitter among which a node prefers one whose scene it holds."""


def may_have(state: FarmState, node: Node, job: Job) -> bool:
    """Whether a job of a group that the node fits lets the node work on it now."""
    if not job.may_start_frames or not job.has_place_for(node.id):
        return False
    if not fits_memory(job.record.spec.requires, node.record.machine):
        return False
    penalty = job.penalty(node.id)
    if penalty is None or not penalty.keeps_away(state.now):
        return True
    # Where it avoids all of them, it has no other left.
    return not penalty.too_small and node in state.wanted(job)


def next_position(state: FarmState, node: Node, job: Job) -> int | None:
    """Return the frame a node would get of a job that it may have.

    What failed elsewhere comes first, for it decides whether the job can end well; what failed on
    this very node comes last, so that what was wrong there has time to pass.
    """

    def accepts(record: FrameRecord) -> bool:
        return node.id not in record.failed_on and is_large_enough(state, node, job, record)

    def accepts_again(record: FrameRecord) -> bool:
        # One that the job avoids is no other node: the frame would wait until it is forgiven.
        wanted = [one.id for one in state.wanted(job)]
        return may_try(record.failed_on, node.id, wanted) and is_large_enough(
            state, node, job, record
        )

    position = job.table.peek(accepts)
    if position is None and job.table.has_retries():
        position = job.table.peek(accepts_again)
    return position


def is_large_enough(state: FarmState, node: Node, job: Job, record: FrameRecord) -> bool:
    """Whether no node that could render it has clearly more memory for a frame that ran out of it.

    Machines with more than the largest that was too small come first, then those with as much,
    then, when nothing else is left, smaller ones.
    """
    needed = memory_needed(job.record, record)
    if not needed:
        return True

    def rank(one: Node) -> int:
        memory = one.record.machine.memory_bytes
        return (memory >= needed) + (memory > needed)

    return rank(node) >= max((rank(one) for one in state.usable(job)), default=0)


def choose(state: FarmState, node: Node) -> tuple[Job, int] | None:
    """Return the job and the position of the frame that the node should get."""
    current = state.jobs.get(node.last_job)
    if current is not None and (current.group not in node.groups or not current.may_start_frames):
        current = None
    priorities = {priority for group in node.groups for priority in group.ready}
    if current is not None:
        priorities.add(current.record.priority)
    for priority in sorted(priorities, reverse=True):
        found = _choose_at(state, node, priority, current)
        if found is not None:
            return found
    return None


def _choose_at(
    state: FarmState, node: Node, priority: int, current: Job | None
) -> tuple[Job, int] | None:
    queues: dict[str, list[list[int]]] = {}
    for group in node.groups:
        for submitter, numbers in group.ready.get(priority, {}).items():
            queues.setdefault(submitter, []).append(numbers)
    own = ""
    if current is not None and current.record.priority == priority:
        own = current.record.spec.submitter
        queues.setdefault(own, [])

    def turn(submitter: str) -> tuple[float, int]:
        share = state.shares.of(priority, submitter)
        weight = share.leases + share.spent(state.now) / state.config.share_horizon_seconds
        if submitter == own:
            weight -= state.config.share_own_bonus
        return weight, share.served

    for submitter in sorted(queues, key=turn) if len(queues) > 1 else queues:
        candidates = _candidates(state, node, queues[submitter])
        if submitter == own and current is not None:
            candidates = _chain(current, candidates)
        for job in candidates:
            if may_have(state, node, job):
                position = next_position(state, node, job)
                if position is not None:
                    return job, position
    return None


def _chain(first: Job, rest: Iterable[Job]) -> Iterator[Job]:
    yield first
    yield from rest


def _candidates(state: FarmState, node: Node, queues: list[list[int]]) -> Iterator[Job]:
    """Yield a submitter's jobs, oldest first; a scene the node holds goes before an older job that
    others are busy with."""
    numbers = heapq.merge(*queues) if len(queues) > 1 else iter(queues[0] if queues else ())
    first = [state.jobs[state.ids[number]] for number in islice(numbers, AFFINITY_DEPTH)]
    if first and first[0].leases and first[0].record.manifest not in node.scenes:
        first.sort(key=lambda job: job.record.manifest not in node.scenes)
    yield from first
    for number in numbers:
        yield state.jobs[state.ids[number]]


def dispatch(state: FarmState) -> None:
    """Give out what can be given out, after any event."""
    jobs = [state.jobs[job] for job in state.fresh if job in state.jobs]
    state.fresh.clear()
    for job in jobs:
        state.queue(job)
    nodes = [state.nodes[node] for node in state.hungry]
    state.hungry.clear()
    for node in nodes:
        if not node.leases:
            _fill(state, node, 1)
    for job in jobs:
        _spread(state, job, ahead=False)
    for ahead in range(2, state.config.frames_per_node + 1):
        for node in nodes:
            _fill(state, node, ahead)
        for job in jobs:
            _spread(state, job, ahead=True)
    for job in jobs:
        _make_way(state, job)
    for node in nodes:
        take_over(state, node)
    # What was granted above changed only jobs and nodes that have been looked at.
    for job_id in list(state.fresh):
        if job_id in state.jobs:
            state.queue(state.jobs[job_id])
    state.fresh.clear()
    state.hungry.clear()


def _fill(state: FarmState, node: Node, up_to: int) -> None:
    while len(node.leases) < up_to and node.takes_work(state.now):
        found = choose(state, node)
        if found is None:
            return
        job, position = found
        grant(state, node, job, position)
        state.queue(job)


def _spread(state: FarmState, job: Job, ahead: bool) -> None:
    """Find nodes for a job that has become ready."""
    group = job.group
    if group is None:
        return
    if ahead and job.is_full and job.may_start_frames:
        # It may have no further node, and those it has may fetch ahead.
        for node_id in list(job.working):
            node = state.nodes[node_id]
            if node_id in group.spare:
                _fill(state, node, len(node.leases) + 1)
    if not job.is_queued:
        return
    for node in list(_best_nodes(state, job, group, ahead)):
        if not job.is_queued:
            return
        _fill(state, node, len(node.leases) + 1)


def _best_nodes(state: FarmState, job: Job, group: Group, ahead: bool) -> Iterator[Node]:
    """Yield nodes that can take a frame: those with the scene first, fast before slow."""
    members = group.spare if ahead else group.idle
    held = state.scene_nodes.get(job.record.manifest, {})

    def rank(node: Node) -> float:
        requires = job.record.spec.requires
        return job.speeds.slowness(node.id, node.slowness(requires.engine, requires.device))

    holders = [members[node] for node in held if node in members]
    yield from sorted(holders, key=rank)
    others = iter([node for node in members.values() if node.id not in held])
    while batch := list(islice(others, NODES_COMPARED)):
        yield from sorted(batch, key=rank)


def _make_way(state: FarmState, job: Job) -> None:
    """Ask back frames of less urgent jobs that wait behind others, for a job that got no node."""
    if job.queued_as is None or job.group is None:
        return
    priority = job.record.priority
    wanted = len(job.table) - len(job.leases)
    for lower in sorted(state.ahead):
        if lower >= priority or wanted <= 0:
            return
        asked: list[Lease] = []
        for lease in state.ahead[lower].values():
            if wanted <= len(asked):
                break
            node = state.nodes[lease.node]
            if node.id in job.group.nodes and not lease.revoking and may_have(state, node, job):
                asked.append(lease)
        wanted -= len(asked)
        ask_back(state, asked, "elsewhere")


def take_over(state: FarmState, node: Node) -> None:
    """Let an idle node that found nothing have a frame that waits behind another on a busy node."""
    if node.leases or node.asked_for is not None or not node.takes_work(state.now):
        return
    for priority in sorted(state.ahead, reverse=True):
        best: Lease | None = None
        best_wait = 0.0
        for lease in islice(state.ahead[priority].values(), LEASES_COMPARED):
            wait = _wait(state, lease, node)
            if wait > best_wait:
                best, best_wait = lease, wait
        if best is not None and best.epoch < state.first_new_epoch:
            node.asked_for = best.epoch
            best.asked_by = node.id
            ask_back(state, [best], "elsewhere")
            return


def _wait(state: FarmState, lease: Lease, node: Node) -> float:
    """Return what a waiting lease gains by moving to an idle node, in seconds; 0: leave it."""
    job = state.jobs[lease.job]
    holder = state.nodes[lease.node]
    if lease.revoking or not holder.connected or job.group not in node.groups:
        return 0.0
    record = job.table.record(lease.position)
    if not may_have(state, node, job) or node.id in record.failed_on:
        return 0.0
    if not is_large_enough(state, node, job, record):
        return 0.0
    head = holder.head
    assert head is not None
    there = expected_seconds(job, holder, lease.position)
    before = head.time_left(
        expected_seconds(state.jobs[head.job], holder, head.position), state.now
    )
    here = expected_seconds(job, node, lease.position)
    if there is None or here is None or before is None:
        return 1.0
    if job.record.manifest not in node.scenes:
        here += job.speeds.prepare_seconds
    return before + there - here
