"""A farm whose database is kept: it can be killed and brought back in the middle of a test."""

from __future__ import annotations

from farm_builders import Scenario, spec
from farm_simulation import Database
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import Decision
from rendermill.coordinator.farm.events import JobSubmitted, Tick
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.farm.validate import validate
from rendermill.protocol.job import JobSpec
from rendermill.protocol.messages import FailureKind, FrameFailed, FrameStarted, Heartbeat
from rendermill.protocol.views import FrameView, JobView

ALIVE = Heartbeat(load=0.0, memory_free_bytes=1, disk_free_bytes=1)


class Kept(Scenario):
    """A scenario whose farm can be killed and brought back from its database."""

    def __init__(self, *nodes: str) -> None:
        super().__init__(Farm(FarmConfig()))
        self.database = Database()
        for node in nodes:
            self.join(node)

    def apply(self, event: object, after: float = 0.0) -> list[Decision]:
        decisions = super().apply(event, after)
        self.database.commit(decisions)
        return decisions

    def restart(self) -> list[Decision]:
        self.farm, decisions = self.database.restore(FarmConfig(), self.now)
        self.database.commit(decisions)
        validate(self.farm)
        return decisions

    def submit(self, job: str = "j", wanted: JobSpec | None = None) -> list[Decision]:
        return self.apply(
            JobSubmitted(
                job=job, spec=wanted or spec("1-3"), manifest="m", scene_bytes=1, scene_files=1
            )
        )

    def fail(self, node: str, kind: FailureKind = FailureKind.CRASH) -> list[Decision]:
        """The frame a node works on fails."""
        ref = self.held(node)[0]
        self.say(node, FrameStarted(frame=ref))
        return self.say(node, FrameFailed(frame=ref, kind=kind, reason="It broke."))

    def wait(self, seconds: float, *alive: str) -> list[Decision]:
        """Time passes; these nodes send heartbeats."""
        made: list[Decision] = []
        end = self.now + seconds
        while self.now < end:
            for node in alive:
                made += self.say(node, ALIVE)
            made += self.apply(Tick(), after=min(5.0, end - self.now))
        return made

    def view(self, job: str = "j") -> JobView:
        found = self.farm.job_view(job, self.now)
        assert found is not None
        return found

    def frame(self, frame: int, job: str = "j") -> FrameView:
        found = self.farm.frame_view(job, frame)
        assert found is not None
        return found
