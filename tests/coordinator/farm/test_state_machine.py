"""Hypothesis looks for sequences of events nobody thought of; every invariant after every step."""

from __future__ import annotations

from typing import Any

from farm_builders import done, hello, machine, spec
from farm_simulation import Database
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import Decision, Send
from rendermill.coordinator.farm.events import (
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
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.validate import validate
from rendermill.protocol.job import Film, FrameOrder, Limits
from rendermill.protocol.messages import (
    Assign,
    Availability,
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameStarted,
    Goodbye,
    LeasesReturned,
    MachineChanged,
    NodeMessage,
    SceneHeld,
    ScenePreparing,
)
from rendermill.protocol.node_settings import (
    NOTHING_SET,
    SETTING_NAMES,
    FarmSettings,
    NodeSettings,
    OnReturn,
    effective,
)
from rendermill.protocol.states import JOB_ENDED, FrameState

NODES = ("n0", "n1", "n2", "n3")
JOBS = ("j0", "j1", "j2")
nodes = st.sampled_from(NODES)
jobs = st.sampled_from(JOBS)
order_kinds = st.sampled_from(
    [JobCancelled, JobPaused, JobResumed, ScoutsApproved, ScoutsRejected, JobRemoved]
)


class FarmMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.config = FarmConfig()
        self.farm = Farm(self.config)
        self.database = Database()
        self.now = 1000.0
        self.lives = dict.fromkeys(NODES, 1)
        self.given: list[tuple[str, FrameRef]] = []
        self.said: list[tuple[str, FrameRef]] = []

    def apply(self, event: FarmEvent) -> None:
        before = (dict(self.database.jobs), dict(self.database.frames))
        if job := self.farm.needs(event):
            self.recall(job)
        try:
            decisions = self.farm.apply(event, self.now)
        except FarmRefusal as refusal:
            assert str(refusal).endswith("."), refusal  # noqa: PT017 - any event may be refused
            assert before == (self.database.jobs, self.database.frames)
            return
        self.execute(decisions)

    def execute(self, decisions: list[Decision]) -> None:
        self.database.commit(decisions)
        for one in decisions:
            if isinstance(one, Send) and isinstance(one.message, Assign):
                assert one.incarnation == f"i{self.lives[one.node]}"
                self.given.extend((one.node, ref) for ref in one.message.frames)
            if isinstance(one, Send) and isinstance(one.message, FrameAccepted):
                ref = one.message.frame
                assert (ref.job, ref.generation, ref.frame) in self.database.results

    def recall(self, job: str) -> None:
        """Bring the frames of a job back that has left memory, as the coordinator does."""
        if self.farm.is_shed(job):
            stored = [record for (of, _), record in self.database.frames.items() if of == job]
            self.farm.recall(job, stored)

    def say(self, node: str, message: NodeMessage) -> None:
        life = f"i{self.lives[node]}"
        self.apply(MessageReceived(node=node, incarnation=life, message=message))

    @rule(
        node=nodes, anew=st.booleans(), keeps=st.booleans(), big=st.booleans(), tagged=st.booleans()
    )
    def join(self, node: str, anew: bool, keeps: bool, big: bool, tagged: bool) -> None:
        self.lives[node] += anew
        holding = [ref for name, ref in self.given if name == node][-6:] if keeps else []
        greeting = hello(
            node,
            f"i{self.lives[node]}",
            holding=tuple(holding),
            scenes=("m0",) if keeps else (),
            machine=machine(memory_bytes=2**30 if big else 2**20),
            settings=NodeSettings(tags=("fast",)) if tagged else NodeSettings(),
        )
        self.apply(NodeJoined(hello=greeting))

    @rule(node=nodes)
    def disconnect(self, node: str) -> None:
        self.apply(NodeDisconnected(node=node, incarnation=f"i{self.lives[node]}"))

    @rule(
        job=jobs,
        frames=st.sampled_from(["1", "1-3", "1-9:2", "-4-4"]),
        order=st.sampled_from(list(FrameOrder)),
        scouts=st.booleans(),
        film=st.booleans(),
        after=st.none() | jobs,
        max_nodes=st.integers(0, 2),
        priority=st.sampled_from([0, 50, 101]),
        submitter=st.sampled_from(["ada", "bob"]),
    )
    def submit(
        self,
        job: str,
        frames: str,
        order: FrameOrder,
        scouts: bool,
        film: bool,
        after: str | None,
        max_nodes: int,
        priority: int,
        submitter: str,
    ) -> None:
        wanted = spec(
            frames,
            order=order,
            scouts=scouts,
            film=Film(name="f.mp4", folder="/", fps=24) if film else None,
            depends_on=() if after is None else (after,),
            max_nodes=max_nodes,
            priority=priority,
            submitter=submitter,
        )
        self.apply(JobSubmitted(job=job, spec=wanted, manifest="m0", scene_bytes=1, scene_files=1))

    @rule(job=jobs, kind=order_kinds)
    def order(self, job: str, kind: type) -> None:
        self.apply(kind(job=job))

    @rule(
        job=jobs,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "priority": st.sampled_from([0, 50, 100]),
                "nodes": st.sampled_from([(), ("n0",), ("n1", "n2"), ("nobody",)]),
                "tags": st.sampled_from([(), ("fast",)]),
                "max_nodes": st.integers(-1, 3),
                "memory_bytes": st.sampled_from([0, 2**25]),
                "order": st.sampled_from(list(FrameOrder)),
                "limits": st.sampled_from(
                    [
                        Limits(),
                        Limits(frame_seconds=30),
                        Limits(no_progress_seconds=10),
                        Limits(shortest_seconds=2),
                    ]
                ),
            },
        ),
    )
    def change(self, job: str, changes: dict[str, Any]) -> None:
        before = self.farm.spec(job)
        self.apply(JobChanged(job=job, **changes))
        stored = self.database.jobs.get(job)
        assert stored is None or stored.spec == self.farm.spec(job)
        assert before is None or stored is not None

    @rule(node=nodes, job=st.just("") | jobs)
    def forgive(self, node: str, job: str) -> None:
        self.apply(NodeForgiven(node=node, job=job))

    @rule(
        node=nodes,
        changes=st.sampled_from(
            [
                NOTHING_SET,
                FarmSettings(tags=("fast",)),
                FarmSettings(tags=()),
                FarmSettings(schedule="mon-fri 19:00-07:30", on_return=OnReturn.HAND_BACK),
                FarmSettings(idle_minutes=5.0, max_load=0.5),
            ]
        ),
        reset=st.sampled_from([(), ("tags",), SETTING_NAMES]),
    )
    def configure(self, node: str, changes: FarmSettings, reset: tuple[str, ...]) -> None:
        self.apply(NodeConfigured(node=node, changes=changes, reset=reset))
        stored = self.database.nodes.get(node)
        if stored is not None:
            record = self.farm.state.nodes[node].record
            assert stored.farm_settings == record.farm_settings
            assert effective(record.settings, record.farm_settings).tags == record.machine.tags

    @rule(job=jobs, frames=st.sets(st.integers(-4, 4), min_size=1), stale=st.booleans())
    def lose_results(self, job: str, frames: set[int], stale: bool) -> None:
        """Files are gone from the disk: of results that are there, and of some that are not."""
        lost: list[tuple[int, int]] = []
        for frame in frames:
            record = self.database.frames.get((job, frame))
            result = None if record is None else record.result
            if result is not None:
                lost.append((frame, result.generation - stale))
            elif stale:
                lost.append((frame, 1))
        was_done = {
            frame
            for frame, _ in lost
            if (record := self.database.frames.get((job, frame))) is not None
            and record.state is FrameState.DONE
        }
        self.apply(ResultsLost(job=job, frames=tuple(lost), reason="The disk lost it."))
        for frame, generation in lost:
            record = self.database.frames.get((job, frame))
            if record is None or record.state is not FrameState.DONE or record.result is None:
                continue
            # Still done, so that its result is another, or its film is being made of it.
            if frame in was_done and record.result.generation == generation:
                view = self.farm.job_view(job, self.now)
                assert view is not None
                assert view.state.value == "assembling", view

    @rule(seconds=st.sampled_from([1.0, 30.0, 4000.0]))
    def stand_still(self, seconds: float) -> None:
        """The coordinator does not listen, or does not run, for so long: that costs nobody."""
        held = {
            node: [lease.ref for lease in one.leases.values()]
            for node, one in self.farm.state.nodes.items()
            if one.connected
        }
        self.now += seconds
        self.apply(StoodStill(seconds=seconds))
        for node, refs in held.items():
            left = [lease.ref for lease in self.farm.state.nodes[node].leases.values()]
            assert set(refs) <= set(left), "a lease was lost over it"

    @rule(job=jobs)
    def shed(self, job: str) -> None:
        """The frames of an ended job leave memory; whoever asks for them has them recalled."""
        before = self.farm.job_view(job, self.now)
        self.farm.shed(job)
        assert self.farm.job_view(job, self.now) == before

    @rule(job=jobs, frames=st.none() | st.sets(st.integers(1, 4), min_size=1).map(tuple))
    def retry(self, job: str, frames: tuple[int, ...] | None) -> None:
        self.apply(RetryRequested(job=job, frames=frames))

    @rule(node=nodes, kind=st.sampled_from([NodeDrained, NodeDisabled, NodeEnabled]))
    def direct(self, node: str, kind: type) -> None:
        self.apply(kind(node=node))

    @rule(pick=st.integers(0, 7), what=st.sampled_from(["open", "start", "half", "done", "back"]))
    def work(self, pick: int, what: str) -> None:
        """A node says something of one of the last frames it was given, in time or not."""
        if not self.given:
            return
        node, ref = self.given[-1 - pick % len(self.given)]
        message: NodeMessage = {
            "open": ScenePreparing(frame=ref, stage="opening", fraction=0.5),
            "start": FrameStarted(frame=ref),
            "half": FrameProgress(frame=ref, fraction=0.5, text="Sample 1/2"),
            "done": done(ref, thumbnail="t"),
            "back": LeasesReturned(frames=(ref,), reason="The user is back."),
        }[what]
        self.say(node, message)

    @rule(pick=st.integers(0, 7), kind=st.sampled_from(list(FailureKind)))
    def fail(self, pick: int, kind: FailureKind) -> None:
        if self.given:
            node, ref = self.given[-1 - pick % len(self.given)]
            self.say(node, FrameFailed(frame=ref, kind=kind, reason="It broke."))

    @rule(
        node=nodes,
        message=st.sampled_from(
            [
                Availability(available=False, reason="User is here."),
                Availability(available=True),
                Goodbye(reason="Bye."),
                Availability(available=False, reason="It is noon.", changes_at=5000.0),
                MachineChanged(machine=machine()),
                MachineChanged(machine=machine(memory_bytes=2**24, tags=("fast",))),
                MachineChanged(machine=machine(gpu_only=True)),
                SceneHeld(manifest="m0"),
                SceneHeld(manifest="m0", held=False),
            ]
        ),
    )
    def mention(self, node: str, message: NodeMessage) -> None:
        self.say(node, message)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0, 60.0, 2000.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200):
            wakeup = self.farm.next_wakeup(self.now)
            if wakeup is None or wakeup > end:
                break
            self.now = wakeup
            self.apply(Tick())
        self.now = end
        self.apply(Tick())

    @rule()
    def restart(self) -> None:
        """The coordinator is killed and comes back from what it stored."""
        before = {job: self.farm.job_view(job, self.now) for job in self.farm.job_ids()}
        settings = {node: one.record.farm_settings for node, one in self.farm.state.nodes.items()}
        self.farm, decisions = self.database.restore(self.config, self.now)
        self.execute(decisions)
        for job, view in before.items():
            again = self.farm.job_view(job, self.now)
            assert view is not None
            assert again is not None
            assert (view.counts, view.state) == (again.counts, again.state)
            assert view.avoids == again.avoids
        for node, one in self.farm.state.nodes.items():
            assert settings[node] == one.record.farm_settings

    @invariant()
    def everything_holds(self) -> None:
        validate(self.farm)
        for job in self.farm.job_ids():
            view = self.farm.job_view(job, self.now)
            assert view is not None
            if self.farm.is_shed(job):
                assert view.state in JOB_ENDED
            else:
                self.farm.frames(job)
        self.farm.nodes(self.now)


FarmMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestFarmMachine = FarmMachine.TestCase
