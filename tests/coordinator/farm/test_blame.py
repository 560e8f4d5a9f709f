"""Who is to blame, how long it is remembered, and what people can do about it."""

from __future__ import annotations

import pytest
from farm_builders import (
    GIB,
    GPU,
    assigned,
    blender,
    done,
    gpu_requirements,
    hello,
    machine,
    sent,
    spec,
)
from kept_farm import Kept
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.events import (
    FarmRefusal,
    JobCancelled,
    JobRemoved,
    MessageReceived,
    NodeForgiven,
    NodeJoined,
    RetryRequested,
    ScoutsApproved,
    ScoutsRejected,
)
from rendermill.protocol.job import Limits
from rendermill.protocol.messages import (
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameProgress,
    FrameRefused,
    FrameStarted,
    MachineChanged,
    Revoke,
    ScenePreparing,
)
from rendermill.protocol.states import FrameState, JobState, WaitingKind


def come_back(farm: Kept, *nodes: str) -> None:
    """Nodes join again after a restart of the coordinator, holding what they held."""
    for node in nodes:
        farm.apply(NodeJoined(hello=hello(node, holding=tuple(farm.held(node)))))


# --- nodes that a job avoids ---------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
def test_failures_on_a_node_are_counted_over_restarts(restarts: bool) -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-30"))
    farm.say("b", done(farm.held("b")[0]))
    for _ in range(3):
        assert farm.view().avoids == ()
        farm.fail("a")
        if restarts:
            farm.restart()
            come_back(farm, "a", "b")
    (avoided,) = farm.view().avoids
    assert (avoided.node, avoided.name) == ("a", "a")
    assert avoided.until == pytest.approx(farm.now + FarmConfig().avoid_seconds)
    assert avoided.reason == "3 frames failed there; the last said: It broke."


def test_a_frame_that_succeeds_where_it_failed_no_longer_counts_against_the_node() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-4"))
    for _ in range(2):
        farm.fail("a")
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    assert farm.view().state is JobState.DONE
    assert farm.database.jobs["j"].penalties == ()


@pytest.mark.parametrize("job", ["", "j"])
def test_a_node_is_forgiven_by_hand(job: str) -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-30"))
    farm.say("b", done(farm.held("b")[0]))
    for _ in range(3):
        farm.fail("a")
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    decisions = farm.apply(NodeForgiven(node="a", job=job))
    assert "a" in assigned(decisions)
    assert farm.view().avoids == ()
    # Said twice, nothing more happens.
    assert not assigned(farm.apply(NodeForgiven(node="a", job=job)))
    for node, name in (("nobody", ""), ("a", "nothing")):
        with pytest.raises(FarmRefusal, match="There is no"):
            farm.apply(NodeForgiven(node=node, job=name))


def test_forgiving_a_node_ends_its_rest() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    farm.fail("a", FailureKind.NODE)
    assert farm.held("a") == []
    assert assigned(farm.apply(NodeForgiven(node="a"))) == {"a": "1"}


def test_the_only_node_is_not_given_up_and_fails_frames_one_by_one() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-6"))
    farm.say("a", done(farm.held("a")[0]))
    attempts = 0
    while farm.view().state is JobState.RENDERING:
        farm.fail("a")
        attempts += 1
    counts = farm.view().counts
    assert (counts.done, counts.failed) == (1, 5)
    assert attempts == 15


def test_on_one_node_a_failed_frame_is_tried_again_after_the_others() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-6"))
    farm.fail("a")
    rendered = []
    while farm.held("a"):
        rendered.append(farm.held("a")[0].frame)
        farm.say("a", done(farm.held("a")[0]))
    assert rendered == [2, 3, 4, 5, 6, 1]
    assert farm.view().state is JobState.DONE


# --- memory --------------------------------------------------------------------------------------


def sizes(*gib: int) -> Kept:
    farm = Kept()
    for number in gib:
        farm.join(f"n{number}", machine=machine(memory_bytes=number * GIB))
    return farm


