"""A whole farm in virtual time: the real `Farm`, a database that is a dict, nodes that follow the
protocol, a network that loses connections, and faults drawn from a seed.

Same seed, same trace. `Simulation.check` holds the promises of the farm against what the nodes were
told and what the database holds.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from farm_builders import done, hello
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import (
    Decision,
    DeleteJob,
    Disconnect,
    SaveAttempt,
    SaveEpochCeiling,
    SaveFrames,
    SaveJob,
    SaveNode,
    Send,
)
from rendermill.coordinator.farm.events import (
    FarmEvent,
    MessageReceived,
    NodeDisconnected,
    NodeJoined,
    ResultsLost,
    StoodStill,
    Tick,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.records import AttemptRecord, FrameRecord, JobRecord, NodeRecord
from rendermill.coordinator.farm.validate import validate
from rendermill.protocol.frames import FILM_FRAME
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameAccepted,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameRef,
    FrameRefused,
    FrameStarted,
    Heartbeat,
    LeasesReturned,
    NodeMessage,
    Revoke,
    SceneHeld,
    Welcome,
)
from rendermill.protocol.states import FRAME_OPEN, JOB_ENDED, FrameState

HEARTBEAT = Heartbeat(load=0.5, memory_free_bytes=1, disk_free_bytes=1)


@dataclass
class Database:
    """What survives a kill of the coordinator."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    frames: dict[tuple[str, int], FrameRecord] = field(default_factory=dict)
    attempts: dict[tuple[str, int, int], AttemptRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    ceiling: int = 1
    results: dict[tuple[str, int, int], str] = field(default_factory=dict)
    """(job, generation, frame) -> hash of the result that was stored first."""

    def commit(self, decisions: list[Decision]) -> None:
        for one in decisions:
            match one:
                case SaveJob():
                    self.jobs[one.record.id] = one.record
                case SaveFrames():
                    for record in one.records:
                        self._save_frame(record)
                case SaveAttempt():
                    key = (one.record.job, one.record.frame, one.record.epoch)
                    self.attempts[key] = one.record
                case SaveNode():
                    self.nodes[one.record.id] = one.record
                case SaveEpochCeiling():
                    assert one.ceiling > self.ceiling
                    self.ceiling = one.ceiling
                case DeleteJob():
                    del self.jobs[one.job]
                    for key in [key for key in self.frames if key[0] == one.job]:
                        del self.frames[key]
                case _:
                    pass

    def _save_frame(self, record: FrameRecord) -> None:
        self.frames[record.job, record.frame] = record
        if record.result is not None:
            key = (record.job, record.result.generation, record.frame)
            sha256 = record.result.files[0].sha256
            assert self.results.setdefault(key, sha256) == sha256, f"{key} was stored twice"

    def restore(self, config: FarmConfig, now: float) -> tuple[Farm, list[Decision]]:
        farm = Farm(config)
        decisions = farm.restore(
            list(self.jobs.values()),
            list(self.frames.values()),
            list(self.nodes.values()),
            self.ceiling,
            now,
        )
        return farm, decisions


@dataclass
class SimulatedNode:
    """One node process after the other on one machine, as `protocol.messages` asks of it."""

    world: Simulation
    id: str
    slowness: float
    incarnation: int = 0
    alive: bool = False
    connected: bool = False
    connection: int = 0
    queue: list[FrameRef] = field(default_factory=list)
    current: FrameRef | None = None
    render: int = 0
    """Number of the render in progress; an older one that ends was stopped."""
    outbox: dict[FrameRef, FrameDone] = field(default_factory=dict)
    broken: bool = False
    """Its machine fails every frame."""
    rendered: int = 0
    busy_since: float = 0.0
    frozen_until: float = 0.0
    """Stopped by SIGSTOP, or asleep: its connection stands, and nothing goes out or in."""

    @property
    def life(self) -> str:
        return f"i{self.incarnation}"

    def start(self) -> None:
        self.incarnation += 1
        self.alive = True
        self.queue.clear()
        self.current = None
        self.render += 1
        self.outbox.clear()
        self.connect()

    def kill(self) -> None:
        self.alive = False
        self.cut()

    def cut(self) -> None:
        if self.connected:
            self.connected = False
            self.connection += 1
            life = self.life
            self.world.deliver(NodeDisconnected(node=self.id, incarnation=life))

    def connect(self) -> None:
        if not self.alive or self.connected or not self.world.is_up:
            return
        self.connected = True
        self.connection += 1
        holding = [*self.outbox, *([self.current] if self.current else []), *self.queue]
        greeting = hello(self.id, self.life, holding=tuple(holding))
        self.world.after(self.world.latency(), self._arrive, NodeJoined(hello=greeting))
        self.world.after(5.0, self._beat, self.connection)

    def _arrive(self, event: FarmEvent, connection: int | None = None) -> None:
        if self.world.now < self.frozen_until:
            self.world.after(self._thaw(), self._arrive, event, connection)
            return
        if self.connected and (connection is None or connection == self.connection):
            self.world.deliver(event)

    def _thaw(self) -> float:
        return self.frozen_until - self.world.now + 0.001

    def freeze(self, seconds: float) -> None:
        self.frozen_until = max(self.frozen_until, self.world.now + seconds)

    def say(self, message: NodeMessage) -> None:
        if self.connected:
            event = MessageReceived(node=self.id, incarnation=self.life, message=message)
            self.world.after(self.world.latency(), self._arrive, event, self.connection)

    def _beat(self, connection: int) -> None:
        if self.connected and connection == self.connection:
            self.say(HEARTBEAT)
            self.world.after(5.0, self._beat, connection)

    def hear(self, message: object, life: str, connection: int) -> None:
        if self.world.now < self.frozen_until:
            self.world.after(self._thaw(), self.hear, message, life, connection)
            return
        if not self.connected or connection != self.connection or life != self.life:
            return
        match message:
            case Welcome():
                kept = set(message.keep)
                if self.current is not None and self.current not in kept:
                    self._stop()
                self.queue = [ref for ref in self.queue if ref in kept]
                for result in self.outbox.values():
                    self.say(result)
            case Assign():
                self.queue.extend(message.frames)
            case Revoke():
                self._revoke(message)
            case FrameAccepted():
                self.world.acknowledge(message.frame)
                self.outbox.pop(message.frame, None)
            case FrameRefused():
                self.outbox.pop(message.frame, None)
            case _:
                pass
        self._go_on()

    def _revoke(self, message: Revoke) -> None:
        returned = [ref for ref in self.queue if ref in message.frames]
        self.queue = [ref for ref in self.queue if ref not in message.frames]
        if message.running_too and self.current in message.frames:
            returned.append(self.current)
            self._stop()
        for ref in message.frames if message.running_too else ():
            self.outbox.pop(ref, None)
        if returned:
            self.say(LeasesReturned(frames=tuple(returned), reason=message.reason))

    def _stop(self) -> None:
        self.world.busy += self.world.now - self.busy_since
        self.current = None
        self.render += 1

    def _go_on(self) -> None:
        if self.current is None and self.queue and self.alive:
            self.current = ref = self.queue.pop(0)
            self.render += 1
            self.busy_since = self.world.now
            self.say(FrameStarted(frame=ref))
            seconds = self.world.frame_seconds(ref) * self.slowness
            if self.world.with_progress:
                for part in (0.1, 0.25, 0.5, 0.75):
                    self.world.after(seconds * part, self._progress, ref, self.render, part)
            self.world.after(seconds, self._end, ref, self.render, seconds)

    def _progress(self, ref: FrameRef, render: int, fraction: float) -> None:
        if self.world.now < self.frozen_until:
            return
        if self.alive and render == self.render:
            self.say(FrameProgress(frame=ref, fraction=fraction))

    def _end(self, ref: FrameRef, render: int, seconds: float) -> None:
        if not self.alive or render != self.render:
            return
        if self.world.now < self.frozen_until:
            self.world.after(self._thaw(), self._end, ref, render, seconds)
            return
        self._stop()
        kind = self.world.failure(self, ref)
        if kind is not None:
            self.say(FrameFailed(frame=ref, kind=kind, reason=f"It was a {kind.value}."))
        else:
            self.rendered += 1
            self.outbox[ref] = done(ref, seconds * self.world.told_time())
            self.say(self.outbox[ref])
            self.world.haunt(self, self.outbox[ref])
            if self.world.with_scenes:
                self.say(SceneHeld(manifest="m" * 64))
        self._go_on()


class Simulation:
    """The world: time, network, database, coordinator, nodes."""

    def __init__(
        self,
        seed: int,
        slownesses: list[float],
        seconds: Callable[[FrameRef], float],
        *,
        config: FarmConfig | None = None,
        validating: bool = True,
        with_progress: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.now = 1_000_000.0
        self.config = config or FarmConfig()
        self.farm = Farm(self.config)
        self.database = Database()
        self.is_up = True
        self.frame_seconds = seconds
        self.with_progress = with_progress
        self.with_scenes = False
        self.validating = validating
        self.node_fault = 0.0
        self.frame_fault = 0.0
        self.poison: set[tuple[str, int]] = set()
        self.accepted: set[FrameRef] = set()
        self.busy = 0.0
        self.events = 0
        self.gathered: list[FarmEvent] = []
        self.unheard: list[FarmEvent] = []
        self.is_still = False
        self.starts = 0
        self.mishaps = random.Random(seed + 1_000_003)
        """For what came later: the other faults of a seed stay as they are."""
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._number = 0
        self._wakeup: float | None = None
        self.nodes = {
            f"n{index}": SimulatedNode(self, f"n{index}", slowness)
            for index, slowness in enumerate(slownesses)
        }
        for node in self.nodes.values():
            node.start()

    # --- time and network ------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[..., None], *arguments: object) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (self.now + delay, self._number, action, arguments))

    @property
    def clock(self) -> float:
        """What the coordinator's clock shows: it never jumps while the process lives."""
        return self.now + self.skew

    def told_time(self) -> float:
        """What a node says a frame took, over what it took: clocks of nodes are wrong at times."""
        if self.random.random() < self.wrong_times:
            return self.random.choice([0.0, 1e-9, 0.01, 100.0, 1e12])
        return 1.0

    def haunt(self, node: SimulatedNode, message: FrameDone) -> None:
        """Results that come twice, late, out of turn, of a former life or under another name."""
        if self.random.random() >= self.ghosts:
            return
        ref = message.frame
        changed = self.random.choice(
            [
                ref,
                ref,
                replace(ref, epoch=max(ref.epoch - 1, 1)),
                replace(ref, epoch=ref.epoch + 5),
                replace(ref, generation=ref.generation + 1),
                replace(ref, frame=ref.frame + 1),
            ]
        )
        event = MessageReceived(
            node=node.id, incarnation=node.life, message=replace(message, frame=changed)
        )
        self.after(self.random.choice([0.001, 1, 30, 300]), self.deliver, event)

    def latency(self) -> float:
        # One fixed delay keeps the order of messages on a connection.
        return 0.002

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Let time pass until something holds; fails if it does not within ``limit`` seconds."""
        end = self.now + limit
        while not until():
            assert self._agenda, "nothing is left to happen"
            when, _, action, arguments = heapq.heappop(self._agenda)
            assert when <= end, f"not done after {limit} s: {self.unfinished()}"
            self.now = max(self.now, when)
            action(*arguments)

    def unfinished(self) -> list[str]:
        views = [self.farm.job_view(job, self.clock) for job in self.farm.job_ids()]
        return [str(view) for view in views if view and view.state not in JOB_ENDED][:3]

    # --- the coordinator -------------------------------------------------------------------------

    def deliver(self, event: FarmEvent) -> None:
        if not self.is_up:
            return
        if self.is_still:
            self.unheard.append(event)
            return
        self.events += 1
        if self.gathers and self.farm.is_report(event) and self.random.random() < self.gathers:
            self.gathered.append(event)
            if len(self.gathered) == 1:
                self.after(self.latency(), self._deliver_gathered)
            return
        self._deliver_gathered()
        if not self.is_up:
            return  # Killed over them.
        self._recall(event)
        decisions = self.farm.apply(event, self.clock)
        self._finish(decisions)

    def _deliver_gathered(self) -> None:
        """Reports that came while a commit was on its way are applied together."""
        events, self.gathered = self.gathered, []
        if events and self.is_up:
            for event in events:
                self._recall(event)
            self._finish(self.farm.apply_reports(events, self.clock))

    def _recall(self, event: FarmEvent) -> None:
        if job := self.farm.needs(event):
            self.farm.recall(
                job, [record for (name, _), record in self.database.frames.items() if name == job]
            )

    def _finish(self, decisions: list[Decision]) -> None:
        self.execute(decisions)
        if self.random.random() < self.sheds:
            for job in self.farm.job_ids():
                self.farm.shed(job)
        if self.validating:
            validate(self.farm)

    def execute(self, decisions: list[Decision]) -> None:
        """Commit, then send; every order of the two that a kill can leave behind is tried."""
        kinds = [type(one).__name__.startswith(("Save", "Delete")) for one in decisions]
        assert kinds == sorted(kinds, reverse=True), "what is stored comes first"
        self.database.commit(decisions)
        if self.random.random() < self.kill_after_commit:
            self.kill_coordinator()
            return
        for one in decisions:
            match one:
                case Send():
                    node = self.nodes[one.node]
                    self.after(
                        self.latency(), node.hear, one.message, one.incarnation, node.connection
                    )
                case Disconnect():
                    node = self.nodes[one.node]
                    if node.connected and node.life == one.incarnation:
                        node.cut()
                        self.after(1.0, node.connect)
                case _:
                    pass
        self._plan_tick()

    def stand_still(self, seconds: float) -> None:
        """Do not listen for so long, as with a full disk; then hear all that came meanwhile."""
        if self.is_up and not self.is_still:
            self.is_still = True
            self.after(seconds, self._listen, seconds, self.starts)

    def _listen(self, seconds: float, start: int) -> None:
        if self.starts != start:
            return  # Killed meanwhile.
        self.is_still = False
        events, self.unheard = self.unheard, []
        self.deliver(StoodStill(seconds=seconds))
        for event in events:
            self.deliver(event)
        if self.is_up:
            self._plan_tick()

    def lose_results(self) -> None:
        """Files of some finished frames are gone from the coordinator's disk."""
        done = [
            (record.job, record.frame, record.result.generation)
            for record in self.database.frames.values()
            if record.result is not None
        ]
        if not self.is_up or self.is_still or not done:
            return
        job = self.mishaps.choice(done)[0]
        frames = [(frame, generation) for of, frame, generation in done if of == job]
        lost = self.mishaps.sample(frames, min(len(frames), self.mishaps.randint(1, 3)))
        self.deliver(ResultsLost(job=job, frames=tuple(lost), reason="The disk lost it."))
        for frame, generation in lost:
            record = self.database.frames.get((job, frame))
            if record is None or record.result is None or record.result.generation != generation:
                # What had been acknowledged may be gone now, if its job is given up before it is
                # rendered again.
                self.accepted = {
                    ref
                    for ref in self.accepted
                    if (ref.job, ref.frame) != (job, frame) or ref.generation > generation
                }

    gathers = 0.0
    """Part of the reports that wait for others, to be applied together."""
    kill_after_commit = 0.0
    ghosts = 0.0
    wrong_times = 0.0
    skew = 0.0
    skews = False
    sheds = 0.0
    """Part of the events after which the frames of ended jobs leave memory."""

    def _plan_tick(self) -> None:
        wakeup = self.farm.next_wakeup(self.clock)
        if wakeup is not None and (self._wakeup is None or wakeup < self._wakeup):
            self._wakeup = wakeup
            self.after(max(wakeup - self.clock, 0.0), self._tick, wakeup)

    def _tick(self, wakeup: float) -> None:
        if self._wakeup == wakeup:
            self._wakeup = None
        if self.is_up and not self.is_still:
            self.deliver(Tick())
            self._plan_tick()

    def kill_coordinator(self) -> None:
        """Everything in memory is gone; every connection breaks."""
        if not self.is_up:
            return
        self.is_up = self.is_still = False
        self.starts += 1
        self.gathered.clear()
        self.unheard.clear()
        for node in self.nodes.values():
            node.connected = False
            node.connection += 1
        self.after(self.random.uniform(1, 20), self._restart)

    def _restart(self) -> None:
        self.is_up = True
        self._wakeup = None
        if self.skews:
            # The clock was set while nobody ran, forwards or backwards.
            self.skew = self.random.choice([0.0, 0.0, 100.0, -100.0, 5000.0, -5000.0])
        self.farm, decisions = self.database.restore(self.config, self.clock)
        if self.validating:
            validate(self.farm)
        self.execute(decisions)
        for node in self.nodes.values():
            self.after(self.random.uniform(0.1, 10), node.connect)

    # --- faults ----------------------------------------------------------------------------------

    def failure(self, node: SimulatedNode, ref: FrameRef) -> FailureKind | None:
        if (ref.job, ref.frame) in self.poison:
            return FailureKind.CRASH
        if node.broken:
            return FailureKind.NODE
        if self.random.random() < self.frame_fault:
            return self.random.choice(
                [
                    FailureKind.CRASH,
                    FailureKind.HANG,
                    FailureKind.OUTPUT,
                    FailureKind.NODE,
                    FailureKind.TOO_LONG,
                    FailureKind.SCENE,
                    FailureKind.MEMORY,
                ]
            )
        return None

    def disturb(self) -> None:
        """One fault on one node, or the coordinator killed; everything is well again later."""
        node = self.random.choice(list(self.nodes.values()))
        match self.random.randrange(9):
            case 0:
                node.kill()
                self.after(self.random.uniform(1, 200), self._revive, node)
            case 1 | 2:
                node.cut()
                self.after(self.random.choice([0.5, 20, 100]), node.connect)
            case 3:
                self.kill_coordinator()
            case 4:
                node.broken = True
                self.after(self.random.uniform(10, 100), setattr, node, "broken", False)
            case 5:
                node.freeze(self.random.choice([3, 20, 60, 200]))
            case 6:
                self.after(self.random.uniform(10, 300), setattr, node, "slowness", node.slowness)
                node.slowness *= self.random.choice([0.1, 20.0])
            case 7:
                # The whole machine: whatever was in memory is gone, and it is back at once.
                node.kill()
                node.start()
            case _:
                # A link that is dead while both ends believe in it: nothing arrives any more.
                node.connection += 1
                self.after(self.random.uniform(10, 100), self._notice, node, node.connection)

    def _notice(self, node: SimulatedNode, connection: int) -> None:
        if node.connection == connection:
            node.cut()
            self.after(1.0, node.connect)

    def _revive(self, node: SimulatedNode) -> None:
        if not node.alive:
            node.start()

    # --- promises --------------------------------------------------------------------------------

    def acknowledge(self, ref: FrameRef) -> None:
        """A node was told that its result is kept: it had better be."""
        key = (ref.job, ref.generation, ref.frame)
        assert ref.job not in self.database.jobs or key in self.database.results, ref
        self.accepted.add(ref)

    def all_ended(self) -> bool:
        return self.is_up and not self.is_still and not self.farm.counts().jobs_open

    def check_job(self, job: str) -> None:
        """Hold the promises against the history of one job that has ended."""
        for ref in self.accepted:
            if ref.job == job:
                record = self.database.frames[ref.job, ref.frame]
                assert record.result is not None, f"{ref} was acknowledged and is gone"
        self.accepted = {ref for ref in self.accepted if ref.job != job}
        counted = Counter(
            record.state
            for (name, frame), record in self.database.frames.items()
            if name == job and frame != FILM_FRAME
        )
        view = self.farm.job_view(job, self.clock)
        assert view is not None
        untouched = self.database.jobs[job].untouched
        for state in FrameState:
            told = getattr(view.counts, state.value)
            assert told == counted[state] or (state is untouched and told > counted[state])

    def check(self) -> None:
        """Hold the promises against the history; call when every job has ended."""
        for job in self.database.jobs:
            self.check_job(job)
        for (job, frame), record in self.database.frames.items():
            assert record.state not in FRAME_OPEN, f"{job}/{frame} is still {record.state.value}"
            assert not record.leases
            if record.state is FrameState.DONE:
                assert record.result is not None
        for job_id in self.database.jobs:
            view = self.farm.job_view(job_id, self.clock)
            assert view is not None
            assert view.counts.waiting == view.counts.leased == 0
        again, _ = self.database.restore(self.config, self.clock)
        validate(again)
        for job_id in self.database.jobs:
            one, two = self.farm.job_view(job_id, self.clock), again.job_view(job_id, self.clock)
            assert one is not None
            assert two is not None
            assert (one.counts, one.state, one.problem) == (two.counts, two.state, two.problem)
