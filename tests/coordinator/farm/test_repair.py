"""Files lost on the coordinator's disk, and time in which it did not listen."""

from __future__ import annotations

from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.decisions import SaveAttempt, SaveFrames
from rendermill.coordinator.farm.events import (
    JobCancelled,
    JobSubmitted,
    ResultsLost,
    RetryRequested,
    StoodStill,
    Tick,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.protocol.messages import FrameStarted
from rendermill.protocol.states import FrameState, JobState

from .farm_builders import Scenario, done, spec

REASON = "The file was damaged."


def finished(frames: str = "1-3") -> Scenario:
    """A job that one node has rendered."""
    farm = Scenario(Farm(FarmConfig()))
    farm.join("a")
    submit(farm, frames)
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    assert state(farm) is JobState.DONE
    return farm


def submit(farm: Scenario, frames: str) -> None:
    event = JobSubmitted(
        job="j", spec=spec(frames), manifest="0" * 64, scene_bytes=1, scene_files=1
    )
    farm.apply(event)


def state(farm: Scenario) -> JobState:
    return farm.farm.job_view("j", farm.now).state


def record(farm: Scenario, frame: int):
    table = farm.farm.state.jobs["j"].table
    return table.record(table.position(frame))


def test_only_what_was_lost_is_rendered_again_and_the_job_ends_once_more() -> None:
    farm = finished()
    decisions = farm.apply(ResultsLost(job="j", frames=((2, 1),), reason=REASON))
    assert any(isinstance(one, SaveFrames) for one in decisions)
    assert record(farm, 2).result is None
    assert [record(farm, frame).state for frame in (1, 3)] == [FrameState.DONE] * 2
    (ref,) = farm.held("a")
    assert (ref.frame, ref.generation) == (2, 2)
    assert farm.farm.job_view("j", farm.now).problem == REASON
    farm.say("a", done(ref))
    assert state(farm) is JobState.DONE
    assert record(farm, 2).result.generation == 2


def test_what_is_not_as_it_says_is_left_alone() -> None:
    farm = finished()
    for frames in (((2, 7),), ((99, 1),), ()):
        farm.apply(ResultsLost(job="j", frames=frames, reason=REASON))
    farm.apply(ResultsLost(job="gone", frames=((1, 1),), reason=REASON))
    assert state(farm) is JobState.DONE


def test_nobody_goes_back_to_a_result_that_is_no_more() -> None:
    """A frame that is being rendered anew has its former result until the new one is there."""
    farm = finished("1")
    farm.apply(RetryRequested(job="j", frames=(1,)))
    assert record(farm, 1).result is not None
    farm.apply(ResultsLost(job="j", frames=((1, 1),), reason=REASON))
    assert record(farm, 1).result is None
    farm.apply(JobCancelled(job="j"))
    assert record(farm, 1).state is FrameState.CANCELLED


def test_time_in_which_nobody_listened_is_held_against_no_node() -> None:
    farm = Scenario(Farm(FarmConfig()))
    farm.join("a")
    submit(farm, "1")
    (ref,) = farm.held("a")
    farm.say("a", FrameStarted(frame=ref))
    farm.apply(StoodStill(seconds=7200.0), after=7200.0)
    farm.apply(Tick())
    assert farm.held("a") == [ref]
    assert not farm.farm.state.nodes["a"].suspect
    farm.say("a", done(ref))
    assert state(farm) is JobState.DONE


def test_without_it_the_same_silence_costs_the_lease() -> None:
    farm = Scenario(Farm(FarmConfig()))
    farm.join("a")
    submit(farm, "1")
    farm.apply(Tick(), after=7200.0)
    assert farm.held("a") == []


def test_a_date_that_was_set_back_between_two_starts_ends_nothing_before_it_began() -> None:
    before = Scenario(Farm(FarmConfig()), now=2e9)
    before.join("a")
    submit(before, "1")
    (ref,) = before.held("a")
    state_before = before.farm.state
    job = state_before.jobs["j"]
    after = Scenario(Farm(FarmConfig()), now=1e9)
    after.farm.restore(
        [job.record],
        list(job.table.records.values()),
        [node.record for node in state_before.nodes.values()],
        state_before.epoch_ceiling,
        after.now,
    )
    after.join("a", "i2")
    decisions = after.apply(Tick(), after=1.0)
    records = [
        one.record
        for one in [*decisions, *after.say("a", done(after.held("a")[0]))]
        if isinstance(one, SaveAttempt)
    ]
    assert records
    assert all(record.started <= record.ended for record in records)
    assert ref.job == "j"