def test_a_frame_that_ran_out_of_memory_goes_to_a_larger_machine_however_often() -> None:
    farm = sizes(4, 8, 16, 32, 64)
    farm.submit(wanted=spec("1"))
    tried = []
    while farm.view().state is JobState.RENDERING:
        node = next(f"n{number}" for number in (4, 8, 16, 32, 64) if farm.held(f"n{number}"))
        tried.append(node)
        if node == "n64":
            farm.say(node, done(farm.held(node)[0]))
        else:
            farm.fail(node, FailureKind.MEMORY)
    assert tried == [*sorted(tried, key=lambda name: int(name[1:]))]
    assert farm.view().state is JobState.DONE
    assert all(one.until is None for one in farm.view().avoids)


def test_a_smaller_machine_renders_other_frames_but_not_that_one() -> None:
    farm = sizes(8, 32)
    farm.submit(wanted=spec("1-4"))
    while farm.held("n8"):
        if farm.held("n8")[0].frame == 1:
            farm.fail("n8", FailureKind.MEMORY)
        else:
            farm.say("n8", done(farm.held("n8")[0]))
    while farm.held("n32"):
        farm.say("n32", done(farm.held("n32")[0]))
    assert farm.view().state is JobState.DONE


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_too_small_is_never_tried_again(restarts: bool) -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-99"))
    farm.fail("a", FailureKind.MEMORY)
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    farm.wait(2 * FarmConfig().avoid_seconds, "a", "b")
    if restarts:
        farm.restart()
        come_back(farm, "a", "b")
    assert farm.held("a") == []
    # Until its machine has more, or somebody says so.
    assert "a" in assigned(farm.say("a", MachineChanged(machine=machine(memory_bytes=64 * GIB))))


def test_equal_machines_are_tried_at_most_three_times() -> None:
    farm = Kept(*"abcdef")
    farm.submit(wanted=spec("1, 2"))
    tried = 0
    while farm.frame(1).state is not FrameState.FAILED:
        node = next(n for n in "abcdef" if farm.held(n) and farm.held(n)[0].frame == 1)
        farm.fail(node, FailureKind.MEMORY)
        tried += 1
    assert tried == 3


def test_memory_of_a_gpu_has_nothing_to_do_with_the_memory_of_its_machine() -> None:
    farm = Kept()
    for name, memory in (("a", 64), ("b", 8)):
        blenders = blender(gpus=(GPU,))
        farm.join(name, machine=machine(blenders, memory_bytes=memory * GIB))
    farm.submit(wanted=spec("1", requires=gpu_requirements()))
    first = "a" if farm.held("a") else "b"
    decisions = farm.fail(first, FailureKind.MEMORY)
    assert assigned(decisions) == {"b" if first == "a" else "a": "1"}


# --- limits --------------------------------------------------------------------------------------


def test_a_frame_that_makes_no_progress_is_taken_away() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1", limits=Limits(no_progress_seconds=100)))
    ref = farm.held("a")[0]
    farm.say("a", FrameStarted(frame=ref))
    farm.wait(90, "a", "b")
    farm.say("a", FrameProgress(frame=ref, fraction=0.5))
    decisions = farm.wait(95, "a", "b")
    # Saying the same again is no progress.
    decisions += farm.say("a", FrameProgress(frame=ref, fraction=0.5))
    assert not any(isinstance(one, Revoke) for _, one in sent(decisions))
    decisions = farm.wait(10, "a", "b")
    assert ("a", Revoke(frames=(ref,), reason="too_long", running_too=True)) in sent(decisions)
    assert assigned(decisions) == {"b": "1"}
    assert farm.frame(1).problem == (
        "It made no progress for 100 s, which is the limit of its job."
    )


