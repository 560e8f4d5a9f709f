"""A job changed while it waits or runs: whom it may use, how urgent it is, in which order, limits.

Everything is kept in the job's record and so survives a restart. Frames that are being rendered go
on; those fetched ahead on nodes that the job may no longer use are asked back.
"""

from __future__ import annotations

import math
from dataclasses import astuple, replace

from ...protocol.job import PRIORITY_MAX, PRIORITY_MIN, FrameOrder, Limits
from .events import FarmRefusal, JobChanged, Refusal
from .jobs import Job
from .leasing import ask_back, watch_leases
from .orders import refuse
from .state import FarmState

NODES_NAMED_MAX = 1000
TAGS_MAX = 50
TAG_MAX_CHARS = 100
MEMORY_MAX_BYTES = 2**50
NUMBER_MAX = 2**31 - 1


def change(state: FarmState, job: Job, event: JobChanged) -> None:
    """Change what the event sets. Raises `FarmRefusal`, with nothing changed."""
    _check(state, event)
    if event.priority is not None:
        _change_priority(state, job, event.priority)
    spec = job.record.spec
    requires = replace(
        spec.requires,
        nodes=spec.requires.nodes if event.nodes is None else event.nodes,
        tags=spec.requires.tags if event.tags is None else event.tags,
        memory_bytes=(
            spec.requires.memory_bytes if event.memory_bytes is None else event.memory_bytes
        ),
    )
    after = replace(
        spec,
        requires=requires,
        max_nodes=spec.max_nodes if event.max_nodes is None else event.max_nodes,
        order=spec.order if event.order is None else event.order,
        limits=spec.limits if event.limits is None else event.limits,
        priority=job.record.priority,
    )
    if after == spec:
        return
    state.change_job(job, spec=after)
    if after.order is not spec.order:
        job.table.reorder(after.order)
    if after.limits != spec.limits:
        # Nodes watch some of the limits: they are told with their next frame.
        job.outdated |= job.told
        for node in job.working:
            watch_leases(state, state.nodes[node])
    if requires != spec.requires:
        state.regroup(job)
    if after.max_nodes != spec.max_nodes:
        job.tolerated = len(job.working)
    _ask_back_misplaced(state, job)


def _check(state: FarmState, event: JobChanged) -> None:
    try:
        check_change(
            priority=event.priority,
            nodes=event.nodes,
            tags=event.tags,
            max_nodes=event.max_nodes,
            memory_bytes=event.memory_bytes,
            limits=event.limits,
        )
    except ValueError as error:
        raise refuse(str(error)) from error
    for node in event.nodes or ():
        if node not in state.nodes:
            raise FarmRefusal(Refusal.UNKNOWN, f"There is no node {node[:64]}.")


def check_change(
    *,
    priority: int | None = None,
    nodes: tuple[str, ...] | None = None,
    tags: tuple[str, ...] | None = None,
    max_nodes: int | None = None,
    memory_bytes: int | None = None,
    order: FrameOrder | None = None,  # noqa: ARG001 - every order there is will do
    limits: Limits | None = None,
) -> None:
    """Raise `ValueError`, one sentence, for values that no job can have."""
    if priority is not None and not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise ValueError(
            f"A priority lies between {PRIORITY_MIN} and {PRIORITY_MAX}, not {priority}."
        )
    if nodes is not None and len(nodes) > NODES_NAMED_MAX:
        raise ValueError(f"A job names at most {NODES_NAMED_MAX} nodes; use a tag instead.")
    if tags is not None and (
        len(tags) > TAGS_MAX
        or not all(0 < len(tag.strip()) == len(tag) <= TAG_MAX_CHARS for tag in tags)
    ):
        raise ValueError(
            f"A job has at most {TAGS_MAX} tags of 1 to {TAG_MAX_CHARS} characters, without spaces "
            "around them."
        )
    if max_nodes is not None and not 0 <= max_nodes <= NUMBER_MAX:
        raise ValueError("The most nodes of a job cannot be negative; 0 means no limit.")
    if memory_bytes is not None and not 0 <= memory_bytes <= MEMORY_MAX_BYTES:
        raise ValueError("The memory of a job cannot be negative or more than a pebibyte.")
    if limits is not None:
        check_limits(limits)


def check_limits(limits: Limits) -> None:
    """Raise `ValueError` for limits that no frame can keep."""
    if not all(math.isfinite(seconds) and seconds >= 0 for seconds in astuple(limits)):
        raise ValueError("Limits of a job cannot be negative; 0 means that the farm decides.")
    if 0 < limits.frame_seconds <= limits.shortest_seconds:
        raise ValueError("The shortest time of a frame must be below its longest.")


def _change_priority(state: FarmState, job: Job, priority: int) -> None:
    before = job.record.priority
    if priority == before:
        return
    for lease in job.leases.values():
        state.forget_ahead(lease, before)
    state.change_job(job, priority=priority)
    for node in job.working:
        state.note_ahead(state.nodes[node])


def _ask_back_misplaced(state: FarmState, job: Job) -> None:
    """Ask for frames that are not begun on nodes that may not have them any more."""
    group, most = job.group, job.record.spec.max_nodes
    is_over = 0 < most < len(job.working)
    misplaced = [
        lease
        for lease in job.leases.values()
        if is_over or (group is not None and lease.node not in group.nodes)
    ]
    ask_back(state, misplaced, "elsewhere")
