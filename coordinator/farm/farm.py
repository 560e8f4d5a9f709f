"""The farm: events and time in, decisions out. The only place where states change.

No I/O, no clock, no randomness: the same events at the same times give the same decisions. The
law: what the farm knows changes only inside `Farm.apply` (and once, at start, in `Farm.restore`);
everything that must survive is in the `Save...` decisions of the event that changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...protocol.messages import FrameDone, FrameProgress, FrameRef, FrameStarted
from ...protocol.states import JobState
from . import orders, presence, repair
from .attempts import forgive
from .changing import change
from .config import FarmConfig
from .copies import plan_search, search
from .decisions import Decision
from .ending import conclude
from .events import (
    FarmEvent,
    FarmRefusal,
    JobCancelled,
    JobChanged,
    JobPaused,
    JobRemoved,
    JobResumed,
    JobSubmitted,
    MessageReceived,
    NodeConfigured,
    NodeDisabled,
    NodeDisconnected,
    NodeDrained,
    NodeEnabled,
    NodeForgiven,
    NodeJoined,
    ResultsLost,
    RetryRequested,
    ScoutsApproved,
    ScoutsRejected,
    StoodStill,
    Tick,
)
from .jobs import Job, open_job
from .leases import Lease
from .leasing import hold
from .nodes import Node
from .outcome import Outcome
from .records import AllDone, FrameRecord, JobRecord, NodeRecord
from .scheduling import dispatch
from .state import FarmState, Timer
from .views import FarmViews

_REPORTS = (FrameStarted, FrameProgress, FrameDone)


class Farm(FarmViews):
    """See the module. Reading (`FarmViews`) never changes anything."""

    def __init__(self, config: FarmConfig) -> None:
        super().__init__(FarmState(config))

    def restore(
        self,
        jobs: Iterable[JobRecord],
        frames: Iterable[FrameRecord],
        nodes: Iterable[NodeRecord],
        epoch_ceiling: int,
        now: float,
        done: Iterable[AllDone] = (),
    ) -> list[Decision]:
        """Take over what the database holds; once, before the first event.

        Jobs in ``done`` have no frames in ``frames`` but the film, and begin as if they had been
        `shed`. Every lease runs anew in full: what passed while nobody listened is held against no
        node. Raises `ValueError` for records that contradict each other.
        """
        state = self.state
        assert not state.jobs, "restore comes before the first event"
        assert not state.nodes, "restore comes before the first event"
        state.now = now
        state.outcome = Outcome(state.jobs)
        state.next_epoch = state.epoch_ceiling = max(epoch_ceiling, 1)
        state.first_new_epoch = state.next_epoch
        for record in nodes:
            node = Node(record, last_seen=now, frames_done=record.frames_done)
            state.nodes[node.id] = node
        by_job: dict[str, list[FrameRecord]] = {}
        for frame in frames:
            by_job.setdefault(frame.job, []).append(frame)
        sums = {one.job: one for one in done}
        for record in sorted(jobs, key=lambda record: record.number):
            job = open_job(record)
            job.table.load(by_job.pop(record.id, ()))
            if record.id in sums:
                self._restore_done(job, sums[record.id])
            state.add_job(job)
            for penalty in record.penalties:
                if penalty.until > 0:
                    state.wake(penalty.until, Timer.FORGIVE, job.id)
        if by_job:
            job_id = min(by_job)
            raise ValueError(f"The database has frames of job {job_id}, which it does not have.")
        for job in state.jobs.values():
            depends = job.record.spec.depends_on
            job.waits_for = {other for other in depends if not state.is_done(other)}
            for position, record in job.table.records.items():
                self._restore_frame(job.id, position, record)
            job.tolerated = len(job.working)
        for node in state.nodes.values():
            if node.leases:
                presence.watch(state, node)
        return self._settle()

    @staticmethod
    def _restore_done(job: Job, done: AllDone) -> None:
        if done.frames != len(job.table) or job.record.state is not JobState.DONE:
            raise ValueError(
                f"The database has {done.frames} finished frames of job {job.id}, which is "
                f"{job.record.state.value} and has {len(job.table)} frames."
            )
        job.table.load_done()
        job.breaker.succeeded()
        job.speeds.done = done.frames
        job.speeds.total_seconds = done.seconds
        job.newest_thumbnail = done.newest_thumbnail

    def _restore_frame(self, job_id: str, position: int, record: FrameRecord) -> None:
        state = self.state
        job = state.jobs[job_id]
        if record.result is not None:
            result = record.result
            job.breaker.succeeded()
            node = state.nodes.get(result.node)
            if position == job.table.film:
                pass  # Says nothing of how long frames take.
            elif node is not None and not job.has_ended:
                requires = job.record.spec.requires
                elsewhere = node.slowness(requires.engine, requires.device)
                job.speeds.learn(node.id, position, result.stats.seconds, elsewhere)
            elif job.has_ended:
                job.speeds.done += 1
                job.speeds.total_seconds += result.stats.seconds
            if result.thumbnail:
                job.newest_thumbnail = record.frame
        elif record.failures and not job.has_ended:
            job.breaker.restore(record.failures, position, record.failed_on)
        for stored in record.leases:
            if stored.node not in state.nodes:
                raise ValueError(
                    f"The database has a lease of node {stored.node}, but no such node."
                )
            ref = FrameRef(
                job=job_id,
                generation=record.generation,
                frame=record.frame,
                epoch=stored.epoch,
            )
            lease = Lease.of(ref, position, stored.node, stored.incarnation, state.now)
            # Of another process, whose date may have been ahead: nothing begins after it has ended.
            lease.granted = min(stored.granted, state.now)
            lease.is_copy = position in job.leases_at
            hold(state, lease)
        if record.leases:
            held = tuple(lease.record for lease in job.leases_at[position])
            job.table.records[position] = replace(record, leases=held)

    def apply(self, event: FarmEvent, now: float) -> list[Decision]:
        """Handle one event; return what is to be done, in order.

        ``now`` is in seconds and never smaller than the last. Raises `FarmRefusal`, with nothing
        changed, for a request of a person that cannot be carried out.
        """
        return self._apply((event,), now)

    @staticmethod
    def is_report(event: FarmEvent) -> bool:
        """Whether an event only tells how a frame goes on: several may be applied together."""
        return isinstance(event, MessageReceived) and isinstance(event.message, _REPORTS)

    def apply_reports(self, events: Sequence[FarmEvent], now: float) -> list[Decision]:
        """Handle events for all of which `is_report` holds, as if they were one.

        Each is heard in turn; what follows from all of them, ended jobs and frames given out, is
        decided once. So a busy farm decides once for each commit and not for each message.
        """
        assert all(map(self.is_report, events)), "only reports are applied together"
        return self._apply(events, now)

    def _apply(self, events: Sequence[FarmEvent], now: float) -> list[Decision]:
        state = self.state
        assert now >= state.now, "time does not run backwards"
        state.now = now
        state.outcome = Outcome(state.jobs)
        state.first_new_epoch = state.next_epoch
        for event in events:
            self._handle(event)
        self._run_timers()
        return self._settle()

    # --- frames of ended jobs ------------------------------------------------------------------

    def shed(self, job_id: str) -> bool:
        """Let go of the frames of an ended job, all of which are stored; whether it could be.

        They are one of two things that change outside `apply`, and nothing that is decided hangs
        on where they are: `recall` brings them back before anything asks for them.
        """
        job = self.state.jobs.get(job_id)
        if job is None or not job.has_ended or job.leases or job.table.is_shed:
            return False
        job.table.shed()
        job.speeds.forget_nodes()
        return True

    def is_shed(self, job_id: str) -> bool:
        """Whether the frames of a job have to be recalled before they are asked for."""
        job = self.state.jobs.get(job_id)
        return job is not None and job.table.is_shed

    def recall(self, job_id: str, frames: Iterable[FrameRecord]) -> None:
        """Take back the frames of a job that were shed, as the database has them."""
        self.state.jobs[job_id].table.recall(frames)

    def needs(self, event: FarmEvent) -> str | None:
        """Return the job whose frames have to be recalled before an event is applied."""
        if isinstance(event, MessageReceived):
            message = event.message
            job_id = message.frame.job if isinstance(message, FrameDone) else ""
        elif isinstance(event, JobSubmitted | JobRemoved):
            return None
        else:
            job_id = getattr(event, "job", None) or ""
        return job_id if self.is_shed(job_id) else None

    def next_wakeup(self, now: float) -> float | None:
        """Return when a `Tick` is due: a time not before ``now``, None while nothing is pending."""
        due = self.state.next_timer()
        return None if due is None else max(due, now)

    def _settle(self) -> list[Decision]:
        state = self.state
        # Ending a job can let others begin, never end them: two rounds see all of it.
        for _ in range(2):
            for job_id in list(state.fresh):
                job = state.jobs.get(job_id)
                if job is not None:
                    conclude(state, job)
        dispatch(state)
        plan_search(state)
        return state.outcome.decisions()

    def _run_timers(self) -> None:
        state = self.state
        while (due := state.due()) is not None:
            timer, key = due
            match timer:
                case Timer.SILENCE:
                    presence.look_at_silence(state, state.nodes[key])
                case Timer.REST:
                    state.place(state.nodes[key])
                    state.outcome.show_node(state.nodes[key])
                case Timer.LEASES:
                    presence.look_at_leases(state, state.nodes[key])
                case Timer.FORGIVE:
                    if key in state.jobs and not state.jobs[key].has_ended:
                        forgive(state, state.jobs[key])
                case Timer.COPIES:
                    search(state)

    def _handle(self, event: FarmEvent) -> None:
        state = self.state
        match event:
            case MessageReceived():
                presence.hear(state, event.node, event.incarnation, event.message)
            case Tick():
                pass
            case NodeJoined():
                presence.join(state, event.hello)
            case NodeDisconnected():
                presence.disconnect(state, event.node, event.incarnation)
            case NodeDrained():
                orders.drain(state, orders.find_node(state, event.node))
            case NodeDisabled():
                orders.disable(state, orders.find_node(state, event.node))
            case NodeEnabled():
                orders.enable(state, orders.find_node(state, event.node))
            case NodeForgiven():
                orders.forgive(state, event.node, event.job)
            case NodeConfigured():
                node = orders.find_node(state, event.node)
                presence.configure(state, node, event.changes, event.reset)
            case JobSubmitted():
                orders.submit(state, event)
            case ResultsLost() | StoodStill():
                repair.handle(state, event)
            case _:
                self._handle_order(event)

    def _handle_order(
        self,
        event: JobCancelled
        | JobPaused
        | JobResumed
        | RetryRequested
        | JobChanged
        | ScoutsRejected
        | ScoutsApproved
        | JobRemoved,
    ) -> None:
        state = self.state
        job = orders.find_job(state, event.job)
        match event:
            case JobCancelled():
                orders.cancel(state, job)
            case JobPaused():
                orders.pause(state, job)
            case JobResumed():
                orders.resume(state, job)
            case RetryRequested():
                orders.retry(state, job, event.frames)
            case JobChanged():
                change(state, job, event)
            case ScoutsRejected():
                orders.reject_scouts(state, job)
            case ScoutsApproved():
                orders.approve_scouts(state, job)
            case JobRemoved():
                orders.remove(state, job)


__all__ = ["Farm", "FarmRefusal"]