def test_a_frame_done_too_soon_is_a_failure() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1", limits=Limits(shortest_seconds=5)))
    ref = farm.held("a")[0]
    farm.say("a", FrameStarted(frame=ref))
    decisions = farm.say("a", done(ref, seconds=0.5))
    assert isinstance(sent(decisions)[0][1], FrameRefused)
    assert assigned(decisions) == {"b": "1"}
    assert "missing in the picture" in farm.view().problem
    assert farm.frame(1).failures == 1
    # A repeat of it changes nothing; what takes as long as it should is taken.
    assert isinstance(sent(farm.say("a", done(ref, seconds=0.5)))[0][1], FrameRefused)
    again = farm.held("b")[0]
    decisions = farm.say("b", done(again, seconds=6))
    assert sent(decisions)[0] == ("b", FrameAccepted(frame=again))


def test_limits_adapt_to_what_the_frames_of_the_job_take() -> None:
    config = FarmConfig()
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1-99"))
    for node in "ab":
        farm.say(node, done(farm.held(node)[0], seconds=200))
    slow = farm.held("a")[0]
    farm.say("a", FrameStarted(frame=slow))
    farm.wait(config.too_long_floor_seconds + 60, "a", "b")
    assert slow in farm.held("a"), "given up at the floor, although frames take 200 s"
    farm.wait(config.too_long_factor * 200, "a", "b")
    assert slow not in farm.held("a")


# --- crashes and losses --------------------------------------------------------------------------


def test_a_crash_blames_only_the_frame_in_progress() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-9"))
    first, ahead = farm.held("a")
    farm.say("a", FrameStarted(frame=first))
    crash = FrameFailed(
        frame=first, kind=FailureKind.CRASH, reason="Blender ended by signal 11.", log=("Fra:1",)
    )
    farm.say("a", crash)
    assert (farm.frame(1).failures, farm.frame(2).failures) == (1, 0)
    assert ahead in farm.held("a")
    (attempt,) = farm.database.attempts.values()
    assert (attempt.frame, attempt.node_name, attempt.outcome) == (1, "a", "crash")
    assert (attempt.reason, attempt.log) == ("Blender ended by signal 11.", ("Fra:1",))
    assert farm.view().problem == "Frame 1 on a: Blender ended by signal 11."


def test_a_scene_that_takes_its_nodes_down_when_opened_is_found_out() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    life = 2
    while farm.view().state is JobState.RENDERING and life < 20:
        farm.say("a", ScenePreparing(frame=farm.held("a")[0], stage="opening", fraction=0.5))
        farm.join("a", f"i{life}")
        life += 1
    assert farm.view().state is JobState.FAILED
    assert "nodes were lost" in farm.view().problem
    assert life == 7  # Two are forgiven, then three attempts on the only node.


def test_a_node_lost_while_it_fetches_is_no_matter_of_the_frame() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1"))
    for life in range(2, 12):
        farm.say("a", ScenePreparing(frame=farm.held("a")[0], stage="fetching", fraction=0.5))
        farm.join("a", f"i{life}")
    assert (farm.view().state, farm.frame(1).failures) == (JobState.RENDERING, 0)


def test_a_job_that_cannot_work_is_stopped_although_the_coordinator_restarts() -> None:
    farm = Kept("a", "b", "c", "d")
    farm.submit(wanted=spec("1-1000"))
    attempts = 0
    while farm.view().state is JobState.RENDERING:
        assert attempts < 40
        farm.fail("abcd"[attempts % 4], FailureKind.CRASH)
        attempts += 1
        farm.restart()
        come_back(farm, *"abcd")
    assert "of which none succeeded" in farm.view().problem
    assert attempts == FarmConfig().breaker_attempts


# --- scouts --------------------------------------------------------------------------------------


def test_rejected_scouts_end_the_job_and_are_kept() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-9", scouts=True))
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    assert "or reject them" in farm.view().waiting_because
    farm.apply(ScoutsRejected(job="j"))
    counts = farm.view().counts
    assert (farm.view().state, counts.done, counts.cancelled) == (JobState.CANCELLED, 3, 6)
    farm.apply(ScoutsRejected(job="j"))


