"""Second copies of stragglers: when nothing waits, an idle node may beat a slow one.

The first valid result counts and the rival is stopped, so a copy can only waste time that nobody
else had a use for.
"""

from __future__ import annotations

from ...protocol.job import Device
from ...protocol.states import FrameState
from .jobs import Job
from .leases import Lease
from .leasing import expected_seconds, grant
from .nodes import Node
from .scheduling import is_large_enough, may_have, take_over
from .state import FarmState, Timer

LONGEST_PAUSE_SECONDS = 3.0
"""Between two searches while the last ones found nothing."""
COPIES_A_SEARCH = 64
"""Most copies begun in one search."""


def plan_search(state: FarmState) -> None:
    """Have stragglers looked for soon, if there are idle nodes and running frames."""
    if not state.idle or not state.leases or state.copies_due is not None:
        return
    pause = max(state.copies_pause, len(state.leases) / state.config.copy_leases_a_second)
    state.copies_due = max(state.now, state.copies_last + pause)
    state.wake(state.copies_due, Timer.COPIES, "")


def search(state: FarmState) -> None:
    """Start copies of the frames with the longest time left on nodes that would beat them."""
    state.copies_due = None
    state.copies_last = state.now
    for node in list(state.idle.values()):
        take_over(state, node)
    found = 0
    for left, lease in _stragglers(state):
        job = state.jobs[lease.job]
        node = _faster_node(state, job, lease, left)
        if node is not None:
            grant(state, node, job, lease.position, is_copy=True)
            found += 1
            if found >= COPIES_A_SEARCH or not state.idle:
                break
    pause = state.config.copy_interval_seconds
    state.copies_pause = pause if found else min(2 * state.copies_pause, LONGEST_PAUSE_SECONDS)


def _stragglers(state: FarmState) -> list[tuple[float, Lease]]:
    """Return running frames that only one node has, longest time left first."""
    found: list[tuple[float, Lease]] = []
    for lease in state.leases.values():
        job = state.jobs[lease.job]
        if lease.revoking or job.table.state(lease.position) is not FrameState.LEASED:
            continue
        if lease.is_film:
            # Nothing is known of how long other nodes would take, and its start is its costliest
            # part: every frame has to be fetched first.
            continue
        if len(job.leases_at[lease.position]) > 1 or job.group is None or not job.group.idle:
            continue
        node = state.nodes[lease.node]
        left = 0.0
        for ahead in node.leases.values():
            one = state.jobs[ahead.job]
            more = ahead.time_left(expected_seconds(one, node, ahead.position), state.now)
            left += more or 0.0
            if ahead is lease:
                break
        if left > state.config.copy_least_seconds:
            found.append((left, lease))
    found.sort(key=lambda pair: -pair[0])
    return found


def _faster_node(state: FarmState, job: Job, lease: Lease, left: float) -> Node | None:
    """Return the idle node that would end the frame first, if it beats the straggler clearly."""
    assert job.group is not None
    best: Node | None = None
    limit = left * state.config.copy_margin
    holder = state.nodes[lease.node]
    record = job.table.record(lease.position)
    elapsed = 0.0 if lease.started is None else state.now - lease.started
    # What the frame itself has shown of its length beats what its neighbours took.
    ratio = job.speeds.slowness(holder.id, holder.slowness(*_kind(job)))
    for node in job.group.idle.values():
        if node.id in record.failed_on or not may_have(state, node, job):
            continue
        if not is_large_enough(state, node, job, record):
            continue
        slowness = job.speeds.slowness(node.id, node.slowness(*_kind(job)))
        seconds = expected_seconds(job, node, lease.position)
        if lease.started is not None:
            shown = (elapsed + left) * slowness / ratio
            seconds = shown if seconds is None else max(seconds, shown)
        if seconds is None:
            continue
        if job.record.manifest not in node.scenes:
            seconds += job.speeds.prepare_seconds
        if seconds < limit:
            best, limit = node, seconds
    return best


def _kind(job: Job) -> tuple[str, Device]:
    requires = job.record.spec.requires
    return requires.engine, requires.device
