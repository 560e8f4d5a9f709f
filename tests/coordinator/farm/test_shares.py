"""Submitters of equal priority have equal parts of the farm: of its time, not of its frames."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from farm_builders import spec
from farm_simulation import Simulation
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.events import JobCancelled, JobSubmitted
from rendermill.protocol.job import JobSpec

HOUR = 3600.0


def world_of(nodes: int, seconds: dict[str, float]) -> Simulation:
    """A farm of equal nodes and the seconds that a frame of each job takes."""
    world = Simulation(1, [1.0] * nodes, lambda ref: seconds[ref.job], with_progress=False)
    world.validating = False
    world.run(lambda: world.farm.counts().nodes_online == nodes, limit=60)
    return world


def submit(world: Simulation, job: str, wanted: JobSpec) -> None:
    world.deliver(JobSubmitted(job=job, spec=wanted, manifest=job, scene_bytes=1, scene_files=1))


def pass_time(world: Simulation, seconds: float) -> None:
    end = world.now + seconds
    world.after(seconds, lambda: None)
    world.run(lambda: world.now >= end, limit=seconds + 60)


def time_had(world: Simulation, since: float = 0.0) -> Counter[str]:
    """Seconds of nodes that each job has had in finished frames."""
    had: Counter[str] = Counter()
    for one in world.database.attempts.values():
        if one.started >= since:
            had[one.job] += one.ended - one.started
    return had


@pytest.mark.parametrize("nodes", [1, 2, 3, 10])
@pytest.mark.parametrize(("slow", "quick"), [(10.0, 10.0), (60.0, 6.0), (600.0, 40.0)])
def test_shares_converge_whatever_the_frames_take(nodes: int, slow: float, quick: float) -> None:
    world = world_of(nodes, {"slow": slow, "quick": quick})
    submit(world, "slow", spec("1-100000", submitter="ada"))
    submit(world, "quick", spec("1-100000", submitter="bob"))
    span = max(2 * HOUR, 60 * slow)
    pass_time(world, span)
    had = time_had(world)
    whole = nodes * span
    assert had["slow"] + had["quick"] > 0.9 * whole, "nodes were idle"
    assert abs(had["slow"] - had["quick"]) < 0.12 * whole


def test_three_submitters_and_many_jobs_of_one_of_them() -> None:
    jobs = {f"many{number}": 20.0 for number in range(20)} | {"bob": 45.0, "eve": 7.0}
    world = world_of(6, jobs)
    for job in jobs:
        submitter = job if job in ("bob", "eve") else "ada"
        submit(world, job, spec("1-100000", submitter=submitter))
    pass_time(world, 4 * HOUR)
    had = time_had(world)
    ada = sum(seconds for job, seconds in had.items() if job.startswith("many"))
    for seconds in (ada, had["bob"], had["eve"]):
        assert abs(seconds - 8 * HOUR) < HOUR


def test_what_was_had_while_nobody_else_wanted_anything_is_not_held_against_anyone() -> None:
    world = world_of(4, {"first": 30.0, "second": 30.0})
    submit(world, "first", spec("1-100000", submitter="ada"))
    pass_time(world, 4 * HOUR)
    begin = world.now
    submit(world, "second", spec("1-100000", submitter="bob"))
    pass_time(world, 2 * HOUR)
    had = time_had(world, begin)
    assert abs(had["first"] - had["second"]) < 0.15 * 8 * HOUR


def test_a_more_urgent_job_is_no_matter_of_shares() -> None:
    world = world_of(3, {"low": 30.0, "high": 30.0})
    submit(world, "low", spec("1-100000", submitter="ada", priority=50))
    submit(world, "high", spec("1-100000", submitter="ada", priority=60))
    pass_time(world, HOUR)
    had = time_had(world)
    assert had["high"] > 0.97 * 3 * HOUR


def test_nodes_do_not_swing_between_scenes() -> None:
    world = world_of(10, {"one": 10.0, "two": 10.0})
    submit(world, "one", spec("1-100000", submitter="ada"))
    submit(world, "two", spec("1-100000", submitter="bob"))
    pass_time(world, HOUR)
    switches = 0
    by_node: dict[str, list[tuple[float, str]]] = {}
    for one in world.database.attempts.values():
        by_node.setdefault(one.node, []).append((one.started, one.job))
    for frames in by_node.values():
        ordered = [job for _, job in sorted(frames)]
        switches += sum(one != two for one, two in itertools.pairwise(ordered))
    assert switches < 0.02 * sum(len(frames) for frames in by_node.values())


def test_shares_survive_cancellations_and_a_restart_begins_level() -> None:
    seconds = {"one": 20.0, "two": 20.0, "three": 20.0}
    world = world_of(4, seconds)
    for job, submitter in (("one", "ada"), ("two", "bob"), ("three", "ada")):
        submit(world, job, spec("1-100000", submitter=submitter))
    pass_time(world, HOUR)
    world.deliver(JobCancelled(job="one"))
    pass_time(world, HOUR)
    world.farm, decisions = world.database.restore(FarmConfig(), world.now)
    world.execute(decisions)
    begin = world.now
    pass_time(world, 2 * HOUR)
    had = time_had(world, begin)
    assert abs(had["two"] - had["three"]) < 0.15 * 8 * HOUR
