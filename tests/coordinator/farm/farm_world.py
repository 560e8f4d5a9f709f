"""A farm with everything that happens to farms: people, jobs of every kind, and seeded faults.

`run_world` is driven by tests and by ``scripts/simulate_farm.py``.
"""

from __future__ import annotations

import math
from collections import Counter
from zlib import crc32

from farm_builders import GIB, machine, requirements, spec
from farm_simulation import Simulation
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
    NodeDrained,
    NodeEnabled,
    NodeForgiven,
    RetryRequested,
    ScoutsApproved,
    ScoutsRejected,
)
from rendermill.protocol.job import Film, FrameOrder, Limits
from rendermill.protocol.messages import Availability, FrameRef, MachineChanged
from rendermill.protocol.node_settings import NOTHING_SET, SETTING_NAMES, FarmSettings
from rendermill.protocol.states import JOB_ENDED, JobState

JOBS_KEPT = 5
"""Ended jobs beyond these are checked and removed, oldest first: `validate` looks at every job."""
PEOPLE = 0.4
"""Part of the jobs that somebody interferes with."""
MISHAPS = 0.05
"""Part of the moments of trouble in which the coordinator loses files or stands still."""
SETTINGS = (
    FarmSettings(tags=("fast",)),
    FarmSettings(tags=(), schedule="mon-fri 19:00-07:30"),
    FarmSettings(idle_minutes=5.0),
)


def frame_seconds(ref: FrameRef) -> float:
    """Return how long a frame takes: mostly a few seconds, some of them five times as long."""
    return 2 + 10 * abs(math.sin(ref.frame * 12.9898 + crc32(ref.job.encode()) % 7)) ** 4


class World(Simulation):
    """A simulation that counts how its jobs ended."""

    def __init__(self, seed: int, nodes: int, *, validating: bool) -> None:
        slownesses = [0.5 + (index % 4) for index in range(nodes)]
        super().__init__(seed, slownesses, frame_seconds, validating=validating)
        self.ended: Counter[JobState] = Counter()
        self.mishap = 0.0

    @property
    def done(self) -> int:
        """Jobs that are done."""
        return self.ended[JobState.DONE]

    def ask(self, event: FarmEvent) -> bool:
        """Let a person ask for something; False when it is refused, or nobody is there."""
        if not self.is_up or self.is_still:
            return False
        try:
            self.deliver(event)
        except FarmRefusal as refusal:
            assert str(refusal).endswith("."), refusal  # noqa: PT017 - any request may be refused
            return False
        return True

    def sweep(self, keep: int) -> None:
        """Check and remove the oldest ended jobs until no more than ``keep`` are left."""
        if not self.is_up or self.is_still:
            return
        jobs = self.farm.job_ids()
        for job in jobs[: max(len(jobs) - keep, 0)]:
            view = self.farm.job_view(job, self.clock)
            if not self.is_up or view is None or view.state not in JOB_ENDED:
                continue
            if job not in self.database.jobs:
                continue
            self.check_job(job)
            if self.ask(JobRemoved(job=job)):
                self.ended[view.state] += 1


def submit(world: World, number: int) -> str:
    """Submit a job of a random kind."""
    draw = world.random
    job = f"job{number:06d}"
    earlier = list(world.farm.job_ids())
    limits = draw.choice(
        [Limits()] * 6
        + [Limits(shortest_seconds=1), Limits(frame_seconds=60), Limits(no_progress_seconds=60)]
    )
    world.ask(
        JobSubmitted(
            job=job,
            spec=spec(
                f"1-{draw.randint(1, 8)}",
                requires=requirements(memory_bytes=draw.choice([0, 0, GIB])),
                name=job,
                submitter=draw.choice(["ada", "bob", "eve"]),
                priority=draw.choice([0, 50, 50, 100]),
                order=draw.choice(list(FrameOrder)),
                max_nodes=draw.choice([0, 0, 1, 3]),
                scouts=draw.random() < 0.1,
                depends_on=(draw.choice(earlier),) if earlier and draw.random() < 0.15 else (),
                film=Film(name="f.mp4", folder="/", fps=24) if draw.random() < 0.1 else None,
                limits=limits,
            ),
            manifest=f"{draw.randint(0, 3):064x}",
            scene_bytes=1,
            scene_files=1,
        )
    )
    if draw.random() < 0.05:
        world.poison.add((job, 1))
    return job


