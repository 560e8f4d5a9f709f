"""kill -9 at random moments of a whole job: of the coordinator, of nodes, of Blender, of all.

The moments are random and the number of kills is fixed, so that the job can end; each kill waits
until the farm works again after the one before. See docs/faults.md for rounds and seeds.
"""

from __future__ import annotations

import random
import time

import pytest
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until

NODES = ("one", "two")
KILLS = 4
MOMENT_SECONDS = 1.2
"""A kill comes within so long after the farm was seen at work: some frames' time."""
FRAMES = 14


class Killer:
    """Kills what it is told to, at moments that ``chance`` decides."""

    def __init__(self, farm: FarmUnderFault, job: FollowedJob, chance: random.Random) -> None:
        self.farm, self.job, self.chance = farm, job, chance
        self.killed: list[str] = []
        self._crashed: dict[int, int] = {}

    def wait_for_moment(self, nodes: tuple[str, ...]) -> bool:
        """Wait until one of ``nodes`` renders, and a moment longer; False when the job is over."""

        def works() -> bool:
            return self.is_over() or any(
                self.farm.farm.node(name).get("state") == "rendering" for name in nodes
            )

        wait_until(works, lambda: f"the farm works on\n{self.farm.story()}")
        time.sleep(self.chance.uniform(0.0, MOMENT_SECONDS))
        return not self.is_over()

    def kill_coordinator(self) -> None:
        self.farm.kill("coordinator")
        self.farm.start_coordinator()
        self.killed.append("coordinator")

    def kill_node(self, name: str) -> None:
        self.farm.kill(name)
        self.farm.start_node(name)
        self.killed.append(name)

    def kill_blender(self, name: str) -> None:
        frame = self.farm.farm.node(name).get("frame")
        # A frame that takes Blender down again and again is given up, and rightly so.
        if frame is None or self._crashed.get(frame, 0) > 0:
            return
        self._crashed[frame] = 1
        if self.farm.kill_blender(name):
            self.killed.append(f"Blender of {name}")

    def is_over(self) -> bool:
        return self.farm.view(self.job).get("state") == "done"


@pytest.mark.parametrize("what", ["coordinator", "nodes", "blender", "all"])
def test_a_job_with_kills_loses_nothing(
    farm: FarmUnderFault,
    scene: CapturedScene,
    seen: dict[int, bytes],
    chance: random.Random,
    what: str,
) -> None:
    farm.start(*NODES)
    job = farm.submit(scene, f"1-{FRAMES}")
    killer = Killer(farm, job, chance)
    while not killer.killed:
        # On a busy machine a job may be over before anything was killed: then there is another.
        if killer.is_over():
            killer = Killer(farm, farm.submit(scene, f"1-{FRAMES}"), chance)
        kill_at_random(killer, what)
    farm.check(seen=seen)


def kill_at_random(killer: Killer, what: str) -> None:
    """Kill so often, or until the job is over."""
    chance = killer.chance
    for _ in range(KILLS):
        victim = chance.choice(NODES)
        kind = chance.choice(["coordinator", "nodes", "blender"]) if what == "all" else what
        if not killer.wait_for_moment(NODES if kind == "coordinator" else (victim,)):
            break
        match kind:
            case "coordinator":
                killer.kill_coordinator()
            case "nodes":
                killer.kill_node(victim)
            case _:
                killer.kill_blender(victim)
