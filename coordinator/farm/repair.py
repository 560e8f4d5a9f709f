"""What the farm does about troubles of its own coordinator: lost files, and time in which it slept.

Neither is anybody's fault: no frame, node or job is blamed.
"""

from __future__ import annotations

from ...protocol.states import FrameState, JobState
from . import orders
from .events import ResultsLost, StoodStill
from .state import FarmState


def handle(state: FarmState, event: ResultsLost | StoodStill) -> None:
    """Handle one of these."""
    if isinstance(event, ResultsLost):
        _lose_results(state, event)
    else:
        _stand_still(state, event)


def _lose_results(state: FarmState, event: ResultsLost) -> None:
    """Render frames again whose files are gone; what is not as the event says is left alone."""
    job = state.jobs.get(event.job)
    if job is None or job.record.state is JobState.ASSEMBLING:
        # A film that is being made fails over what is missing, and the next look finds it again.
        return
    lost: list[int] = []
    for frame, generation in event.frames:
        position = job.table.position(frame)
        if position is not None:
            result = job.table.record(position).result
            if result is not None and result.generation == generation:
                lost.append(position)
    done = [position for position in lost if job.table.state(position) is FrameState.DONE]
    if done:
        orders.retry(state, job, tuple(job.table.record(position).frame for position in done))
    for position in lost:
        # Nobody may go back to a result that is no more.
        state.change_frame(job, position, result=None, problem=event.reason)
    if lost:
        state.change_job(job, problem=event.reason)


def _stand_still(state: FarmState, event: StoodStill) -> None:
    """Hold the time in which nobody listened against no node and no frame."""
    for node in state.nodes.values():
        if node.connected or node.leases:
            node.last_seen = state.now
        for lease in node.leases.values():
            lease.active = state.now
            if lease.started is not None:
                lease.started = min(state.now, lease.started + event.seconds)