def interfere(world: World, job: str) -> None:
    """Do what people do, at any time, possible or not."""
    draw = world.random
    node = draw.choice(list(world.nodes))
    other = draw.choice(list(world.nodes))
    life = world.nodes[node].life
    says = [
        Availability(available=False, reason="Its user is back."),
        MachineChanged(machine=machine(memory_bytes=draw.choice([1, 32]) * GIB)),
    ]
    events: list[FarmEvent] = [
        JobCancelled(job=job),
        JobPaused(job=job),
        JobChanged(job=job, priority=draw.randint(0, 100)),
        JobChanged(job=job, nodes=(node, other), max_nodes=draw.randint(0, 2)),
        JobChanged(job=job, tags=("nobody has this",)),
        JobChanged(job=job, order=draw.choice(list(FrameOrder)), limits=Limits(frame_seconds=90)),
        RetryRequested(job=job),
        RetryRequested(job=job, frames=(1,)),
        RetryRequested(job=job, frames=(1, 2, 3)),
        ScoutsApproved(job=job),
        ScoutsRejected(job=job),
        JobRemoved(job=job),
        NodeDrained(node=node),
        NodeDisabled(node=node),
        NodeForgiven(node=node),
        NodeForgiven(node=node, job=job),
        MessageReceived(node=node, incarnation=life, message=draw.choice(says)),
    ]
    world.ask(draw.choice(events))
    if world.mishaps.random() < world.mishap:
        world.ask(NodeConfigured(node=node, changes=world.mishaps.choice(SETTINGS)))
    world.after(30, settle, world, job, node)


def settle(world: World, job: str, node: str) -> None:
    """Take back what would keep a job from ending."""
    if not world.is_up or world.is_still:
        world.after(10, settle, world, job, node)
        return
    life = world.nodes[node].life
    for message in (Availability(available=True), MachineChanged(machine=machine())):
        world.ask(MessageReceived(node=node, incarnation=life, message=message))
    for event in (
        NodeEnabled(node=node),
        NodeConfigured(node=node, changes=NOTHING_SET, reset=SETTING_NAMES),
        JobChanged(job=job, nodes=(), tags=(), max_nodes=0),
        JobResumed(job=job),
    ):
        if not world.ask(event) and (not world.is_up or world.is_still):
            world.after(10, settle, world, job, node)
            return


def run_world(
    seed: int,
    jobs: int,
    nodes: int,
    *,
    validating: bool = True,
    gathers: float = 0.25,
    mishap: float = MISHAPS,
) -> World:
    """Run a farm until ``jobs`` jobs have ended; raises when a promise does not hold."""
    world = World(seed, nodes, validating=validating)
    world.gathers = gathers
    world.mishap = mishap
    world.frame_fault = 0.02
    world.kill_after_commit = 0.0005
    world.ghosts = 0.05
    world.sheds = 0.02
    world.wrong_times = 0.02
    world.skews = world.with_scenes = True
    submitted = 0

    def trouble() -> None:
        nonlocal submitted
        if submitted < jobs:
            if world.is_up and not world.is_still:
                job = submit(world, submitted)
                submitted += 1
                if world.random.random() < PEOPLE:
                    world.after(world.random.uniform(0, 60), interfere, world, job)
            if world.random.random() < 0.15:
                world.disturb()
            if world.mishaps.random() < world.mishap:
                world.lose_results()
            if world.mishaps.random() < world.mishap:
                world.stand_still(world.mishaps.choice([1.0, 20.0, 90.0, 400.0]))
            world.sweep(JOBS_KEPT)
            world.after(world.random.expovariate(1 / 12.0), trouble)
        else:
            # What no longer goes wrong: from here on every job has to end.
            world.frame_fault = world.kill_after_commit = world.wrong_times = 0.0

    def look_after() -> None:
        """What waits for a person: a job behind one that failed, scouts to look at."""
        for job in world.farm.job_ids() if world.is_up and not world.is_still else ():
            view = world.farm.job_view(job, world.clock) if world.is_up else None
            if view is None or view.state in JOB_ENDED:
                continue
            if "retry that one" in view.waiting_because:
                world.ask(JobCancelled(job=job))
            elif "scout" in view.waiting_because:
                world.ask(ScoutsApproved(job=job))
        world.after(100, look_after)

    trouble()
    look_after()
    world.run(lambda: submitted == jobs and world.all_ended(), limit=jobs * 30 + 20_000)
    world.check()
    while world.is_up and world.farm.job_ids():
        before = len(world.farm.job_ids())
        world.sweep(0)
        assert len(world.farm.job_ids()) < before, "jobs that wait for each other"
    return world