def test_only_scouts_that_wait_for_an_answer_are_rejected() -> None:
    farm = Kept("a")
    farm.submit("plain", spec("1-9"))
    farm.submit("approved", spec("1-9", scouts=True))
    farm.apply(ScoutsApproved(job="approved"))
    for job, sentence in (("plain", "no scout frames"), ("approved", "were approved before")):
        with pytest.raises(FarmRefusal, match=sentence):
            farm.apply(ScoutsRejected(job=job))


# --- jobs that wait for jobs ---------------------------------------------------------------------


def test_a_job_says_what_became_of_the_one_it_waits_for() -> None:
    farm = Kept("a")
    farm.submit("bake", spec("1", name="bake"))
    farm.submit("light", spec("1", name="light", depends_on=("bake",)))
    assert farm.view("light").waiting_because == 'Waits for the job "bake".'
    farm.apply(JobCancelled(job="bake"))
    assert farm.view("light").waiting_because == (
        'Waits for the job "bake", which is cancelled; retry that one, or cancel this one.'
    )
    assert farm.view("light").waiting_kind is WaitingKind.LOST_JOB
    with pytest.raises(FarmRefusal, match='"light" depends on it'):
        farm.apply(JobRemoved(job="bake"))
    farm.restart()
    farm.join("a")
    farm.apply(RetryRequested(job="bake"))
    farm.say("a", done(farm.held("a")[0]))
    assert farm.held("a")[0].job == "light"
    farm.apply(JobRemoved(job="bake"))
    assert farm.held("a")[0].job == "light"


def test_what_an_ended_job_waited_for_cannot_vanish_undone() -> None:
    farm = Kept("a")
    farm.submit("bake", spec("1", name="bake"))
    farm.submit("light", spec("1", name="light", depends_on=("bake",)))
    for job in ("light", "bake"):
        farm.apply(JobCancelled(job=job))
    with pytest.raises(FarmRefusal, match="delete that one first"):
        farm.apply(JobRemoved(job="bake"))
    farm.apply(RetryRequested(job="light"))
    assert farm.held("a") == []
    farm.apply(JobCancelled(job="light"))
    farm.apply(JobRemoved(job="light"))
    farm.apply(JobRemoved(job="bake"))


def test_a_job_done_again_holds_back_those_that_wait_for_it() -> None:
    farm = Kept("a")
    farm.submit("bake", spec("1", name="bake"))
    farm.submit("light", spec("1-9", name="light", depends_on=("bake",)))
    farm.say("a", done(farm.held("a")[0]))
    held = list(farm.held("a"))
    assert {ref.job for ref in held} == {"light"}
    farm.apply(RetryRequested(job="bake", frames=(1,)))
    for ref in held:
        farm.say("a", done(ref))
    assert [ref.job for ref in farm.held("a")] == ["bake"]


def test_a_job_cannot_wait_for_itself_or_for_nothing() -> None:
    farm = Kept("a")
    for other in ("j", "nothing"):
        with pytest.raises(FarmRefusal, match="does not exist"):
            farm.submit("j", spec("1", depends_on=(other,)))


# --- people, twice -------------------------------------------------------------------------------


def test_asking_twice_does_no_more_than_asking_once() -> None:
    farm = Kept("a")
    farm.submit(wanted=spec("1-3"))
    while farm.held("a"):
        farm.say("a", done(farm.held("a")[0]))
    for _ in range(2):
        farm.apply(RetryRequested(job="j", frames=(2,)))
        assert farm.view().generation == 2
    farm.say("a", done(farm.held("a")[0]))
    assert farm.view().state is JobState.DONE


def test_a_stranger_s_failure_is_nobody_s() -> None:
    farm = Kept("a", "b")
    farm.submit(wanted=spec("1"))
    ref = farm.held("a")[0]
    event = MessageReceived(
        node="b",
        incarnation="i1",
        message=FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="It broke."),
    )
    farm.apply(event)
    assert farm.held("a") == [ref]
    assert farm.frame(1).failures == 0
